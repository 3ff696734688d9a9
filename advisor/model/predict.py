"""From a demand to the prediction of an arrangement never run, and to its capacity.

Value and interval come from different runs. The value: one long simulation fed with all measured
rows. The interval: shorter simulations, each with another seed, the rows resampled in blocks and
every other estimate drawn from its own interval, so that it holds what is not known about the
demand and what one trial of finite length scatters; to that, the calibration's residual is added
for what the model itself gets wrong. Spreads are taken of logarithms: the interval of a time or a
rate does not reach zero.

A search asks for the capacity of dozens of arrangements, most only to learn that they lose. Given
what is already known, ``capacity`` screens: a short run at each load tried, and the relative
interval of an arrangement alike instead of replicates. That is fair where the same uncertainty
reaches the result by the same way, so alike means: the same demand, conditions, calibration and SLO
(the caller's promise), the same resource at its limit, and one busy thread per worker or several in
both (with one, neither the GIL nor the cost of passing it on matters). Where nothing known is
alike, the arrangement is predicted in full and stands for its like. Whoever decides by an interval
asks again without ``predicted``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from scipy.stats import t as student

from pretune.advisor.demand.server_costs import on_server
from pretune.advisor.model import bounds, memory, restarts
from pretune.advisor.model.calibration import (
    PRIOR_LATENCY_SD,
    UNCALIBRATED_SD,
    Calibration,
)
from pretune.advisor.model.cpu import DRAWS
from pretune.advisor.model.nearness import shape_distance
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.question import Question
from pretune.advisor.model.rows import Factors, build_rows, central, drawn, mean_rows
from pretune.advisor.model.scenario import Scenario, Traffic
from pretune.advisor.model.simulation import Floats, Open, SimulatedRun
from pretune.advisor.profiler.measurement import Conditions, Latency
from pretune.advisor.quantity import Z95, Interval
from pretune.server.settings import Settings

REQUESTS = 12_000  # of the value's run
REPLICATES = DRAWS
REPLICATE_REQUESTS = 2_000
SEARCH_REQUESTS = 3_000
MOST_USERS = 4_096
RATES = 400  # levels of an open load, up to what the operational laws allow
LIKE_LOAD = 0.2  # loads whose logarithms differ by less share their spread
CLOSE_ENOUGH = 0.97  # of the p95 aimed at: no need to look for one user more
# of a spread that so few replicates estimate: each draw has its opposite, so half of them count
QUANTILE = float(student.ppf(0.975, REPLICATES // 2 - 1))
# of p95's logarithm over replicates; only where the search begins, the prediction has its own
TYPICAL_SPREAD = 0.03
P95 = 3  # in what _measures gives


@dataclass(frozen=True)
class _Model:
    """A question about one arrangement.

    A *level* is how much load: in a closed load its users, in an open one (``rate_unit`` above 0)
    its arrivals per second in that unit.
    """

    question: Question
    scenario: Scenario
    rate_unit: float = 0.0

    @property
    def seed(self) -> int:
        return self.question.seed

    @property
    def calibration(self) -> Calibration | None:
        return self.question.calibration

    def traffic(self, level: int) -> Traffic:
        return Open(level * self.rate_unit) if self.rate_unit else level

    def inside(self, level: int) -> float:
        """Requests in the server at once, at most; of an open load about, while none waits."""
        if not self.rate_unit:
            return level
        demand = self.scenario.demand
        rows = build_rows(demand, central(demand), self.scenario.conditions)
        return max(1.0, level * self.rate_unit * sum(mean_rows(demand, rows)))

    def factors(self, level: int) -> Factors:
        base = central(self.scenario.demand)
        if self.calibration is None:
            return base
        return self._applied(self.calibration, base, level)

    def drawn_factors(self, level: int, number: int) -> Factors:
        """Draw ``number`` of what the measurements allow, from 1."""
        rng = np.random.default_rng(self.draw_seed(number))
        base = drawn(self.scenario.demand, central(self.scenario.demand), rng)
        if self.calibration is None:
            return base
        return self._applied(self.calibration.drawn(number, rng), base, level)

    def _applied(self, calibration: Calibration, factors: Factors, level: int) -> Factors:
        inside = self.inside(level)
        slots = self.scenario.slots_of_worker * self.scenario.settings.workers
        return calibration.applied(factors, self.scenario.regime(inside), min(inside, slots))

    def run(self, level: int, requests: int) -> SimulatedRun:
        return self.scenario.expected(self.traffic(level), self.factors(level), requests, self.seed)

    def draw_seed(self, number: int) -> int:
        return self.seed * 1_000_003 + number

    def replicate(self, level: int, number: int) -> SimulatedRun:
        return self.scenario.run(
            self.traffic(level),
            self.drawn_factors(level, number),
            REPLICATE_REQUESTS,
            self.draw_seed(number),
            bootstrap=True,
        )

    def limits(self, level: int) -> tuple[bounds.Limit, ...]:
        """In an open load no number of users limits anything."""
        users = MOST_USERS if self.rate_unit else level
        return self.scenario.limits(users, self.factors(level))


def predict(question: Question, settings: Settings, users: int) -> Prediction:
    """Predict what ``users`` closed-loop users would see, and what the server would need.

    Raises ValueError for a demand without measured requests.
    """
    return _predict(_Model(question, _scenario(question, settings)), users)


def predict_arrivals(question: Question, settings: Settings, rps: float) -> Prediction:
    """The same for Poisson arrivals at so many requests/s."""
    return _predict(_Model(question, _scenario(question, settings), rps), 1)


def _scenario(question: Question, settings: Settings) -> Scenario:
    """With the demand as it is under the server of these conditions."""
    conditions = question.conditions
    demand = on_server(question.demand, conditions.server, settings.worker_class)
    return Scenario(demand, settings, conditions, question.think_s)


def capacity(
    question: Question,
    settings: Settings,
    predicted: Mapping[Settings, Prediction] | None = None,
) -> Prediction:
    """The prediction at the most users whose p95 keeps the SLO by the upper end of its interval.

    By the upper end, because what is recommended has to keep the SLO when it is run, not in one of
    two cases. Throughput and p95 both grow with users, so throughput is highest there. One user is
    predicted even if that breaks the SLO: the caller sees it in ``latency.p95``. In an open load it
    is the highest rate.

    ``predicted``: answers to the same question for other settings. Then this one is only
    screened, if one of them is alike; see the module.
    """
    model = _Model(question, _scenario(question, settings))
    slo_p95_s = question.p95_s
    if question.arrivals:
        model = replace(model, rate_unit=_tightest(model) / RATES)
    near = _alike(model, predicted or {})
    loads = _Loads(model)
    if near is not None:
        half = np.array([math.log(x.high / x.value) for x in _intervals(near)])
        guess = near.users if not question.arrivals else _first_guess(model, slo_p95_s)
        users = loads.most(slo_p95_s * math.exp(-half[P95]), guess)
        screened = _prediction(model, users, loads.run(users), half)
        return replace(screened, expected_rps=loads.carried(users))

    typical = math.hypot(QUANTILE * TYPICAL_SPREAD, Z95 * _residuals(question.calibration)[P95])
    aim = slo_p95_s * math.exp(-typical)
    users = loads.most(aim, _first_guess(model, aim))
    half = _halves(model, users)
    asked = users
    users = loads.most(slo_p95_s * math.exp(-half[P95]), users)
    while True:
        if abs(math.log(users / asked)) > LIKE_LOAD:
            asked, half = users, _halves(model, users)
        run = model.run(users, REQUESTS)
        prediction = _prediction(model, users, run, half)
        high = prediction.latency.p95.high
        if users == 1 or high <= slo_p95_s:
            expected = loads.carried(users)
            prediction = replace(prediction, expected_rps=expected, draws=_draws(loads))
            return _with_doubt(model, prediction)
        users = max(1, min(users - 1, int(users * slo_p95_s / high)))


def _alike(model: _Model, predicted: Mapping[Settings, Prediction]) -> Prediction | None:
    """Find the nearest in shape of those with the same limit and the same kind of concurrency."""
    mine = model.scenario.settings

    for settings in sorted(predicted, key=partial(shape_distance, mine)):
        prediction = predicted[settings]
        if (settings.worker_class == "asgi") != (mine.worker_class == "asgi"):
            continue
        if (settings.threads > 1) == (mine.threads > 1) and (
            bounds.binding(model.limits(prediction.users), dict(prediction.utilisation)).resource
            == prediction.binding
        ):
            return prediction
    return None


def _first_guess(model: _Model, slo_p95_s: float) -> int:
    """Users by Little's law, were the mean response time half the SLO at the tightest bound."""
    if model.rate_unit:
        return round(0.7 * RATES)
    users = _tightest(model) * (0.5 * slo_p95_s + model.scenario.think_s)
    return max(1, min(MOST_USERS, round(users)))


