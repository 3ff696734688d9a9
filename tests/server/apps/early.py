"""Says whether asyncio was there before the app."""

import sys

EARLY = "asyncio" in sys.modules


async def asynchronous(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": str(EARLY).encode()})


def synchronous(environ, start_response):
    start_response("200 OK", [])
    return [str(EARLY).encode()]
