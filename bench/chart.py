"""Lines over two logarithmic axes, as a small SVG that reads on a light page and on a dark one."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from msgspec import Struct

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 62, 46
"""Of the frame, to the edges."""
LIGHT = ("#0550ae", "#bc4c00", "#1a7f37", "#8250df")
DARK = ("#79c0ff", "#ffa657", "#7ee787", "#d2a8ff")
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #59636e }
.title { font-size: 14px; font-weight: 600; fill: #1f2328 }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round }
"""
DARK_STYLE = "text { fill: #9198a1 } .title { fill: #f0f6fc } .grid { stroke: #3d444d }"


class Line(Struct, frozen=True):
    """`colour` is one of four, by number. A dashed line is the same thing in a worse case."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int
    dashed: bool = False


class Axis(Struct, frozen=True):
    """From `low` to `high`, over so many pixels."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """What is below the axis, zero also, lies on its edge."""
        share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return self.begin + share * (self.end - self.begin)


def chart(title: str, across: str, up: str, lines: Sequence[Line], least: float) -> str:
    """`across` and `up` say what the axes are, with their units. `least` is the smallest value worth showing."""
    xs = sorted({x for line in lines for x, _ in line.points})
    ys = [max(y, least) for line in lines for _, y in line.points]
    x_axis = Axis(xs[0], max(xs[-1], xs[0] * 10), LEFT, WIDTH - RIGHT)
    y_axis = Axis(_round(min(ys), down=True), _round(max(ys) * 1.01), HEIGHT - BOTTOM, TOP)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
            f"<style>{STYLE}{_colours(LIGHT)}@media (prefers-color-scheme: dark) {{ {DARK_STYLE}{_colours(DARK)} }}</style>",
            f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>',
            *_grid(x_axis, y_axis, xs),
            _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, across, "middle"),
            f'<text transform="translate(14 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(up)}</text>',
            *_legend(lines),
            *(_drawn(line, x_axis, y_axis) for line in lines),
            "</svg>\n",
        )
    )


def _grid(x_axis: Axis, y_axis: Axis, xs: Sequence[float]) -> Iterator[str]:
    for x in xs:
        at = x_axis.at(x)
        yield f'<line class="grid" x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{HEIGHT - BOTTOM}"/>'
        yield _text(at, HEIGHT - BOTTOM + 16, f"{x:,.0f}", "middle")
    for y in _steps(y_axis):
        at = y_axis.at(y)
        yield f'<line class="grid" x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}"/>'
        yield _text(LEFT - 6, at + 4, f"{y:,g}" if y < 1_000 else f"{y:,.0f}", "end")


def _legend(lines: Sequence[Line]) -> Iterator[str]:
    at = float(LEFT)
    for line in lines:
        yield f'<path class="line c{line.colour}"{_dashes(line)} d="M{at:.0f} 40h24"/>'
        yield _text(at + 30, 44, line.name, "start")
        at += 46 + 6.6 * len(line.name)


def _drawn(line: Line, x_axis: Axis, y_axis: Axis) -> str:
    places = [(x_axis.at(x), y_axis.at(y)) for x, y in line.points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dots = "".join(f'<circle class="f{line.colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places)
    return f'<path class="line c{line.colour}"{_dashes(line)} d="M{path}"/>{dots}'


def _dashes(line: Line) -> str:
    return ' stroke-dasharray="5 4"' if line.dashed else ""


def _colours(colours: Sequence[str]) -> str:
    return " ".join(f".c{n} {{ stroke: {colour} }} .f{n} {{ fill: {colour} }}" for n, colour in enumerate(colours))


def _text(x: float, y: float, said: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'


def _steps(axis: Axis) -> list[float]:
    """1, 2, 5 of each decade, or the decades alone where there are many."""
    first, last = math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high))
    digits = (1, 2, 5) if math.log10(axis.high / axis.low) < 2.5 else (1,)
    steps = (digit * 10.0**power for power in range(first, last + 1) for digit in digits)
    return [step for step in steps if axis.low * 0.999 <= step <= axis.high * 1.001]


def _round(value: float, *, down: bool = False) -> float:
    """The next 1, 2 or 5 of a decade."""
    power = 10.0 ** math.floor(math.log10(value))
    steps = [digit * power for digit in (1, 2, 5, 10)]
    return max(step for step in steps if step <= value) if down else min(step for step in steps if step >= value)
