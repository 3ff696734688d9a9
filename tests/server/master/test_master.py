"""Workers come, are watched, replaced and let go."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pretune.server.adapters.launch import BootFailed
from pretune.server.adapters.process import BOOTSTRAP, session_pids
from pretune.server.master import crash_backoff

PRELOADS = pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])

BROKEN = "import os\nimport no_such_library\n"


class Clients:
    """Keep-alive and closing clients that count what went wrong."""

    def __init__(self, served, count: int = 4) -> None:
        self.served = served
        self.failures: list[str] = []
        self.answers = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection(*self.served.address, timeout=20)
        while not self._stop.is_set():
            try:
                connection.request("GET", "/hello")
                response = connection.getresponse()
                assert response.read() == b"hello"
                self.answers += 1
            except Exception as error:
                self.failures.append(repr(error))
            if number % 2:
                connection.close()  # the next request opens it again
        connection.close()


def test_events_tell_the_story(serve):
    served = serve(workers=2)
    served.wait_for(lambda: served.events("ready"))
    served.running.stop(10)
    names = [event.name for event in served.running.events()]
    assert names == [
        "listening", "worker_ready", "worker_ready", "ready",
        "worker_exit", "worker_exit", "stopped",
    ]  # fmt: skip
    exits = served.events("worker_exit")
    assert {e["reason"] for e in exits} == {"stop"}
    assert all(e["shutdown_s"] < 5 for e in exits)
    assert all(e["boot_s"] > 0 for e in served.events("worker_ready"))
    times = [event.time for event in served.running.events()]
    assert times == sorted(times)


def test_term_finishes_what_was_begun(serve):
    served = serve(threads=2)
    socks = [served.connect() for _ in range(4)]  # two are served, two wait in the queue
    for sock in socks:
        sock.sendall(b"GET /sleep/0.4 HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(0.2)
    served.signal(signal.SIGTERM)
    for sock in socks:
        assert sock.recv(1000).endswith(b"slept")
        sock.close()
    served.wait_for(lambda: served.events("stopped") or "stopped" in served.log())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_do_not_wait(serve, number):
    served = serve()
    with served.connect() as sock:
        sock.sendall(b"GET /sleep/60 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        served.signal(number)
        assert sock.recv(100) == b""
    served.wait_for(lambda: "stopped" in served.log())


def test_stop_kills_what_does_not_end(serve):
    served = serve(graceful_timeout=0.3)
    with served.connect() as sock:
        sock.sendall(b"GET /sleep/60 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        assert served.running.stop(10) < 8
    assert session_pids(served.running.master_pid) == []


@PRELOADS
def test_a_dead_master_takes_all_with_it(serve, preload):
    served = serve(workers=2, preload_app=preload)
    with served.connect() as busy:
        busy.sendall(b"GET /sleep/60 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.1)
        served.signal(signal.SIGKILL)
        served.wait_for(lambda: session_pids(served.running.master_pid) == [])


def test_a_crashed_worker_is_replaced(serve):
    served = serve(workers=2)
    victim = served.running.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    served.wait_for(lambda: len(served.events("worker_ready")) == 3)
    assert served.events("worker_exit")[0] == {
        "pid": victim, "status": 9, "reason": "crash", "shutdown_s": None,
    }  # fmt: skip
    assert len(served.running.worker_pids()) == 2


def test_a_crash_loop_ends_with_a_word(serve, tmp_path):
    (tmp_path / "dies.py").write_text(
        "import os, threading, time\n"
        "def die():\n"
        "    while threading.active_count() < 3: time.sleep(0.01)\n"  # until it serves
        "    time.sleep(0.2)\n"
        "    os._exit(7)\n"
        "threading.Thread(target=die).start()\n"
        "def application(environ, start_response): ...\n"
    )
    served = serve("dies", chdir=tmp_path, ready=False)
    served.wait_for(lambda: "giving up" in served.log(), timeout=60)
    served.wait_for(lambda: "stopped" in served.log())
    assert len(served.events("worker_ready")) == crash_backoff.LOOP


def test_a_worker_that_crashes_again_and_again_is_said_while_others_serve(start, tmp_path):
    """The first worker takes the place, every other one dies soon after it is ready."""
    (tmp_path / "app.py").write_text(
        "import os, threading, time\n"
        "try:\n"
        "    os.mkdir('taken')\n"
        "except FileExistsError:\n"
        "    def die():\n"
        "        while threading.active_count() < 3: time.sleep(0.01)\n"
        "        time.sleep(0.1)\n"
        "        os.kill(os.getpid(), 11)\n"
        "    threading.Thread(target=die).start()\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'well']\n"
    )
    one = start("-w", "2", ready=False)
    one.wait_log(f"{crash_backoff.LOOP} workers in a row ended at once", 1)
    line = next(line for line in one.log().splitlines() if f"{crash_backoff.LOOP} workers" in line)
    assert "killed by signal 11 (SIGSEGV): native code of a library crashed" in line
    assert "the next is started in 4 s, 1 other goes on" in line
    assert one.text() == "well"


CRASHES = """
import ctypes
def application(environ, start_response):
    if environ["PATH_INFO"] == "/crash":
        ctypes.string_at(0)  # at once: after a signal other threads may still accept
    start_response("200 OK", [])
    return [b"well"]
