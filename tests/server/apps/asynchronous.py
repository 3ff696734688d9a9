"""An ASGI app without a framework, with a lifespan."""

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(2)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    name, _, argument = scope["path"].strip("/").partition("/")
    await ROUTES[name](scope, receive, send, argument)


async def lifespan(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    if os.environ.get("APP_STARTUP") == "fails":
        await send({"type": "lifespan.startup.failed", "message": "no database\nthe last line"})
        return
    scope["state"]["greeting"] = "from the lifespan"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    print("the lifespan ended", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def reply(send, text, status=200):
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})


async def hello(scope, receive, send, argument):
    await reply(send, "hello")


async def pid(scope, receive, send, argument):
    await reply(send, f"{os.getpid()} {os.getppid()}")


async def state(scope, receive, send, argument):
    await reply(send, scope["state"]["greeting"])


async def scheme(scope, receive, send, argument):
    await reply(send, scope["scheme"])


async def headers(scope, receive, send, argument):
    await reply(send, "\n".join(sorted(name.decode() for name, _ in scope["headers"])))


async def echo(scope, receive, send, argument):
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await reply(send, f"{len(body)} {body[:100].decode()}")


async def stream(scope, receive, send, argument):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for n in range(int(argument)):
        await send({"type": "http.response.body", "body": b"part %d\n" % n, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def disconnect(scope, receive, send, argument):
    await receive()
    message = await receive()
    print("then came", message["type"], flush=True)


def spin(seconds):
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass


async def burn(scope, receive, send, argument):
    """In slices with other requests in between; in a child task; in two kinds of executor."""
    slice_ = float(argument) / 8
    for _ in range(2):
        spin(slice_)
        await asyncio.sleep(0.001)

    async def child():
        spin(slice_)
        await asyncio.sleep(0.001)
        spin(slice_)

    await asyncio.gather(child(), asyncio.to_thread(spin, 2 * slice_))
    await asyncio.get_running_loop().run_in_executor(pool, spin, 2 * slice_)
    await reply(send, "burnt")


async def stall(scope, receive, send, argument):
    time.sleep(float(argument))
    await reply(send, "stalled")


async def sleep(scope, receive, send, argument):
    await asyncio.sleep(float(argument))
    await reply(send, "slept")


async def broken(scope, receive, send, argument):
    raise RuntimeError("the app is broken here")


ROUTES = {
    f.__name__: f
    for f in (
        hello, pid, state, scheme, headers, echo, stream, disconnect, burn, stall, sleep, broken,
    )
}  # fmt: skip
