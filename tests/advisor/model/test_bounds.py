"""The bounds of the operational laws, and the sentences that say them."""

from __future__ import annotations

import random
import re

import pytest

from pretune.advisor.model import bounds
from pretune.advisor.profiler.measurement import Conditions
from pretune.server.settings import Settings

ALONE = Conditions(2.0, 0.0, True, True)


def numbers_of(text: str) -> list[float]:
    return [float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]


def of(conditions: Conditions = ALONE, settings: Settings = Settings(2, 4), **given: float):  # noqa: B008
    demands = {"cpu_s": 0.00436, "gil_s": 0.004, "db_cpu_s": 0.00155, "delay_s": 0.001, **given}
    found = bounds.limits(settings, conditions, 8, **demands)
    return {limit.resource: limit for limit in found}


def test_whose_cpu_it_is_stands_beside_the_bound_and_adds_up() -> None:
    cpu = of(server_s=0.00046)["cpu"]
    assert cpu.reason == (
        "2 cores / 5.91 ms = 338 requests/s (the app 3.90 + the server 0.46 + Postgres on the same "
        "cores 1.55 = 5.91 ms of CPU per request)"
    )
    assert sum(seconds for _, seconds in cpu.parts) == pytest.approx(cpu.demand_s)


@pytest.mark.parametrize("seed", range(50))
def test_every_bound_can_be_checked_from_what_its_sentence_says(seed: int) -> None:
    rng = random.Random(seed)
    cores = rng.choice((0.5, 1.0, 2.0, 7.5))
    conditions = Conditions(cores, rng.choice((0.0, 1.0)), True, True, rng.choice((0.0, 1e-4)))
    cpu_s = 10 ** rng.uniform(-5, 0.5)
    found = of(
        conditions, Settings(rng.randint(1, 9), rng.randint(1, 9)), cpu_s=cpu_s,
        gil_s=cpu_s * rng.random(), db_cpu_s=rng.choice((0.0, cpu_s * rng.random())),
        delay_s=rng.random() * 0.01, server_s=cpu_s * rng.random(),
        front_s=rng.choice((0.0, 1e-4)), lock_s=rng.choice((0.0, 0.002)),
    )  # fmt: skip
    for limit in found.values():
        said, _, whose = (
            limit.reason.partition(" (")
            if "CPU per" in limit.reason
            else (limit.reason.replace("(workers x threads)", ""), "", "")
        )
        capacity, demand, rate = numbers_of(said)
        size = {"us": 1e-6, "ms": 1e-3, "s": 1.0}[said.split(" = ")[0].split()[-1]]
        assert capacity / (demand * size) == pytest.approx(rate, rel=0.011)
        assert not re.search(r"(?<![\d.,])1 (?!ms|us)\w+s\b", said), said
        if whose:
            *parts, total = numbers_of(whose)
            assert sum(parts) == pytest.approx(total, abs=1e-9), limit.reason
            assert total == demand


def test_a_resource_that_is_busy_is_the_limit_though_the_load_allows_less() -> None:
    limits = bounds.limits(
        Settings(2, 4), ALONE, 3, cpu_s=0.006, gil_s=0.001, db_cpu_s=0.0, delay_s=0.004
    )
    assert limits[0].resource == "users"
    assert bounds.binding(limits).resource == "users"
    assert bounds.binding(limits, {"cpu": 0.6}).resource == "users"
    assert bounds.binding(limits, {"cpu": 0.995, "gil": 0.2}).resource == "cpu"
