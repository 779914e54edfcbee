"""The settings that a command goes by. Raises Misconfigured for a value that is none."""

from collections.abc import Callable

from pydantic import ValidationError

from rejoinder.errors import Misconfigured
from rejoinder.settings import Settings


def settings_with(**given: str | int | None) -> Settings:
    """The service's settings, with what was given here before the environment."""
    return _checked(lambda: Settings(**{name: value for name, value in given.items() if value is not None}))  # type: ignore[arg-type]  # checked by it


def settings_of_environment() -> Settings:
    """Those of the environment alone: of no file that happens to lie here."""
    return _checked(Settings.from_environment)


def _checked(read: Callable[[], Settings]) -> Settings:
    try:
        return read()
    except ValidationError as invalid:
        told = "; ".join(
            f"{_variable(str(error['loc'][0]))}: {error['msg'].removeprefix('Value error, ')}"
            for error in invalid.errors()
        )
        raise Misconfigured(f"A setting is not as it should be. {told}.") from invalid
    except (OSError, UnicodeDecodeError) as unreadable:
        raise Misconfigured(f"The file .env cannot be read: {unreadable}") from unreadable


def _variable(name: str) -> str:
    """What a setting is called in the environment. Some are told by that name already."""
    return name if name.isupper() else f"REJOINDER_{name.upper()}"
