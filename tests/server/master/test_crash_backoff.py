"""The master's decisions and the flags, without processes."""

from __future__ import annotations

import pytest

from pretune.server import cli
from pretune.server.config.config import Config, boot_limit, choose_class
from pretune.server.master import crash_backoff
from pretune.server.master.crash_backoff import LOOP, CrashBackoff
from pretune.server.master.oom_kills import Counter
from pretune.server.process.listening import split
from pretune.server.settings import Settings


def crashes(count: int, *, others: int, served: float = 0.1) -> list[CrashBackoff]:
    backoff, after = CrashBackoff(), []
    for _ in range(count):
        backoff = backoff.died(served, 100.0, others=others)
        after.append(backoff)
    return after


@pytest.mark.parametrize(
    ("others", "delays"),
    [
        (0, [0, 0.25, 0.5, 1, 1, 1, 1, 1, 1, 1]),  # nobody serves: clients wait
        (1, [0, 0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]),
        (7, [0, 0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]),
    ],
)
def test_crashes_are_answered_ever_more_slowly(others, delays):
    assert [b.not_before - 100.0 for b in crashes(10, others=others)] == delays
    many = crashes(100_000, others=others)[-1]  # no overflow, however long it goes on
    assert many.not_before - 100.0 == delays[-1]


def test_the_delay_is_short_again_once_the_last_worker_is_gone():
    backoff = crashes(8, others=1)[-1]
    assert backoff.not_before == 116.0
    assert backoff.died(0.1, 101.0, others=0).not_before == 102.0


@pytest.mark.parametrize(
    ("quick", "others", "answered", "hopeless"),
    [
        (LOOP - 1, 0, False, False),
        (LOOP, 0, False, True),
        (LOOP, 1, False, False),  # another serves, or boots
        (LOOP, 0, True, False),
        (1000, 0, True, False),
        (1000, 0, False, True),
    ],
)
def test_only_who_never_answered_is_given_up(quick, others, answered, hopeless):
    assert CrashBackoff(quick).hopeless(others=others, answered=answered) is hopeless


@pytest.mark.parametrize(
    ("backoff", "others", "text"),
    [
        (CrashBackoff(1, 100.0), 0, "the next is started at once, no other is there"),
        (CrashBackoff(2, 100.25), 1, "the next is started in 0.25 s, 1 other goes on"),
        (CrashBackoff(9, 130.0), 3, "the next is started in 30 s, 3 others go on"),
        (CrashBackoff(9, 90.0), 3, "the next is started at once, 3 others go on"),
    ],
)
def test_what_comes_next_is_said(backoff, others, text):
    assert backoff.plan(others, 100.0) == text


def test_a_worker_that_lived_long_starts_the_count_again():
    backoff = crashes(2, others=0)[-1]
    assert backoff.died(60.0, 200.0, others=0) == CrashBackoff()
    assert backoff.died(0.1, 100.0 + crash_backoff.FORGET, others=0).quick == 1


@pytest.mark.parametrize(
    ("cells", "overdue", "only"),
    [
        ([0.0, 0.0], False, True),
        ([99.0, 0.0], False, False),
        ([90.0, 0.0], True, True),
        ([90.0, 99.0], True, False),
    ],
)
def test_overdue_threads(cells, overdue, only):
    assert crash_backoff.overdue(cells, now=100.0, timeout=5.0) is overdue
    assert crash_backoff.only_overdue(cells, now=100.0, timeout=5.0) is only
    assert crash_backoff.overdue(cells, now=100.0, timeout=0.0) is False


@pytest.mark.parametrize(
    ("ordered", "status", "booted", "reason"),
    [
        (None, 9, True, "crash"),
        (None, 0, True, "stop"),
        (None, None, True, "crash"),
        (None, 3 << 8, False, "boot"),
        ("max_requests", 0, True, "max_requests"),
        ("timeout", 9, True, "timeout"),
    ],
)
def test_reasons_of_exits(ordered, status, booted, reason):
    assert crash_backoff.exit_reason(ordered, status, booted) == reason


CAUSES = [
    (9, False, "somebody killed it"),
    (9, True, "memory is used up"),
    (11, False, "native code"),
    (11 | 0x80, False, "native code"),  # with a core file
    (7 << 8, False, "ended the process"),
    (0, False, "sent it TERM"),
    (None, False, "zygote"),
    (40, False, "ended the process"),
    (71 << 8, False, "closed descriptors that are not its own"),
]


@pytest.mark.parametrize(("status", "oom", "cause"), CAUSES)
def test_likely_causes(status, oom, cause):
    assert cause in crash_backoff.likely_cause(status, out_of_memory=oom)


