"""The profiler on processes whose use is known."""

import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from pretune.advisor.profiler.processes import (
    ROLES,
    ProcessTree,
    RunDelay,
    parse_smaps_rollup,
    parse_stat,
    parse_switches,
)
from pretune.advisor.profiler.sampler import BUDGET, Profiler
from pretune.advisor.profiler.samples import Samples
from pretune.server.telemetry import Ring

MIB = 1 << 20

# A master with one worker, which obeys lines on stdin: "allocate N" MiB, "burn S" seconds of CPU,
# "die"; each is answered with a line.
APP = textwrap.dedent("""
    import os, sys, time
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        sys.exit(os.waitpid(pid, 0)[1])
    held = []
    for line in sys.stdin:
        word, *number = line.split()
        if word == "allocate":
            held.append(bytearray(os.urandom(1 << 20) * int(number[0])))
        elif word == "burn":
            end = time.process_time() + float(number[0])
            while time.process_time() < end:
                pass
        elif word == "die":
            os._exit(0)
        print(word, flush=True)
""")


class App:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", APP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.worker = int(self.process.stdout.readline())

    def tell(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        if line != "die":
            assert self.process.stdout.readline().strip() == line.split()[0]

    def profiler(self, **options) -> Profiler:
        return Profiler(
            self.process.pid, worker_pids=lambda: (self.worker,), telemetry=None, **options
        )


@pytest.fixture
def app():
    app = App()
    yield app
    app.process.stdin.close()
    app.process.wait(10)
    app.process.stdout.close()


def of_worker(samples: Samples, app: App, what: str = "processes") -> np.ndarray:
    rows = getattr(samples, what)
    return rows[rows["pid"] == app.worker]


def test_allocated_memory_is_seen_by_both_rates(app):
    profiler = app.profiler()
    profiler.start()
    app.tell("allocate 40")
    time.sleep(0.3)
    samples = profiler.stop()
    fast = of_worker(samples, app)["private_bytes"]
    exact = of_worker(samples, app, "memory")
    # 40 MiB held, and no more than the 41 MiB that making them took at once.
    for grown in (
        fast[-1] - fast[0],
        exact["pss_bytes"][-1] - exact["pss_bytes"][0],
        exact["uss_bytes"][-1] - exact["uss_bytes"][0],
    ):
        assert 40 * MIB * 0.98 <= grown <= 42 * MIB


def test_burnt_cpu_is_counted_for_the_worker_and_the_tree(app):
    profiler = app.profiler()
    profiler.start()
    app.tell("burn 0.5")
    samples = profiler.stop()
    cpu = of_worker(samples, app)["cpu_s"]
    tree = samples.machine["server_s"]
    assert cpu[-1] - cpu[0] >= 0.5 - 0.02  # /proc counts in ticks of 10 ms
    assert tree[-1] - tree[0] >= 0.5 - 0.02
    busy = samples.machine["busy_s"]
    assert busy[-1] - busy[0] >= 0.5 - 0.1


def test_roles_tell_master_and_workers(app):
    profiler = app.profiler()
    profiler.start()
    samples = profiler.stop()
    roles = dict(zip(samples.processes["pid"], samples.processes["role"], strict=True))
    assert ROLES[roles[app.process.pid]] == "master"
    assert ROLES[roles[app.worker]] == "worker"


def test_cpu_of_a_worker_that_died_stays_in_the_sum(app):
    profiler = app.profiler()
    profiler.start()
    app.tell("burn 0.3")
    app.tell("die")
    app.process.wait(10)
    samples = profiler.stop()
    server = samples.machine["server_s"]
    assert server[-1] - server[0] >= 0.3 - 0.15  # at worst the last tick before it died is missed
    assert (np.diff(server) >= 0).all()


def test_what_the_run_itself_started_is_not_somebody_else(monkeypatch):
    monkeypatch.setenv("PRETUNE_RUN", f"test-{os.getpid()}")
    app, service = App(), App()
    try:
        profiler = app.profiler()
        profiler.start()
        service.tell("burn 0.3")
        samples = profiler.stop()
    finally:
        for started in (app, service):
            started.process.stdin.close()
            started.process.wait(10)
            started.process.stdout.close()
    services = samples.machine["services_s"]
    assert services[-1] - services[0] >= 0.3 - 0.02
    server = samples.machine["server_s"]
    assert server[-1] - server[0] < 0.2


def test_what_stands_in_front_has_rows_of_its_own(app, tmp_path):
    beside = App()
    try:
        profiler = app.profiler(front_pid=beside.process.pid)
        profiler.start()
        beside.tell("burn 0.4")
        beside.tell("allocate 30")
        time.sleep(1.2)
        samples = profiler.stop()
    finally:
        beside.process.stdin.close()
        beside.process.wait(10)
        beside.process.stdout.close()
    rows = samples.front
    assert 0.35 <= rows["cpu_s"][-1] - rows["cpu_s"][0] < 1.0
    grown = rows["pss_bytes"][-1] - rows["pss_bytes"][0]
    assert 29 * MIB <= grown <= 40 * MIB
    # neither the server's nor somebody else's
    assert beside.process.pid not in samples.processes["pid"]
    assert samples.machine["services_s"][-1] - samples.machine["services_s"][0] >= 0.35
    samples.save(tmp_path / "trial.npz")
    assert np.array_equal(Samples.load(tmp_path / "trial.npz").front, rows)


def test_samples_survive_a_file(app, tmp_path):
    profiler = app.profiler()
    profiler.start()
    samples = profiler.stop()
    samples.save(tmp_path / "samples.npz")
    again = Samples.load(tmp_path / "samples.npz")
    assert again.master_pid == samples.master_pid
    assert again.cost == samples.cost
    assert again.sessions is None
    np.testing.assert_array_equal(again.processes, samples.processes)
    np.testing.assert_array_equal(again.cores, samples.cores)


def test_a_master_that_is_already_gone_gives_samples_all_the_same():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    profiler = Profiler(child.pid, worker_pids=lambda: (child.pid,), telemetry=None)
    profiler.start()
    samples = profiler.stop()
    assert len(samples.processes) == 0
    assert len(samples.machine) >= 2


def test_its_own_cost_is_measured_and_bounded(app):
    profiler = app.profiler()
    profiler.start()
    time.sleep(1.5)
    cost = profiler.stop().cost
    assert cost.ticks >= 2
    # One reading may be begun with the budget just not spent.
    assert 0 < cost.sampling_cpu_s <= BUDGET * cost.sampling_wall_s + 0.05


def test_nothing_stays_open(app):
    before = len(os.listdir("/proc/self/fd"))
    profiler = app.profiler()
    profiler.start()
    profiler.stop()
    assert len(os.listdir("/proc/self/fd")) == before


def test_stat_is_read_behind_the_last_bracket():
    fields = ["S", "12", "13", "99", *["0"] * 7, "150", "50", "30", "10", "20", "0", "4", "0"]
    stat = parse_stat(b"7 (a) b (c)) " + " ".join(fields).encode())
    assert (stat.parent, stat.session, stat.threads) == (12, 99, 4)
    assert stat.cpu_s == pytest.approx(200 / os.sysconf("SC_CLK_TCK"))
    assert stat.children_cpu_s == pytest.approx(40 / os.sysconf("SC_CLK_TCK"))


def test_smaps_rollup_adds_the_private_lines():
    text = b"""0-1 ---p 00000000 00:00 0 [rollup]
Rss:                100 kB
Pss:                 60 kB
Pss_Dirty:           11 kB
Private_Clean:       10 kB
Private_Dirty:       30 kB
Private_Hugetlb:      2 kB
"""
    assert parse_smaps_rollup(text) == (60 * 1024, 42 * 1024, 100 * 1024, 60 * 1024)


def test_the_telemetry_ring_is_no_memory_of_the_app(app, tmp_path):
    def seen(telemetry):
        profiler = Profiler(app.process.pid, worker_pids=lambda: (app.worker,), telemetry=telemetry)
        profiler.start()
        return of_worker(profiler.stop(), app, "memory")[-1]

    plain = seen(None)
    ring = Ring(str(tmp_path), app.worker)
    size = os.stat(ring.path).st_size
    without = seen(tmp_path)
    assert plain["rss_bytes"] - without["rss_bytes"] == pytest.approx(size, abs=0.1 * size)
    assert plain["pss_bytes"] - without["pss_bytes"] == pytest.approx(size / 2, abs=0.1 * size)
    assert plain["uss_bytes"] - without["uss_bytes"] == pytest.approx(0, abs=0.1 * size)


def test_the_memory_of_a_tree_is_that_of_all_its_processes(app):
    tree = ProcessTree(app.process.pid)
    tree.scan()
    before = tree.pss_bytes()
    app.tell("allocate 40")
    grown = tree.pss_bytes() - before
    tree.close()
    assert 40 * MIB * 0.98 <= grown <= 42 * MIB
    assert tree.pss_bytes() is None


def test_smaps_rollup_tells_backed_memory_from_anonymous():
    text = b"""0-1 ---p 00000000 00:00 0 [rollup]
Rss:                100 kB
Pss:                 60 kB
Pss_Anon:            41 kB
Pss_File:            16 kB
Pss_Shmem:            3 kB
"""
    assert parse_smaps_rollup(text).anon_bytes == 41 * 1024


def test_waiting_and_being_pushed_aside_are_told_apart(app):
    profiler = app.profiler()
    profiler.start()
    for _ in range(20):
        app.tell("burn 0.001")
        time.sleep(0.01)  # so it must wait for the next line
    rows = of_worker(profiler.stop(), app)
    assert rows["voluntary"][-1] - rows["voluntary"][0] >= 20
    assert (np.diff(rows["forced"]) >= 0).all()
    assert (np.diff(rows["run_delay_s"]) >= 0).all()


def test_switches_of_a_thread_are_in_its_status():
    text = b"Name:\tx\nThreads:\t1\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n"
    assert parse_switches(text) == (12, 3)


def test_run_queue_delay_of_processes_counts_up_and_survives_them(app):
    delay = RunDelay()
    assert delay.add_up([app.worker], new=False) == 0.0
    app.tell("burn 0.1")
    later = delay.add_up([app.worker], new=True)
    assert later >= 0.0
    assert delay.add_up([], new=True) == later
    assert delay.add_up([1 << 30], new=True) == later  # no such process
