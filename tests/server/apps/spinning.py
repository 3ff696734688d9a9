"""Apps that keep their thread, and so a hub or a loop, busy; the path ends with the seconds.

The limits of their server are set in the environment (LIMIT_<NAME>).
"""

import time

import limited  # noqa: F401


def application(environ, start_response):
    spin(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return [b"spun"]


async def asynchronous(scope, receive, send):
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    spin(scope["path"])
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"spun"})


def spin(path):
    end = time.monotonic() + float(path.rpartition("/")[2])
    while time.monotonic() < end:
        pass
