"""Who may import whom: the directions of the house, which a linter cannot know."""

import ast
from pathlib import Path

import pytest

import rejoinder

ROOT = Path(rejoinder.__file__).parent

CORE = {"entities", "events", "errors"}
MAY_IMPORT: dict[str, set[str]] = {
    "entities": set(),
    "errors": {"entities"},
    "events": {"entities"},
    "words": set(),
    "fold": CORE,
    "abc": CORE,
    "chat": CORE | {"abc", "fold", "chat", "words"},
    "postgres_link": CORE,
    "redis_link": CORE,
    "stores": CORE | {"abc", "stores", "words", "postgres_link", "redis_link"},
    "signals": CORE | {"abc", "signals", "postgres_link", "redis_link"},
    "llm": CORE | {"abc", "llm", "settings"},
    "settings": {"errors"},
    "logs": set(),
    "client": CORE | {"fold", "client"},
    "api": CORE | {"abc", "fold", "chat", "api", "logs", "settings"},
    "server": {"api", "errors", "logs", "settings"},
    "testing": {"testing", "llm"} | CORE | {"abc"},
    "cli": CORE | {"cli", "client", "settings"},
}
"""The first part of a module's path below the package, and the first parts it may name."""

MEETS_ADAPTERS = {"api/app.py", "cli/commands.py", "cli/copying.py"}
"""The only files that know every adapter; the last opens two stores."""


def imported(path: Path) -> set[str]:
    """First parts of what a file imports of this package, lazily or not."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "rejoinder" else [module]
        else:
            continue
        found |= {parts[1] for name in names if (parts := name.split("."))[0] == "rejoinder" and len(parts) > 1}
    return found - {"__version__"}


def files() -> list[Path]:
    return [
        path for path in sorted(ROOT.rglob("*.py")) if path.parent != ROOT or path.stem not in ("__init__", "__main__")
    ]


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    if name in MEETS_ADAPTERS:
        return
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert room in MAY_IMPORT, f"{room} is a new room: say in MAY_IMPORT what it may import"
    assert imported(path) <= MAY_IMPORT[room]


def test_a_breach_would_be_seen(tmp_path: Path) -> None:
    breach = tmp_path / "breach.py"
    breach.write_text(
        "def late():\n    from rejoinder.stores.sqlite.store import SqliteStore\n    import rejoinder.api.app\n"
    )
    assert imported(breach) == {"stores", "api"}


def test_nothing_of_http_is_known_in_the_core() -> None:
    for room in ("chat", "stores", "signals"):
        for path in (ROOT / room).rglob("*.py"):
            assert not any(word in path.read_text(encoding="utf-8") for word in ("fastapi", "starlette", "pydantic")), (
                path
            )
