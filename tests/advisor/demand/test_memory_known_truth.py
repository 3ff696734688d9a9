"""Workers whose memory is known, run as tune runs them: leaks, what looks like them, preload."""

import textwrap
from dataclasses import replace

import numpy as np
import pytest

from bench.measurement import leaks
from bench.measurement.leaks import Condition, collect, judge, stage
from pretune.advisor.demand.memory import memory_parts
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

MIB = 1 << 20


@pytest.mark.parametrize("name", ["keeps_500", "full_after_300", "cycles"])
def test_a_behaviour_of_the_corpus_is_told_right(name, tmp_path):
    # 6 s of load: at least the 4 s that a leak must be seen for
    collect(name, tmp_path, 40.0, [Condition("short", ("demand",))])
    truths = {name: leaks.truth(name)}
    (answer,) = judge(tmp_path, truths, seed=1)
    assert answer.requests > 200
    assert answer.right, answer


# 50 MB that the app only reads; of which it writes to WRITTEN in every worker
APP = """
    import os

    WRITTEN = int(os.environ["WRITTEN"])
    blob = bytearray(b"x") * (50 << 20)

    def application(environ, start_response):
        for page in range(0, WRITTEN, 4096):
            blob[page] = 1
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
"""


def saving(app, written):
    with stage(app, {"WRITTEN": str(written)}) as (bench, _):
        trials = [
            bench.run("demand", Settings(1, 1), Load(1, 2.0)),
            bench.run("preload", replace(Settings(2, 2), preload_app=True), Load(8, 2.0)),
        ]
    return memory_parts(trials, np.random.default_rng(1)).saving


def test_preload_saves_what_workers_do_not_write_to(tmp_path):
    app = tmp_path / "reader.py"
    app.write_text(textwrap.dedent(APP))
    untouched, touched = saving(app, 0), saving(app, 20 * MIB)
    # Beside the 50 MB, what the interpreter holds and does not write to is shared, too.
    assert 50 * MIB <= untouched.value <= 62 * MIB
    assert untouched.value - touched.value == pytest.approx(20 * MIB, abs=2 * MIB)
    assert touched.contains(untouched.value - 20 * MIB)