"""


def answer_surely(one) -> None:
    """One of at most two workers answers twice: at the second it has noted the first."""
    for _ in range(3):
        assert one.text() == "well"


@PRELOADS
@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_requests_that_crash_workers_never_end_a_server_that_has_answered(
    start, tmp_path, kind, preload
):
    (tmp_path / "app.py").write_text(CRASHES)
    flags = ("--preload",) if preload else ()
    one = start("-w", "2", "-k", kind, *flags)
    answer_surely(one)
    while one.log().count("ended (crash") < crash_backoff.LOOP + 3:
        with contextlib.suppress(OSError, http.client.HTTPException):
            one.text("/crash")
    one.wait_log(f"{crash_backoff.LOOP + 3} workers in a row ended at once", 1)
    assert one.text() == "well"
    assert one.process.poll() is None


def test_who_kills_workers_does_not_end_an_asgi_server(start, tmp_path):
    (tmp_path / "app.py").write_text(
        "async def application(scope, receive, send):\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': b'well'})\n"
    )
    one = start("-w", "1", "-k", "asgi")
    answer_surely(one)
    for count in range(1, crash_backoff.LOOP + 3):
        os.kill(one.workers()[-1], 9)
        one.wait_log("is ready after", count + 1)
    assert one.text() == "well"


def test_a_zygote_that_is_killed_again_and_again_comes_back(start, tmp_path):
    (tmp_path / "app.py").write_text(
        "import os, time\n"
        "if os.path.exists('slow'): time.sleep(600)\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [str(os.getppid()).encode()]\n"
    )
    one = start("-w", "1", "--preload")
    zygote = int(one.text())
    (tmp_path / "slow").touch()
    for _ in range(3):  # the later ones before they have loaded the app
        os.kill(zygote, 9)
        one.wait_log(f"zygote {zygote} ended", 1)
        one.wait_for(lambda: zygotes(one.process.pid))
        (zygote,) = zygotes(one.process.pid)
    (tmp_path / "slow").unlink()
    os.kill(zygote, 9)
    one.wait_for(lambda: zygotes(one.process.pid) and int(one.text()) in zygotes(one.process.pid))


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def zygotes(master: int) -> set[int]:
    found = set()
    for pid in children(master):
        with contextlib.suppress(OSError):
            if b"zygote" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(int(pid))
    return found


def test_a_master_without_descriptors_says_what_helps_and_goes_on(start):
    one = start("-w", "2", "--metrics-bind", "127.0.0.1:0")
    master, limit = one.process.pid, resource.prlimit(one.process.pid, resource.RLIMIT_NOFILE)
    (exporter,) = set(map(int, children(master))) - set(one.workers())
    taken = len(os.listdir(f"/proc/{master}/fd"))
    resource.prlimit(master, resource.RLIMIT_NOFILE, (taken - 4, limit[1]))
    os.kill(one.workers()[0], 9)
    os.kill(exporter, 9)
    for what in ("process", "exporter of metrics"):
        one.wait_log(f"no {what} can be forked", 2)
        line = next(line for line in one.log().splitlines() if f"no {what} can be forked" in line)
        assert (
            "Too many open files; the master may open no more files: raise its limit (`ul" in line
        )
    assert one.text().startswith("1 ")
    resource.prlimit(master, resource.RLIMIT_NOFILE, limit)
    one.wait_log("is ready after", 3)
    one.wait_for(lambda: len(children(master)) == 3)


def test_no_worker_holds_the_pid_file(start, tmp_path):
    one = start("-w", "1")
    (worker,) = one.workers()
    names = [os.readlink(link) for link in Path(f"/proc/{worker}/fd").iterdir()]
    assert str(tmp_path / "pid") not in names


def test_a_boot_that_ends_without_a_word_is_tried_again(start, tmp_path):
    """Somebody kills a worker while it boots: no reason to give the code up."""
    (tmp_path / "app.py").write_text(
        "import os\n"
        "try:\n"
        "    os.mkdir('killed')\n"
        "except FileExistsError:\n"
        "    def application(environ, start_response):\n"
        "        start_response('200 OK', [])\n"
        "        return [b'well']\n"
        "else:\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    one = start("-w", "1")
    assert one.text() == "well"
    assert "ended before it was ready (killed by signal 9" in one.log()


def test_a_boot_that_always_ends_without_a_word_is_given_up(start, tmp_path):
    (tmp_path / "app.py").write_text("import os\nos._exit(5)\n")
    one = start("-w", "1", ready=False)
    assert one.process.wait(30) == 3
    assert one.log().count("trying again") == crash_backoff.TRIES - 1
    assert "does not boot: a worker ended before it was ready (exit code 5" in one.log()


@PRELOADS
def test_an_app_that_does_not_boot_is_the_users_traceback(serve, tmp_path, preload):
    (tmp_path / "broken_app.py").write_text(BROKEN)
    served = serve("broken_app", chdir=tmp_path, ready=False, preload_app=preload, workers=2)
    with pytest.raises(BootFailed, match="no_such_library") as failure:
        served.running.wait_ready(120)
    text = failure.value.traceback
    assert text.startswith("Traceback (most recent call last)")
    assert 'broken_app.py", line 2' in text
    assert "importing.py" not in text
    assert "importlib" not in text
    served.running._process.wait(10)
    assert served.running._process.returncode == 3


@PRELOADS
def test_a_boot_that_hangs_is_noticed(tmp_path, preload):
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(600)\n")
    command = [sys.executable, str(BOOTSTRAP), "serve", "hangs"]
    command += ["-b", "127.0.0.1:0", "--boot-timeout", "0.5", *(["--preload"] if preload else [])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 3
    assert "after 0.5 s" in done.stderr
    assert 'hangs.py", line 2 in <module>' in done.stderr


def test_a_worker_that_is_ready_before_its_zygote_speaks_of_it_has_its_pid(serve, tmp_path):
    slow = "import os, time\nos.register_at_fork(after_in_parent=lambda: time.sleep(0.5))\n"
    (tmp_path / "slow_zygote.py").write_text(slow + (_apps() / "plain.py").read_text())
    served = serve("slow_zygote", chdir=tmp_path, workers=2, preload_app=True)
    ready = {event["pid"] for event in served.events("worker_ready")}
    assert ready == set(served.running.worker_pids())
    assert 0 not in ready
    served.running.stop(10)
    assert {event["pid"] for event in served.events("worker_exit")} == ready


@PRELOADS
def test_hup_brings_new_code_without_losing_a_request(serve, tmp_path, preload):
    (tmp_path / "changing.py").write_text((_apps() / "plain.py").read_text())
    served = serve("changing", chdir=tmp_path, workers=2, threads=2, preload_app=preload)
    before = set(served.running.worker_pids())
    with Clients(served) as clients:
        source = (tmp_path / "changing.py").read_text()
        source = source.replace('APP_VERSION", "1"', 'APP_VERSION", "2"')
        (tmp_path / "changing.py").write_text(source)
        served.signal(signal.SIGHUP)
        served.wait_for(lambda: len(served.events("worker_exit")) == 2)
        time.sleep(0.2)
    assert clients.failures == []
    assert clients.answers > 0
    assert not before & set(served.running.worker_pids())
    assert served.text("/version") == "2"
    source = source.replace('APP_VERSION", "2"', 'APP_VERSION", "1"')
    (tmp_path / "changing.py").write_text(source)


@PRELOADS
def test_hup_with_broken_code_keeps_the_old_workers(serve, tmp_path, preload):
    good = (_apps() / "plain.py").read_text()
    (tmp_path / "changing.py").write_text(good)
    served = serve("changing", chdir=tmp_path, workers=2, preload_app=preload)
    before = served.running.worker_pids()
    (tmp_path / "changing.py").write_text(BROKEN)
    with Clients(served) as clients:
        served.signal(signal.SIGHUP)
        served.wait_for(lambda: "the old workers continue to serve" in served.log())
        time.sleep(0.2)
    assert clients.failures == []
    assert served.running.worker_pids() == before
    (tmp_path / "changing.py").write_text(good)
    served.signal(signal.SIGHUP)
    served.wait_for(lambda: not set(before) & set(served.running.worker_pids()))
    assert served.text("/hello") == "hello"


def test_ttin_and_ttou_change_the_number_of_workers(serve):
    served = serve(workers=1)
    served.signal(signal.SIGTTIN)
    served.wait_for(lambda: len(served.running.worker_pids()) == 2)
    served.signal(signal.SIGTTOU)
    served.wait_for(lambda: len(served.running.worker_pids()) == 1)
    assert served.text("/hello") == "hello"


@PRELOADS
def test_recycling_loses_no_request_and_never_leaves_too_few(serve, preload):
    served = serve(workers=2, threads=2, max_requests=50, preload_app=preload)
    with Clients(served) as clients:
        served.wait_for(lambda: len(served.events("worker_exit")) >= 6)
    assert clients.failures == []
    assert {e["reason"] for e in served.events("worker_exit")} == {"max_requests"}
    ready = 0
    for event in served.running.events():
        ready += {"worker_ready": 1, "worker_exit": -1}.get(event.name, 0)
        if event.name == "worker_exit":
            assert ready >= 2


def test_preloaded_workers_come_from_the_zygote(serve):
    served = serve(workers=2, preload_app=True)
    pid, parent = served.text("/pid").split()
    assert int(pid) in served.running.worker_pids()
    assert int(parent) not in (served.running.master_pid, 1)
    plain = serve(workers=2)
    assert int(plain.text("/pid").split()[1]) == plain.running.master_pid


def test_a_dead_zygote_is_replaced_while_its_workers_serve(serve):
    served = serve(workers=2, preload_app=True)
    before = set(served.running.worker_pids())
    with Clients(served) as clients:
        os.kill(int(served.text("/pid").split()[1]), signal.SIGKILL)
        served.wait_for(lambda: not before & set(served.running.worker_pids()))
        served.wait_for(lambda: len(served.running.worker_pids()) == 2)
    assert clients.failures == []
    assert served.running.stop(10) < 10


def test_a_worker_that_ends_together_with_its_zygote_is_missed(serve):
    """The master hears the end of the channel before it hears of either's death."""
    served = serve(workers=2, preload_app=True)
    victim, zygote = map(int, served.text("/pid").split())
    served.signal(signal.SIGSTOP)
    os.kill(zygote, signal.SIGKILL)
    os.kill(victim, signal.SIGKILL)
    served.signal(signal.SIGCONT)
    served.wait_for(lambda: victim in [e["pid"] for e in served.events("worker_exit")])
    served.wait_for(lambda: len(served.running.worker_pids()) == 2)
    assert served.running.stop(30) < 25


