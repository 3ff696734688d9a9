"""What servers in the field get wrong, each as a story that a right server survives.

A scenario is a function of a Field. It returns if the server does right and raises AssertionError,
with what was seen, if not. None of them looks at a clock: an app stands still until a file or a
pipe lets it go on, so that "waits for" and "does not wait for" are facts, not durations.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from field.servers import Field, Server, alive, answer, free_port, is_open, pss, send

from bench.clients import Clients


@dataclass(frozen=True)
class Scenario:
    name: str
    run: Callable[[Field], None]
    issues: str  # where users met it


SCENARIOS: list[Scenario] = []


def scenario(issues: str) -> Callable[[Callable[[Field], None]], Callable[[Field], None]]:
    def add(run: Callable[[Field], None]) -> Callable[[Field], None]:
        SCENARIOS.append(Scenario(run.__name__, run, issues))
        return run

    return add


def a_moment() -> None:
    """For something that must not happen to happen. Too short a moment hides it, never fakes it."""
    time.sleep(0.5)


@contextlib.contextmanager
def connections(server: Server, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server.connect()) for _ in range(count)]


# -- timeouts


@scenario("gunicorn#1493, #2086")
def a_request_of_a_thread_that_takes_too_long_ends(field: Field) -> None:
    """... with its worker, and no other; the log says where it was stuck."""
    server = field.start(workers=2, threads=2, timeout=2)
    with server.connect() as stuck, server.connect() as other:
        send(stuck, "/hold/never")
        worker = server.pid_of("never")
        server.wait_for("the other answers", lambda: int(server.ask("/")) != worker)
        send(other, "/")
        neighbour = int(answer(other))
        try:
            assert stuck.recv(100) == b"", "the stuck request was answered"
        except TimeoutError:
            raise AssertionError(f"still waiting after {server.patience:g} s") from None
        except ConnectionError:
            pass
    server.wait_for("the worker is gone", lambda: not alive(worker))
    assert neighbour == worker or alive(neighbour), "the other worker was killed, too"
    assert "wait_here" in server.log(), "the log does not say where it was stuck"
    assert server.ask("/")


@scenario("a catastrophic regular expression")
def a_request_that_holds_the_gil_hurts_only_its_worker(field: Field) -> None:
    """... and the log says where, although no Python of that process can run."""
    server = field.start(workers=2, threads=4, timeout=2)
    os.mkfifo(server.home / "pipe")
    with server.connect() as stuck:
        send(stuck, "/gil/pipe")
        pipe = os.open(server.home / "pipe", os.O_RDWR)
        try:
            worker = server.pid_of("pipe")
            with server.connect() as healthy:
                send(healthy, "/hold/healthy")
                assert server.pid_of("healthy") != worker
                server.release("healthy")
                assert answer(healthy)
            server.wait_for("the worker is gone", lambda: not alive(worker))
        finally:
            os.close(pipe)
    assert "hold_the_gil" in server.log(), "the log does not say where it was stuck"
    assert server.ask("/")


# -- who holds a thread


@scenario("slowloris")
def silent_and_slow_connections_hold_no_thread(field: Field) -> None:
    _not_held(field, "gthread", 4, workers=1, threads=2)


@scenario("gunicorn docs: sync needs a proxy that buffers")
def a_slow_connection_does_not_hold_a_sync_worker(field: Field) -> None:
    _not_held(field, "sync", 1, workers=1)


def _not_held(field: Field, worker_class: str, count: int, **settings: int) -> None:
    server = field.start(worker_class=worker_class, **settings)
    with connections(server, count) as socks:
        for sock in socks[::2]:
            sock.sendall(b"GET /")
        a_moment()
        assert server.ask("/")
        # Answered only because the server lost patience with them is not what is asked for.
        assert all(map(is_open, socks)), "answered only after those were closed"


@scenario("slowloris")
def a_thousand_silent_connections_do_not_stop_service(field: Field) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = min(4096, hard) if hard != resource.RLIM_INFINITY else 4096
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, enough), hard))
    try:
        server = field.start(workers=1, threads=2)
        with connections(server, 1000):
            for _ in range(20):
                assert server.ask("/")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@scenario("slow POST")
def a_slow_upload_holds_no_thread(field: Field) -> None:
    server = field.start(workers=1, threads=1)
    with server.connect() as slow:
        slow.sendall(b"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n123")
        a_moment()
        assert server.ask("/")
        assert is_open(slow), "answered only after the slow one was closed"
        slow.sendall(b"456")
        assert answer(slow) == "6"


@scenario("slow read")
def a_client_that_does_not_read_holds_no_thread(field: Field) -> None:
    server = field.start(workers=1, threads=1)
    with server.connect() as slow:
        send(slow, "/large/16000000")
        a_moment()
        assert server.ask("/")
        assert len(answer(slow)) == 16000000


# -- who gets a request


@scenario("gunicorn#908, #3433")
def no_connection_waits_at_a_busy_worker_while_another_is_idle(field: Field) -> None:
    server = field.start(workers=2, threads=1)
    for n in range(12):
        with connections(server, 2) as socks:
            names = [f"{n}-{side}" for side in ("left", "right")]
            for sock, name in zip(socks, names, strict=True):
                send(sock, f"/hold/{name}")
            pids = {server.pid_of(name) for name in names}  # both are inside, neither waits
            assert len(pids) == 2
            for sock, name in zip(socks, names, strict=True):
                server.release(name)
                answer(sock)


@scenario("gunicorn#3433")
def a_kept_connection_moves_from_a_full_worker_to_an_idle_one(field: Field) -> None:
    server = field.start(workers=2, threads=1, keepalive=60)
    with connections(server, 3) as socks:
        at: dict[int, list[socket.socket]] = {}
        for sock in socks:
            at.setdefault(int(server.ask("/", sock)), []).append(sock)
        worker, (busy, waiting, *_) = next((k, v) for k, v in at.items() if len(v) > 1)
        send(busy, "/hold/busy")
        assert server.pid_of("busy") == worker
        send(waiting, "/")
        assert int(answer(waiting)) != worker
        server.release("busy")
        answer(busy)


@scenario("a network between client and server")
def a_connection_that_came_before_its_request_does_not_wait_at_a_busy_worker(field: Field) -> None:
    server = field.start(worker_class="sync", workers=3)
    for n in range(6):
        with connections(server, 3) as socks:
            time.sleep(0.1)  # accepted, perhaps all by one worker
            names = [f"{n}-{side}" for side in "abc"]
            for sock, name in zip(socks, names, strict=True):
                send(sock, f"/hold/{name}")
            assert len({server.pid_of(name) for name in names}) == 3
            for sock, name in zip(socks, names, strict=True):
                server.release(name)
                answer(sock)


@scenario("gunicorn#3511")
def asgi_obeys_worker_connections(field: Field) -> None:
    server = field.start("held_asgi", "asgi", workers=1, worker_connections=4)
    with connections(server, 8) as socks:
        for n, sock in enumerate(socks):
            send(sock, f"/hold/{n}")
        begun = lambda: {n for n in range(8) if server.has_begun(str(n))}  # noqa: E731
        server.wait_for("four are inside", lambda: len(begun()) >= 4)
        a_moment()
        assert len(begun()) == 4, f"{len(begun())} requests are inside"
        for n in range(8):
            server.release(str(n))
        for sock in socks:
            answer(sock)


# -- leaving


@scenario("gunicorn#3199")
def recycling_loses_no_request(field: Field) -> None:
    _recycle(field.start("pid_wsgi", workers=2, threads=2, max_requests=20, max_requests_jitter=5))


@scenario("gunicorn#3199")
def recycling_loses_no_request_of_asgi(field: Field) -> None:
    settings = {"max_requests": 20, "max_requests_jitter": 5}
    _recycle(field.start("pid_asgi", "asgi", workers=2, **settings))


def _recycle(server: Server) -> None:
    with Clients(server.address, keeping=3, closing=2) as clients:
        server.wait_for("ten workers", lambda: len(clients.pids) >= 10)
    assert not clients.failures, f"of {clients.answers}: {dict(clients.counts())}"


@scenario("gunicorn#3397")
def term_answers_what_is_queued(field: Field) -> None:
    server = field.start(worker_class="sync", workers=1)
    with connections(server, 6) as socks:
        send(socks[0], "/hold/first")
        server.pid_of("first")
        for sock in socks[1:]:
            send(sock, "/")
        server.signal(signal.SIGTERM)
        a_moment()
        server.release("first")
        lost = []
        for n, sock in enumerate(socks):
            try:
                answer(sock)
            except AssertionError as error:
                lost.append(f"{n}: {error}")
        assert not lost, f"{len(lost)} of 6 were not answered: {lost[0]}"
    server.wait_for("the server ends", lambda: server.ended)


# -- reloading


def change(server: Server, old: str, new: str) -> None:
    file = server.home / "held.py"
    text = file.read_text()
    assert old in text
    other = file.with_suffix(".new")
    other.write_text(text.replace(old, new))
    other.rename(file)


@scenario("gunicorn#2443")
def hup_with_broken_code_keeps_the_old_workers(field: Field) -> None:
    server = field.start(workers=2, threads=2)
    change(server, 'VERSION = "1"', "import no_such_library")
    server.signal(signal.SIGHUP)
    server.wait_for("the log shows the error", lambda: "no_such_library" in server.log())
    a_moment()
    assert not server.ended, "the whole server is gone"
    for _ in range(10):
        assert server.ask("/version") == "1"
    change(server, "import no_such_library", 'VERSION = "2"')
    server.signal(signal.SIGHUP)
    server.wait_for("the mended code serves", lambda: server.ask("/version") == "2")


@scenario("gunicorn: old workers go before new ones are ready")
def hup_with_a_slow_import_does_not_stop_service(field: Field) -> None:
    server = field.start(workers=2, threads=2, env={"SHUT": "2"})
    _reload_slowly(server)
    a_moment()
    for _ in range(10):
        assert server.ask("/version") == "1"
    server.release("import-2")
    server.wait_for("the new code serves", lambda: server.ask("/version") == "2")


@scenario("gunicorn: TERM waits for the reload")
def term_during_a_slow_reload_is_obeyed(field: Field) -> None:
    server = field.start(workers=2, threads=2, env={"SHUT": "2"})
    _reload_slowly(server)
    server.signal(signal.SIGTERM)
    server.wait_for("the server ends", lambda: server.ended)


def _reload_slowly(server: Server) -> None:
    """HUP, with new code whose import waits for the file ``import-2``."""
    change(server, 'VERSION = "1"', 'VERSION = "2"')
    server.signal(signal.SIGHUP)
    server.pid_of("import-2")


# -- boots


@scenario("gunicorn#2504")
def a_crash_loop_backs_off_and_ends_with_a_word(field: Field) -> None:
    server = field.start(workers=1, ready=False, env={"DIES": "1"})
    server.wait_for("it ends or does not", lambda: server.ended or server.imports() > 30)
    assert server.ended, f"{server.imports()} workers were started, and no end"
    assert server.imports() <= 12, f"{server.imports()} workers were started"
    assert "giving up" in server.log(), "it ended without a word"


@scenario("gunicorn: a worker that never boots is not noticed")
def a_boot_that_hangs_is_noticed(field: Field) -> None:
    settings = {"workers": 1, "timeout": 1}
    if field.kind.flags.get("boot_timeout") is not None:
        settings["boot_timeout"] = 1
    server = _start_shut(field, **settings)
    first = server.pid_of("import-1")
    server.wait_for("somebody ends it", lambda: not alive(first))


@scenario("imports that take longer than a request may")
def a_slow_import_is_not_a_slow_request(field: Field) -> None:
    """The request timeout is not for imports: that they pass 1 s here is no failure."""
    server = _start_shut(field, workers=1, timeout=1)
    first = server.pid_of("import-1")
    time.sleep(2.5)
    server.release("import-1")
    server.wait_for("it answers", lambda: _answer_or_none(server))
    assert alive(first), "who imported it was killed"
    assert server.imports() == 1, f"it was imported {server.imports()} times"


@scenario("gunicorn: Listening is said before the import fails")
def ready_is_said_when_it_is_true(field: Field) -> None:
    server = _start_shut(field, workers=1)
    server.pid_of("import-1")
    a_moment()
    assert "ready" not in server.log(), "ready is said before the import"
    server.release("import-1")
    server.wait_for("ready is said", lambda: "ready" in server.log())
    assert server.ask("/")


def _start_shut(field: Field, **settings: int) -> Server:
    """A server whose app's import waits for the file ``import-1``."""
    return field.start(ready=False, env={"SHUT": "1"}, **settings)


