"""Keeps 2 KiB of every request for good."""

import os

from flask import Flask

application = Flask(__name__)
kept: list[bytes] = []


@application.get("/")
def leak() -> dict[str, int]:
    kept.append(os.urandom(2048))
    return {"kept": len(kept), "sum": sum(n * n % 7 for n in range(30_000))}
