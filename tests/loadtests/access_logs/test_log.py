"""Counting: against counts made one by one, in bounded memory, and of files that are damaged."""

import gzip
import random
import tracemalloc
from collections import Counter

import pytest
from support.access_logs import BEGIN, line, write

from pretune.loadtests.access_logs import tally
from pretune.loadtests.access_logs.blocks import LONGEST, read_blocks
from pretune.loadtests.access_logs.formats import KNOWN
from pretune.loadtests.access_logs.log import read_log
from pretune.loadtests.access_logs.moments import parse_second
from pretune.loadtests.access_logs.tally import Tally


@pytest.mark.parametrize(
    ("text", "second"),
    [
        (b"10/Oct/2000:13:55:36 -0700", 971211336),
        (b"10/Oct/2000:13:55:36", 971186136),
        (b"10/Oct/2000:13:55:36 +0530", 971166336),
        (b"2000-10-10T13:55:36-07:00", 971211336),
        (b"2000-10-10T20:55:36.186641Z", 971211336),
        (b"Tue Oct 10 20:55:36 2000", 971211336),
        (b"971211336.25", 971211336),
        (b"971211336250", 971211336),
        (b"99/Foo/2000:13:55:36 -0700", None),
        (b"", None),
        (b"yesterday", None),
    ],
)
def test_moments_are_read_as_servers_write_them(text, second):
    assert parse_second(text) == second


def test_requests_minutes_and_agents_are_counted(tmp_path):
    dice = random.Random(1)
    seconds = sorted(BEGIN + int(dice.uniform(0, 7200)) for _ in range(20_000))
    paths = dice.choices(["/", "/a", "/b?x=1", "/c/7/"], [5, 3, 1, 1], k=len(seconds))
    agents = dice.choices(["Mozilla", "Googlebot/2.1"], [4, 1], k=len(seconds))
    lines = [
        line(at, f"GET {path} HTTP/1.1", agent=agent)
        for at, path, agent in zip(seconds, paths, agents, strict=True)
    ]
    log = read_log(write(tmp_path / "access.log", lines))
    expected = Counter(f"GET {path.partition('?')[0]}".encode() for path in paths)
    assert log.tally.targets == expected
    minutes = Counter(at // 60 for at in seconds)
    assert {at: each.requests for at, each in log.tally.minutes.items()} == dict(minutes)
    peak = max(minutes, key=minutes.__getitem__)
    assert log.rates is not None
    assert log.rates.peak_rps == minutes[peak] / 60
    assert log.rates.peak_minute == peak * 60
    assert log.rates.mean_rps == pytest.approx(20_000 / 7200, rel=0.02)
    assert 0.9 < log.rates.dispersion < 1.1  # independent requests
    assert log.bots == pytest.approx(agents.count("Googlebot/2.1") / 20_000)


def test_bursts_are_told_from_independent_requests(tmp_path):
    lines = [line(BEGIN + 10 * burst) for burst in range(200) for _ in range(10)]
    log = read_log(write(tmp_path / "access.log", lines))
    assert log.rates is not None
    assert log.rates.dispersion == pytest.approx(10 - 1, abs=0.1)  # ten at once, else none


def test_a_rotated_set_is_one_log_and_gz_is_read(tmp_path):
    whole = [line(BEGIN + each) for each in range(900)]
    (tmp_path / "access.log.2.gz").write_bytes(gzip.compress("".join(whole[:300]).encode()))
    write(tmp_path / "access.log.1", whole[300:600])
    write(tmp_path / "access.log", whole[600:])
    for path in (tmp_path, tmp_path / "access.log*"):
        assert read_log(path).tally.requests == 900


def test_memory_does_not_grow_with_the_variety_of_a_log(tmp_path, monkeypatch):
    monkeypatch.setattr(tally, "MOST_TARGETS", 2_000)
    monkeypatch.setattr(tally, "MOST_SECONDS", 100)
    dice = random.Random(2)
    ids = [dice.randrange(10**9) for _ in range(30_000)]
    lines = (
        line(BEGIN + at // 3, f"GET /order/{number} HTTP/1.1") for at, number in enumerate(ids)
    )
    path = write(tmp_path / "access.log", lines)
    counted = Tally()
    tracemalloc.start()
    counted.read([path], KNOWN[0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counted.targets.total() == 30_000
    assert len(counted.targets) <= 2_000 + 1_500  # what one block brings
    assert sum(each.requests for each in counted.minutes.values()) == 30_000
    assert peak < 8 << 20


def test_pages_without_numbers_are_never_folded(tmp_path, monkeypatch):
    monkeypatch.setattr(tally, "MOST_TARGETS", 500)
    words = [f"{a}{b}" for a in "ghijklmnop" for b in "qrstuvwxyz"]
    requests = [f"GET /{word}/ HTTP/1.1" for word in words for _ in range(3)]
    requests += [f"GET /item/{number}/ HTTP/1.1" for number in range(5_000)]
    counted = Tally()
    counted.read([write(tmp_path / "a.log", (line(BEGIN, each) for each in requests))], KNOWN[0])
    assert all(counted.targets[f"GET /{word}/".encode()] == 3 for word in words)
    items = {each: n for each, n in counted.targets.items() if each.startswith(b"GET /item/")}
    assert sum(items.values()) == 5_000


def test_a_line_of_megabytes_is_passed_over(tmp_path):
    path = tmp_path / "access.log"
    long = b"x" * (3 * LONGEST + 17)
    around = [line(BEGIN + each).encode() for each in range(200)]
    path.write_bytes(b"".join(around[:100]) + long + b"\n" + b"".join(around[100:]) + long)
    assert max(map(len, read_blocks(path))) < 3 * LONGEST
    log = read_log(path)
    assert (log.tally.requests, log.tally.too_long) == (200, 2)


def test_the_last_line_may_have_no_end(tmp_path):
    lines = "".join(line(BEGIN + each) for each in range(150)).rstrip("\n")
    assert read_log(write(tmp_path / "access.log", [lines])).tally.requests == 150


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n\n", "is empty"),
        (b"hello\nworld\n" * 80, "access.log:1: neither a .toml workload"),
        (gzip.compress(line(BEGIN).encode() * 5000)[:-200], "damaged or cut off gz"),
        (b"\x1f\x8bnot gzip at all", "damaged or cut off gz"),
        (line(BEGIN).encode() * 20, "holds 20 requests; a mix needs 100"),
        (line(BEGIN).encode() * 200 + b"oops\n" * 300, "access.log:"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence(tmp_path, content, message):
    path = tmp_path / "access.log"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_log(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_log_is_said(tmp_path):
    with pytest.raises(ValueError, match="there is no log"):
        read_log(tmp_path / "none.log*")
