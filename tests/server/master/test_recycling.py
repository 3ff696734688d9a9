"""Workers that have served long enough, or have grown too large, get a successor in turn."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pretune.server.master.child import LONGEST, YOUNG, Restraint
from pretune.server.master.recycling import LOOK, SHARE, MemoryScan, too_old

APP = """\
import os
HELD = [{held}]
def application(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/leak":
        HELD.append(bytearray(os.urandom(1024)) * 65536)
    return [f"{{os.getpid()}}".encode()]
"""


def story(one) -> list[tuple[str, int]]:
    """What became ready and what ended, in order."""
    found = []
    for line in one.log().splitlines():
        for word in (" is ready after", " ended ("):
            if "worker " in line and word in line:
                found.append((word.split()[0], int(line.split("worker ")[1].split()[0])))
    return found


def never_fewer_than(one, count: int) -> None:
    """After the start, each successor was ready before its predecessor left."""
    ready = 0
    for what, _ in story(one):
        ready += 1 if what == "is" else -1
        if what == "ended":
            assert ready >= count


def test_by_age_in_turn(start, tmp_path: Path):
    (tmp_path / "app.py").write_text(APP.format(held=""))
    one = start("-w", "2", "--max-worker-age", "1")
    one.wait_log("ended (max_age", 3)
    never_fewer_than(one, 2)
    assert int(one.text()) in one.workers()


@pytest.mark.parametrize("flags", [(), ("--preload",)], ids=["", "preload"])
def test_by_memory(start, tmp_path: Path, flags):
    (tmp_path / "app.py").write_text(APP.format(held=""))
    one = start("-w", "1", "--max-worker-memory", "150M", *flags)
    first = int(one.text())
    for _ in range(3):
        one.text("/leak")
    one.wait_log(f"worker {first} ended (max_memory")
    assert "the limit is 1" in one.log()
    assert int(one.text()) != first
    never_fewer_than(one, 1)


def test_a_limit_below_what_the_app_needs_does_not_turn_round_and_round(start, tmp_path: Path):
    (tmp_path / "app.py").write_text(APP.format(held="bytearray(range(256)) * 400_000"))
    one = start("-w", "2", "--max-worker-memory", "60M")
    one.wait_log("ended (max_memory")
    one.wait_log("Raise the limit")
    one.wait_for(lambda: len(one.workers()) == 3)
    assert int(one.text()) in one.workers()
    assert one.log().count("Raise the limit") == 1


@pytest.mark.parametrize(
    ("ready_at", "now", "limit", "expected"),
    [(10.0, 19.9, 10.0, False), (10.0, 20.0, 10.0, True), (10.0, 1e9, 0.0, False)],
)
def test_age(ready_at, now, limit, expected):
    assert too_old(ready_at, now, limit) is expected


def test_restraint_grows_while_it_does_not_help_and_is_forgotten_when_it_does():
    restraint, delays = Restraint(), []
    for n in range(12):
        restraint = restraint.recycled(age=1.0, now=1000.0 * n)
        assert restraint.not_before == 1000.0 * n + restraint.delay
        delays.append(restraint.delay)
    assert delays == sorted(delays)
    assert delays[0] == YOUNG / 2
    assert delays[-1] == LONGEST
    assert restraint.recycled(age=YOUNG + LONGEST, now=0.0) == Restraint()


class World:
    """Processes with an RSS and a PSS, and a clock that reading a PSS moves."""

    def __init__(self, sizes: dict[int, tuple[int, int]], cost: float = 0.01) -> None:
        self.sizes = sizes
        self.cost = cost
        self.now = 100.0
        self.weighed: list[int] = []
        self.scan = MemoryScan(lambda: self.now, self.rss, self.pss)

    def rss(self, pid: int) -> int:
        if pid not in self.sizes:
            raise ProcessLookupError(pid)
        return self.sizes[pid][0]

    def pss(self, pid: int) -> int:
        self.now += self.cost
        self.weighed.append(pid)
        if self.sizes[pid][1] < 0:
            raise PermissionError(errno.EACCES, "no")
        return self.sizes[pid][1]

    def find_larger(self, limit: int = 100) -> tuple[int, int] | None:
        return self.scan.find_larger([(pid, limit) for pid in (1, 2, 3)])


def test_pss_is_not_read_below_the_limit():
    world = World({1: (100, 50), 2: (99, 99)})  # 3 has just ended
    assert world.find_larger() is None
    assert world.weighed == []
    assert world.scan.next_scan == world.now + LOOK


def test_shared_memory_is_not_a_workers_own():
    world = World({1: (500, 90), 2: (500, 80), 3: (500, 120)})
    found = [world.find_larger() for _ in range(3)]
    assert sorted(world.weighed) == [1, 2, 3]  # in turn, one at a time
    assert [f for f in found if f] == [(3, 120)]


def test_the_dearer_a_look_the_rarer():
    world = World({1: (500, 90)}, cost=0.02)
    world.find_larger()
    assert world.scan.next_scan >= world.now - 0.02 + 0.019 / SHARE


def test_where_pss_may_not_be_read_rss_stands_for_it():
    world = World({1: (500, -1)})
    assert world.find_larger() == (1, 500)
    assert world.scan.blind