@pytest.mark.parametrize(
    ("since", "timeout", "look"),
    [
        ([0.0, 0.0], 30.0, 130.0),  # idle: not before a request could be overdue
        ([90.0, 95.0], 30.0, 120.0),
        ([10.0], 30.0, 100.0),  # it is overdue: soon
        ([90.0], 0.0, 3700.0),
    ],
)
def test_when_to_look_again(since, timeout, look):
    assert crash_backoff.next_look(since, now=100.0, timeout=timeout) == pytest.approx(
        look, abs=0.1
    )


def test_a_sign_of_life():
    assert not crash_backoff.silent(0.0, now=1000.0, timeout=1.0)  # it gives none
    assert not crash_backoff.silent(990.0, now=1000.0, timeout=1.0)
    assert crash_backoff.silent(980.0, now=1000.0, timeout=1.0)
    assert not crash_backoff.silent(980.0, now=1000.0, timeout=0.0)


def test_oversleeping():
    assert crash_backoff.asleep(100.0, 100.5) == 0
    assert crash_backoff.asleep(100.0, 109.0) == 9.0
    assert crash_backoff.asleep(100.0, 90.0) == 0  # woken up early


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("0::/a/b", "a/b/memory.events"),
        ("0::/seen/from/outside", "memory.events"),
        ("7:cpu,memory:/a", "memory/a/memory.oom_control"),
    ],
)
def test_kills_for_want_of_memory_are_seen(tmp_path, line, file):
    proc, counter = tmp_path / "proc", tmp_path / "cgroup" / file
    counter.parent.mkdir(parents=True)
    proc.write_text(f"{line}\n")
    counter.write_text("oom 3\noom_kill 2\n")
    seen = Counter(str(tmp_path / "cgroup"), str(proc))
    assert not seen.grew()
    counter.write_text("oom 4\noom_kill 3\n")
    assert seen.grew()
    assert not seen.grew()
    counter.unlink()
    assert not seen.grew()


def test_gunicorns_flags():
    flags = """
        myapp.wsgi:application -b 0.0.0.0:80 --bind unix:/tmp/s -w 9 --threads 3 --timeout 120
        --graceful-timeout 20 --keep-alive 2 --max-requests 5000 --max-requests-jitter 1000
        --preload --backlog 64 --worker-connections 50 -e A=b=c --access-logfile -
        --error-logfile - --forwarded-allow-ips 10.0.0.1,10.0.0.2
    """
    config = cli.parse(flags.split())
    assert config.target == "myapp.wsgi:application"
    assert config.binds == ("0.0.0.0:80", "unix:/tmp/s")
    assert config.env == (("A", "b=c"),)
    assert (config.access_log, config.error_log) == ("-", "-")
    assert config.settings == Settings(
        workers=9, threads=3, worker_class="auto", timeout=120, graceful_timeout=20, keepalive=2,
        max_requests=5000, max_requests_jitter=1000, preload_app=True, backlog=64,
        worker_connections=50,
    )  # fmt: skip


@pytest.mark.parametrize(
    "flags",
    ["", "a -w 0", "a -w x", "a --timeout -1", "a --timeout nan", "a -e novalue", "a -k magic"],
)
def test_wrong_usage_is_2(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(flags.split())
    assert stop.value.code == 2


@pytest.mark.parametrize(
    ("asked", "threads", "interface", "chosen"),
    [
        ("auto", 1, "wsgi", "sync"),
        ("auto", 4, "wsgi", "gthread"),
        ("auto", 4, "asgi", "asgi"),
        ("sync", 4, "wsgi", "gthread"),
        ("gthread", 1, "wsgi", "gthread"),
    ],
)
def test_the_class_follows_from_interface_and_threads(asked, threads, interface, chosen):
    assert choose_class(Settings(worker_class=asked, threads=threads), interface) == chosen


@pytest.mark.parametrize(("asked", "interface"), [("asgi", "wsgi"), ("sync", "asgi")])
def test_a_class_of_the_other_interface_is_refused(asked, interface):
    with pytest.raises(ValueError, match="application, worker class"):
        choose_class(Settings(worker_class=asked), interface)


def test_the_limit_of_a_boot():
    assert boot_limit(Config("a", Settings(timeout=2.0))) == 60.0
    assert boot_limit(Config("a", Settings(timeout=120.0))) == 120.0
    assert boot_limit(Config("a", Settings(timeout=0.0))) == 0.0
    assert boot_limit(Config("a", Settings(), boot_timeout=5.0)) == 5.0


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("1.2.3.4:80", ("1.2.3.4", 80)),
        ("[::1]:80", ("::1", 80)),
        (":80", ("0.0.0.0", 80)),
        ("80", ("127.0.0.1", 80)),
    ],
)
def test_addresses(bind, address):
    assert split(bind) == address
