"""CPU per request: one estimate from all trials of a run, on all servers.

With y the logarithm of a trial's process CPU per request, in the workload's mix,

    y = base[server, class] + reach * inflation[server] + crowd * crowding + ... + state,

``base`` is the CPU with one user. ``reach`` grows with the requests busy in one worker (0 with one,
1 with ``FULL_BUSY``), as the chance that the thread before was another; ``crowd`` with the workers
busy on one core, as the chance that the process before was another, whose caches it finds. Class
sync has a crowding of its own, and a term for waking another process than the last; preload has one
for the pages that are copied at first. ``state`` is what the machine did in that trial: it has
Student's t, so that one outlying trial counts less instead of widening all.

Every quantity has a prior about what ten applications showed, so that a trial that was not run
widens only what it would have told. The crowding's prior has three scales: it is nothing for most
applications and more than a doubling for few. Scales and the state's are integrated over on a grid;
given them all is linear, so nothing is searched and nothing is drawn at random to fit it.

What is predicted is CPU per request itself, server included. The trials pin this product; how it
divides between the demand and the server's part matters only to the rows' shape. So a demand trial
in a bad minute moves no prediction for another server that has trials of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm, qmc
from scipy.stats import t as student

from pretune.advisor.demand.values import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

FULL_BUSY = 4
# Priors of logarithms: (mean, standard deviation), from ten applications on gunicorn.
OTHER_SERVER = (0.2, 0.5)  # its base beside that of the demand's
OTHER_CLASS = (0.0, 0.08)  # sync beside gthread of the same server
INFLATION_SD = 0.3
# Down to -0.56 where requests wait, since who is woken for each step alone finds its caches cold.
LOOP_INFLATION_SD = 0.5
SERVERS_ALIKE_SD = 0.1  # one server's inflation beside another's
CROWDING = ((0.5, 0.08), (0.3, 0.25), (0.2, 0.8))  # (weight, sd)
SYNC_CROWDING = (0.1, 0.25)  # beyond the crowding
WAKE = (0.05, 0.2)
COPIES = (0.03, 0.15)
# Between trials minutes apart on a machine where nothing else runs; the prior counts like so many.
STATE_SD, STATE_WEIGHT = 0.03, 5.0
# More where the demand trial leaves its core idle: it finds caches and clock speed of others then.
IDLE_STATE_SD = 0.08
STATE_FREEDOM = 4.0  # of Student's t
NEW_FREEDOM = 8.0  # of the state that the machine will be in
# The same where other processes took the cores: 22 pairs of runs of ten applications, 2.6 s each,
# minutes apart beside one to two busy cores on a machine of two (docs/ACCURACY.md, its first
# sweep). Half of them differed by less than 2.5%, the worst by 28%.
DISTURBED_SD = 0.06
DISTURBED_WEIGHT = 0.25  # of a disturbed trial beside quiet ones
# Further spread of a prediction: of what no trial was near to, and of what is dear beside others.
# It is dear by chance, too: of ten applications one cost twice as much in a crowd, and differed as
# much from one start to the next.
PART_OF_CROWDING = 0.2
CHANCE_OF_CROWDING = 0.3
PER_DOUBLING_OF_SYNC = 0.06
SYNC_TRIAL_WORKERS = 3

DRAWS = 32
GRID = 12  # of state_sd
STEPS = 6  # of the weights


@dataclass(frozen=True)
class Regime:
    """Surroundings that decide a request's CPU: its server, and what goes on beside it.

    ``busy``: requests at once in one worker. ``crowd``: see ``crowd``. ``workers`` counts for class
    sync alone; ``by_one``: by one user, who wakes any of them.
    """

    kind: Kind
    busy: float = 1.0
    crowd: float = 0.0
    workers: int = 1
    by_one: bool = False
    preload: bool = False


@dataclass(frozen=True)
class Row:
    """One trial: CPU seconds per request, the standard deviation of their logarithm."""

    regime: Regime
    cpu_s: float
    sd: float
    disturbed: bool = False


@dataclass(frozen=True)
class _Columns:
    """The place of each quantity in a vector."""

    kinds: tuple[Kind, ...]
    servers: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.kinds) + len(self.servers) + 4

    def row(self, regime: Regime) -> NDArray[np.float64]:
        x = np.zeros(self.count)
        server, worker_class = regime.kind
        x[self.kinds.index(regime.kind)] = 1.0
        crowding, sync_crowding, wake, copies = range(self.count - 4, self.count)
        x[crowding] = regime.crowd
        if worker_class == "sync":
            x[sync_crowding] = regime.crowd
            x[wake] = 1 - 1 / regime.workers if regime.by_one else 0.0
        else:
            x[len(self.kinds) + self.servers.index(server)] = reach(regime.busy)
        x[copies] = 1.0 if regime.preload else 0.0
        return x


@dataclass(frozen=True)
class CpuEstimate:
    """CPU per request, by logarithms; ``factor`` gives it beside ``references``.

    ``references``: CPU s of one user's request as the demand has it, for each kind that is known.
    ``draws``: vectors that the measurements allow; ``states``: what the machine's next state adds
    to each, in standard deviations ``state_sds``. ``number``: of the draw that counts; 0: the mean.
    ``beyond_sd``: of what lies beyond this machine.
    """

    columns: _Columns
    references: Mapping[Kind, float]
    mean: tuple[float, ...]
    draws: tuple[tuple[float, ...], ...]
    states: tuple[tuple[float, float, float], ...]
    state_sds: tuple[float, ...]
    state_sd: float
    demanded: Kind | None = None
    trials: int = 0
    beyond_sd: float = 0.0
    number: int = 0

    def drawn(self, number: int) -> CpuEstimate:
        """One estimate that the measurements allow, and the state in which the machine will be;
        ``number`` from 1, the same for all arrangements that are compared.
        """
        return replace(self, number=number)

    def widened(self, log_sd: float) -> CpuEstimate:
        """With all CPU unsure by so much more."""
        return replace(self, beyond_sd=math.hypot(self.beyond_sd, log_sd))

    def factor(self, regime: Regime) -> float:
        """CPU per request over what the demand says of one user's on that server."""
        known = self._known(regime)
        if known is None:
            return math.exp(self._new(regime, self.number)) if self.number else 1.0
        x = self.columns.row(known)
        if not self.number:
            return math.exp(float(x @ self.mean)) / self.references[known.kind]
        away = float(x @ self.draws[(self.number - 1) % len(self.draws)])
        return math.exp(away + self._new(regime, self.number)) / self.references[known.kind]

    def _known(self, regime: Regime) -> Regime | None:
        """The regime on a server and class that have a base; None where none is like it."""
        if regime.kind in self.references:
            return regime
        return None if self.demanded is None else replace(regime, kind=self.demanded)

    def _new(self, regime: Regime, number: int) -> float:
        """The state of the machine, and of arrangements unlike those of any trial."""
        state, unlike, beyond = self.states[(number - 1) % len(self.draws)]
        at = self.columns.count - 4
        crowding = self.draws[(number - 1) % len(self.draws)][at]
        dear = self.mean[at]
        sd = self.state_sds[(number - 1) % len(self.draws)]
        scale = math.hypot(
            sd, PART_OF_CROWDING * crowding * regime.crowd, CHANCE_OF_CROWDING * dear
        )
        further = 0.0
        if regime.kind[1] == "sync":
            further = PER_DOUBLING_OF_SYNC * math.log2(regime.workers / SYNC_TRIAL_WORKERS)
        return scale * state + further * unlike + self.beyond_sd * beyond

    def notes(self) -> tuple[str, ...]:
        if not self.trials:
            return ()
        sentences = [f"CPU per request scatters by {self.state_sd:.0%} between trials"]
        assert self.demanded is not None
        level = self.factor(Regime(self.demanded))
        if abs(math.log(level)) > self.state_sd:
            sentences.append(
                f"over all trials a request costs {level:.2f} times what the first trial showed"
            )
        if self.trials > 1:
            times = self.factor(Regime(self.demanded, FULL_BUSY)) / level
            sentences.append(
                f"a request costs {times:.2f} times the CPU with {FULL_BUSY} busy in a worker"
            )
        crowding = self.mean[self.columns.count - 4]
        if abs(crowding) > self.state_sd:
            times = math.exp(crowding * crowd(2, 1))
            sentences.append(
                f"a request costs {times:.2f} times the CPU with two workers on a core"
            )
        return tuple(sentences)


