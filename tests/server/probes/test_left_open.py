"""What an import leaves open is listed by name, and an import that opens nothing leaves nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from pretune.server.probes import left_open

BOOTSTRAP = Path(__file__).parents[3] / "server" / "bootstrap.py"
OPENS = """
import asyncio, fcntl, pathlib, socket, sqlite3, threading

here = pathlib.Path(__file__).parent
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
pair = socket.socketpair()
loop = asyncio.new_event_loop()
closed = asyncio.new_event_loop()
closed.close()
database = sqlite3.connect(here / "data.db")
database.execute("create table a (b)")
held, free = threading.Lock(), threading.Lock()
held.acquire()
locked = open(here / "pid", "w")
fcntl.flock(locked, fcntl.LOCK_EX)
done = threading.Event()

def wait():
    done.wait()

threading.Thread(target=wait, name="poller", daemon=True).start()
"""
APP = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b""]
"""


def inspected(directory: Path, source: str) -> list[dict[str, str]]:
    (directory / "shop.py").write_text(source + APP)
    command = [sys.executable, str(BOOTSTRAP), "inspect", "shop:app", "--chdir", str(directory)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    left: list[dict[str, str]] = json.loads(answer.stdout)["left_open"]
    return left


def test_threads_connections_loops_databases_and_locks_are_named(tmp_path: Path) -> None:
    left = [(each["kind"], each["name"]) for each in inspected(tmp_path, OPENS)]
    kinds = ["thread", "connection", "event loop", "database", "lock", "lock"]
    assert [kind for kind, _ in left] == kinds
    names = [name for _, name in left]
    assert names[0].startswith("poller (shop.py:20 in ")
    assert names[1].startswith("127.0.0.1:")
    assert "EventLoop" in names[2]
    assert names[3:] == [str(tmp_path / "data.db"), "shop.held", str(tmp_path / "pid")]


def test_an_import_that_opens_nothing_leaves_nothing(tmp_path: Path) -> None:
    assert (
        inspected(tmp_path, "import asyncio, sqlite3, threading\nlock = threading.Lock()\n") == []
    )


def test_looking_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    file = tmp_path / "plain"
    file.write_text("no database")
    before = left_open.look()
    with file.open():
        left_open.find(before, str(tmp_path))
    assert left_open.look().open == before.open
