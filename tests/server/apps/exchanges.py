"""What an ASGI app can do with one HTTP request, and what it hears, in the log.

The server's patience can be set in environment variables (PATIENCE_<module>.<NAME>), so that tests
need not wait for it.
"""

import asyncio
import importlib
import json
import os

from inside import held as held_inside

for variable, value in os.environ.items():
    if variable.startswith("PATIENCE_"):
        module, _, name = variable.removeprefix("PATIENCE_").rpartition(".")
        module = importlib.import_module(f"pretune.server.{module}")
        assert hasattr(module, name)
        setattr(module, name, float(value))

held = []
released = asyncio.Event()


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    name, _, argument = scope["path"].strip("/").partition("/")
    await ROUTES[name](scope, receive, send, argument)


async def lifespan(receive, send):
    how = os.environ.get("APP_LIFESPAN", "")
    if how == "unknown":
        raise KeyError("path")
    await receive()
    if how == "raises":
        raise ValueError("half-way through the startup")
    if how == "exits":
        raise SystemExit(7)
    if how == "returns":
        return
    await send({"type": "lifespan.startup.complete"})
    if how == "dies":
        raise ValueError("while it serves")
    await receive()
    if how == "shutdown fails":
        await send({"type": "lifespan.shutdown.failed", "message": "could not say goodbye"})
        return
    await send({"type": "lifespan.shutdown.complete"})


async def reply(send, text, headers=()):
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


async def hello(scope, receive, send, argument):
    """``much/N``: so many bytes of it."""
    await reply(send, "x" * int(argument.partition("/")[2]) if argument else "hello")


async def pid(scope, receive, send, argument):
    await reply(send, str(os.getpid()))


async def scope(scope, receive, send, argument):
    scope["state"]["mine"] = scope["state"].get("mine", 0) + 1
    await reply(send, json.dumps(scope, default=lambda value: value.decode("latin-1")))


async def release(scope, receive, send, argument):
    """Let go on what waits to be released."""
    released.set()
    await reply(send, "released")


async def wait(argument):
    if argument == "released":
        await released.wait()
    else:
        await asyncio.sleep(float(argument))


async def sleep(scope, receive, send, argument):
    await asyncio.sleep(float(argument))
    await reply(send, "slept")


async def stream(scope, receive, send, argument):
    """Parts with pauses between."""
    number, pause = argument.split("/")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for n in range(int(number)):
        await send({"type": "http.response.body", "body": b"part %d\n" % n, "more_body": True})
        await asyncio.sleep(float(pause))
    await send({"type": "http.response.body"})


async def endless(scope, receive, send, argument):
    """As fast as the client takes it, until it is told that there is no client."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    sent = 0
    try:
        while True:
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
            sent += 1
            print(f"sent {sent}", flush=True)
    except OSError:
        print("the stream ended", flush=True)


async def watch(scope, receive, send, argument):
    """Takes the body, then waits for the end."""
    size = 0
    while (message := await receive())["type"] == "http.request":
        size += len(message["body"])
    print(f"{message['type']} after {size}", flush=True)
    if argument:
        await reply(send, "all the same")


async def count(scope, receive, send, argument):
    """Takes nothing of the body at first."""
    await wait(argument)
    size, parts, largest, more = 0, 0, 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        largest = max(largest, len(message["body"]))
        parts += 1
        more = message["more_body"]
    await reply(send, f"{size} {parts} {largest}")


async def background(scope, receive, send, argument):
    await reply(send, "done")
    await wait(argument)
    print("background over", flush=True)


async def bad(scope, receive, send, argument):
    """Everything an app should not do."""
    if argument == "header":
        await reply(send, "x", [(b"x-a", b"b\r\nx-injected: c")])
    elif argument == "name":
        await reply(send, "x", [(b"x a", b"b")])
    elif argument == "status":
        await send({"type": "http.response.start", "status": 42, "headers": []})
        await send({"type": "http.response.body"})
    elif argument == "raise":
        raise RuntimeError("the app is broken here")
    elif argument == "nothing":
        return
    elif argument == "half":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
    elif argument == "raise-late":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("too late for a 500")
    elif argument == "body-first":
        await send({"type": "http.response.body", "body": b"x"})
    elif argument == "exit":
        raise SystemExit(3)
    elif argument == "cancel":
        asyncio.current_task().cancel()
        await asyncio.sleep(0)
    elif argument == "less":
        await reply(send, "less", [(b"content-length", b"10")])
    elif argument == "more":
        await reply(send, "more than said", [(b"content-length", b"4")])


async def ignore(scope, receive, send, argument):
    """Answers without a look at the body."""
    await reply(send, "ignored")


async def inside(scope, receive, send, argument):
    await reply(send, held_inside())


async def hints(scope, receive, send, argument):
    assert "http.response.early_hint" in scope["extensions"]
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    await reply(send, "hinted")


async def cookies(scope, receive, send, argument):
    await reply(send, "x", [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])


async def hoard(scope, receive, send, argument):
    """Use up all descriptors but a few, or give them back."""
    if argument:
        try:
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            for _ in range(int(argument)):
                os.close(held.pop())
    else:
        while held:
            os.close(held.pop())
    await reply(send, str(len(held)))


ROUTES = {
    f.__name__: f
    for f in (
        hello, pid, scope, sleep, stream, endless, watch, count, background, bad, ignore, cookies,
        hoard, hints, inside, release,
    )
}  # fmt: skip
