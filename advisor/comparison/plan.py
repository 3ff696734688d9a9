"""The division of a comparison's time. Pure.

Every server needs its own boots, whatever the budget; what is left is load, shortened or drawn out
alike for all. What a longer budget gives beyond that is more rounds, for it is their number that
makes the intervals narrow.
"""

from __future__ import annotations

from dataclasses import dataclass

from pretune.advisor.trials.plan import AROUND_S
from pretune.server.adapters.catalogue import every

ROUNDS = 3  # at least
MOST_ROUNDS = 12
FIRST_TRIALS = 3  # demand, contrast and crowd, on the embedded server
STEPS = 2.5  # loads of a round that look for the SLO's end, about
BEGIN_S, EACH_S = 45.0, 80.0  # of a budget that nobody gave: once, and for each server
SHORTEST, LONGEST = 0.3, 1.5  # of the seconds below
LATE = 2.0  # times what it should take
PREFLIGHT_S, MODEL_S, LIFECYCLE_S = 6.0, 4.0, 22.0


@dataclass(frozen=True)
class Plan:
    """Seconds of load. ``alike_s``: every server at the same users; ``step_s``: one step."""

    demand_s: float = 8.0
    contrast_s: float = 5.0
    cost_s: float = 3.5
    alike_s: float = 4.0
    step_s: float = 3.0

    @property
    def turn_s(self) -> float:
        """One server's part of a round."""
        return AROUND_S + self.alike_s + STEPS * self.step_s

    def scaled(self, factor: float) -> Plan:
        return Plan(**{name: value * factor for name, value in vars(self).items()})


def budget_s(servers: int | None) -> float:
    """Seconds a comparison takes when nobody said how long it may. ``servers`` None: nobody was
    named, and it is not known yet who is there."""
    if servers is None:
        servers = sum(server.usual for server in every())
    return BEGIN_S + EACH_S * servers


def plan(time_budget_s: float, servers: int) -> Plan:
    fixed, load = _needs(servers)
    return Plan().scaled(min(LONGEST, max(SHORTEST, (time_budget_s - fixed) / load)))


def limit_s(time_budget_s: float, servers: int) -> float:
    """After that nothing more is begun: the machine is too busy to measure anything on it."""
    fixed, load = _needs(servers)
    return LATE * max(time_budget_s, fixed + SHORTEST * load)


def _needs(servers: int) -> tuple[float, float]:
    """Seconds that are not load, and of load where nothing is shortened."""
    whole = Plan()
    boots = (FIRST_TRIALS + servers * (1 + ROUNDS)) * AROUND_S
    turn = whole.turn_s - AROUND_S
    first = whole.demand_s + whole.contrast_s + whole.cost_s
    load = first + servers * (whole.cost_s + ROUNDS * turn)
    return PREFLIGHT_S + boots + servers * (MODEL_S + LIFECYCLE_S), load


def another(rounds: int, left_s: float, turns_s: float, servers: int) -> bool:
    """Decide whether there is another round; ``turns_s``: how long the last one took."""
    if rounds < ROUNDS:
        return True
    return rounds < MOST_ROUNDS and left_s > turns_s + servers * LIFECYCLE_S
