"""The command line as its users type it: real processes, a real server, a real terminal."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.request import urlopen

import pytest
from typer.main import get_command

import rejoinder
from rejoinder.cli import main
from rejoinder.cli.commands import app
from rejoinder.settings import OF_CLIENTS
from screen import COMMAND, Screen
from serving import ServerProcess

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# --- starting ----------------------------------------------------------------------------------------------------


def test_the_version_and_the_help_come_without_what_is_heavy(run: Run) -> None:
    assert run("--version").stdout.strip() == rejoinder.__version__
    program = (
        "import sys\nfrom rejoinder.cli.commands import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print({'openai', 'fastapi', 'uvicorn', 'xllamacpp'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=50)
    assert done.stdout.rstrip().endswith("set()")
    for command in ("serve", "chat", "ask", "sessions", "migrate", "get-model"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--model", "parrot"], {}, "no model 'parrot'"),
        (["--store", "punchcards://1"], {}, "no kind of store 'punchcards'"),
        (["--model", "openai:x"], {}, "OPENAI_API_KEY"),
        (
            ["--model", "scripted:parrot"],
            {},
            "no script 'parrot'. A script has no word 'parrot'. It is echo, story, slow, or",
        ),
        ([], {"REJOINDER_HEARTBEAT": "soon"}, "REJOINDER_HEARTBEAT: "),
        (["--store", "sqlite:////nowhere/at/all.db"], {}, "nowhere"),
        ([], {"REJOINDER_UPSTREAMS": "groq=a/v1"}, "The address of groq in REJOINDER_UPSTREAMS must begin with http"),
        (
            [],
            {"REJOINDER_UPSTREAMS": "groq=http://me:x@a/v1"},
            "a name or a password, which would not be sent: REJOINDER_UPSTREAM_KEYS (groq)",
        ),
        (
            [],
            {"REJOINDER_UPSTREAMS": "groq=http://a/v1", "REJOINDER_UPSTREAM_KEYS": "groq=g„s“k"},
            "REJOINDER_UPSTREAM_KEYS (groq) holds characters that no key has",
        ),
        ([], {"REJOINDER_TITLE_MODEL": "local"}, "REJOINDER_TITLE_MODEL: there is no model 'local' here"),
    ],
)
def test_what_keeps_the_service_from_starting_is_one_sentence(
    run: Run, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    plain = {"REJOINDER_MODEL": "scripted:echo", "REJOINDER_STORE": "memory:", "REJOINDER_PORT": "0"}
    done = run("serve", *arguments, **(plain | environment))
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.splitlines()[-1].startswith("rejoinder: ")
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CONTEXT_WINDOWS", "foo", "'foo' is not MODEL=TOKENS, such as "),
        ("CONTEXT_WINDOWS", "local=9,m=0", "'m=0' is not MODEL=TOKENS"),
        ("HOST", "", "String should have at least 1 character"),
        ("PORT", "tcp://10.0.0.1:8000", "'tcp://10.0.0.1:8000' is no port. Kubernetes sets it "),
        *(
            ("ORIGINS", f"https://fine.example,{origin}", f"{origin!r} is no origin: ")
            for origin in (
                *("a.example", "a.example:8000", "*", "null", "https://*.a.example", "https://"),
                *("https://a.example/chat", "https://a b", "https://a.example https://b.example"),
                *("https://a.example:0", "https://a.example:65536", "https://me@a.example", "https://[::x]"),
                *("https://bücher.example", "file:///page.html"),
            )
        ),
        ("ORIGINS", '["https://a.example","b"]', "'[\"https://a.example\"' is no origin: "),
        *(
            ("HOSTS", f"fine.example,{host}", f"{host!r} is no host name: ")
            for host in (
                *("*", "*.example", "a.example:8000", "http://a.example", "a b", "a/b", "::1", "[::1", "[::x]", "-"),
            )
        ),
        ("HOSTS", '["a"]', "'[\"a\"]' is no host name: "),
        ("EXTRA_PARAMS", "provider, a b", "'a b' is no name of a parameter"),
        ("EXTRA_PARAMS", "groq:seed", "'groq:seed' names an upstream that there is not"),
        ("EXTRA_PARAMS", "stream", "stream is the service's own to set: "),
        ("UPSTREAMS", "http://a/v1", "each is NAME=BASE_URL, as groq="),
        ("UPSTREAMS", "a=http://b/v1,a=http://c/v1", "'a' is there twice"),
        ("UPSTREAMS", "Groq=http://a/v1", "'Groq' is no name for an upstream: "),
        ("UPSTREAMS", "a:b=http://a/v1", "'a:b' is no name for an upstream: "),
        ("UPSTREAMS", "openai=http://a/v1", "openai is a provider of the service's own"),
        ("UPSTREAM_KEYS", "groq=gsk", "there is a key for 'groq', which REJOINDER_UPSTREAMS "),
        ("UPSTREAM_KEYS", "gsk-1", "each is NAME=KEY, the names as in REJOINDER_UPSTREAMS, "),
        ("LEASE", "inf", "Input should be a finite number"),
        ("LEASE", "0.001", "Input should be greater than or equal to 0.1"),
        ("LEASE", "1e21", "Input should be less than or equal to 86400"),
        ("KEEP_DELTAS", "-inf", "Input should be a finite number"),
        ("DRAIN", "nan", "Input should be a finite number"),
    ],
)
def test_a_setting_that_is_wrong_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
    value: str,
    said: str,
) -> None:
    """In this process, since they are many and none gets as far as the service."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rejoinder.server.serve", lambda _: pytest.fail("it starts"))
    monkeypatch.setattr("sys.argv", ["rejoinder", "serve", "--model", "scripted:echo"])
    monkeypatch.setenv(f"REJOINDER_{name}", value)
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("rejoinder: A setting is not as it should be. ") and told.count("\n") == 1
    assert f"REJOINDER_{name}: {said}" in told


