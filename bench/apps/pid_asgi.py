"""Says which process answered; ``/N`` is N bytes. The length of a body is said, too."""

import os


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    size = int(scope["path"].strip("/") or 13)
    got, more = 0, True
    while more:
        message = await receive()
        got += len(message.get("body", b""))
        more = message.get("more_body", False)
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", b"%d" % size),
        (b"x-pid", b"%d" % os.getpid()),
        (b"x-got", b"%d" % got),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * size})
