"""Asks a slow service on every request and computes a little with the answer."""

import json
import os
import urllib.request

from flask import Flask

application = Flask(__name__)


@application.get("/")
def forward() -> dict[str, int]:
    with urllib.request.urlopen(os.environ["ACCURACY_UPSTREAM"] + "/stock", timeout=30) as answer:
        found = json.load(answer)
    return {"days": found["days"], "checked": sum(n * n % 7 for n in range(8_000))}
