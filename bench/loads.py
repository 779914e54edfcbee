"""What is put on the contestants: so many replies at a time, so fast; and which loads make a run."""

from msgspec import Struct, structs

from bench.contestants import STANDARD

ARRIVAL = 0.01
"""Seconds for each stream over which all of them begin, at random: people do not press Enter together, and tokens that
all fall due at once would measure a queue."""
LONGEST_WARM_UP = 1.0
"""Seconds over which streams begin before the clock runs, and …"""
WARM_UP = 5
"""… the tokens of their replies."""


class Load(Struct, frozen=True, kw_only=True):
    """`streams` are concurrent replies. `pace` is in seconds between two tokens; 0 is a burst. `only` names contestants."""

    streams: int
    tokens: int = 200
    pace: float = 0.02
    only: tuple[str, ...] = STANDARD
    rounds: int = 50
    """At most, where a run has more."""

    @property
    def name(self) -> str:
        pace = f"{self.pace * 1e3:g} ms apart" if self.pace else "a burst"
        return f"{self.streams:,} stream{'s' * (self.streams > 1)}, {pace}"

    @property
    def warm_up(self) -> "Load":
        """What comes before the first round: imports, and connections to the upstream. A burst is over so soon that it can be
        the same, and then the upstream has its answer made when the clock runs.
        """
        return structs.replace(self, tokens=WARM_UP) if self.pace else self

    @property
    def arrival(self) -> float:
        """Seconds within which all begin. They run together for half of a reply at least, and a burst begins at once."""
        return min(self.streams * ARRIVAL, self.tokens * self.pace / 2)


RELAYS = ("upstream", "nginx", "rejoinder")
ON_POSTGRES = ("upstream", "nginx", "rejoinder", "rejoinder-postgres")

RELAY = tuple(Load(streams=streams) for streams in (1, 50, 200))
BURST = (Load(streams=32, tokens=1_000, pace=0), Load(streams=1, tokens=5_000, pace=0))
HELD = (
    Load(streams=500, pace=0.03, only=("upstream", "rejoinder"), rounds=2),
    Load(streams=1_000, pace=0.06, only=("upstream", "rejoinder"), rounds=2),
)
"""33 and 17 tokens/s each. Twice, since they take longest."""
OVERLOAD = Load(streams=1_000, only=RELAYS, rounds=1)
"""50,000 tokens/s, which no core can relay."""
CAPACITY = (Load(streams=500, only=RELAYS), *HELD, OVERLOAD)
CURVE = tuple(Load(streams=streams, only=RELAYS) for streams in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000))
GOALS = (
    Load(streams=1, only=(*RELAYS, "usual")),
    Load(streams=50, only=(*ON_POSTGRES, "usual")),
    Load(streams=200, only=ON_POSTGRES),
    *CAPACITY,
    Load(streams=32, tokens=1_000, pace=0, only=RELAYS),
    Load(streams=1, tokens=5_000, pace=0),
)
"""All that the goals of speed ask for, and no more: it has to be over in minutes."""
GOALS_AND_CURVE = tuple({load.name: load for load in (*CURVE, *GOALS)}.values())
EVERY = tuple(Load(streams=streams, tokens=10, pace=0) for streams in (1, 3))
"""For a look at whether it works."""
