"""A WSGI app whose requests and import stand still until a file says otherwise.

The directory FIELD holds the files: ``NAME.in`` is written by whoever has begun to wait for
``NAME`` (its content is the pid), and removed by nobody; ``NAME`` lets it go on.
"""

import gc
import os
import time
from pathlib import Path

HERE = Path(os.environ["FIELD"])
VERSION = "1"
kept = []


def wait_here(name):
    """Until the file is there."""
    mine = HERE / f".{name}.{os.getpid()}"
    mine.write_text(str(os.getpid()))
    mine.rename(HERE / f"{name}.in")
    while not (HERE / name).exists():
        time.sleep(0.01)


def hold_the_gil(name):
    """Until somebody writes to the pipe, in one call into C that keeps the lock."""
    import ctypes

    pipe = os.open(HERE / name, os.O_RDONLY)
    (HERE / f"{name}.in").write_text(str(os.getpid()))
    ctypes.PyDLL(None).read(pipe, ctypes.create_string_buffer(1), 1)


def application(environ, start_response):
    action, _, name = environ["PATH_INFO"].strip("/").partition("/")
    body = str(os.getpid())
    if action == "hold":
        wait_here(name)
    elif action == "gil":
        hold_the_gil(name)
    elif action == "collect":
        gc.collect()
        wait_here(name)
    elif action == "grow":
        kept.append(bytearray(os.urandom(1 << 20)) * 30)
    elif action == "length":
        body = str(len(environ["wsgi.input"].read()))
    elif action == "version":
        body = VERSION
    elif action == "large":
        start_response("200 OK", [("Content-Length", name)])
        return [b"x" * int(name)]
    start_response("200 OK", [("Content-Length", str(len(body))), ("X-Pid", str(os.getpid()))])
    return [body.encode()]


with (HERE / "imports").open("a") as imports:
    imports.write(f"{os.getpid()}\n")
if os.environ.get("SHUT") == VERSION:
    wait_here(f"import-{VERSION}")
if os.environ.get("BALLAST"):
    ballast = [[n] for n in range(int(os.environ["BALLAST"]))]  # lists: the collector visits them
if os.environ.get("DIES"):
    import threading

    threading.Timer(0.3, os._exit, (7,)).start()
