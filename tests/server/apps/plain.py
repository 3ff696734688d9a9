"""A WSGI app with a route for everything a server test wants to see."""

import hashlib
import os
import re
import threading
import time

VERSION = os.environ.get("APP_VERSION", "1")


def application(environ, start_response):
    route = environ["PATH_INFO"].strip("/").partition("/")
    handler = ROUTES.get(route[0], not_found)
    return handler(environ, start_response, route[2])


def reply(start_response, text, status="200 OK", headers=()):
    body = text.encode()
    start_response(status, [("Content-Type", "text/plain"), *headers])
    return [body]


def hello(environ, start_response, argument):
    return reply(start_response, "hello")


def pid(environ, start_response, argument):
    return reply(start_response, f"{os.getpid()} {os.getppid()}")


def version(environ, start_response, argument):
    return reply(start_response, VERSION)


def echo(environ, start_response, argument):
    return reply(start_response, environ["wsgi.input"].read().decode("latin-1"))


def measure(environ, start_response, argument):
    """The length and digest of a body of any size."""
    digest, length = hashlib.sha256(), 0
    while data := environ["wsgi.input"].read(8192):
        digest.update(data)
        length += len(data)
    return reply(start_response, f"{length} {digest.hexdigest()}")


def variable(environ, start_response, argument):
    return reply(start_response, repr(environ.get(argument)))


def mark(environ, start_response, argument):
    """What the request says, and whether another one left something behind."""
    found = "marked" if "mark" in environ else "unmarked"
    said = [environ[k] for k in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "HTTP_HOST")]
    environ["mark"] = environ["HTTP_HOST"] = environ["PATH_INFO"] = argument
    return reply(start_response, " ".join((found, *said)))


def environment(environ, start_response, argument):
    return reply(start_response, os.environ.get(argument, ""))


def sleep(environ, start_response, argument):
    time.sleep(float(argument))
    return reply(start_response, "slept")


def burn(environ, start_response, argument):
    began = time.thread_time()
    while time.thread_time() - began < float(argument):
        pass
    return reply(start_response, "burnt")


def stream(environ, start_response, argument):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (b"part %d\n" % n for n in range(int(argument)))


def large(environ, start_response, argument):
    return reply(start_response, "x" * int(argument))


def broken(environ, start_response, argument):
    raise RuntimeError("the app is broken here")


def half(environ, start_response, argument):
    start_response("200 OK", [("Content-Length", "100")])
    yield b"only this"
    raise RuntimeError("the app broke half-way")


def split(environ, start_response, argument):
    return reply(start_response, "", headers=[("X-Bad", "a\r\nSet-Cookie: b")])


def empty(environ, start_response, argument):
    start_response("204 No Content", [])
    return []


def file(environ, start_response, argument):
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))


def thread(environ, start_response, argument):
    return reply(start_response, threading.current_thread().name)


def catastrophe(environ, start_response, argument):
    """Hold the GIL for very long, in one call into C."""
    re.match(r"(a+)+$", "a" * 40 + "b")
    return reply(start_response, "never")


def leave(environ, start_response, argument):
    os._exit(9)


def not_found(environ, start_response, argument):
    return reply(start_response, "not found", "404 Not Found")


ROUTES = {
    f.__name__: f
    for f in (
        hello, pid, version, echo, measure, variable, mark, environment, sleep, burn, stream, large,
        broken, half, split, empty, file, thread, catastrophe, leave,
    )
}  # fmt: skip