def crowd(workers: float, cores: float) -> float:
    """Return the share of the crowding that applies, 0 to 1: the chance that the process before on
    a core was another, of ``workers`` that are busy.
    """
    return max(0.0, 1 - cores / max(1.0, workers))


def reach(busy: float) -> float:
    """Return the share of the inflation that applies, 0 to 1: the chance that the thread before was
    another.
    """
    return min(1.0, (1 - 1 / max(1.0, busy)) / (1 - 1 / FULL_BUSY))


def fit(
    rows: Sequence[Row],
    references: Mapping[Kind, float],
    *,
    demanded: Kind,
    utilisation: float = 1.0,
    draws: int = DRAWS,
) -> CpuEstimate:
    """Fit all trials together; without any, the demand's own level.

    ``references``: CPU s per request that the demand says of each kind. ``utilisation``: part of
    its core that the demand trial kept busy. ``draws``: an even number of them.
    """
    rows = [r for r in rows if r.cpu_s > 0 and math.isfinite(r.cpu_s)]
    rows = [r for r in rows if r.regime.kind in references]
    if not rows:
        return _drawn(_NOTHING, [_STILL], np.ones(1), {}, draws, 0)
    # the demand's own first: the others' priors stand beside it
    kinds = tuple(sorted(references, key=lambda kind: (kind != demanded, kind)))
    columns = _Columns(kinds, tuple(sorted({server for server, _ in kinds})))
    y = np.log([r.cpu_s for r in rows])
    design = np.array([columns.row(r.regime) for r in rows])
    quiet = any(not r.disturbed for r in rows)
    less = DISTURBED_SD**2 / DISTURBED_WEIGHT
    sampling = np.array([r.sd**2 + (less if r.disturbed and quiet else 0.0) for r in rows])
    typical = max(
        STATE_SD if quiet else DISTURBED_SD,
        0.5 * math.sqrt(float(np.mean([r.sd**2 for r in rows]))),
    )
    typical += IDLE_STATE_SD * max(0.0, 1 - utilisation)
    # that disturbed trials happen to agree proves nothing
    scales = typical * np.exp(np.linspace(-1.2 if quiet else 0.0, 1.4, GRID))
    nodes = _nodes(columns, design, y, sampling, scales)
    evidence = np.array([n.evidence - _state_penalty(n.state_sd, typical) for n in nodes])
    weights = np.exp(evidence - evidence.max())
    return _drawn(columns, nodes, weights / weights.sum(), references, draws, len(rows))


