"""Burns and waits at known lines, under WSGI; each function's name says what it does."""

import socket
import time

from flask import Flask

application = Flask(__name__)


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@application.get("/mixed/<int:n>")
def mixed(n):
    burn(0.02)
    time.sleep(0.03)
    return "ok"


@application.get("/ask/<int:port>/<int:times>")
def ask(port, times):
    from urllib.request import urlopen

    for _ in range(times):
        urlopen(f"http://127.0.0.1:{port}/").read()
    return socket.gethostname()