def _answer_or_none(server: Server) -> str | None:
    try:
        return server.ask("/")
    except (OSError, AssertionError):
        return None


# -- memory and measures


@scenario("gunicorn#124, #3581")
def a_worker_that_grows_is_replaced(field: Field) -> None:
    server = field.start(workers=1, threads=2, max_worker_memory="200M")
    first = server.ask("/")
    for _ in range(8):
        server.ask("/grow")
    server.wait_for("another worker answers", lambda: server.ask("/") != first)
    server.wait_for("the old one is gone", lambda: not alive(int(first)))


@scenario("copy-on-write; gc.freeze")
def collecting_garbage_copies_no_preloaded_page(field: Field) -> None:
    server = field.start(
        worker_class="sync", workers=3, preload=True, timeout=120, env={"BALLAST": "400000"}
    )
    sizes = []
    for action in ("hold", "collect"):
        names = [f"{action}-{side}" for side in "abc"]
        with connections(server, 3) as socks:
            for sock, name in zip(socks, names, strict=True):
                send(sock, f"/{action}/{name}")
            assert len({server.pid_of(name) for name in names}) == 3  # all three workers
            sizes.append(pss(server.process.pid))
            for sock, name in zip(socks, names, strict=True):
                server.release(name)
                answer(sock)
    before, after = sizes
    grown = f"PSS of all grew from {before >> 20} to {after >> 20} MiB"
    assert after < 1.2 * before + (10 << 20), grown


@scenario("gunicorn#2057, #2555, #3049")
def the_accept_queue_is_visible(field: Field) -> None:
    port = free_port()
    server = field.start(worker_class="sync", workers=1, metrics=port)
    metrics = Server(server.process, port, server.home, server.patience)
    with connections(server, 6) as socks:
        send(socks[0], "/hold/first")
        server.pid_of("first")

        def queued() -> bool:
            text = metrics.ask("/metrics")
            return any(
                float(line.split()[-1]) >= 5
                for line in text.splitlines()
                if not line.startswith("#") and ("queue" in line or "backlog" in line)
            )

        server.wait_for("five are seen to wait", queued)
        server.release("first")
        answer(socks[0])
