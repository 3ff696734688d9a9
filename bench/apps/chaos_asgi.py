"""``/N`` as pid_asgi; long streams, faults, WebSocket echoes, and a census of the worker."""

import chaos_census
import pid_asgi

_inside = 0  # calls that have begun and not ended
_START = {"type": "http.response.start", "status": 200, "headers": []}


async def application(scope, receive, send):
    global _inside
    if scope["type"] == "lifespan":
        await pid_asgi.application(scope, receive, send)
        return
    _inside += 1
    try:
        await (_echo if scope["type"] == "websocket" else _answer)(scope, receive, send)
    finally:
        _inside -= 1


async def _answer(scope, receive, send):
    path = scope["path"]
    if path == "/raise":
        raise ValueError("at once")
    if path == "/census":
        await send(_START)
        await send({"type": "http.response.body", "body": chaos_census.take(_inside)})
    elif path in ("/stream", "/cut"):
        await send(_START)
        for n in range(256 if path == "/stream" else 64):
            part = b"%08d" % n * 8192
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if path == "/cut":
            raise ValueError("in the middle")
        await send({"type": "http.response.body", "body": b""})
    else:
        if not path.strip("/").isdigit():
            scope = {**scope, "path": "/"}
        await pid_asgi.application(scope, receive, send)


async def _echo(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        size = len(message.get("text") or message.get("bytes") or b"")
        await send({"type": "websocket.send", "text": str(size)})
