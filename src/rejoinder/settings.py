"""The settings: every one an environment variable, with its default and its unit; for the service also a line of `.env`."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from ipaddress import AddressValueError, IPv6Address
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, NoDecode, SettingsConfigDict

from rejoinder.errors import quoted

Names = Annotated[tuple[str, ...], NoDecode]
"""A list of names, separated by commas in the environment."""

Sizes = Annotated[dict[str, Annotated[int, Field(ge=1)]], NoDecode]
"""`NAME=SIZE` pairs, separated by commas in the environment."""

Addresses = Annotated[dict[str, str], NoDecode]
"""`NAME=URL` pairs, separated by commas in the environment."""

Keys = Annotated[dict[str, SecretStr], NoDecode]
"""`NAME=KEY` pairs, separated by commas in the environment."""

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


HOST = r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?\.?|\[[0-9a-f:.]+\]"
"""A name or an address as browsers send it: other scripts in their ASCII form, IPv6 in brackets."""

USUAL_PORTS = {"http": "80", "https": "443"}
"""Browsers leave them out of an origin."""


OWN_PROVIDERS = ("openai", "local", "scripted")
"""What no further upstream can be called."""

PREFIX = "REJOINDER_"
OF_CLIENTS = ("url",)
"""What behind that prefix is for the commands that ask a running server."""

OF_A_SERVICE = re.compile(r"service_(host|port)(_.*)?|port_\d+_.*")
"""What Kubernetes sets behind it where a service is called `rejoinder`."""

OWN_FIELDS = ("model", "messages", "stream", "stream_options", "n", "functions", "function_call")
"""Fields of a request upstream that no parameter may be: each reply is one choice of one stream, and its calls are those of `tools`."""


class Settings(BaseSettings):
    """Read with `Settings()`, as the service does: arguments win over the environment, the environment over `.env`.

    `from_environment` leaves `.env` alone.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        populate_by_name=True,
        allow_inf_nan=False,
    )

    # where it listens and what it is made of
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    store: str = Field(
        "sqlite:///rejoinder.db",
        description="Where the words are kept: `memory:`, `sqlite:///path`, `files:///folder`, `postgresql://host/database` or "
        "`redis://host:port` ([stores](stores.md)).",
    )
    signals: str = Field(
        "",
        description="What wakes readers on other workers: `redis://host:port` or `postgresql://host/database`; empty, the store chooses (a "
        "store in Redis the same Redis, one in Postgres the same database, a store of one process nothing but that process).",
    )
    model: str = Field(
        "",
        description="The default model: `openai:NAME`, `local`, `scripted:NAME`, or one of a further upstream (`REJOINDER_UPSTREAMS`); "
        "further models follow after commas. "
        "A session may name these, and any other model of the same providers: it is no list of what is allowed, nor of what is asked in "
        "turn (for that the `model` of a session is a list). "
        "Empty: `openai` where a key or a base URL is set, else the first of the further upstreams, else `local`.",
    )

    # the upstream
    openai_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("OPENAI_API_KEY", "openai_api_key"),
        description="Key of the Chat Completions API.",
    )
    openai_base_url: str | None = Field(
        None,
        validation_alias=AliasChoices("OPENAI_BASE_URL", "openai_base_url"),
        description="Base URL of any OpenAI-compatible API, up to and with `/v1`. It is asked by way of the proxy that the "
        "environment names (`HTTPS_PROXY` and its kin).",
    )
    openai_organization: str | None = Field(
        None,
        validation_alias=AliasChoices("OPENAI_ORG_ID", "openai_organization"),
        description="Organisation of the key.",
    )
    upstreams: Addresses = Field(
        {},
        description="Further OpenAI-compatible APIs: `NAME=BASE_URL`, separated by commas, as "
        "`groq=https://api.groq.com/openai/v1,house=http://10.0.0.5:8000/v1`. Their models are then `groq:…` and `house:…`, and a session "
        "whose model is a list goes on with another upstream where one is away. A name has small letters, digits, `-` and `_`.",
    )
    upstream_keys: Keys = Field(
        {}, description="Their keys, for those that ask for one: `NAME=KEY`, separated by commas."
    )
    connect_timeout: float = Field(10, gt=0, description="Seconds to reach the upstream.")
    first_token_timeout: float = Field(
        300,
        gt=0,
        description="Seconds of silence before the first piece of a reply; pings are no silence. Some models (OpenAI's) say nothing while "
        "they think, and what they have thought is billed: give them more where they are to think longer.",
    )
    stall_timeout: float = Field(60, gt=0, description="Seconds of silence in the middle of a reply.")
    retries: int = Field(
        3,
        ge=0,
        le=20,
        description="Times that an upstream that cannot have begun a reply (refused, DNS, 429, 5xx) is asked again for it.",
    )
    retry_wait: float = Field(
        0.5,
        gt=0,
        description="Seconds before the first of them, doubled from one to the next; `Retry-After` counts for more.",
    )
    context_windows: Sizes = Field(
        {},
        description="Tokens that models take, prompt and reply together: `MODEL=TOKENS`, separated by commas, the models as in "
        "`REJOINDER_PREFILL`. Without one it is what is known of the model, or what it says when it is asked too much.",
    )
    title_model: str = Field(
        "",
        description="Model that makes titles of sessions without one, from their first turn: one of the providers in `REJOINDER_MODEL` or "
        "`REJOINDER_UPSTREAMS`. Empty: the one that replied; `off`: none are made.",
    )
    prefill: Names = Field(
        (),
        description="Models (as in `REJOINDER_MODEL`; `openai` for all of that provider) that go on exactly where a last "
        "message by the assistant ends, so that replies can be continued. The local model does.",
    )
    extra_params: Names = Field(
        (),
        description="Names of parameters beside those of Chat Completions that sessions and messages may set, separated by commas: what "
        "the upstream takes of its own, as `chat_template_kwargs` (vLLM) or `reasoning,provider` (OpenRouter). They go upstream "
        "as they are; one that is named `UPSTREAM:NAME` (as `openrouter:provider`, or `openai:store`) to that upstream alone.",
    )
    local_threads: int = Field(0, ge=0, description="Threads of the local model; 0 takes what the machine has.")

    # the life of the process
    after_crash: Literal["interrupt", "restart", "continue"] = Field(
        "interrupt",
        description="What becomes of a reply whose server was killed: `interrupt` ends it, `restart` asks for it anew (it is asked for "
        "five times in all, at most), `continue` lets it go on from its text where the model can, and else ends it.",
    )
    keep_deltas: float | None = Field(
        3600,
        ge=0,
        description="Seconds for which the deltas of an ended reply stay, for readers that are still in the middle of it; then "
        "`message.ended` tells it whole. Empty: for ever.",
    )
    session_ttl: float | None = Field(
        None,
        gt=0,
        description="Seconds after its last activity when a session is deleted, by the clock of each process: a clock that is put forward "
        "by as much deletes all that is idle. Empty: never.",
    )
    heartbeat: float = Field(15, gt=0, le=15, description="Seconds of silence on a stream before a heartbeat.")
    drain: float = Field(5, ge=0, description="Seconds that live replies may run on after SIGTERM.")
    # A lease shorter than a renewal takes is lost at once, and again; databases know no time as far ahead as a number may be.
    lease: float = Field(
        15, ge=0.1, le=86_400, description="Seconds after which a worker that fell silent is taken to be dead."
    )
    store_patience: float = Field(5, gt=0, description="Seconds that a request waits for a store that does not answer.")
    read_timeout: float = Field(
        60, gt=0, description="Seconds for which the body of a request may be silent before it is given up."
    )
    write_timeout: float = Field(60, gt=0, description="Seconds for which a reader may take nothing before it is cut.")

    # the edge
    hosts: Names = Field(
        (),
        description="Host names under which the service is reached, beside the loopback names, separated by commas: each as "
        "`chat.example`, without a port.",
    )
    origins: Names = Field(
        (),
        description="Origins of other sites whose pages may use the service (CORS), separated by commas: each `scheme://host[:port]`, "
        "as `http://localhost:5173`.",
    )

    # limits
    max_body: int = Field(8 << 20, gt=0, description="Bytes of a request body.")
    max_import: int = Field(
        256 << 20, gt=0, description="Bytes of a file that is imported; it is held in memory, twice over."
    )
    max_text: int = Field(256 << 10, gt=0, description="Bytes of UTF-8 of the text of a message.")
    max_depth: int = Field(32, gt=0, le=200, description="Depth of the JSON of a request body.")
    max_values: int = Field(
        20_000, gt=0, description="Values in the JSON of a request body, those inside others counted."
    )
    max_title: int = Field(512, gt=0, description="Characters of a title.")
    max_metadata: int = Field(16, ge=0, description="Pairs of metadata.")
    max_metadata_key: int = Field(64, gt=0, description="Characters of a metadata key.")
    max_metadata_value: int = Field(512, ge=0, description="Characters of a metadata value.")
    max_page: int = Field(
        1_000, gt=0, description="Items of a page. The chat page asks for up to 200 and does not work with less."
    )
    max_delta: int = Field(
        64 << 10, ge=16, description="Bytes of UTF-8 of the text of one delta event; a longer one is split."
    )
    max_reply: int = Field(4 << 20, gt=0, description="Bytes of UTF-8 of a reply.")
    max_reply_seconds: float = Field(30 * 60, gt=0, description="Seconds of a reply.")
    max_queue: int = Field(8, ge=0, description="Queued sends of a session.")
    max_streams: int = Field(10_000, gt=0, description="Open streams of a process.")

    @field_validator("port", mode="before")
    @classmethod
    def _port(cls, value: object) -> object:
        if isinstance(value, str) and "://" in value:
            raise ValueError(
                f"{quoted(value)} is no port. Kubernetes sets it where a service is called rejoinder: give that another name, or "
                "the pod `enableServiceLinks: false`"
            )
        return value

    @field_validator("keep_deltas", "session_ttl", mode="before")
    @classmethod
    def _for_ever(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("hosts", "origins", "prefill", "extra_params", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_host(said) for said in value)

    @field_validator("origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_origin(said) for said in value)

    @field_validator("extra_params")
    @classmethod
    def _extra_params(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for said in value:
            whose, _, name = said.rpartition(":")
            if whose and whose not in ("openai", *info.data.get("upstreams", (whose,))):
                raise ValueError(f"{quoted(said)} names an upstream that there is not")
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", name):
                raise ValueError(f"{quoted(name)} is no name of a parameter, and several are separated by commas")
            if name in OWN_FIELDS:
                raise ValueError(f"{name} is the service's own to set: a reply is one choice of one stream")
        return value

    @field_validator("upstreams", mode="before")
    @classmethod
    def _addresses(cls, value: object) -> object:
        return (
            _by_name(value, "NAME=BASE_URL, as groq=https://api.groq.com/openai/v1")
            if isinstance(value, str)
            else value
        )

    @field_validator("upstream_keys", mode="before")
    @classmethod
    def _keys(cls, value: object) -> object:
        return _by_name(value, "NAME=KEY, the names as in REJOINDER_UPSTREAMS") if isinstance(value, str) else value

    @field_validator("upstreams")
    @classmethod
    def _upstreams(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name in OWN_PROVIDERS:
                raise ValueError(f"{name} is a provider of the service's own: call a further upstream otherwise")
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", name):
                raise ValueError(f"{quoted(name)} is no name for an upstream: small letters, digits, - and _")
        return value

    @field_validator("upstream_keys")
    @classmethod
    def _upstream_keys(cls, value: dict[str, SecretStr], info: ValidationInfo) -> dict[str, SecretStr]:
        for name in value.keys() - info.data.get("upstreams", value).keys():
            raise ValueError(f"there is a key for {quoted(name)}, which REJOINDER_UPSTREAMS does not name")
        return value

    @field_validator("context_windows", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        if isinstance(value, str):
            return dict(_model_and_tokens(part.strip()) for part in value.split(",") if part.strip())
        return value

    @classmethod
    def from_environment(cls) -> Self:
        """For what is not the service. It runs in any folder, and somebody else's file must not say where a key of the environment
        is sent."""
        return cls(_env_file=None)

    @classmethod
    def unknown(cls) -> Iterator[tuple[str, str | None]]:
        """The variables of the environment and of `.env` that are called like settings and are none, and which one may be meant."""
        prefix, known = PREFIX.lower(), (*cls.model_fields, *OF_CLIENTS)
        said = {*EnvSettingsSource(cls).env_vars, *DotEnvSettingsSource(cls).env_vars}
        for name in sorted(each.removeprefix(prefix) for each in said if each.startswith(prefix)):
            if name not in known and not OF_A_SERVICE.fullmatch(name):
                meant = get_close_matches(name, known, 1)
                yield PREFIX + name.upper(), PREFIX + meant[0].upper() if meant else None

    def known_hosts(self) -> tuple[str, ...]:
        """Under which names it answers, as a Host header has them: without a port, and IPv6 in brackets."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        return tuple(dict.fromkeys((*LOOPBACK, own, *self.hosts)))

    def extra_names(self) -> frozenset[str]:
        """What `extra_params` names, whichever upstream takes it."""
        return frozenset(said.rpartition(":")[2] for said in self.extra_params)

    def is_api(self, provider: str) -> bool:
        """Whether the models of this prefix are those of a Chat Completions API: the one of `openai`, or a further one."""
        return provider == "openai" or provider in self.upstreams

    def models(self) -> tuple[str, ...]:
        """The names that `model` lists, the default first."""
        named = tuple(part.strip() for part in self.model.split(",") if part.strip())
        if named:
            return named
        return ("openai",) if self.openai_api_key or self.openai_base_url else (*self.upstreams, "local")[:1]


def _model_and_tokens(said: str) -> tuple[str, int]:
    name, _, tokens = said.rpartition("=")
    if not name.strip() or not tokens.strip().isdecimal() or int(tokens) == 0:
        raise ValueError(
            f"{quoted(said)} is not MODEL=TOKENS, such as openai:gpt-4o=128000, and several are separated by commas"
        )
    return name.strip(), int(tokens)


def _by_name(said: str, form: str) -> dict[str, str]:
    """What is said of each name. Raises ValueError, which repeats no key."""
    found: dict[str, str] = {}
    for part in filter(None, map(str.strip, said.split(","))):
        name, _, rest = (each.strip() for each in part.partition("="))
        if not name or not rest:
            raise ValueError(f"each is {form}, and several are separated by commas")
        if name in found:
            raise ValueError(f"{quoted(name)} is there twice")
        found[name] = rest
    return found


def _host(said: str) -> str:
    """The host that is meant. Raises ValueError for what no Host header can be."""
    host = said.lower()
    if not re.fullmatch(HOST, host) or not _is_address_if_bracketed(host):
        raise ValueError(
            f"{quoted(said)} is no host name: one is as chat.example, 192.168.1.5 or [fd00::5], without a scheme, a port or "
            "a wildcard, and several are separated by commas"
        )
    return host


def _origin(said: str) -> str:
    """The origin that is meant. Raises ValueError for what no Origin header can be."""
    found = re.fullmatch(rf"([a-z][a-z0-9+.-]*)://({HOST})(?::(\d{{1,5}}))?/?", said.lower())
    if found is None or not _is_address_if_bracketed(found[2]) or int(found[3] or 1) not in range(1, 1 << 16):
        raise ValueError(
            f"{quoted(said)} is no origin: one is scheme://host[:port], as https://chat.example or http://localhost:5173, "
            "without a path or a wildcard, and several are separated by commas"
        )
    scheme, host, port = found.groups()
    return f"{scheme}://{host}" if port in (None, USUAL_PORTS.get(scheme)) else f"{scheme}://{host}:{int(port)}"


def _is_address_if_bracketed(host: str) -> bool:
    try:
        return not host.startswith("[") or bool(IPv6Address(host[1:-1]))
    except AddressValueError:
        return False