def test_a_stuck_request_costs_its_worker_only(serve):
    served = serve(workers=2, threads=2, timeout=1.0)
    with served.connect() as stuck:
        stuck.sendall(b"GET /sleep/60 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stuck.recv(100) == b""
    served.wait_for(lambda: served.events("worker_exit"))
    assert [e["reason"] for e in served.events("worker_exit")] == ["timeout"]
    assert "takes longer than 1 s" in served.log()
    assert 'plain.py", line' in served.log()
    assert " in sleep" in served.log()
    served.wait_for(lambda: len(served.running.worker_pids()) == 2)
    assert served.text("/hello") == "hello"


def test_a_stuck_request_lets_its_neighbour_finish(serve):
    served = serve(workers=1, threads=2, timeout=1.5)
    with served.connect() as stuck, served.connect() as healthy:
        stuck.sendall(b"GET /sleep/60 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(1.0)
        healthy.sendall(b"GET /sleep/1.2 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert healthy.recv(1000).endswith(b"slept")
        assert stuck.recv(100) == b""


def test_a_request_that_holds_the_gil_is_killed_too(serve):
    served = serve(workers=1, threads=2, timeout=1.0)
    with served.connect() as stuck:
        stuck.sendall(b"GET /catastrophe HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stuck.recv(100) == b""
    assert " in catastrophe" in served.log()


@pytest.mark.parametrize("target", ["plain", "asynchronous"])
def test_a_stopped_worker_is_replaced(serve, target):
    """SIGSTOP in the middle of a request, or of anything under asgi."""
    kind = "asgi" if target == "asynchronous" else "gthread"
    served = serve(target, workers=1, threads=1, timeout=1.0, worker_class=kind)
    (victim,) = served.running.worker_pids()
    with served.connect() as sock:
        sock.sendall(b"GET /sleep/60 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        os.kill(victim, signal.SIGSTOP)
        served.wait_for(lambda: served.events("worker_exit"))
    assert served.events("worker_exit")[0]["reason"] == "timeout"
    assert served.events("worker_exit")[0]["pid"] == victim
    served.wait_for(lambda: len(served.running.worker_pids()) == 1)
    assert served.text("/hello") == "hello"


def test_a_master_that_was_stopped_itself_kills_nobody(serve):
    """A machine that slept, a frozen container: the clocks ran on, the requests did not."""
    served = serve(workers=1, threads=1, timeout=4.0)
    pids = [*served.running.worker_pids(), served.running.master_pid]
    with served.connect() as sock:
        sock.sendall(b"GET /sleep/5 HTTP/1.1\r\nHost: x\r\n\r\n")
        began = time.monotonic()
        time.sleep(0.5)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        slow = time.monotonic() > began + 2
        time.sleep(7.0)  # the sleeping app's time runs on, too: it is done when it wakes up
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        if slow:
            pytest.skip("the machine itself stood still")
        assert sock.recv(1000).endswith(b"slept")
    assert served.events("worker_exit") == []


def test_a_process_of_the_app_that_outlives_its_worker_holds_up_nobody(serve, tmp_path):
    """It has inherited the worker's end of the channel, which never closes then."""
    (tmp_path / "forks.py").write_text(
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    time.sleep(3)\n"
        "    os._exit(0)\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'well']\n"
    )
    served = serve("forks", chdir=tmp_path, workers=1)
    os.kill(served.running.worker_pids()[0], signal.SIGKILL)
    served.wait_for(lambda: len(served.events("worker_ready")) == 2)
    assert served.text("/") == "well"
    assert served.running.stop(20) < 18


def test_a_slow_client_is_not_a_stuck_request(serve):
    served = serve(timeout=2.0)
    with served.connect() as sock:
        sock.sendall(b"GET /large/16000000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        time.sleep(3.0)
        received = 0
        while data := sock.recv(1 << 20):
            received += len(data)
    assert received > 16000000
    assert served.events("worker_exit") == []


def _apps() -> Path:
    return Path(__file__).parents[1] / "apps"