def test_several_settings_that_are_wrong_are_told_together(run: Run) -> None:
    done = run("serve", REJOINDER_HOSTS="*", REJOINDER_CONTEXT_WINDOWS="foo", REJOINDER_HEARTBEAT="soon")
    assert done.returncode == 1
    told = done.stderr.removeprefix("rejoinder: A setting is not as it should be. ").removesuffix(".\n")
    assert [part.partition(": ")[0] for part in told.split("; ")] == [
        "REJOINDER_CONTEXT_WINDOWS",
        "REJOINDER_HEARTBEAT",
        "REJOINDER_HOSTS",
    ]
    assert ".;" not in told


def test_a_file_of_settings_that_is_no_text_is_one_sentence(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"REJOINDER_MODEL=\xff")
    done = run("serve", "--model", "scripted:echo")
    assert done.returncode == 1
    assert done.stderr.startswith("rejoinder: The file .env cannot be read") and done.stderr.count("\n") == 1


def test_a_store_that_another_process_holds_is_one_sentence(run: Run, server: ServerProcess, tmp_path: Path) -> None:
    done = run("serve", "--store", f"sqlite:///{tmp_path}/chat.db", "--model", "scripted:echo", "--port", "0")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("rejoinder: ") and "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_one_sentence(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("serve", "--port", port, "--store", "memory:", "--model", "scripted:echo")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == f"rejoinder: 127.0.0.1:{port} is in use; choose another with --port."
    assert "Traceback" not in done.stderr and "Errno" not in done.stderr


@pytest.mark.parametrize("host", ["no.such.name.invalid", "192.0.2.7", "::zz"])  # the second is nobody's, by RFC 5737
def test_a_host_that_is_none_is_one_sentence(run: Run, host: str) -> None:
    done = run("serve", "--host", host, "--port", "0", "--store", "memory:", "--model", "scripted:echo")
    assert done.returncode == 3
    assert (
        done.stderr.splitlines()[-1] == f"rejoinder: {host} is no address of this machine; choose another with --host."
    )
    assert "Traceback" not in done.stderr and "Errno" not in done.stderr


def test_sigterm_ends_a_server_by_that_signal(server: ServerProcess) -> None:
    server.signal(signal.SIGTERM)
    assert server.ended() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("host", "hosts", "warned"), [("0.0.0.0", "", 1), ("0.0.0.0", "a.example", 0), ("localhost", "", 0)]
)
def test_an_address_that_others_reach_wants_host_names(tmp_path: Path, host: str, hosts: str, warned: int) -> None:
    process = ServerProcess("memory:", tmp_path / "server.log", host=host, hosts=hosts)
    process.start()
    process.close()
    lines = [line for line in process.said().splitlines() if "REJOINDER_HOSTS" in line]
    assert len(lines) == warned and all("WARNING" in line and "0.0.0.0" in line for line in lines)


