"""All threads of a process wait for one lock, under which a slow device is asked."""

import threading
import time

from flask import Flask

application = Flask(__name__)
device = threading.Lock()


@application.get("/")
def ask() -> dict[str, int]:
    total = sum(n * n % 7 for n in range(10_000))
    with device:
        time.sleep(0.004)
    return {"total": total}
