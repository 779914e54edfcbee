"""Within one process wakes are told at once, in the order in which one began to listen."""

from rejoinder.abc import Wake
from rejoinder.entities import Key
from rejoinder.signals.local import LocalSignals


async def test_each_hears_of_all_that_comes_together_after_those_who_listened_before() -> None:
    wakes = [Wake(Key("o", name)) for name in "abc"]
    told: list[tuple[str, list[Wake]]] = []
    async with LocalSignals() as signals:
        signals.listen(lambda heard: told.append(("first", list(heard))))
        signals.listen(lambda heard: told.append(("second", list(heard))))
        signals.publish(wakes)
        assert told == [("first", wakes), ("second", wakes)]
    signals.publish(wakes)
    assert len(told) == 2, "nobody listens any more"
