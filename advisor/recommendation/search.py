"""The joint search over workers, threads and worker class under all budgets at once.

Memory, connections and descriptors are arithmetic, so they rule arrangements out before anything
is simulated; so does the exact throughput bound of the operational laws. What is left is walked in
four short phases, all predictions with one seed, so that they share their luck and differences as
small as ``NOISE`` mean something; compared at the load where p95's value meets the SLO
(``Prediction.compared_rps``), whatever less is promised:

* spread: for each number of threads, about as many workers as keep every core busy (Little's law);
* climb: single steps from the fastest, while they gain;
* shrink: for each number of threads the most workers that would be smaller than the winner, then
  by bisection fewer (throughput grows with workers); the smallest within noise of the best wins;
* surround: the winner's neighbours, for the reasons, and a few arrangements just beyond a budget:
  if one of them would be faster, that budget is the binding constraint.

All that is screening: short simulations, intervals taken over from an arrangement alike. Last,
*confirm* predicts in full whatever the answer depends on: the winner, the fastest, smaller rivals
that a little would make the winner; until the winner is one that was predicted in full.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pretune.advisor.model import paired
from pretune.advisor.model.nearness import distance
from pretune.advisor.model.paired import Difference
from pretune.advisor.model.predict import predict
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.question import Question
from pretune.advisor.model.shown import Shown
from pretune.advisor.quantity import counted, format_bytes, format_rate, format_seconds
from pretune.advisor.recommendation import reasons
from pretune.advisor.recommendation.space import THREADS, Space, last, preload_pays
from pretune.advisor.recommendation.values import UNKNOWN_BINDING, Candidate, Recommendation
from pretune.advisor.recommendation.violations import broken_by, headroom
from pretune.advisor.verdict import Verdict
from pretune.server.settings import Settings

# (question, settings, known) -> Prediction: ``pretune.advisor.model.predict.capacity``. With
# ``known`` (answers to the same question for other settings) it may screen.
Capacity = Callable[[Question, Settings, "Mapping[Settings, Prediction] | None"], Prediction]

NOISE = 0.01
SPREAD_THREADS = (4, 1, 8, 2, 16)
# Slots over those that Little's law asks for with every core busy.
SPREAD_SLOTS = (1.5, 3.0, 0.75)
# Predictions after which each phase stops.
SPREAD, CLIMBED, SHRUNK, SURROUNDED = 14, 22, 34, 40
# Predictions in full, but for a winner: that always is; and for what the reasons compare it with.
CONFIRMED, COMPARED = 4, 10
# How far below what is needed a smaller arrangement is still worth a full prediction.
DOUBTFUL = 0.03


@dataclass(frozen=True)
class Found:
    """``recommendation`` None: nothing keeps the budgets. ``reason``: one sentence, always."""

    recommendation: Recommendation | None
    candidates: tuple[Candidate, ...]
    verdict: Verdict
    reason: str


def recommend(question: Question, capacity: Capacity, hints: Iterable[Settings] = ()) -> Found:
    """The best settings on the machine asked about.

    ``question.slo.rps`` None: the highest capacity; else the smallest arrangement that carries it
    by the lower end of its prediction. ``hints``: arrangements to look at as well.
    """
    space = Space(
        question.demand,
        question.budget,
        question.conditions,
        asgi=question.interface == "asgi",
        preload=preload_pays(question.demand) and not question.preload_hindrance,
    )
    search = _Search(question, space, capacity)
    smallest = space.smallest
    if space.breaks_budget(smallest):
        search.predict(smallest)
        every_candidate = search.candidates(None)
        reason = f"even {shape(smallest)} does not fit: {every_candidate[0].rejected_by}"
        return Found(None, every_candidate, Verdict.DOES_NOT_FIT, reason)
    search.spread()
    search.look_at(hints if question.today is None else (question.today, *hints))
    search.climb()
    search.shrink()
    search.surround()
    search.confirm()
    search.compare()
    winner = search.winner()
    shown = search.find_contradiction(winner)
    if shown is not None:
        winner = search.follow(shown, winner)
    if winner is None:
        return search.nothing()
    candidates = search.candidates(winner)
    prediction = search.known[winner]
    binding = search.binding(winner)
    settings, why, evidence = reasons.derive(question, winner, prediction, candidates)
    left = headroom(prediction, question.budget, question.p95_s)
    impossible = tuple(space.server.impossible(settings).items())
    recommendation = Recommendation(
        settings, prediction, binding, left, why, server=space.server.name, impossible=impossible,
        evidence=evidence, shown=shown,
    )  # fmt: skip
    verdict, reason = conclusion(settings, prediction, question.slo.rps)
    return Found(recommendation, candidates, verdict, reason)


def conclusion(
    settings: Settings, prediction: Prediction, rps: float | None
) -> tuple[Verdict, str]:
    """The verdict on ``settings`` and its sentence; ``rps`` the rate asked for, if any.

    Carried means by the lower end of the prediction; out of reach, beyond the upper end.
    """
    carried = prediction.throughput_rps
    rate = f"{carried.value:.0f} requests/s ({carried.low:.0f} to {carried.high:.0f})"
    if rps is None:
        return Verdict.FITS, f"{shape(settings)} carries {rate}; {prediction.explanation}"
    if carried.low >= rps:
        return Verdict.FITS, (
            f"{shape(settings)}, the smallest that certainly carries {rps:g} requests/s, can "
            f"carry {rate}"
        )
    if carried.high >= rps:
        return Verdict.NOT_ENOUGH_DATA, (
            f"the most that the budget allows, {shape(settings)}, carries {rate}: {rps:g} asked "
            "for lie within the uncertainty"
        )
    return Verdict.DOES_NOT_FIT, (
        f"the most that the budget allows, {shape(settings)}, carries {rate}, less than the "
        f"{rps:g} asked for; {prediction.explanation}"
    )


def shape(settings: Settings) -> str:
    """``3 workers x 4 threads``, ``2 sync workers``."""
    if settings.worker_class != "gthread":
        return counted(settings.workers, f"{settings.worker_class} worker")
    return f"{counted(settings.workers, 'worker')} x {counted(settings.threads, 'thread')}"


class _Search:
    """The predictions made so far, what to predict next, and what they say together."""

    def __init__(self, question: Question, space: Space, capacity: Capacity) -> None:
        self.question, self.space = question, space
        self.budget, self.rps = question.budget, question.slo.rps
        self.asgi, self.limit = space.asgi, space.limit
        self.known: dict[Settings, Prediction] = {}
        self.sure: set[Settings] = set()  # predicted in full
        self._capacity = capacity

    # ---- the walk

    def spread(self) -> None:
        cores = max(1, math.ceil(self.budget.cores))
        needed = self.space.useful_slots()
        for slots in SPREAD_SLOTS:
            for threads in (1,) if self.asgi else SPREAD_THREADS:
                most = self.space.most_workers(threads)
                workers = cores if self.asgi else math.ceil(needed / threads)
                # Fewer workers than cores leave cores idle where the GIL is held.
                want = max(cores, math.ceil(workers * slots), self.space.smallest.workers)
                if most and len(self.known) < SPREAD:
                    self.try_out(self.space.complete(min(most, want), threads))
        if not self.known:
            self.predict(self.space.smallest)

    def look_at(self, arrangements: Iterable[Settings]) -> None:
        """Predict further arrangements, as they would be run here, where they keep the budgets."""
        for each in arrangements:
            if self.asgi != (each.worker_class == "asgi") or each.workers > self.limit:
                continue
            sync = each.worker_class == "sync" and self.space.offered.sync
            settings = self.space.complete(each.workers, each.threads, sync=sync)
            if not self.space.breaks_budget(settings):
                self.predict(settings)

    def find_contradiction(self, winner: Settings | None) -> Shown | None:
        """The trial that carried more within the SLO than is claimed for the winner: the most of
        it that keeps the budgets."""
        if self.rps is not None or self.question.arrivals:
            return None
        claimed = 0.0 if winner is None else self.known[winner].throughput_rps.value
        for shown in self.question.shown:
            if shown.throughput_rps.low > claimed and shown.cores <= self.budget.cores:
                followed = self._followed(shown, winner)
                if not self.space.breaks_budget(followed):
                    return shown
        return None

    def follow(self, shown: Shown, winner: Settings | None) -> Settings:
        """Take what was shown as the least: for the winner where it has all that the trial had,
        else for the trial's own arrangement."""
        settings = self._followed(shown, winner)
        self.known[settings] = shown.raise_to(predict(self.question, settings, shown.users))
        self.sure.add(settings)
        return settings

    def _followed(self, shown: Shown, winner: Settings | None) -> Settings:
        if winner is not None and shown.is_part_of(winner):
            return winner
        s = shown.settings
        return self.space.complete(s.workers, s.threads, sync=s.worker_class == "sync")

    def climb(self) -> None:
        """From the fastest that keeps all, by steps in workers and threads, while they gain."""
        while len(self.known) < CLIMBED:
            kept = [s for s in self.known if not self._broken(s)]
            if not kept:
                return
            top = max(kept, key=self._rps)
            before = self._rps(top)
            w, t = top.workers, top.threads
            steps = [(w + 1, t), (math.ceil(1.3 * w), t)]
            if not self.asgi and t in THREADS and t != THREADS[-1]:
                steps.append((w, THREADS[THREADS.index(t) + 1]))
            for workers, threads in steps:
                if workers <= self.space.most_workers(threads):
                    self.try_out(self.space.complete(workers, threads))
            kept = [s for s in self.known if not self._broken(s)]
            if max(self._rps(s) for s in kept) <= before * (1 + NOISE):
                return

    def shrink(self) -> None:
        winner = self.winner()
        if winner is None:
            return
        near = sorted(THREADS, key=lambda t: abs(math.log(t / winner.threads)))
        for threads in (1,) if self.asgi else near:
            # The largest that would still be smaller than the winner must do it at all.
            least = self.space.fewest_workers(threads)
            high = last(partial(self._smaller, threads), self.limit, least)
            if not high or not self._shrunk_to(high, threads):
                continue
            # Now bisect between the most that is surely too few and the fewest that does it.
            low = 0
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if self._shrunk_to(middle, threads) else (middle, high)

    def _shrunk_to(self, workers: int, threads: int) -> bool:
        settings = self.space.complete(workers, threads)
        if len(self.known) < SHRUNK:
            self.try_out(settings)
        return self._does_it(settings)

    def surround(self) -> None:
        center = self.winner() or max(self.known, key=self._rps)
        w, t = center.workers, center.threads
        around = [(w - 1, t), (w + 1, t)]
        if not self.asgi:
            fewer = [x for x in THREADS if x < t][-1:]
            around += [(w, x) for x in (*fewer, *[x for x in THREADS if x > t][:1])]
            if self.space.offered.sync:
                self._surround_sync(w * t)
        for workers, threads in around:
            if 1 <= workers <= self.space.most_workers(threads) and len(self.known) < SURROUNDED:
                self.predict(self.space.complete(workers, threads))
        for threads in (1,) if self.asgi else sorted({t, 1, 4}, key=lambda x: (x != t, x)):
            beyond = self.space.complete(self.space.most_workers(threads) + 1, threads)
            # Only what the operational laws allow to be faster is worth asking.
            if beyond.workers <= self.limit and self.space.bound(beyond) > self._rps(center):
                self.predict(beyond)

    def _surround_sync(self, slots: int) -> None:
        """Sync workers: as many as the winner has slots, and as keep the cores busy, because more
        of them are no faster where they compute."""
        useful = self.space.useful_slots()
        cores = max(1, math.ceil(self.budget.cores))
        most = max(1, self.space.most_workers(1))
        counts = (math.ceil(min(slots, 1.5 * useful)), cores, cores + 1, math.ceil(useful))
        for n, count in enumerate(dict.fromkeys(max(1, min(most, count)) for count in counts)):
            if not n or len(self.known) < SURROUNDED:
                self.predict(self.space.complete(count, 1, sync=True))

    def try_out(self, settings: Settings) -> bool:
        """Predict unless it cannot win: its bound is too low, or it is larger and cannot gain."""
        if settings in self.known or self.space.breaks_budget(settings):
            return False
        winner = self.winner()
        if winner is not None:
            # What was asked for is no reason to stop looking for the most where that is less.
            wanted = min(self._rps(winner), self.rps or math.inf)
            if self.space.bound(settings) < (1 - NOISE) * wanted:
                return False
            ceiling = self.space.bound(Settings(self.limit, THREADS[-1], winner.worker_class))
            done = self._rps(winner) >= (1 - NOISE) * ceiling or self._carries(winner)
            if done and self.space.size(settings) > self.space.size(winner):
                return False
        self.predict(settings)
        return True

    def confirm(self) -> None:
        """Predict in full what decides, until nothing new does; the winner whatever it takes."""
        while True:
            unsure = [s for s in self._deciding() if s not in self.sure]
            winner = self.winner()
            if len(self.sure) >= CONFIRMED:
                unsure = [s for s in unsure if s == winner]
            if not unsure:
                return
            self.predict(unsure[0], full=True)

    def compare(self) -> None:
        """Predict in full what the winner's reasons compare it with: a difference is told by draws
        that both share. Where that makes another the winner, its own neighbours count."""
        while True:
            winner = self.winner()
            if winner is None:
                return
            unsure = [s for s in (winner, *self._beside(winner)) if s not in self.sure]
            if len(self.sure) >= COMPARED:
                unsure = [s for s in unsure if s == winner]
            if not unsure:
                return
            self.predict(unsure[0], full=True)

    def _beside(self, winner: Settings) -> list[Settings]:
        """The arrangements that the reasons of ``winner`` speak of, as far as they keep budgets."""
        w, t = winner.workers, winner.threads
        kept = [s for s in self.known if not self.space.breaks_budget(s)]
        kept += [
            self.space.complete(workers, t)
            for workers in (w - 1, w + 1)
            if winner.worker_class != "sync" and 1 <= workers <= self.space.most_workers(t)
        ]
        beside = [reasons.nearest(kept, winner, name, more) for name, more in reasons.NEIGHBOURS]
        sync = [s for s in kept if s.worker_class == "sync"]
        if winner.worker_class == "gthread" and sync:
            beside.append(max(sync, key=self._rps))
        return [s for s in beside if s is not None]

    def _deciding(self) -> list[Settings]:
        """The winner first. Without one, what came nearest to the SLO."""
        winner = self.winner()
        if winner is None:
            fitting = [s for s in self.known if not self.space.breaks_budget(s)]
            return sorted(fitting, key=lambda s: self.known[s].latency.p95.value)[:1]
        kept = [s for s in self.known if not self._broken(s)]
        fastest = max(kept, key=self._rps)
        smaller = [s for s in kept if self.space.size(s) < self.space.size(winner)]
        if self._carries(winner):
            need = (1 - DOUBTFUL) * (self.rps or 0.0)
            rivals = [s for s in smaller if self.known[s].throughput_rps.low >= need]
            return [winner, *sorted(rivals, key=self.space.size)]
        need = (1 - DOUBTFUL) * self._rps(fastest)
        rivals = [s for s in smaller if self._rps(s) >= need]
        nearest = sorted(kept, key=self._preference)[:1] if self.question.today else []
        nearest = [s for s in nearest if self._rps(s) >= need]
        return [winner, fastest, *nearest, *sorted(rivals, key=self._rps, reverse=True)]

    def predict(self, settings: Settings, *, full: bool = False) -> None:
        if settings in self.known and not (full and settings not in self.sure):
            return
        predicted = None if full else self.known
        self.known[settings] = self._capacity(self.question, settings, predicted)
        if full:
            self.sure.add(settings)

    def _smaller(self, threads: int, workers: int) -> bool:
        winner = self.winner()
        settings = self.space.complete(workers, threads)
        return (
            winner is not None
            and self.space.size(settings) < self.space.size(winner)
            and not self.space.breaks_budget(settings)
        )

    def _does_it(self, settings: Settings) -> bool:
        """Within noise of the best, or carries what was asked for."""
        if settings not in self.known or self._broken(settings):
            return False
        winner = self.winner()
        if self.rps is not None and winner is not None and self._carries(winner):
            return self._carries(settings)
        kept = [s for s in self.known if not self._broken(s)]
        return self._rps(settings) >= (1 - NOISE) * max(self._rps(s) for s in kept)

    # ---- what the predictions say

    def winner(self) -> Settings | None:
        """None when nothing predicted so far keeps everything."""
        kept = [s for s in self.known if not self._broken(s)]
        if not kept:
            return None
        carrying = [s for s in kept if self._carries(s)]
        if carrying:
            return min(carrying, key=self.space.size)
        fastest = max(kept, key=self._rps)
        return min((s for s in kept if self._as_fast(s, fastest)), key=self._preference)

    def _preference(self, settings: Settings) -> Any:
        """The order of arrangements that cannot be told apart: nearest to today's, smallest."""
        today = self.question.today
        far = 0.0 if today is None else distance(settings, today)
        return far, self.space.size(settings)

    def _as_fast(self, settings: Settings, fastest: Settings) -> bool:
        """Within noise as expected, and not surely beyond it under the draws that both share. To
        stay near today's that is all that is asked of two that were predicted in full."""
        shared = paired.loss(self.known[settings], self.known[fastest])
        stays = self.question.today is not None and math.isfinite(shared.low)
        least = 1 - (DOUBTFUL if stays else NOISE)
        return self._rps(settings) >= least * self._rps(fastest) and not shared.low > NOISE

    def binding(self, winner: Settings) -> str:
        """The budget that forbids something faster, else what limits throughput, else the SLO;
        unknown where what is not surely known decides between resources."""
        prediction = self.known[winner]
        if self._carries(winner):
            return "rps"
        faster = [
            s
            for s in self.known
            if self.space.breaks_budget(s) and self._rps(s) > (1 + NOISE) * self._rps(winner)
        ]
        if faster:
            return _budget_name(self.space.breaks_budget(max(faster, key=self._rps))[0])
        busy = dict(prediction.utilisation)
        if prediction.binding == "users" or busy.get(prediction.binding, 1.0) < 0.9:
            return "p95_ms"
        return UNKNOWN_BINDING if prediction.may_bind else prediction.binding

    def candidates(self, winner: Settings | None) -> tuple[Candidate, ...]:
        """The winner first, then the kept by throughput, then those that break something."""
        judged = [
            Candidate(s, p, self._rejected(s, winner), self._difference(s, winner))
            for s, p in self.known.items()
        ]

        def order(c: Candidate) -> Any:
            breaks = bool(self._broken(c.settings))
            return c.rejected_by != "", breaks, -self._rps(c.settings), self.space.size(c.settings)

        return tuple(sorted(judged, key=order))

    def nothing(self) -> Found:
        """Budgets leave room, the SLO holds nowhere."""
        candidates = self.candidates(None)
        fitting = [c for c in candidates if not self.space.breaks_budget(c.settings)]
        nearest = min(fitting, key=lambda c: c.predicted.latency.p95.value)
        p95 = nearest.predicted.latency.p95
        users = nearest.predicted.users
        return Found(
            None,
            candidates,
            Verdict.NOT_ENOUGH_DATA if p95.low <= self.question.p95_s else Verdict.DOES_NOT_FIT,
            f"no arrangement keeps p95 within {format_seconds(self.question.p95_s)}: the nearest, "
            f"{shape(nearest.settings)}, has {format_seconds(p95.value)} with "
            f"{counted(users, 'user')}",
        )

    def _rejected(self, settings: Settings, winner: Settings | None) -> str:
        if settings == winner:
            return ""
        breaks = self._broken(settings)
        if breaks:
            return "; ".join(breaks)
        assert winner is not None, "without a winner everything breaks something"
        size = self._size_beside(settings, winner)
        if self._carries(winner):
            if self._carries(settings):
                return f"carries it too, {size}"
            low = self.known[settings].throughput_rps.low
            return f"certainly carries only {low:.0f} of {self.rps:g} requests/s"
        difference = self._difference(settings, winner)
        assert difference is not None
        if difference.less:
            change = difference.change
            return f"{-change.value:.1%} slower ({-change.high:.1%} to {-change.low:.1%}), {size}"
        this, that = format_rate(difference.rps), format_rate(difference.against_rps)
        rates = f"{this} beside {that} requests/s expected"
        if math.isfinite(difference.change.low):
            further = ", and further from today's"
            near = self.space.size(settings) > self.space.size(winner)
            return f"no difference can be told ({rates}), {size}{'' if near else further}"
        return f"{rates}, {size}"

    def _difference(self, settings: Settings, winner: Settings | None) -> Difference | None:
        if winner is None or settings == winner:
            return None
        this, that = (settings, self.known[settings]), (winner, self.known[winner])
        return paired.difference(this, that)

    def _size_beside(self, settings: Settings, winner: Settings) -> str:
        """Say what it takes more or less than the winner."""
        ram = self.space.ram(settings) - self.space.ram(winner)
        if abs(ram) >= 1 << 20:
            return f"{format_bytes(abs(ram))} {'more' if ram > 0 else 'less'}"
        slots = settings.slots - winner.slots
        if not slots:
            return "as large"
        return f"{counted(abs(slots), 'slot')} {'more' if slots > 0 else 'less'}"

    def _carries(self, settings: Settings) -> bool:
        return self.rps is not None and self.known[settings].throughput_rps.low >= self.rps

    def _broken(self, settings: Settings) -> tuple[str, ...]:
        worker, p95_s = self.question.demand.worker, self.question.p95_s
        return broken_by(worker, settings, self.known[settings], self.budget, p95_s)

    def _rps(self, settings: Settings) -> float:
        return self.known[settings].compared_rps


def _budget_name(sentence: str) -> str:
    for words, name in (("RAM", "ram_bytes"), ("Postgres", "pg_connections")):
        if words in sentence:
            return name
    return "fds"
