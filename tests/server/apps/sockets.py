"""WebSockets without a framework: a route by its name, and what was seen in the log."""

import asyncio
import contextlib

from inside import held

released = asyncio.Event()


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan here")
    name, _, argument = scope["path"].strip("/").partition("/")
    if scope["type"] == "http":
        if name == "release":
            released.set()
        text = held() if name == "inside" else "plain"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})
        return
    assert (await receive())["type"] == "websocket.connect"
    await ROUTES[name](scope, receive, send, argument)


async def accept(send, **more):
    await send({"type": "websocket.accept", **more})


async def echo(scope, receive, send, argument):
    """Until the end, whose message goes to the log."""
    protocol = scope["subprotocols"][-1] if scope["subprotocols"] else None
    await accept(send, subprotocol=protocol, headers=[(b"x-scheme", scope["scheme"].encode())])
    while (message := await receive())["type"] == "websocket.receive":
        with contextlib.suppress(OSError):  # the end is told by the next message
            await send({**message, "type": "websocket.send"})
    print(f"ended: {message['code']} {message['reason']!r}", flush=True)


async def reject(scope, receive, send, argument):
    await send({"type": "websocket.close"})


async def deny(scope, receive, send, argument):
    headers = [(b"x-why", b"because")]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"not ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"you"})


async def silent(scope, receive, send, argument):
    """Returns without a word; at once, or when it is told of the end."""
    if argument:
        await receive()


async def broken(scope, receive, send, argument):
    if argument:
        await accept(send)
    raise RuntimeError("the app is broken here")


async def close(scope, receive, send, argument):
    await accept(send)
    await send({"type": "websocket.close", "code": int(argument), "reason": "said the app"})
    print(f"then came {(await receive())['type']}", flush=True)
    try:
        await send({"type": "websocket.send", "text": "too late"})
    except OSError as error:
        print(f"too late: {type(error).__name__}", flush=True)


async def flood(scope, receive, send, argument):
    """As fast as the client takes it; how much that was goes to the log."""
    await accept(send)
    sent = 0
    try:
        while True:
            await send({"type": "websocket.send", "bytes": bytes(100_000)})
            sent += 1
            print(f"sent {sent}", flush=True)
    except OSError:
        print("the flood ended", flush=True)


async def count(scope, receive, send, argument):
    """Takes nothing until it is told to: then counts."""
    await accept(send)
    await released.wait()
    size = 0
    while (message := await receive())["type"] == "websocket.receive":
        size += len(message["bytes"])
        await send({"type": "websocket.send", "text": str(size)})


async def late(scope, receive, send, argument):
    await asyncio.sleep(float(argument))
    await accept(send)
    message = await receive()
    if message["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
        await receive()


ROUTES = {f.__name__: f for f in (echo, reject, deny, silent, broken, close, flood, count, late)}
