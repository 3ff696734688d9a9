"""The trial that holds the answer to its word: how it is planned, and what became of each promise.

Pure. The recommended settings are run at the load that the answer claims, scaled to this machine's
part of the cores, and at half of it, on one server. Both are predicted for the conditions in which
this machine can run them, so that measured stands beside predicted like beside like.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from pretune.advisor.conclusion import Conclusion
from pretune.advisor.demand import server_costs
from pretune.advisor.demand.values import WorkerDemand
from pretune.advisor.model import extrapolation, memory
from pretune.advisor.model.occupancy import idle_workers
from pretune.advisor.model.predict import capacity, predict, predict_arrivals
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.question import Question
from pretune.advisor.model.scenario import discipline
from pretune.advisor.preflight.facts import Facts
from pretune.advisor.preflight.servers import EMBEDDED
from pretune.advisor.profiler.measurement import Conditions, Measurement, Role
from pretune.advisor.promises import fewest, promises, rows, rows_at_half
from pretune.advisor.quantity import Interval, counted
from pretune.advisor.run import Row, Trial, Verification
from pretune.advisor.trials import plan
from pretune.advisor.trials.plan import AROUND_S, BETWEEN_S, PlannedTrial
from pretune.loadtests.workload import Load
from pretune.server.adapters.nginx_conf import Front
from pretune.server.settings import Settings

SHORTEST = 0.5  # of a verification's own seconds
HALF_PART = 0.4  # of its seconds of load, at half of the load
SPARE = 1.3  # requests sent over those that a p95 takes: the start of a load is not counted
# All workers' boots one after the other may take so long before a verification.
BOOTS_S = 20.0
# A load that is predicted to carry less than this part of the claim does not show it.
CLAIM_PART = 0.8
# One user alone shows no rate of so many requests/s: whoever sends them is more than one.
MANY_RPS = 100.0
ALONE = "the claimed load is one user, and there is no half of one"


@dataclass(frozen=True)
class Level:
    """A load of a verification and what is predicted for it. ``rps``: of an open one."""

    predicted: Prediction
    rps: float | None = None

    @property
    def users(self) -> int:
        return self.predicted.users

    @property
    def carried_rps(self) -> float:
        return self.predicted.throughput_rps.value

    def load(self, duration_s: float, ramp_s: float) -> Load:
        return Load(self.users, duration_s, rps=self.rps, ramp_s=ramp_s)


@dataclass(frozen=True)
class Claim:
    """The answer's claim for this machine's part of the cores. ``users`` None: an open load."""

    rps: float
    users: int | None = None


@dataclass(frozen=True)
class PlannedVerification:
    """A trial and what it is to show. ``reduced``: of fewer workers than are recommended. ``half``
    None: there is no half of the load."""

    trial: PlannedTrial
    whole: Level
    half: Level | None
    claim: Claim
    reduced: bool


def plan_verification(
    preflight: Facts,
    conclusion: Conclusion,
    conditions: Conditions,
    *,
    seed: int,
    think_s: float,
    seconds: tuple[float, float],
    free_bytes: float,
    through: Callable[[Settings, float], Front | None],
) -> PlannedVerification:
    """Plan the recommended settings' trial, and predict it.

    ``conditions`` are those of trials on the answer's server here. ``seconds`` of load: as planned,
    and as many as there is time for. ``free_bytes`` bounds the workers. ``through`` configures what
    stands in front, for settings and a rate. The conclusion must have a recommendation.
    """
    recommendation = conclusion.recommendation
    assert recommendation is not None
    wanted, server = recommendation.settings, conditions.server
    demand = server_costs.on_server(conclusion.estimate.demand, server, wanted.worker_class)
    settings = runnable(
        wanted,
        demand.worker,
        free_bytes,
        conditions.server_cores,
        preflight.budget.pg_connections,
    )
    conditions = replace(conditions, generator_cpu_s_per_request=demand.generator_cpu_s)
    question = Question(
        demand=demand,
        budget=replace(preflight.budget, instances=1),
        slo=replace(conclusion.estimate.slo, p95_s=conclusion.estimate.p95_here_s),
        conditions=conditions,
        interface=preflight.target.interface,
        calibration=conclusion.estimate.calibration,
        think_s=think_s,
        seed=seed,
    )
    claim = scale_claim(
        recommendation.predicted,
        conclusion.rps,
        min(1.0, conditions.server_cores / preflight.budget.cores),
        settings.workers / wanted.workers,
    )
    least = 1
    if recommendation.shown is not None and settings == wanted:
        # carried here already, on cores like these: no fewer show what is claimed
        least = recommendation.shown.users
        claim = Claim(recommendation.shown.throughput_rps.value, least)
    whole = _whole(conclusion, question, settings, claim, least)
    half = _half(question, settings, whole)
    duration_s, half_s = split_seconds(
        *seconds, whole.carried_rps, half.carried_rps if half else None
    )
    ramp_s = plan.RAMP_S if server != EMBEDDED and whole.rps is None else 0.0
    what = whole.load(duration_s, ramp_s).shown
    then = ", then half of that" if half else ""
    front = f", through {preflight.front.name}" if preflight.front else ""
    trial = PlannedTrial(
        "verification",
        f"{counted(settings.workers, 'worker')} x {counted(settings.threads, 'thread')} on "
        f"{server}, {what}{then}{front}",
        settings,
        whole.users,
        duration_s,
        stop_under_load=True,
        rps=whole.rps,
        ramp_s=ramp_s,
        think_s=think_s,
        front=through(settings, whole.carried_rps),
        role=Role.VERIFICATION,
        further=(replace(half.load(half_s, ramp_s), think_s=think_s),) if half else (),
    )
    idle = Interval.exact(0.0)  # arrivals find every worker in turn
    if whole.rps is None:
        idle = idle_workers(discipline(server, settings), settings.workers, whole.users)
    pss = memory.peak_pss_of_trial(
        demand.worker, settings, whole.predicted.throughput_rps, duration_s, idle
    )
    whole = replace(whole, predicted=replace(whole.predicted, pss_bytes=pss))
    return PlannedVerification(trial, whole, half, claim, settings != wanted)


def scale_claim(predicted: Prediction, rps: float | None, cores: float, workers: float) -> Claim:
    """The claim for these parts of the cores and of the workers; ``rps`` of an open load, which is
    asked of whatever runs."""
    if rps is not None:
        return Claim(rps)
    part = min(cores, workers)
    return Claim(predicted.throughput_rps.value * part, scale_users(predicted.users, part))


def _whole(
    conclusion: Conclusion, question: Question, settings: Settings, claim: Claim, least: int
) -> Level:
    """The claimed load, or the most of it that can be shown here, ``least`` users in any case."""
    if claim.users is not None:

        def of(users: int) -> Prediction:
            return predict(question, settings, users)

        return Level(find_load(claim.users, of, question.p95_s, least))
    rps = claim.rps
    if conclusion.answer.fleet or conclusion.estimate.extrapolation != extrapolation.NOTHING:
        # what was asked of a larger machine may be more than this one can show
        most = capacity(replace(question, arrivals=True), settings)
        rps = min(rps, most.rps or rps)
    return Level(predict_arrivals(question, settings, rps), rps)


def _half(question: Question, settings: Settings, whole: Level) -> Level | None:
    """Half of a load; None of one user's."""
    if whole.rps is not None:
        return Level(predict_arrivals(question, settings, whole.rps / 2), whole.rps / 2)
    if whole.users < 2:
        return None
    return Level(predict(question, settings, whole.users // 2))


def scale_users(users: int, part: float) -> int:
    """The users of a part of the cores, at least one."""
    return max(1, round(users * part))


def find_load(
    users: int, predict: Callable[[int], Prediction], slo_p95_s: float, least: int = 1
) -> Prediction:
    """The prediction for so many users, or for the most of fewer that this machine can show.

    More users on more cores than here wait less for each other, so that the same number for each
    core may break the p95 here. The load is then lowered until the p95 is predicted to keep the SLO
    by half its interval, one standard deviation: more would break it by luck, less would leave the
    claim unshown.
    """
    found = predict(users)
    while users > least:
        p95 = found.latency.p95
        likely_s = math.sqrt(p95.value * p95.high)
        if not likely_s > slo_p95_s:
            break
        users = max(least, min(users - 1, int(users * slo_p95_s / likely_s)))
        found = predict(users)
    return found


def runnable(
    settings: Settings,
    worker: WorkerDemand,
    free_bytes: float,
    cores: float,
    pg_connections: int | None,
) -> Settings:
    """``settings`` with as many of their workers as this machine can run, at least one.

    What is recommended for a larger machine need not fit this one's free memory, its Postgres, or
    the time to boot.
    """
    held = memory.worker_connections_to_postgres(worker, settings)

    def runs(workers: int) -> bool:
        fewer = replace(settings, workers=workers)
        return (
            memory.peak_pss(worker, fewer).high <= free_bytes
            and workers * worker.boot_s <= BOOTS_S * max(1.0, cores)
            and (pg_connections is None or workers * held <= pg_connections)
        )

    most = settings.workers
    while most > 1 and not runs(most):
        most -= 1
    return replace(settings, workers=most)


def plan_seconds(whole_s: float, left_s: float, after_s: float) -> tuple[float, float]:
    """Seconds of load, both levels together: as planned, and the most that there is time for.

    Fewer than planned, by half at most, where ``after_s`` of the time that is left are wanted for
    more.
    """
    room = left_s - after_s - AROUND_S - BETWEEN_S
    planned = min(whole_s, max(whole_s * SHORTEST, room)) if after_s > 0 else whole_s
    return planned, max(planned, room)


def split_seconds(
    planned_s: float, most_s: float, rps: float, half_rps: float | None
) -> tuple[float, float]:
    """Seconds at the whole load and at half of it. Each gets what a p95 takes there, the whole load
    first, as far as there is time; what is left is divided as planned."""
    if half_rps is None:
        return min(most_s, max(planned_s, _needed_s(rps))), 0.0
    whole_s = max((1 - HALF_PART) * planned_s, _needed_s(rps))
    half_s = max(HALF_PART * planned_s, _needed_s(half_rps))
    if whole_s + half_s > most_s:
        least_s = (1 - HALF_PART) * most_s
        whole_s = min(max(least_s, _needed_s(rps)), max(least_s, most_s - HALF_PART * planned_s))
        half_s = most_s - whole_s
    return whole_s, half_s


def _needed_s(rps: float) -> float:
    return SPARE * fewest(0.95) / max(rps, 1e-9)


def judge_verification(
    preflight: Facts, conclusion: Conclusion, planned: PlannedVerification, measured: Measurement
) -> Verification:
    """Set measured beside predicted and promised, at both loads."""
    slo = replace(conclusion.estimate.slo, p95_s=conclusion.estimate.p95_here_s)
    budget = conclusion.answer.budget
    claimed = claim_row(planned.claim, planned.whole)
    verification = Verification(
        Trial(measured, planned.whole.predicted),
        (claimed, *rows(planned.whole.predicted, measured, budget, slo)),
        slo.p95_s,
        preflight.servers.worker_class(measured.settings.worker_class),
        why_no_half=ALONE,
    )
    if planned.half is None or not measured.further:
        return verification
    at_half, predicted = measured.further[0], planned.half.predicted
    return replace(
        verification,
        half=Trial(at_half, predicted),
        half_rows=rows_at_half(predicted, at_half, budget, slo),
        why_no_half="",
    )


def claim_row(claim: Claim, sent: Level) -> Row:
    """Say whether the load that is sent is the claimed one: a smaller one shows less, and one user
    alone shows no rate of many."""
    if claim.users is None:
        shown = sent.carried_rps >= CLAIM_PART * claim.rps
        why = f"{claim.rps:.3g} requests/s are claimed and {sent.rps:.3g} were sent"
        return _claim("load_rps", claim.rps, sent.rps or 0.0, why if not shown else "")
    why = ""
    if sent.users < claim.users and sent.carried_rps < CLAIM_PART * claim.rps:
        why = (
            f"the load claimed here, {counted(claim.users, 'user')} and {claim.rps:.3g} "
            f"requests/s, was not sent: more than {sent.users} would break the p95 on this machine"
        )
    elif sent.users == 1 and claim.rps >= MANY_RPS:
        why = (
            f"one user, who waits for each answer before the next request, cannot show that "
            f"{claim.rps:.3g} requests/s are carried: two at once may break the p95"
        )
    return _claim("load_users", claim.users, sent.users, why)


def _claim(name: str, claimed: float, sent: float, why: str) -> Row:
    return Row(name, claimed, sent, None if why else True, True, why)


def keeps_promises(conclusion: Conclusion, measured: Measurement) -> bool:
    """Say whether the trial broke no promise: neither the SLO, in this machine's time, nor a
    budget."""
    slo = replace(conclusion.estimate.slo, p95_s=conclusion.estimate.p95_here_s)
    budget = conclusion.answer.budget
    judged = [row for each in (measured, *measured.further) for row in promises(each, budget, slo)]
    return all(row.kept is not False for row in judged)
