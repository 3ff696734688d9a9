"""One app, as WSGI and as ASGI, that answers with what was asked: method, target, body."""

import json


def told(method, target, body):
    text = json.dumps([method, target, body.decode("latin-1")])
    return text.encode()


def wsgi(environ, start_response):
    body = told(environ["REQUEST_METHOD"], environ["RAW_URI"], environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    body = told(scope["method"], target.decode("latin-1"), body)
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
