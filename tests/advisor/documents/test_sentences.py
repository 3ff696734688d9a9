"""Whatever the demand, the document's numbers add up, and its sentences say what they say."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from support.demands import MIB, make_demand

from pretune.advisor.documents.report import assemble
from pretune.advisor.findings.diagnose import diagnose
from pretune.advisor.model import bounds, memory, restarts
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.question import Question
from pretune.advisor.profiler.measurement import Conditions, Latency
from pretune.advisor.quantity import Interval
from pretune.advisor.recommendation.answer import Model, solve
from pretune.advisor.resources.budget import Budget, Slo
from pretune.advisor.run import Run
from pretune.advisor.verdict import Verdict
from pretune.reports import summary
from pretune.server.settings import Settings


def around(x: float, part: float) -> Interval:
    return Interval(x, x / (1 + part), x * (1 + part))


class Guess:
    """Stands in for the model: the operational laws, with an error of each arrangement's own."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.errors: dict[Settings, float] = {}

    def __call__(
        self,
        question: Question,
        settings: Settings,
        known: Mapping[Settings, Prediction] | None = None,
    ) -> Prediction:
        demand, budget, p95_s = question.demand, question.budget, question.p95_s
        conditions, worker = question.conditions, demand.worker
        users = self.rng.randint(1, 40)
        cpu = demand.cpu_s.value + demand.overhead_cpu_s.value
        limits = bounds.limits(
            settings, conditions, users, cpu_s=cpu, gil_s=cpu, db_cpu_s=0.0,
            delay_s=demand.db_s.value + demand.wait_s.value, server_s=demand.overhead_cpu_s.value,
        )  # fmt: skip
        limit = bounds.binding(limits)
        error = self.errors.setdefault(settings, self.rng.lognormvariate(0.0, 0.05))
        expected = min(x.rps for x in limits if x.resource != "users") * error
        rate = around(expected * 0.9, self.rng.choice((0.02, 0.3, 2.0)))
        p95 = around(p95_s * 0.9, self.rng.choice((0.02, 0.1, 0.5)))
        draws = tuple(expected * self.rng.lognormvariate(0.0, 0.03) for _ in range(16))
        ram = restarts.ram_parts(worker, settings, rate, budget, conditions.server)
        return Prediction(
            users, rate, Latency(p95, p95, p95, p95), memory.peak_pss(worker, settings),
            memory.add(part for _, part in ram),
            memory.postgres_connections(worker, settings, budget.instances),
            memory.descriptors(worker, settings, users), (("cpu", 0.5), ("gil", 0.4)),
            limit.resource, bounds.explain(settings, limit), limit=limit,
            expected_rps=expected, draws=draws if known is None else (),
            ram_parts=tuple((name, part.value) for name, part in ram),
        )  # fmt: skip