def test_what_of_the_settings_changes_nothing_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("REJOINDER_MAX_STREAM=5\nREJOINDER_DRAIN=0\n")
    environment = {"REJOINDER_LEESE": "a secret", "REJOINDER_URL": "http://127.0.0.1:1", "REJOINDER_QQQ": "1"}
    environment |= dict.fromkeys(
        ("REJOINDER_SERVICE_HOST", "REJOINDER_SERVICE_PORT_HTTP", "REJOINDER_PORT_80_TCP_ADDR"), "x"
    )
    environment["REJOINDER_PREFILL"] = "gpt-4o, scripted:echo, scripted:parrot"
    environment["REJOINDER_CONTEXT_WINDOWS"] = "opneai:gpt-4o=9000,scripted=9000"
    line = f"exec {sys.executable} -m rejoinder serve --port 0 --store memory: --model scripted >/dev/null 2>log"
    with subprocess.Popen(["bash", "-c", line], cwd=tmp_path, env=os.environ | environment) as process:
        try:
            wait_for(tmp_path / "log", "Uvicorn running on")
        finally:
            process.terminate()
    told = (tmp_path / "log").read_text()
    assert re.findall(r"WARNING rejoinder.server: (REJOINDER_(?!TEST_).*no setting.*)", told) == [
        "REJOINDER_LEESE is no setting and changes nothing: is REJOINDER_LEASE meant?",
        "REJOINDER_MAX_STREAM is no setting and changes nothing: is REJOINDER_MAX_STREAMS meant?",
        "REJOINDER_QQQ is no setting and changes nothing",
    ]
    assert re.findall(r"WARNING rejoinder.api.app: (REJOINDER_.*) is no model here and changes nothing: ", told) == [
        "REJOINDER_PREFILL names 'gpt-4o', which",
        "REJOINDER_PREFILL names 'scripted:parrot', which",
        "REJOINDER_CONTEXT_WINDOWS names 'opneai:gpt-4o', which",
    ]
    assert "a secret" not in told


def test_what_the_commands_read_from_the_environment_is_known() -> None:
    commands = get_command(app).commands.values()  # type: ignore[attr-defined]  # a group has some
    read = {option.envvar for command in commands for option in command.params if option.envvar}
    assert read == {f"REJOINDER_{name.upper()}" for name in OF_CLIENTS}


def test_options_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("REJOINDER_MODEL=scripted:story\nREJOINDER_STORE=memory:\nREJOINDER_PORT=1\n")
    environment = os.environ | {"REJOINDER_PORT": "2", "REJOINDER_MODEL": "scripted:slow"}
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        found = re.search(r"http://127.0.0.1:(\d+)", process.stdout.readline())
        assert found is not None and int(found[1]) > 2
        with urlopen(f"{found[0]}/v1/models") as listed:
            assert json.load(listed)["data"][0]["id"] == "scripted:slow"
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    assert not list(tmp_path.glob("*.db")), "the store was the one of the file"


# --- asking ------------------------------------------------------------------------------------------------------


def test_asking_prints_the_reply(run: Run) -> None:
    assert run("ask", "how are you", "--model", "scripted:echo").stdout == "how are you\n"
    assert run("ask", "--no-stream", "how are you", "--model", "scripted:echo").stdout == "how are you\n"
    assert run("ask", "-", "--model", "scripted:echo", stdin="from a pipe").stdout == "from a pipe\n"
    assert run("ask", "--model", "scripted:echo", stdin="from a pipe").stdout == "from a pipe\n"


def test_asking_in_somebody_else_s_folder_sends_the_key_nowhere_else(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.1)
        port = elsewhere.getsockname()[1]
        (tmp_path / ".env").write_text(f"OPENAI_BASE_URL=http://127.0.0.1:{port}/v1\nREJOINDER_MODEL=scripted:story\n")
        script = "import rejoinder; print(rejoinder.ask('hi', model='openai:m'))"
        key = {"OPENAI_API_KEY": "sk-mine", "HTTPS_PROXY": "http://127.0.0.1:1"}  # nor to the official one
        for done in (
            run("ask", "hi", **key),
            subprocess.run(
                [sys.executable, "-c", script],
                cwd=tmp_path,
                env=os.environ | key,
                capture_output=True,
                text=True,
                check=False,
            ),
        ):
            assert done.returncode == 1
            assert "upstream" in done.stderr
        with pytest.raises(TimeoutError):
            elsewhere.accept()


