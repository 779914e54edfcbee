"""Documents say what is true: every setting, event and error code stands in them.

`python tests/test_docs.py` rewrites docs/settings.md.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from pydantic import SecretStr
from pydantic.fields import FieldInfo

import rejoinder
from rejoinder import errors
from rejoinder.events import FACTS, OVERVIEW_FACTS
from rejoinder.settings import Settings
from rejoinder.testing.heard import asked, hear

DOCS = Path(__file__).parent.parent / "docs"
INTRODUCTION = """\
# Settings

Each is an environment variable or a line of `.env` in the folder where the service starts; `rejoinder serve` takes the
first ones as options too. `.env` is read for the service alone (`serve`, and `migrate` for its store): `rejoinder ask` and
`rejoinder.ask` run in any folder, and a file that lies there does not tell them where to send a key. What is called `REJOINDER_…`
and is no setting changes nothing; the service warns of it when it starts.
Made from `src/rejoinder/settings.py` by `.venv/bin/python tests/test_docs.py` (after `./dev check`), and a test compares.

| variable | default | what it is |
|---|---|---|
"""


def variable(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    return str(alias.choices[0]) if alias is not None else f"REJOINDER_{name.upper()}"  # type: ignore[union-attr]


def shown(default: object) -> str:
    if default is None or default in ("", (), {}) or isinstance(default, SecretStr):
        return "–"
    return f"`{default}`"


def settings_page() -> str:
    rows = [
        f"| `{variable(name, field)}` | {shown(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return INTRODUCTION + "\n".join(rows) + "\n"


def test_the_page_of_settings_is_that_of_the_code() -> None:
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == settings_page()


@pytest.mark.parametrize(("event", "fact"), (FACTS | OVERVIEW_FACTS).items())
def test_every_event_is_documented_with_its_fields(event: str, fact: type[Any]) -> None:
    lines = (DOCS / "api.md").read_text(encoding="utf-8").splitlines()
    told = next(line for line in lines if line.startswith("|") and f"`{event}`" in line)
    assert {field.name for field in structs.fields(fact)} <= set(re.findall(r"\w+", told))


def codes_in_the_code() -> set[str]:
    """Every stable code that some file of the package can answer with."""
    root = Path(rejoinder.__file__).parent
    source = "\n".join(path.read_text(encoding="utf-8") for path in root.rglob("*.py"))
    upstream = set(re.findall(r'"((?:upstream|content|context|reply)_[a-z_]+)"', source)) - {
        "content_filter",
        "reply_id",
    }
    raised = {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.RejoinderError)
    }
    return raised | {code for code in upstream if re.search(rf'(failed|ProviderError)\(\s*"{code}"', source)}


# Said to whoever starts the service, or used inside: never on the wire.
INTERNAL = {"store_locked", "misconfigured", "lease_lost"}


@pytest.mark.parametrize("code", sorted(codes_in_the_code() - INTERNAL))
def test_every_code_is_documented(code: str) -> None:
    assert f"`{code}`" in (DOCS / "api.md").read_text(encoding="utf-8")


def test_every_link_between_documents_leads_somewhere() -> None:
    for path in [*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


async def test_the_provider_of_the_tour_is_one() -> None:
    tour = (DOCS / "tour.md").read_text(encoding="utf-8")
    [code] = re.findall(r'^```python\n(""".*?)^```$', tour, re.MULTILINE | re.DOTALL)
    module: dict[str, Any] = {"__name__": "backwards"}
    exec(code, module)
    async with module["BackwardsProvider"]() as provider:
        assert await provider.models() == []
        prompt = await provider.prepare(asked("one two three"))
        assert json.loads(provider.body(prompt))["messages"][-1]["content"] == "one two three"
        heard = await hear(provider, prompt)
        assert (heard.error, heard.reply.content, heard.reply.finish_reason) == (None, "three two one ", "stop")
        assert await provider.complete(prompt) == heard.reply


if __name__ == "__main__":
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")
