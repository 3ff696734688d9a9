"""``/N`` as pid_wsgi; long streams, faults, and a census of the worker."""

import time

import chaos_census
import pid_wsgi

_inside = 0  # calls that have begun and not ended; close() ends a call


class _Body:
    def __init__(self, parts):
        self._parts = iter(parts)

    def __iter__(self):
        return self._parts

    def close(self):
        global _inside
        _inside -= 1


def _stream(parts):
    for n in range(parts):
        yield b"%08d" % n * 8192


def _cut():
    yield from _stream(64)
    raise ValueError("in the middle")


def application(environ, start_response):
    global _inside
    path = environ["PATH_INFO"]
    plain = [("Content-Type", "text/plain")]
    if path == "/raise":
        raise ValueError("at once")
    if path == "/census":
        time.sleep(0.02)  # so that a sibling answers, too
        start_response("200 OK", plain)
        return [chaos_census.take(_inside + 1)]
    if path not in ("/stream", "/cut"):
        if not path.strip("/").isdigit():
            environ["PATH_INFO"] = "/"
        return pid_wsgi.application(environ, start_response)
    start_response("200 OK", plain)
    _inside += 1
    return _Body(_stream(256) if path == "/stream" else _cut())
