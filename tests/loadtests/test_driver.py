"""The driver as a process, against a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from pretune.loadtests import records
from pretune.loadtests.session import Driver, DriverFailed, LoadResult
from pretune.loadtests.workload import Endpoint, Load, Workload


def workload(*paths: str, headers: tuple[tuple[str, str], ...] = ()) -> Workload:
    share = 1 / len(paths)
    return Workload(tuple(Endpoint(path, (path,), share) for path in paths), headers=headers)


def drive(
    driver, server, what, tmp_path, users=2, seconds=0.5, **load
) -> tuple[LoadResult, object]:
    file = tmp_path / "load.records"
    run = driver.run(server.address, what, Load(users, seconds, **load), file)
    return run.wait(seconds + 15), records.read(file)


def test_each_request_leaves_one_record_that_agrees_with_the_server(driver, server, tmp_path):
    result, sent = drive(driver, server, workload("/a", "/b"), tmp_path, users=3)
    seen = server.seen()
    assert len(sent) == result.requests == len(seen) > 10
    assert result.errors == 0
    assert set(sent["status"]) == {200}
    assert set(sent["error"]) == {0}
    assert set(sent["user"]) == {0, 1, 2}
    assert set(sent["bytes"]) == {43}
    lines = [(item["line"], item["headers"]["x-pretune-endpoint"]) for item in seen]
    assert set(lines) == {("GET /a HTTP/1.1", "1"), ("GET /b HTTP/1.1", "2")}
    assert np.sum(sent["endpoint"] == 1) == lines.count(("GET /a HTTP/1.1", "1"))
    assert result.time_first == sent["start"].min()
    assert result.time_last == pytest.approx((sent["start"] + sent["wall"]).max())


def test_times_are_of_the_clock_the_server_reads(driver, server, tmp_path):
    _, sent = drive(driver, server, workload("/sleep/0.05"), tmp_path, users=1)
    for mine, theirs in zip(sent, server.seen(), strict=True):
        assert mine["start"] < theirs["time"] < mine["start"] + mine["wall"]
        assert mine["wall"] >= 0.05


def test_one_connection_a_user_is_kept(driver, server, tmp_path):
    result, _ = drive(driver, server, workload("/"), tmp_path, users=4)
    assert result.connections == 4
    assert result.reconnects == 0
    assert len({item["connection"] for item in server.seen()}) == 4


@pytest.mark.parametrize("path", ["/said-close", "/silent-close", "/until-close"])
def test_a_connection_closed_after_an_answer_is_opened_again(driver, server, tmp_path, path):
    result, _ = drive(driver, server, workload(path), tmp_path, users=1)
    assert result.requests > 1
    # one that closes without a word may do so a moment too late to be noticed before sending
    kinds = ("kept connection closed", "kept connection reset")
    lost = sum(result.errors_by_kind.get(kind, 0) for kind in kinds)
    assert result.errors == (lost if path == "/silent-close" else 0)
    assert result.reconnects >= result.requests - result.errors - 2


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/status/404", 404, "status"),
        ("/status/503", 503, "status"),
        ("/status/304", 304, ""),
        ("/status/204", 204, ""),
        ("/status/301", 301, "redirect"),
        ("/cut", 0, "connection closed"),
        ("/garbage", 0, "malformed response"),
        ("/chunked", 200, ""),
        ("/early", 200, ""),
        ("/big", 200, ""),
    ],
)
def test_answers_are_judged_by_status_and_completeness(
    driver, server, tmp_path, path, status, kind
):
    result, sent = drive(driver, server, workload(path), tmp_path, users=1, seconds=0.3)
    assert result.requests == len(sent) > 0
    assert set(sent["status"]) == {status}
    assert {records.ERRORS[number] for number in sent["error"]} == {kind}
    assert result.errors_by_kind == ({kind: result.requests} if kind else {})


def test_a_kept_connection_that_ends_before_the_answer_is_named_so(driver, server, tmp_path):
    result, sent = drive(driver, server, workload("/once"), tmp_path, users=1, seconds=0.5)
    answered, dropped = sent[sent["error"] == 0], sent[sent["error"] != 0]
    assert abs(len(answered) - len(dropped)) <= 1
    assert result.errors_by_kind == {"kept connection closed": len(dropped)}


def test_a_redirect_is_not_followed(driver, server, other_server, tmp_path):
    there = f"/redirect/127.0.0.1:{other_server.address[1]}"
    result, _ = drive(driver, server, workload(there), tmp_path, users=1, seconds=0.2)
    assert result.errors_by_kind == {"redirect": result.requests}
    assert other_server.seen() == []


def test_a_dead_server_is_an_error_and_not_a_busy_loop(driver, server, tmp_path):
    server.close()
    result, sent = drive(driver, server, workload("/"), tmp_path, users=1)
    assert result.errors_by_kind == {"connection refused": result.requests}
    assert 1 <= len(sent) <= 20


def test_headers_of_the_workload_replace_the_defaults(driver, server, tmp_path):
    headers = (("host", "shop.example"), ("X-Forwarded-Proto", "https"), ("Accept", "text/html"))
    drive(driver, server, workload("/", headers=headers), tmp_path, seconds=0.1)
    for item in server.seen():
        assert item["headers"]["host"] == "shop.example"
        assert item["headers"]["x-forwarded-proto"] == "https"
        assert item["headers"]["accept"] == "text/html"


def test_without_a_host_of_its_own_a_workload_says_the_address(driver, server, tmp_path):
    drive(driver, server, workload("/"), tmp_path, seconds=0.1)
    host, port = server.address
    assert {item["headers"]["host"] for item in server.seen()} == {f"{host}:{port}"}


def test_each_user_keeps_its_cookies(driver, server, tmp_path):
    drive(driver, server, workload("/cookie"), tmp_path, users=1, seconds=0.1)
    first, *others = server.seen()
    assert "cookie" not in first["headers"]
    assert {item["headers"]["cookie"] for item in others} == {"session=abc"}


@pytest.mark.parametrize("users", [1, 7])
def test_shares_are_kept_whatever_the_number_of_users(driver, server, tmp_path, users):
    mix = Workload((Endpoint("/a", ("/a",), 0.8), Endpoint("/b/<id>", ("/b/1", "/b/2"), 0.2)))
    _, sent = drive(driver, server, mix, tmp_path, users=users, seconds=0.5)
    lines = [item["line"].split()[1] for item in server.seen()]
    assert abs(np.sum(sent["endpoint"] == 2) - 0.2 * len(sent)) <= 3
    assert abs(lines.count("/b/1") - lines.count("/b/2")) <= 3


def test_every_trial_of_a_seed_is_dealt_the_same_requests(driver, server, tmp_path):
    mix = workload("/a", "/b", "/c")

    def dealt(seed: int, users: int) -> list[str]:
        before = len(server.seen())
        drive(driver, server, mix, tmp_path, users=users, seconds=0.3, seed=seed)
        return [item["line"] for item in server.seen()[before:]][:20]

    alone = dealt(5, 1)
    assert alone == dealt(5, 1) != dealt(6, 1)
    # several users overtake each other, on the way and in the server's log
    several = dealt(5, 4)
    assert sum(several.count(line) != alone.count(line) for line in set(alone)) <= 3
    assert max(abs(several.count(line) - alone.count(line)) for line in set(alone)) <= 4


def test_users_think_between_requests(driver, server, tmp_path):
    _, sent = drive(driver, server, workload("/"), tmp_path, users=1, think_s=0.1)
    assert np.diff(sent["start"]).min() >= 0.09  # a timer counts from the loop's last look


def test_paths_outside_ascii_are_quoted(driver, server, tmp_path):
    drive(driver, server, workload("/käse/?q=a b#top"), tmp_path, seconds=0.1)
    assert {item["line"] for item in server.seen()} == {"GET /k%C3%A4se/?q=a%20b HTTP/1.1"}


def test_head_requests_expect_no_body(driver, server, tmp_path):
    what = Workload((Endpoint("/status/200", ("/status/200",), 1.0, method="HEAD"),))
    result, _ = drive(driver, server, what, tmp_path, seconds=0.1)
    assert result.errors == 0
    assert server.seen()[0]["line"] == "HEAD /status/200 HTTP/1.1"


def test_records_and_progress_can_be_read_during_the_run(driver, server, tmp_path):
    file = tmp_path / "load.records"
    run = driver.run(server.address, workload("/"), Load(1, 30.0), file)
    started = run.wait_started(10)
    deadline = time.monotonic() + 10
    while (not len(records.read(file)) or not run.progress[0]) and time.monotonic() < deadline:
        time.sleep(0.05)
    early = len(records.read(file))
    assert early > 0
    assert run.progress[0] > 0
    run.stop()
    result = run.wait(15)
    assert len(records.read(file, skip=early)) == result.requests - early
    assert result.duration_s < 20
    assert started <= result.time_first


def test_a_request_never_answered_is_counted_as_abandoned(driver, server, tmp_path):
    result, sent = drive(driver, server, workload("/sleep/60"), tmp_path, users=2, seconds=0.2)
    assert (result.requests, result.abandoned, len(sent)) == (0, 2, 0)


def test_a_workload_that_cannot_be_sent_fails_with_the_reason(driver, server, tmp_path):
    with pytest.raises(DriverFailed, match="no endpoints"):
        drive(driver, server, Workload(()), tmp_path)
    with pytest.raises(DriverFailed, match="line break"):
        drive(driver, server, workload("/", headers=(("A", "b\r\nC: d"),)), tmp_path)
    result, _ = drive(driver, server, workload("/"), tmp_path, seconds=0.1)
    assert result.requests > 0  # the driver is still of use


def test_the_pid_is_told_at_once_and_the_process_can_be_pinned():
    spawned = []
    core = min(os.sched_getaffinity(0))
    with Driver.start(cores=frozenset({core}), on_spawn=spawned.append) as driver:
        assert spawned == [driver.pid]
        assert os.getsid(driver.pid) == driver.pid
        if driver.pinned:
            assert psutil.Process(driver.pid).cpu_affinity() == [core]
    assert not psutil.pid_exists(driver.pid)


def test_the_driver_ends_when_the_tool_is_killed(tmp_path):
    tool = (
        "from pretune.loadtests.session import Driver\nimport time\n"
        "print(Driver.start().pid, flush=True)\ntime.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", tool], stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)


def test_a_run_of_a_dead_driver_fails(server, tmp_path):
    with Driver.start() as driver:
        run = driver.run(server.address, workload("/"), Load(1, 30.0), tmp_path / "r")
        run.wait_started(10)
        os.kill(driver.pid, signal.SIGKILL)
        with pytest.raises(DriverFailed, match="ended"):
            run.wait(10)


def test_nothing_but_replies_stands_on_the_drivers_stdout(server, tmp_path):
    file = tmp_path / "locustfile.py"
    file.write_text(
        "from locust import FastHttpUser, task\nprint('loud')\n"
        "class Visitor(FastHttpUser):\n"
        "    @task\n    def home(self):\n        print('louder'); self.client.get('/')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "pretune.loadtests.driver"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    command = {
        "command": "run",
        "address": server.address,
        "workload": {"endpoints": [], "headers": [], "locustfile": str(file)},
        "load": {"users": 1, "duration_s": 0.2, "seed": 1, "think_s": 0.0},
        "records": str(tmp_path / "r"),
    }
    process.stdin.write(json.dumps(command) + "\n")
    process.stdin.flush()
    replies = []
    while not replies or replies[-1]["reply"] not in ("done", "failed"):
        replies.append(json.loads(process.stdout.readline()))
    process.stdin.close()
    process.wait(10)
    process.stdout.close()
    assert [item["reply"] for item in replies] == ["hello", "started", "done"]
