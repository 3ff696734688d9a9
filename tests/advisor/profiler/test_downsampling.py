"""A day of samples keeps its peaks, both ends and an even spread in bounded memory."""

import numpy as np
import pytest

from pretune.advisor.profiler.downsampling import BLOCK, Requests, Rows, thin

ROW = np.dtype([("time", "<f8"), ("pid", "<i4"), ("private", "<f8"), ("rss", "<f8")])
RECORD = np.dtype([("number", "<i8"), ("cpu", "<f8")])


def feed(capacity, ticks, pids=(1, 2, 3), seed=1):
    """What a long run gave, and what was kept of it."""
    rng = np.random.default_rng(seed)
    rows = Rows(ROW, capacity, ("private", "rss"), "pid")
    everything = []
    for tick in range(ticks):
        for pid in pids:
            row = (tick / 10, pid, float(rng.pareto(2)), float(rng.pareto(2)))
            everything.append(row)
            rows.append(row)
        rows.end_tick()
    return np.array(everything, ROW), rows.array()


def summed(rows, name):
    _, tick = np.unique(rows["time"], return_inverse=True)
    return np.bincount(tick, rows[name])


def test_a_short_run_is_kept_whole():
    everything, kept = feed(5_000, 1_000)
    assert kept.tolist() == everything.tolist()


def test_a_long_run_stays_in_bounds_with_its_peaks_and_both_ends():
    everything, kept = feed(3_000, 30_000)
    assert len(kept) <= 3_000 + 1_500  # what has not been settled yet
    assert len(kept) >= 1_000
    for name in ("private", "rss"):
        assert summed(kept, name).max() == summed(everything, name).max()
        for pid in (1, 2, 3):
            of, mine = (rows[rows["pid"] == pid] for rows in (everything, kept))
            assert mine[name].max() == of[name].max()
            assert mine["time"][[0, -1]].tolist() == of["time"][[0, -1]].tolist()
    assert (np.diff(kept["time"]) >= 0).all()


def test_what_stays_lies_evenly_in_time():
    _, kept = feed(3_000, 30_000)
    times = np.unique(kept["time"])
    early, middle, late = np.histogram(times, 3, (0, 3_000))[0]
    assert early >= 0.8 * middle >= 50
    assert late >= middle  # the newest wait for their turn
    assert np.diff(times).max() <= 60  # s; of 3000


def test_keys_that_come_and_go_by_the_thousand_stay_in_bounds():
    rows = Rows(ROW, 1_000, ("private",), "pid")
    for pid in range(20_000):
        rows.append((pid / 10, pid, float(pid == 777), 0.0))
        rows.end_tick()
    kept = rows.array()
    assert len(kept) <= 1_500
    assert kept["private"].max() == 1
    assert kept["time"][[0, -1]].tolist() == [0, 1_999.9]


def test_in_a_stretch_of_time_the_highest_tick_stays():
    rows = np.array(
        [(t, 1, p, 0) for t, p in [(0, 1), (1, 5), (2, 2), (3, 3), (4, 9), (5, 1)]], ROW
    )
    kept = thin(rows, 2.0, ("private",))
    assert kept["time"].tolist() == [0, 1, 3, 4, 5]
    assert thin(rows[:0], 2.0, ("private",), "pid").tolist() == []


@pytest.mark.parametrize("portion", [1, 37, 5_000])
def test_requests_are_thinned_by_whole_runs_of_neighbours(portion):
    kept = Requests(RECORD, 4 * BLOCK)
    numbers = np.arange(40 * BLOCK)
    for begin in range(0, len(numbers), portion):
        part = np.zeros(len(numbers[begin : begin + portion]), RECORD)
        part["number"] = numbers[begin : begin + portion]
        kept.extend(part)
    found = kept.array()["number"]
    assert kept.seen == len(numbers)
    assert kept.stride == 16
    assert found.tolist() == [n for n in numbers if n // BLOCK % 16 == 0]


def test_few_requests_are_all_kept():
    kept = Requests(RECORD, 4 * BLOCK)
    part = np.zeros(100, RECORD)
    kept.extend(part)
    kept.extend(part[:0])
    assert len(kept.array()) == 100
    assert kept.stride == 1
