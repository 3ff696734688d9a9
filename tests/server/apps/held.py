"""A WSGI app whose requests last until the test says otherwise: it makes a file.

State is shared with the test in the directory STATE: a request that holds on makes ``NAME.begun``
and goes on when there is ``NAME.release``.
"""

import os
import time
from pathlib import Path
from wsgiref.validate import validator

STATE = Path(os.environ.get("STATE", "."))
PART = b"x" * 65536


def hold(name):
    (STATE / f"{name}.begun").touch()
    while not (STATE / f"{name}.release").exists():
        time.sleep(0.005)


def application(environ, start_response):
    _, route, *arguments = environ["PATH_INFO"].split("/")
    return ROUTES[route](environ, start_response, *arguments)


def reply(start_response, body):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]


def hello(environ, start_response):
    return reply(start_response, b"hello")


def pid(environ, start_response):
    return reply(start_response, b"%d" % os.getpid())


def held(environ, start_response, name):
    hold(name)
    return reply(start_response, b"%d" % os.getpid())


def whole(environ, start_response, size):
    return reply(start_response, b"x" * int(size))


def streamed(environ, start_response, size):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (PART for _ in range(int(size) // len(PART)))


def endless(environ, start_response, size):
    """Bytes of it, again and again, until nobody wants them any more."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    while True:
        yield b"x" * int(size)


def paused(environ, start_response, size, name):
    """Some of it, then nothing for a while, then the end."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    for _ in range(int(size) // len(PART)):
        yield PART
    hold(name)
    yield b"end"


def file(environ, start_response, size):
    path = STATE / f"file-{size}"
    if not path.exists():
        path.write_bytes(b"x" * int(size))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](path.open("rb"))


def count(environ, start_response):
    """How long the body is, read in pieces."""
    length = 0
    while data := environ["wsgi.input"].read(8192):
        length += len(data)
    return reply(start_response, b"%d" % length)


def eat(environ, start_response, name):
    """Take all descriptors there are."""
    files = []
    try:
        while True:
            files.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    os.close(files.pop())
    (STATE / f"{name}.begun").touch()
    files.append(os.open(os.devnull, os.O_RDONLY))
    while not (STATE / f"{name}.release").exists():
        time.sleep(0.005)
    for fd in files:
        os.close(fd)
    return reply(start_response, b"eaten")


def scheme(environ, start_response):
    parts = (environ["REMOTE_ADDR"], environ["REMOTE_PORT"], environ["wsgi.url_scheme"])
    return reply(start_response, " ".join(parts).encode())


def hints(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
    return reply(start_response, b"hinted")


class Body:
    """An iterable that notes whether it was closed."""

    def __init__(self, name, parts):
        self.name, self.parts = name, parts

    def __iter__(self):
        return iter(self.parts)

    def close(self):
        with (STATE / "closed").open("a") as file:
            file.write(f"{self.name}\n")


def shape(environ, start_response, name):
    """The ways an app may answer."""
    headers = [("Content-Type", "text/plain")]
    if name == "late":

        def late():
            start_response("200 OK", headers)
            yield b"late"

        return late()
    if name == "replaced":
        start_response("200 OK", headers)
        try:
            raise KeyError("replaced")
        except KeyError:
            import sys

            start_response("500 Oops", headers, sys.exc_info())
        return Body(name, [b"replaced"])
    write = start_response("204 No Content" if name == "none" else "200 OK",
                           [] if name == "none" else headers)  # fmt: skip
    if name == "written":
        write(b"written ")
        return Body(name, [b"and returned"])
    if name == "broken":
        return Body(name, (1 / 0 for _ in range(1)))
    parts = {"empty": [], "none": [], "list": [b"a ", b"list"], "one": [b"one"]}.get(name)
    if name == "generator":
        return (part for part in (b"a ", b"", b"generator"))
    return Body(name, parts if parts is not None else [b"?"])


ROUTES = {
    f.__name__: f
    for f in (
        hello, pid, held, whole, streamed, endless, paused, file, count, eat, scheme, hints, shape,
    )
}  # fmt: skip
validated = validator(application)
