"""A worker without a master, in a process of its own: a script that begins with what all need."""

from __future__ import annotations

import subprocess
import sys

HEAD = """
import os, signal, socket, threading, time, types
from pretune.server.process.scoreboard import Scoreboard
from pretune.server.process.channel import pair
from pretune.server.config.config import Config
from pretune.server.workers.context import Context
from pretune.server.process.log import Log
from pretune.server.settings import Settings

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "8")])
    return [b"answered"]

async def asynchronous(scope, receive, send):
    if scope["type"] == "http":
        headers = [(b"content-length", b"8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"answered"})

def context(kind, app):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    settings = Settings(worker_class=kind, threads=1)
    board = Scoreboard(1)
    master, worker = pair()
    made = Context(
        config=Config(target="x", settings=settings), settings=settings,
        loaded=types.SimpleNamespace(app=app), listeners=(listener,), channel=worker,
        scoreboard=board,
        slot=board.allot(), log=Log(), ring=None,
    )
    return made, master

def tell(master):
    master.send({"leave": "retire"})
    os.kill(os.getpid(), signal.SIGTERM)

def ask(client, said):
    time.sleep(0.3)  # enough looks to be closed on
    client.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    client.settimeout(20)
    said.append(client.recv(1000))

said = []
"""


def run(script: str) -> None:
    """It must end well within a minute."""
    subprocess.run([sys.executable, "-c", HEAD + script], check=True, timeout=60)
