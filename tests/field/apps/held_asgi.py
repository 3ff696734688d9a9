"""The same as held.py for ASGI: requests wait for a file without stopping the loop."""

import asyncio
import os
from pathlib import Path

HERE = Path(os.environ["FIELD"])


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    action, _, name = scope["path"].strip("/").partition("/")
    if action == "hold":
        (HERE / f"{name}.in").write_text(str(os.getpid()))
        while not (HERE / name).exists():
            await asyncio.sleep(0.01)
    body = str(os.getpid()).encode()
    headers = [(b"content-length", b"%d" % len(body)), (b"x-pid", body)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
