"""Burns, waits and blocks at known lines, under ASGI."""

import asyncio
import time

from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route


async def child():
    await asyncio.sleep(0.03)


async def gathered(request):
    await asyncio.gather(child(), child())
    return PlainTextResponse("ok")


async def blocked(request):
    time.sleep(0.1)
    return PlainTextResponse("ok")


def plain(request):
    time.sleep(0.03)
    return PlainTextResponse("ok")


class Through(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        return await call_next(request)


app = Starlette(
    routes=[
        Mount("/api", routes=[Route("/gathered/{n:int}", gathered)]),
        Route("/blocked", blocked),
        Route("/plain", plain),
    ]
)
app.add_middleware(Through)
