"""Coroutines that mostly wait."""

import asyncio

from fastapi import FastAPI

application = FastAPI()


@application.get("/slow")
async def slow() -> dict[str, int]:
    await asyncio.sleep(0.025)
    return {"sum": sum(n * n % 7 for n in range(10_000))}


@application.get("/quick")
async def quick() -> dict[str, int]:
    await asyncio.sleep(0.002)
    return {"sum": sum(n * n % 7 for n in range(20_000))}
