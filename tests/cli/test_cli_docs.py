"""The page of the command line is that of the code.

`python tests/cli/test_cli_docs.py` rewrites docs/cli.md.
"""

from pathlib import Path
from typing import Any

import typer

from rejoinder.cli.commands import app
from rejoinder.cli.terminal import HELP

PAGE = Path(__file__).parents[2] / "docs/cli.md"
INTRODUCTION = """\
# The command line

`pip install .` brings the command `rejoinder`; `python -m rejoinder` is the same, and `./dev run` is `rejoinder serve` in an
environment of its own. `rejoinder --version` tells the version. Made from `src/rejoinder/cli/` by
`.venv/bin/python tests/cli/test_cli_docs.py` (after `./dev check`), and a test compares.

Options win over the environment, and that over `.env`, which `serve` and `migrate` alone read; [settings](settings.md) lists all
that they and `ask` read there.
What goes wrong is one sentence on standard error, with the usage where a command was not understood, and behind its log
where `serve` had begun.

| exit code | meaning |
|---|---|
| 0 | done; a reply that was stopped or failed in a chat is told there and is no failure of the command |
| 1 | something that you can mend: a setting, a store that another process holds, a server or a model that does not answer |
| 2 | the command was not understood |
| 3 | `serve`: the address cannot be listened on, or a fault of ours |
| 130 | Ctrl-C |
| 143 | SIGTERM, which ends `serve` when live replies have had their time (to its parent: ended by signal 15) |
"""
CHAT = f"""
While it runs it knows these words:

```
{HELP}
```
"""


def cli_page() -> str:
    group: Any = typer.main.get_command(app)
    return INTRODUCTION + "".join(section(name, group.commands[name]) for name in group.commands)


def section(name: str, command: Any) -> str:
    context = typer.Context(command, info_name=name)
    usage = " ".join(["rejoinder", name, *command.collect_usage_pieces(context)])
    rows = [row(*param.get_help_record(context)) for param in command.params]
    table = ["", "| | |", "|---|---|", *rows] if rows else []
    parts = [f"\n## rejoinder {name}", "", f"```\n{usage}\n```", "", command.help, *table]
    return "\n".join(parts) + "\n" + (CHAT if name == "chat" else "")


def row(option: str, said: str) -> str:
    return f"| `{option.removesuffix(' <str>')}` | {' '.join(said.split())} |"


def test_the_page_of_the_command_line_is_that_of_the_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == cli_page()


if __name__ == "__main__":
    PAGE.write_text(cli_page(), encoding="utf-8")
