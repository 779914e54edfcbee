"""What follows a fault: a pure decision, told here as a table."""

import pytest

from rejoinder.chat.attempts import FINAL, LONGEST_WAIT, Next, Retrying, after
from rejoinder.errors import ProviderError

THREE = Retrying(retries=3, wait=0.5)
ONE, TWO = ("a",), ("a", "b")


def refused(code: str = "upstream_unavailable", wait: float | None = None) -> ProviderError:
    return ProviderError(code, "no", before_reply=True, retry_after=wait)


def broken(code: str = "upstream_incomplete", wait: float | None = None) -> ProviderError:
    return ProviderError(code, "no", retry_after=wait)


def follows(
    fault: ProviderError, models: tuple[str, ...], tries: int = 1, retrying: Retrying = THREE, chance: float = 0
) -> Next | None:
    return after(fault, models, tries, retrying, jitter=lambda: chance)


@pytest.mark.parametrize(("tries", "wait"), [(1, 0.5), (2, 1.0), (3, 2.0)])
def test_the_same_again_after_a_wait_that_doubles(tries: int, wait: float) -> None:
    assert follows(refused(), ONE, tries) == Next(ONE, wait)
    assert follows(refused(), ONE, tries, chance=1) == Next(ONE, wait * 1.5)


def test_retries_are_bounded() -> None:
    assert follows(refused(), ONE, 3) is not None
    assert follows(refused(), ONE, 4) is None
    assert follows(refused(), ONE, 1, Retrying(retries=0, wait=1)) is None


def test_chance_adds_a_half_at_most() -> None:
    waits = {after(refused(), ONE, 1, THREE).wait for _ in range(200)}  # type: ignore[union-attr]
    assert len(waits) > 100 and min(waits) >= 0.5 and max(waits) <= 0.75


@pytest.mark.parametrize(("asked", "wait"), [(0.0, 0.5), (0.2, 0.5), (7.0, 7.0), (LONGEST_WAIT, LONGEST_WAIT)])
def test_what_the_upstream_asks_for_counts_where_it_is_more(asked: float, wait: float) -> None:
    assert follows(refused("upstream_rate_limited", asked), ONE) == Next(ONE, wait)


def test_nobody_waits_longer_than_a_person_does() -> None:
    assert follows(refused("upstream_rate_limited", LONGEST_WAIT + 0.1), ONE) is None
    assert follows(refused(), ONE, 10, Retrying(retries=20, wait=0.5)) is None


def test_a_reply_that_may_have_begun_is_not_asked_for_again() -> None:
    assert follows(broken(), ONE) is None
    assert follows(broken("upstream_rate_limited", 1), ONE) is None


@pytest.mark.parametrize("fault", [refused(), refused("upstream_rate_limited", 300), broken(), broken("upstream_auth")])
@pytest.mark.parametrize("tries", [1, 9])
def test_another_model_is_asked_at_once(fault: ProviderError, tries: int) -> None:
    assert follows(fault, TWO, tries) == Next(("b",), 0)
    assert follows(fault, ("a", "b", "c"), tries) == Next(("b", "c"), 0)


@pytest.mark.parametrize("code", sorted(FINAL))
@pytest.mark.parametrize("models", [ONE, TWO])
def test_after_some_faults_nobody_is_asked(code: str, models: tuple[str, ...]) -> None:
    assert follows(ProviderError(code, "no", before_reply=True), models) is None
    assert follows(ProviderError(code, "no"), models) is None