def document_of(seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    demand = make_demand(
        10 ** rng.uniform(-4, -1), 10 ** rng.uniform(-5, -1), rng.choice((0.0, 0.01, 0.5))
    )
    leak = rng.choice((0.0, 0.0, 300.0, 60_000.0))
    worker = replace(
        demand.worker,
        leak_slope_bytes_per_request=around(leak, 0.1) if leak else Interval(0.0, -1.0, 1.0),
        leak_class="leak" if leak else rng.choice(("none", "still_warming", "not_enough_data")),
        boot_s=rng.choice((0.05, 2.12, 9.0)),
        preload_saving_bytes=rng.choice((None, around(20.0 * MIB, 0.2))),
    )
    demand = replace(demand, worker=worker, overhead_cpu_s=around(3e-4, 0.1))
    interface = rng.choice(("wsgi", "asgi"))
    cores = rng.choice((1.0, 2.0, 3.5))
    budget = Budget(rng.choice((1, 4)) << 30, cores, rng.choice((None, 20, 97)), 1024)
    slo = Slo(rng.choice((None, 0.168)), rps=rng.choice((None, None, 30.0)))
    question = Question(
        demand, budget, slo, Conditions(cores, 0.0, True, True), interface,
        today=rng.choice((None, Settings(4, 1, "asgi" if interface == "asgi" else "sync"))),
        framework=rng.choice(("django", "litestar")),
    )  # fmt: skip
    guess = Guess(rng)
    answer = solve(question, Model(guess, lambda q, s, rps: replace(guess(q, s), rps=rps)))
    slo = replace(slo, p95_s=question.p95_s)
    run = Run(
        "app", 1, Verdict.FITS, budget=budget, slo=slo, demand=demand,
        candidates=answer.found.candidates, recommendation=answer.found.recommendation,
        baselines=answer.baselines, fleet=answer.fleet,
    )  # fmt: skip
    return assemble(replace(run, findings=diagnose(run)))


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


# what no sentence says, whatever the numbers are
NEVER = {
    "one of many": r"(?<![\d.,:-])(?<!\+ )1 (?:users|workers|threads|cores|requests|slots)\b(?!/)",
    "a number for machines": r"\d[eE][+-]\d\d|\bnan\b|\binf\b",
    "less than nothing": r"-\d[\d.]*(?:%| \w?i?B| ms)",
    "no time at all": r"\b0\.0 h\b|\bin 0 us\b",
    "more than there is": r"\b\d{3,} GiB more",
}


@pytest.mark.parametrize("seed", range(60))
def test_a_document_s_numbers_belong_together(seed: int) -> None:
    document = document_of(seed)
    said = list(texts(document))
    for what, pattern in NEVER.items():
        assert [t for t in said if re.search(pattern, t)] == [], what
    names = " ".join(row["name"] for row in document["baselines"])
    assert not ("Django" in names and "SQLAlchemy" in names)
    recommendation = document["recommendation"]
    if recommendation is None:
        return
    chosen = recommendation["predicted"]
    everybody = [c["predicted"] for c in document["candidates"]]
    everybody += [b["predicted"] for b in document["baselines"]]
    for predicted in everybody:
        parts = math.fsum(predicted["ram_parts_bytes"].values())
        assert parts == pytest.approx(predicted["ram_bytes"]["value"])
        limit = predicted["limit"]
        if limit["parts_s"]:
            assert math.fsum(limit["parts_s"].values()) == pytest.approx(limit["demand_s"])
    for row in (*document["candidates"], *document["baselines"]):
        difference = row["difference"]
        if difference is None:
            continue
        assert difference["rps"] == row["predicted"]["expected_rps"]
        assert difference["against_rps"] == chosen["expected_rps"]
        if " slower (" in row.get("rejected_by", ""):
            assert difference["rps"] < difference["against_rps"]
            assert difference["change"]["high"] < 0
    for sentence in recommendation["reasons"].values():
        for claimed in re.finditer(r"would carry [\d.]+% (less|more) \(", sentence):
            assert any(
                d["change"]["low"] is not None
                and (d["change"]["high"] < 0 if claimed[1] == "less" else d["change"]["low"] > 0)
                for d in (c["difference"] for c in document["candidates"])
                if d is not None
            ), sentence
    budget = document["budget"]
    free = dict(recommendation["headroom"])
    high = chosen["ram_bytes"]["high"]
    assert high / budget["ram_bytes"] + free["ram_bytes"] == pytest.approx(1.0)
    p95 = chosen["latency_ms"]["p95"]["high"]
    assert p95 / document["slo"]["p95_ms"] + free["p95_ms"] == pytest.approx(1.0)
    (used,) = [text for name, text, _ in summary.headroom(document) if name == "p95"]
    assert used.startswith("at most ")
    (ram,) = [row for row in recommendation["deployment"] if row["name"] == "ram_mib"]
    total = re.search(r"= ([\d,]+) MiB expected, ([\d,]+) by the upper end", ram["reason"])
    assert total is not None
    terms = ram["reason"].split(" = ")[0].split(" + ")
    assert sum(int(term.rsplit(" ", 1)[1].replace(",", "")) for term in terms) == int(
        total[1].replace(",", "")
    )
    assert int(total[2].replace(",", "")) == ram["value"]