def _tightest(model: _Model) -> float:
    """Requests/s that no number of users exceeds."""
    return next((x.rps for x in model.limits(MOST_USERS) if x.resource != "users"), 1.0)


def _draws(loads: _Loads) -> tuple[float, ...]:
    """Predict the rate under each draw of what the measurements leave open. Each number is drawn
    alike for all arrangements, requests and machine too, so differences between them are paired.
    """
    guess = loads.held
    return tuple(_Loads(loads.model, number).carried(guess) for number in range(1, REPLICATES + 1))


def _with_doubt(model: _Model, prediction: Prediction) -> Prediction:
    """With the other resources that limit it under more than one of the draws."""
    resources = []
    for number in range(1, REPLICATES + 1):
        factors = model.drawn_factors(prediction.users, number)
        limits = [x for x in model.scenario.limits(MOST_USERS, factors) if x.resource != "users"]
        resources.append(bounds.binding(limits).resource)
    others = {name for name in resources if resources.count(name) > 1} - {prediction.binding}
    if not others or prediction.binding == "users":
        return prediction
    open_ = [x for x in model.limits(MOST_USERS) if x.resource in {prediction.binding, *others}]
    return replace(
        prediction,
        may_bind=tuple(x.resource for x in open_ if x.resource != prediction.binding),
        explanation=bounds.explain_open(model.scenario.settings, open_),
    )


