"""Sync views under ASGI: each runs in the framework's thread pool and blocks there."""

import time

from fastapi import FastAPI

application = FastAPI()


@application.get("/")
def blocking() -> dict[str, int]:
    time.sleep(0.010)
    return {"sum": sum(n * n % 7 for n in range(15_000))}
