"""Says which process answered; ``/N`` is N bytes. The length of a body is said, too."""

import os


def application(environ, start_response):
    size = int(environ["PATH_INFO"].strip("/") or 13)
    got = len(environ["wsgi.input"].read())
    start_response(
        "200 OK",
        [
            ("Content-Type", "text/plain"),
            ("Content-Length", str(size)),
            ("X-Pid", str(os.getpid())),
            ("X-Got", str(got)),
        ],
    )
    return [b"x" * size]