def test_a_reply_that_fails_is_one_sentence_behind_what_came(run: Run) -> None:
    done = run("ask", "--model", "scripted:echo", "/script tokens=9 fail=error@3")
    assert (done.returncode, done.stdout) == (1, "t0 t1 t2")
    assert done.stderr.startswith("rejoinder: ") and "Traceback" not in done.stderr
    assert run("ask", "", "--model", "scripted:echo").returncode == 1


def test_a_reader_that_has_enough_is_no_error() -> None:
    line = f"{sys.executable} -m rejoinder ask --model scripted:echo '/script tokens=20000' | head -c 5"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, check=False, timeout=50
    )
    assert (done.stdout, done.stderr) == ("t0 t1", "")


def in_bash(line: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A line in which `rejoinder` is this one."""
    here = f'rejoinder() {{ "{sys.executable}" -m rejoinder "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", here],
        env=os.environ | {"REJOINDER_MODEL": "scripted:echo"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has a disk that is always full")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ask <&-", "There is no prompt: give one, or pipe it in."),
        ("ask hi >&-", "The system refuses it: Bad file descriptor."),
        ("--version >&-", "The system refuses it: Bad file descriptor."),
        ("chat --url http://127.0.0.1:1 <&-", "No server answers at http://127.0.0.1:1 "),
        ("import - --url http://127.0.0.1:1 <&-", "No server answers at http://127.0.0.1:1 "),
        pytest.param("ask hi > /dev/full", "The system refuses it: No space left on device.", marks=FULL),
        pytest.param("ask hi --no-stream > /dev/full", "The system refuses it: No space left on device.", marks=FULL),
        pytest.param("--version > /dev/full", "The system refuses it: No space left on device.", marks=FULL),
    ],
)
def test_a_stream_that_is_closed_or_full_is_one_sentence(line: str, said: str, unbuffered: str) -> None:
    done = in_bash(f"rejoinder {line}", PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"rejoinder: {said}") and done.stderr.count("\n") == 1


def test_who_wants_to_hear_of_no_errors_gets_the_reply() -> None:
    assert in_bash("rejoinder ask hi 2>&-").stdout == "hi\n"


def test_a_service_starts_with_its_streams_closed_and_with_more_streams_than_there_can_be(tmp_path: Path) -> None:
    line = f"exec {sys.executable} -m rejoinder serve --port 0 --store sqlite:///{tmp_path}/chat.db <&- >&- 2>{tmp_path}/log"
    with subprocess.Popen(
        ["bash", "-c", line],
        cwd=tmp_path,
        env=os.environ | {"REJOINDER_MODEL": "scripted", "REJOINDER_MAX_STREAMS": "9" * 20},
    ) as process:
        try:
            wait_for(tmp_path / "log", "Uvicorn running on")
        finally:
            process.terminate()
    told = (tmp_path / "log").read_text()
    assert "Traceback" not in told
    assert f"REJOINDER_MAX_STREAMS is {'9' * 20}" in told


def wait_for(log: Path, said: str) -> None:
    deadline = time.monotonic() + 30
    while not log.exists() or said not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_a_script_asks_without_a_server() -> None:
    assert rejoinder.ask("one two", model="scripted:echo") == "one two"
    assert "".join(rejoinder.ask("one two", model="scripted:echo", stream=True)) == "one two"


# --- talking -----------------------------------------------------------------------------------------------------


def test_a_message_whose_beginning_is_too_long_for_a_title_is_sent_all_the_same(run: Run, tmp_path: Path) -> None:
    server = ServerProcess("memory:", tmp_path / "server.log", max_title=5, title_model="off")
    server.start()
    try:
        done = run("chat", "--url", server.api.url, stdin="longer than that\n")
        assert (done.returncode, done.stdout) == (0, "longer than that\n")
    finally:
        server.close()


def test_messages_that_are_piped_in_are_answered_in_turn(run: Run, server: ServerProcess) -> None:
    done = run("chat", "--url", server.api.url, stdin="one\n\ntwo\n/script tokens=3 fail=error@2\n")
    assert done.returncode == 0
    assert done.stdout == "one\ntwo\nt0 t1\n"
    assert "[failed: " in done.stderr


def test_a_session_is_gone_on_with_and_listed(run: Run, server: ServerProcess) -> None:
    sid = server.api.session(title="A talk 世界")
    run("chat", "--url", server.api.url, "--session", sid, stdin="one\n")
    done = run("chat", "--url", server.api.url, "--session", sid, stdin="two\n/sessions\n")
    assert done.stdout.startswith("> one\none\ntwo\n")
    assert f"{sid}  " in done.stdout and "A talk" in done.stdout
    listed = json.loads(run("sessions", "--url", server.api.url, "--json", PYTHONIOENCODING="latin-1").stdout)
    assert (listed["id"], listed["title"]) == (sid, "A talk 世界")  # JSON is UTF-8, whatever the terminal shows
    assert run("chat", "--url", server.api.url, "--session", "ses_" + "0" * 32, stdin="x\n").returncode == 1


def test_an_argument_that_is_no_text_is_one_sentence(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for option, said in (
        ("--session", "There is no session a\ufffd."),
        ("--model", "There is no model 'a\ufffd'"),
    ):
        monkeypatch.setattr("sys.argv", ["rejoinder", "chat", "--url", server.api.url, option, "a\udcff"])
        with pytest.raises(SystemExit):
            main()
        assert said in capsys.readouterr().err


def test_times_are_those_of_the_place_where_they_are_read(run: Run, server: ServerProcess) -> None:
    sid = server.api.session()
    updated = datetime.fromisoformat(server.api.read_session(sid)["updated_at"])
    there = updated.astimezone(timezone(timedelta(hours=5, minutes=30)))
    listed = run("sessions", "--url", server.api.url, TZ="IST-05:30").stdout
    assert listed == f"{sid}  {there:%Y-%m-%d %H:%M:%S}  –\n"
    told = json.loads(run("sessions", "--json", "--url", server.api.url, TZ="IST-05:30").stdout)
    assert told["updated_at"].endswith("Z")


def test_a_server_that_is_not_there_is_one_sentence(run: Run) -> None:
    for command in ("sessions", "chat"):
        done = run(command, "--url", "127.0.0.1:9", stdin="hi\n")
        assert done.returncode == 1
        assert done.stderr.startswith("rejoinder: No server answers at http://127.0.0.1:9 (")
        assert done.stderr.count("\n") == 1
    wrong = run("sessions", "--url", "http://127.0.0.1:99999")
    assert wrong.returncode == 2 and "Traceback" not in wrong.stderr


def test_an_address_that_is_not_that_of_a_server_is_named(run: Run, server: ServerProcess, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text("x")
    url = f"{server.api.url}/v1"
    for arguments, asked in (
        (["sessions"], "GET {}/v1/sessions"),
        (["chat"], "GET {}/v1/sessions?limit=1"),  # an upstream that hangs is waited for with its models
        (["export", f"ses_{'0' * 32}"], f"GET {{}}/v1/sessions/ses_{'0' * 32}/export"),
        (["import", str(file)], "POST {}/v1/import"),
    ):
        done = run(*arguments, "--url", url)
        said = f"{asked.format(url)} was answered by 404. Is {url} a Rejoinder server, given without /v1?"
        assert (done.returncode, done.stderr) == (1, f"rejoinder: {said}\n")


def test_a_server_that_speaks_no_tls_is_there_and_need_not_be_started(run: Run, server: ServerProcess) -> None:
    url = server.api.url.replace("http://", "https://")
    done = run("sessions", "--url", url)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"rejoinder: No secure connection to {url} (")
    assert "rejoinder serve" not in done.stderr and done.stderr.endswith("Is it https:// that is spoken there?\n")


@pytest.fixture
def screen(server: ServerProcess) -> Iterator[Screen]:
    screen = Screen("chat", "--url", server.api.url)
    screen.until("\n> ")
    yield screen
    screen.close()


def test_ctrl_c_stops_the_reply_and_keeps_what_there_is(screen: Screen, server: ServerProcess) -> None:
    screen.type("/script tokens=5000 pace=0.02\n")
    screen.until("t3")
    screen.press_ctrl_c()
    screen.until("[stopped]")
    screen.until("> ")
    screen.type("and on\n")
    screen.until("and on")
    [session] = server.api.get("/sessions").json()["data"]
    statuses = [message["status"] for message in server.api.history(session["id"])["data"]]
    assert statuses[1] == "stopped"
    screen.type("/quit\n")
    assert screen.process.wait(20) == 0


def test_a_server_that_is_killed_in_the_middle_of_a_reply_is_waited_for(screen: Screen, server: ServerProcess) -> None:
    screen.type("/script tokens=5000 pace=0.02\n")
    screen.until("t5")
    server.signal(signal.SIGKILL)
    server.ended()
    screen.until("the server is away")
    server.start()
    screen.until("[interrupted: ")
    screen.until("> ")
    screen.type("again\n")
    screen.until("again\r\n")
    screen.until("again")
