"""TERM to a worker that the master has told how to leave: what it was told counts.

The master sends both to a worker of whom it does not know yet that it serves. Who has only just
connected to it has not had the time to ask: to close on them is for a server that stops as a whole.
"""

from __future__ import annotations

import pytest
from support.worker_script import run

# TERM before it has looked at anything, and a client that a thread lets in meanwhile.
THREADS = """
from pretune.server.wsgi.threaded import ThreadedWorker
made, master = context("gthread", app)
worker = ThreadedWorker(made)
def leave():
    client = socket.create_connection(made.listeners[0].getsockname())
    while not worker.acceptor.connections:
        time.sleep(0.001)
    asking.append(threading.Thread(target=ask, args=(client, said)))
    asking[0].start()
worker.handler.leave = leave
asking = []
worker.run(lambda: tell(master))
asking[0].join()
"""

LOOPS = """
made, master = context(KIND, APP)
PATCH
worker = WORKER(made)
def meanwhile():
    client = socket.create_connection(made.listeners[0].getsockname())
    time.sleep(0.2)  # to be let in
    tell(master)
    ask(client, said)
talk = threading.Thread(target=meanwhile)
worker.run(talk.start)
talk.join()
"""


def of_loop(module: str, worker: str, kind: str, app: str, patch: str = "") -> str:
    script = LOOPS.replace("WORKER", worker).replace("KIND", repr(kind)).replace("APP", app)
    return f"from pretune.server.{module} import {worker}" + script.replace("PATCH", patch)


PATCH = "import gevent.monkey; gevent.monkey.patch_all()"  # as the worker's, after the master's
WORKERS = {
    "gthread": THREADS,
    "asgi": of_loop("asgi.worker", "AsgiWorker", "asgi", "asynchronous"),
    "gevent": of_loop("wsgi.greenlets", "GreenletWorker", "gevent", "app", PATCH),
}


@pytest.mark.parametrize("kind", WORKERS)
def test_who_has_only_just_connected_is_answered(kind):
    if kind == "gevent":
        pytest.importorskip("gevent")
    end = "\nassert said and said[0].endswith(b'answered'), said\nos._exit(0)\n"
    run(WORKERS[kind] + end)