@dataclass(frozen=True)
class _Node:
    """The fit at one point of the grid."""

    state_sd: float
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    evidence: float


# what is known without a trial: the machine's state alone
_NOTHING = _Columns((), ())
_STILL = _Node(STATE_SD, np.zeros(_NOTHING.count), np.zeros((_NOTHING.count,) * 2), 0.0)


def _state_penalty(state_sd: float, typical: float) -> float:
    """Penalty by the state's prior, a scaled inverse chi squared, in the logarithm of its scale."""
    ratio = state_sd / typical
    return STATE_WEIGHT * (math.log(ratio) + 0.5 / ratio**2)


def _prior(
    columns: _Columns, crowding_sd: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Its mean and covariance."""
    n, kinds = columns.count, len(columns.kinds)
    # everything is a sum of independent parts: a row says which, with what standard deviation
    parts = np.zeros((n, n + 1))
    mean = np.zeros(n)
    first_server = columns.kinds[0][0]
    for i, (server, worker_class) in enumerate(columns.kinds):
        parts[i, 0] = 10.0  # the app's own: anything
        if i == 0:
            continue
        threaded = (server, "gthread")
        beside, (offset, sd) = 0, OTHER_SERVER if server != first_server else OTHER_CLASS
        if worker_class == "sync" and threaded in columns.kinds:
            beside, (offset, sd) = columns.kinds.index(threaded), OTHER_CLASS
        parts[i] = parts[beside] if beside < i else parts[0]
        mean[i] = (mean[beside] if beside < i else 0.0) + offset
        parts[i, i] = sd
    for j, server in enumerate(columns.servers):
        i = kinds + j
        is_loop = any(kind == (server, "asgi") for kind in columns.kinds)
        sd = LOOP_INFLATION_SD if is_loop else INFLATION_SD
        own = SERVERS_ALIKE_SD / math.sqrt(2)
        parts[i, n] = math.sqrt(sd**2 - own**2)
        parts[i, i] = own
    crowding, sync_crowding, wake, copies = range(n - 4, n)
    for i, (offset, sd) in (
        (crowding, (0.0, crowding_sd)),
        (sync_crowding, SYNC_CROWDING),
        (wake, WAKE),
        (copies, COPIES),
    ):
        mean[i], parts[i, i] = offset, sd
    return mean, parts @ parts.T


def _nodes(
    columns: _Columns,
    design: NDArray[np.float64],
    y: NDArray[np.float64],
    sampling: NDArray[np.float64],
    scales: NDArray[np.float64],
) -> list[_Node]:
    """The fit at every point of the grid, all of them at once; ``scales`` are of the state.

    Student's t by the weights of its scale mixture, each step one linear solve. Arrays have the
    points of the grid first.
    """
    grid = [
        (state_sd, crowding_sd, weight) for state_sd in scales for weight, crowding_sd in CROWDING
    ]
    prior = {crowding_sd: _prior(columns, crowding_sd) for _, crowding_sd in CROWDING}
    mean, _ = prior[CROWDING[0][1]]
    mean = mean + (np.arange(len(mean)) < len(columns.kinds)) * np.median(y)
    covariance = np.array([prior[crowding_sd][1] for _, crowding_sd, _ in grid])
    state = np.array([state_sd for state_sd, _, _ in grid])[:, None] ** 2
    explained = design @ covariance @ design.T
    away = y - design @ mean
    weight = np.ones((len(grid), len(y)))
    for _ in range(STEPS):
        total = explained + (sampling + state / weight)[:, :, None] * np.eye(len(y))
        gain = np.linalg.solve(total, design @ covariance).transpose(0, 2, 1)
        solution = mean + gain @ away
        left = (y - solution @ design.T) ** 2 / (sampling + state)
        weight = (STATE_FREEDOM + 1) / (STATE_FREEDOM + left)
    posterior = covariance - gain @ design @ covariance
    evidence = -0.5 * (np.linalg.slogdet(total)[1] + np.linalg.solve(total, away) @ away)
    # what weights other than one are worth, under the density of a chi squared
    half = STATE_FREEDOM / 2
    evidence += np.sum(half * np.log(weight) - half * (weight - 1), axis=1)
    return [
        _Node(state_sd, solution[i], posterior[i], float(evidence[i]) + math.log(chance))
        for i, (state_sd, _, chance) in enumerate(grid)
    ]


def _drawn(
    columns: _Columns,
    nodes: Sequence[_Node],
    weights: NDArray[np.float64],
    references: Mapping[Kind, float],
    count: int,
    trials: int,
) -> CpuEstimate:
    """Draws spread evenly over what is possible, each with its opposite: so few of them tell the
    spread well.
    """
    mean = np.sum([w * n.mean for w, n in zip(weights, nodes, strict=True)], axis=0)
    cumulated = np.cumsum(weights)
    half = count // 2
    uniform = qmc.LatinHypercube(columns.count + 4, seed=7).random(half)
    chosen = np.searchsorted(cumulated, (np.arange(half) + 0.5) / half)
    # which grid point goes with which draw is by chance, not by order
    chosen = chosen[np.argsort(np.argsort(uniform[:, -1], kind="stable"))]
    normals = norm.ppf(np.clip(uniform, 1e-9, 1 - 1e-9))
    draws, states, state_sds = [], [], []
    for k, at in enumerate(chosen):
        node = nodes[min(int(at), len(nodes) - 1)]
        values, vectors = np.linalg.eigh(node.covariance)
        # the widest direction by the best spread of the numbers
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        away = root[:, ::-1] @ normals[k, : columns.count]
        new = _as_student(normals[k, columns.count])
        for sign in (1.0, -1.0):
            draws.append(tuple((node.mean + sign * away).tolist()))
            states.append(
                (
                    sign * new,
                    sign * float(normals[k, columns.count + 1]),
                    sign * float(normals[k, columns.count + 2]),
                )
            )
            state_sds.append(node.state_sd)
    expected = math.sqrt(float(weights @ [n.state_sd**2 for n in nodes]))
    return CpuEstimate(
        columns=columns,
        references={kind: references[kind] for kind in columns.kinds},
        mean=tuple(mean.tolist()),
        draws=tuple(draws),
        states=tuple(states),
        state_sds=tuple(state_sds),
        state_sd=expected,
        demanded=columns.kinds[0] if columns.kinds else None,
        trials=trials,
    )


def _as_student(normal: float) -> float:
    return float(student.ppf(norm.cdf(normal), NEW_FREEDOM))


@dataclass(frozen=True)
class Residual:
    """``sd``: of its own sampling."""

    value: float
    disturbed: bool
    sd: float = 0.0


def pooled(prior: float, weight: float, residuals: Sequence[Residual]) -> float:
    """Standard deviation by residuals and a prior that counts ``weight``.

    What a residual owes to its own sampling is taken off. Undisturbed ones narrow or widen. A
    disturbed one counts less and widens only: what it would narrow is left out.
    """
    finite = [r for r in residuals if math.isfinite(r.value)]
    quiet = [r for r in finite if not r.disturbed]
    total = weight * prior**2 + max(0.0, sum(r.value**2 - r.sd**2 for r in quiet))
    freedom = weight + len(quiet)
    disturbed = [r for r in finite if r.disturbed]
    for r in sorted(disturbed, key=lambda r: abs(r.value), reverse=True):
        excess = max(0.0, r.value**2 - r.sd**2)
        if excess * freedom <= total:
            continue
        total += DISTURBED_WEIGHT * excess
        freedom += DISTURBED_WEIGHT
    return math.sqrt(total / freedom)
