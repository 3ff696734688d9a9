"""Another machine than this one: what moves, what stays, and what of it is unsure."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from support.demands import ask, make_demand

from pretune.advisor.model import extrapolation
from pretune.advisor.model.calibration import PRIOR_LATENCY_SD, PRIOR_THROUGHPUT_SD, Calibration
from pretune.advisor.model.cpu import DRAWS, Regime, fit
from pretune.advisor.model.predict import predict
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.resources.budget import Budget
from pretune.server.settings import Settings

GIB = 1 << 30
# a machine whose trials hardly scatter
STILL = replace(
    fit([], {}, demanded=("embedded", "gthread")),
    states=tuple((z, 0.0, -z) for z in np.linspace(-1.7, 1.7, DRAWS).tolist()),
    state_sds=(0.005,) * DRAWS,
)
PLAIN = Calibration(None, STILL, PRIOR_THROUGHPUT_SD, PRIOR_LATENCY_SD)


def budget(cores: float = 1.0, factor: float | None = None) -> Budget:
    return Budget(GIB, cores, None, 1024, cpu_factor=factor)


def test_nothing_is_extrapolated_on_the_same_cores():
    found = extrapolation.extrapolate(budget(), trial_cores=1)
    assert found.parts == ()
    assert (found.cpu.low, found.cpu.value, found.cpu.high) == (1, 1, 1)
    assert found.log_sd == 0


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5, 3.0])
def test_a_core_speed_moves_the_value_and_says_how_unsure_it_is(factor):
    found = extrapolation.extrapolate(budget(factor=factor), trial_cores=1)
    assert found.cpu.value == pytest.approx(1 / factor)
    assert found.cpu.low < 1 / factor < found.cpu.high
    assert "times as fast" in found.parts[0].sentence


def test_the_further_the_wider():
    def width(cores, factor):
        return extrapolation.extrapolate(budget(cores, factor), trial_cores=1).log_sd

    assert width(1, 1.2) < width(1, 2.0) < width(1, 4.0)
    assert width(1, 2.0) == pytest.approx(width(1, 0.5))  # as far in the other direction
    assert 0 < width(2, None) < width(8, None) < width(32, None)
    assert width(8, 2.0) == pytest.approx(math.hypot(width(8, None), width(1, 2.0)))


def test_fewer_cores_than_the_trials_had_are_no_extrapolation():
    assert extrapolation.extrapolate(budget(0.5), trial_cores=1).parts == ()


def test_computing_gets_faster_and_waiting_does_not():
    here = make_demand(cpu=0.010, db=0.020, wait=0.005)
    there = extrapolation.move_demand(here, 2.0)
    assert there.cpu_s.value == pytest.approx(0.005)
    assert np.allclose(there.tuples["cpu"], here.tuples["cpu"] / 2)
    assert np.allclose(there.tuples["db"], here.tuples["db"])
    assert np.allclose(there.tuples["wait"], here.tuples["wait"])
    assert there.worker.base_pss_bytes == here.worker.base_pss_bytes
    assert there.worker.boot_s == here.worker.boot_s / 2
    assert here.unloaded_p95_s / 2 < there.unloaded_p95_s < here.unloaded_p95_s


def test_a_database_on_the_same_machine_gets_faster_by_what_it_computes():
    there = extrapolation.move_demand(make_demand(db=0.020, db_cpu=0.010), 2.0)
    assert there.db_cpu_s is not None
    assert there.db_cpu_s.value == pytest.approx(0.005)
    assert float(np.mean(there.tuples["db"])) == pytest.approx(0.015, rel=0.02)


def test_the_same_speed_leaves_the_demand_as_it_was():
    here = make_demand()
    assert extrapolation.move_demand(here, 1.0) is here


def test_predictions_for_other_cores_move_and_widen():
    here, settings = make_demand(cpu=0.010, db=0.002), Settings(2, 4)
    conditions = Conditions(1.0, 0.0, False, False)

    def predicted(factor):
        beyond = extrapolation.extrapolate(budget(factor=factor), trial_cores=1)
        return predict(
            ask(
                extrapolation.move_demand(here, factor or 1.0),
                conditions,
                calibration=extrapolation.widen_calibration(PLAIN, beyond.log_sd),
            ),
            settings,
            20,
        ).throughput_rps

    same, twice = predicted(None), predicted(2.0)
    assert twice.value == pytest.approx(2 * same.value, rel=0.05)
    assert math.log(twice.high / twice.low) > 1.5 * math.log(same.high / same.low)


def test_widening_adds_to_what_is_known_of_all_cpu():
    regime = Regime(("embedded", "gthread"))

    def spread(calibration):
        drawn = [calibration.cpu.drawn(k).factor(regime) for k in range(1, DRAWS + 1)]
        return float(np.std(np.log(drawn)))

    once = extrapolation.widen_calibration(PLAIN, 0.04)
    assert spread(once) == pytest.approx(0.04, rel=0.15)
    assert spread(extrapolation.widen_calibration(once, 0.03)) == pytest.approx(0.05, rel=0.15)