@dataclass
class _Loads:
    """Short runs of one arrangement at the loads tried, each made once.

    ``number``: of a draw of what is not surely known; 0 for what is expected.
    """

    model: _Model
    number: int = 0
    _runs: dict[int, SimulatedRun] = field(default_factory=dict)

    def run(self, users: int) -> SimulatedRun:
        if users not in self._runs:
            self._runs[users] = (
                self.model.replicate(users, self.number)
                if self.number
                else self.model.run(users, SEARCH_REQUESTS)
            )
        return self._runs[users]

    def p95(self, users: int) -> float:
        return float(np.quantile(self.run(users).response_s, 0.95))

    def limit(self) -> int:
        """Users beyond whom the mean time alone, by Little's law, is over what p95 may be.

        A few requests that take much longer than the p95 raise the mean, so theirs is added.
        """
        if self.model.rate_unit:
            return RATES
        cycle_s = _alone(self.model) + self.model.question.p95_s + self.model.scenario.think_s
        most = 1.2 * _tightest(self.model) * cycle_s
        return max(1, min(MOST_USERS, math.ceil(most) + 1))

    def most(self, aim_s: float, guess: int) -> int:
        """The largest number of users whose p95 keeps the aim, at least 1."""
        return _most(self.p95, aim_s, guess, self.limit())

    @property
    def held(self) -> int:
        """The most users tried that keep the SLO; at least 1."""
        return max((n for n in self._runs if self.p95(n) <= self.model.question.p95_s), default=1)

    def carried(self, guess: int) -> float:
        """Requests/s at the SLO itself, between loads by a line of logarithms, so that
        arrangements of few users can be told apart. Of one user where he is too many."""
        slo_p95_s = self.model.question.p95_s
        users = self.most(slo_p95_s, guess)
        rate, p95 = self.run(users).throughput_rps, self.p95(users)
        if not 0 < p95 < slo_p95_s or users >= self.limit():
            return rate
        more = min((n for n in self._runs if n > users), default=users + 1)
        further, later = self.run(more).throughput_rps, self.p95(more)
        if later <= slo_p95_s or further <= rate:
            return rate
        part = math.log(slo_p95_s / p95) / math.log(later / p95)
        return float(rate * (further / rate) ** part)


def _alone(model: _Model) -> float:
    """Mean seconds of a request that never waits for another."""
    factors = model.factors(1)
    rows = build_rows(model.scenario.demand, factors, model.scenario.conditions)
    return sum(mean_rows(model.scenario.demand, rows))


