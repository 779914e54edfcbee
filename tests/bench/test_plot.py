"""What runs have measured gets into the page, between its marks, and nothing else of it changes."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from bench.chart import Line, chart
from bench.figures import Row
from bench.goals import Verdict
from bench.growth import Figure
from bench.loads import Load
from bench.processes import Failed

from bench import plot

MARKS = {
    name: (f"<!-- {name}: made by ./dev bench plot -->", f"<!-- end of {name} -->")
    for name in ("goals", "streams", "rows")
}
PAGE = (
    "# Before\n\n"
    + "\n\nbetween\n\n".join(f"{begin}\nold {name}\n{end}" for name, (begin, end) in MARKS.items())
    + "\n\nafter\n"
)
MACHINE = {"commit": "abc", "processor": "one", "cores": 2, "load_before": [0.5], "python": "3", "sqlite": "3"} | {
    "file_system_of_the_log": "ext4"
}
NUMBERS = (1, 10, 20, 50, 100, 1_000)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / plot.PAGE).write_text(PAGE, encoding="utf-8")
    return tmp_path / "docs"


def row(contestant: str, streams: int, cpu: float) -> Row:
    load = Load(streams=streams)
    figures = dict.fromkeys(
        ("core", "upstream_core", "load_core", "store_core", "tokens_per_second", "added_first_p50", "added_first_p99"),
        1.0,
    )
    return Row(
        **figures,
        contestant=contestant,
        load=load.name,
        streams=streams,
        pace=load.pace,
        rounds=1,
        whole=1,
        replies=1,
        cpu=cpu,
        to={"nginx": cpu / 10},
        memory=1,
        added_gap_p50=-0.5,
        added_gap_p99=0.0,
    )


def curve() -> list[Row]:
    return [row(*each) for n in NUMBERS for each in (("upstream", n, 5), ("nginx", n, 10), ("rejoinder", n, 20 + n))]


def page_times(part: str, what: str) -> list[Figure]:
    return [Figure(part=part, what=what, rows=n, asked=1, p50=1, p95=n / 100, most=n) for n in NUMBERS]


def result(folder: Path, **parts: Any) -> Path:
    path = folder / f"{'-'.join(parts)}.json"
    path.write_bytes(msgspec.json.encode({"began": "2026-01-01T00:00:00+00:00", "machine": MACHINE, **parts}))
    return path


def section(docs: Path, name: str) -> str:
    begin, end = MARKS[name]
    return (docs / plot.PAGE).read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip()


def test_all_parts_are_drawn_between_their_marks(docs: Path) -> None:
    figures = (
        page_times("history", "some 50 messages") + page_times("list", "some 50 sessions") + page_times("search", "it")
    )
    verdicts = [Verdict(goal="to be good", limit=1, values=[0.5, 2, 0.7])]
    plot.draw([result(docs.parent, rows=curve(), figures=figures), result(docs.parent, verdicts=verdicts)], docs)
    assert re.search(r"\| to be good +\| +1 \| +0.7 \| 0.5 … 2.0 \| met, not in each round \|", section(docs, "goals"))
    assert re.search(r"\| 1,000 +\| +1,020 \| +10.0 \| +102.0 \| +1.0 / 1.0 \|", section(docs, "streams"))
    assert re.search(
        r"\| some 50 sessions +\| 1.0 / 0.0 \| 1.0 / 0.1 \| 1.0 / 0.2 \| 1.0 / 0.5 \| 1.0 / 1.0 \| 1.0 / 10.0 \|",
        section(docs, "rows"),
    )
    assert "it |" not in section(docs, "rows")
    text = (docs / plot.PAGE).read_text(encoding="utf-8")
    assert "old" not in text and re.sub(r"-->.*?<!--", "--><!--", text, flags=re.DOTALL).endswith(
        "<!-- end of rows -->\n\nafter\n"
    )
    assert text.startswith("# Before\n") and text.count("\n\nbetween\n\n") == 2
    for image in re.findall(r"\]\((images/.*?)\)", text):
        assert ET.parse(docs / image).getroot().tag.endswith("svg")
    assert {path.name for path in (docs / "images").iterdir()} == {
        "bench-cpu.svg",
        "bench-latency.svg",
        "bench-rows.svg",
    }


def test_drawing_again_changes_nothing_and_other_parts_stay(docs: Path) -> None:
    plot.draw([result(docs.parent, rows=curve())], docs)
    first = (docs / plot.PAGE).read_text(encoding="utf-8")
    assert section(docs, "rows") == "old rows"
    plot.draw([result(docs.parent, rows=curve())], docs)
    assert (docs / plot.PAGE).read_text(encoding="utf-8") == first


def test_a_few_numbers_of_streams_are_no_curve(docs: Path) -> None:
    few = [each for each in curve() if each.streams < 100]
    plot.draw([result(docs.parent, rows=few, verdicts=[Verdict(goal="it", limit=1, values=[])])], docs)
    assert section(docs, "streams") == "old streams"
    assert "| it " in section(docs, "goals")


@pytest.mark.parametrize(
    "content", ["{", "[]", json.dumps({"began": "x", "machine": MACHINE})], ids=["cut", "other", "empty"]
)
def test_what_is_no_result_changes_nothing(docs: Path, content: str) -> None:
    path = docs.parent / "wrong.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(Failed):
        plot.draw([path], docs)
    assert (docs / plot.PAGE).read_text(encoding="utf-8") == PAGE
    assert not (docs / "images").exists()


def test_a_page_without_its_marks_is_left_alone(docs: Path) -> None:
    (docs / plot.PAGE).write_text("# No marks\n", encoding="utf-8")
    with pytest.raises(Failed, match="lacks the lines"):
        plot.draw([result(docs.parent, rows=curve())], docs)
    assert (docs / plot.PAGE).read_text(encoding="utf-8") == "# No marks\n"


def test_the_page_of_this_checkout_has_the_marks() -> None:
    text = (plot.DOCS / plot.PAGE).read_text(encoding="utf-8")
    assert all(text.count(mark) == 1 for marks in MARKS.values() for mark in marks)


def test_lines_lie_where_their_values_are() -> None:
    drawn = chart(
        "It & that", "across", "up", [Line("one", [(1, 1), (10, 10), (100, 100)], 0), Line("zero", [(1, 0)], 1)], 1
    )
    root = ET.fromstring(drawn)
    dots = [
        (float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in root.iter("{http://www.w3.org/2000/svg}circle")
    ]
    (first, middle, last), (zero,) = dots[:3], dots[3:]
    assert middle[0] - first[0] == pytest.approx(last[0] - middle[0], abs=0.2)  # a decade is as long as the next
    assert first[1] - middle[1] == pytest.approx(middle[1] - last[1], abs=0.2) and first[1] > last[1]
    assert zero == first  # what is too small lies on the edge
    assert "prefers-color-scheme: dark" in drawn
