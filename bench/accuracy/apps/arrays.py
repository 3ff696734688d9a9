"""numpy: sorts random numbers, for which it lets the GIL go."""

import numpy as np
from flask import Flask

generator = np.random.default_rng(1)
NUMBERS = generator.random(60_000)
application = Flask(__name__)


@application.get("/")
def quantiles() -> dict[str, list[float]]:
    ordered = np.sort(NUMBERS, kind="heapsort")
    return {"deciles": ordered[:: len(ordered) // 10].tolist()}