def _most(p95: Callable[[int], float], aim: float, guess: int, limit: int) -> int:
    """The largest number in 1..limit with ``p95`` within ``aim``; 1 if none is.

    p95 is nearly proportional to users where they queue, so each step goes where the last ones
    point; every third halves what is left, for curves that are not. Stops within 2%: between such
    neighbours the simulation's noise decides.
    """
    good, bad = 0, limit + 1
    at = {0: 0.0}
    n = max(1, min(limit, guess))
    for step in itertools.count(1):
        at[n] = p95(n)
        if at[n] <= aim:
            good = n
            if at[n] >= CLOSE_ENOUGH * aim:
                break
        else:
            bad = n
        if bad - good <= max(1, good // 50):
            break
        if bad > limit:  # every load so far was kept: a little beyond where the line points
            reach = 1.03 * aim / at[n] if at[n] > 0 else 2.0
            n = max(good + 1, min(limit, math.ceil(good * min(3.0, reach))))
        elif step % 3 == 0:
            n = (good + bad) // 2
        else:
            n = round(good + (bad - good) * (aim - at[good]) / (at[bad] - at[good]))
            n = max(good + 1, min(bad - 1, n))
    return max(1, good)


def _predict(model: _Model, users: int) -> Prediction:
    return _prediction(model, users, model.run(users, REQUESTS), _halves(model, users))


def _prediction(model: _Model, users: int, run: SimulatedRun, half: Floats) -> Prediction:
    """``half``: the intervals' half widths, of logarithms, in the order of ``_measures``."""
    scenario, budget = model.scenario, model.question.budget
    throughput, mean, p50, p95, p99 = (
        Interval(v, v * math.exp(-h), v * math.exp(h))
        for v, h in zip(_measures(run).tolist(), half.tolist(), strict=True)
    )
    busy = _utilisation(run, scenario.conditions)
    limit = bounds.binding(model.limits(users), dict(busy))
    worker = scenario.demand.worker
    rps = users * model.rate_unit or None
    server = scenario.conditions.server
    ram = restarts.ram_parts(worker, scenario.settings, throughput, budget, server)
    if rps is not None:
        users = max(1, math.ceil(throughput.value * mean.value))
    return Prediction(
        rps=rps,
        users=users,
        throughput_rps=throughput,
        latency=Latency(mean, p50, p95, p99),
        pss_bytes=memory.peak_pss(worker, scenario.settings),
        ram_bytes=memory.add(part for _, part in ram),
        ram_parts=tuple((name, part.value) for name, part in ram),
        pg_connections=memory.postgres_connections(worker, scenario.settings, budget.instances),
        fds=memory.descriptors(worker, scenario.settings, users),
        utilisation=busy,
        binding=limit.resource,
        explanation=bounds.explain(scenario.settings, limit),
        limit=limit,
    )


def _intervals(prediction: Prediction) -> tuple[Interval, ...]:
    """In the order of ``_measures``."""
    latency = prediction.latency
    return prediction.throughput_rps, latency.mean, latency.p50, latency.p95, latency.p99


def _halves(model: _Model, users: int) -> Floats:
    """Return the half-widths of all five intervals; each source has its own quantile, because few
    replicates tell little.
    """
    return np.hypot(QUANTILE * _spread(model, users), Z95 * _residuals(model.calibration))


def _measures(run: SimulatedRun) -> Floats:
    """Throughput, mean, p50, p95, p99."""
    response = run.response_s
    return np.array(
        [run.throughput_rps, response.mean(), *np.quantile(response, (0.5, 0.95, 0.99))]
    )


def _spread(model: _Model, users: int) -> Floats:
    """Standard deviation of the logarithm of each measure, over the replicates."""
    runs = [_measures(model.replicate(users, k)) for k in range(1, REPLICATES + 1)]
    return np.asarray(np.log(np.maximum(runs, 1e-12)).std(axis=0, ddof=1))


def _residuals(calibration: Calibration | None) -> Floats:
    throughput, latency, tail = UNCALIBRATED_SD, PRIOR_LATENCY_SD, PRIOR_LATENCY_SD
    if calibration is not None:
        throughput, latency = calibration.throughput_sd, calibration.latency_sd
        tail = calibration.tail_sd
    # in a closed load without thinking, mean response time is users over throughput
    return np.array([throughput, throughput, latency, latency, tail])


def _utilisation(run: SimulatedRun, conditions: Conditions) -> tuple[tuple[str, float], ...]:
    shared = conditions.shared_cores > 0
    db = run.db_cores / (conditions.shared_cores if shared else conditions.server_cores)
    return (
        ("cpu", run.cpu_busy),
        ("gil", run.gil_busy),
        ("lock", run.lock_busy),
        ("slots", run.slots_busy),
        ("db", db),
    )
