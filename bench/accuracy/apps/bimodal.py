"""Nine requests of ten are cheap, one is some fifteen times as dear; which one is drawn."""

import random

from flask import Flask

CHEAP, DEAR, PART = 12_000, 250_000, 0.1
application = Flask(__name__)


@application.get("/")
def either() -> dict[str, int]:
    loops = DEAR if random.random() < PART else CHEAP
    return {"sum": sum(n & 7 for n in range(loops))}
