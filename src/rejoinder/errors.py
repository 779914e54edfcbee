"""What can go wrong, as values with a stable code. `api/problems.py` alone knows the HTTP status of each."""

from collections.abc import Iterator, Sequence

from rejoinder.entities import JsonObject

LONGEST = 100
"""Characters of what somebody else said that an error repeats."""


def quoted(said: str) -> str:
    """What somebody else said, for a sentence that repeats it: on one line, with nothing that commands a terminal, and not long."""
    return repr(said if len(said) <= LONGEST else f"{said[:LONGEST]}…")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it or was being dealt with when it came, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class RejoinderError(Exception):
    """An error that a caller can act on. `code` is stable; `str(error)` is a sentence for a person."""

    code = "internal_error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


# --- what a client did -------------------------------------------------------------------------------------------


class NotFound(RejoinderError):
    code = "not_found"


class SessionNotFound(NotFound):
    code = "session_not_found"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"There is no session {session_id}.")


class MessageNotFound(NotFound):
    code = "message_not_found"

    def __init__(self, message_id: str) -> None:
        super().__init__(f"This session has no message {message_id}.")


class Conflict(RejoinderError):
    """The state of the session does not allow it. `extra` are further members of the problem document."""

    def __init__(self, detail: str, **extra: str) -> None:
        super().__init__(detail)
        self.extra = extra


class SessionBusy(Conflict):
    code = "session_busy"


class QueueFull(Conflict):
    code = "queue_full"


class CannotContinue(Conflict):
    """The reply is whole, or there is no model that goes on from the middle of one."""

    code = "cannot_continue"


class NotAReply(Conflict):
    code = "not_a_reply"

    def __init__(self, message_id: str) -> None:
        super().__init__(f"Message {message_id} is not a reply.")


class AlreadyExists(Conflict):
    code = "already_exists"


class Invalid(RejoinderError):
    """A request that is understood and cannot be right. `errors` name the places: `{loc, message}` each."""

    code = "invalid_request"

    def __init__(self, detail: str, errors: Sequence[JsonObject] = ()) -> None:
        super().__init__(detail)
        self.errors = list(errors)


def invalid(errors: Sequence[JsonObject]) -> Invalid:
    """A request of which these places cannot be right. Its sentence is of the first, since many show that alone."""
    return Invalid(first_of(errors), errors)


def first_of(errors: Sequence[JsonObject]) -> str:
    more = f" ({len(errors) - 1} more in `errors`)" if len(errors) > 1 else ""
    return f"{errors[0]['loc']}: {errors[0]['message']}{more}"


def wrong(loc: str, detail: str) -> Invalid:
    """A request of which one place cannot be right."""
    return Invalid(detail, [{"loc": loc, "message": detail}])


class IdempotencyMismatch(Invalid):
    code = "idempotency_mismatch"


class InvalidCursor(RejoinderError):
    code = "invalid_cursor"


# --- what the service cannot do just now -------------------------------------------------------------------------


class Unavailable(RejoinderError):
    """Try again later; `retry_after` is in seconds."""

    code = "overloaded"
    retry_after = 5


class Overloaded(Unavailable):
    """More is asked than one process takes on, or it is about to stop."""


class StoreUnavailable(Unavailable):
    """The store did not do it, or its answer was lost: what was asked may or may not have happened."""

    code = "store_unavailable"


class StoreLocked(RejoinderError):
    """Another process holds this store."""

    code = "store_locked"


def served_by_an_earlier(store: str, worker: str) -> StoreLocked:
    """Who writes by the schema of an earlier version would know nothing of the next one, and be in the way of it or wait for ever."""
    return StoreLocked(
        f"{store} was written by an earlier version of Rejoinder, and a process of it still serves it ({worker}). Stop all of them "
        "and start again; the lease of one that was killed is over soon (REJOINDER_LEASE)."
    )


class LeaseLost(RejoinderError):
    """The lease of this worker was revoked: whatever it wrote under it since was refused."""

    code = "lease_lost"


class SessionGone(RejoinderError):
    """The session that was being read has been deleted."""

    code = "session_not_found"


class Misconfigured(RejoinderError):
    """A setting names something that is not there. Said at start, before anything is served."""

    code = "misconfigured"


def no_driver(what_needs: str, extra: str) -> Misconfigured:
    """`extra` is the package's that brings it. No index has the package, so that it is installed from its source."""
    return Misconfigured(
        f"{what_needs} a driver that is not here: `./dev run` installs it; for an environment of your own, in a checkout: "
        f"pip install '.[{extra}]'."
    )


# --- what an upstream did ----------------------------------------------------------------------------------------


class ProviderError(RejoinderError):
    """An upstream did not give a whole reply.

    `code` is one of the codes of `message.ended` (`upstream_unavailable`, `upstream_auth`, `upstream_rate_limited`,
    `upstream_error`, `upstream_timeout`, `upstream_stalled`, `upstream_malformed`, `upstream_incomplete`,
    `content_filtered`, `context_overflow`, …). The text is shown to users: never a key, a prompt or a traceback.
    `before_reply` tells that nothing of a reply had come and that the upstream cannot have begun one (refused, DNS,
    429, 5xx): only then may the same request be made again. `refused`: nor has it where it refused the request as it stands, or
    never had it; but the same would only be refused again. `retry_after` is the upstream's wish, in seconds.
    Of a `context_overflow`, `asked` and `window` are the tokens that it was asked with and that it takes, where it said so.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        before_reply: bool = False,
        refused: bool = False,
        retry_after: float | None = None,
        asked: int | None = None,
        window: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.before_reply = before_reply
        self.refused = refused
        self.retry_after = retry_after
        self.asked = asked
        self.window = window

    def saying(self, detail: str) -> "ProviderError":
        """The same in other words."""
        return ProviderError(
            self.code,
            detail,
            before_reply=self.before_reply,
            refused=self.refused,
            retry_after=self.retry_after,
            asked=self.asked,
            window=self.window,
        )
