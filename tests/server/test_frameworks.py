"""Applications on the frameworks people use, as they would write them, on real servers."""

from __future__ import annotations

import contextlib
import http.client
import json
import textwrap
from pathlib import Path

import pytest
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BOUNDARY = "x-boundary-x"

APPS = {
    "flask": """
        import flask
        app = flask.Flask(__name__)
        @app.post("/form")
        def form(): return flask.jsonify(flask.request.form)
        @app.post("/upload")
        def upload():
            file = flask.request.files["file"]
            return flask.jsonify(name=file.filename, size=len(file.read()))
        @app.get("/")
        def index(): return "hello"
        @app.get("/stream")
        def stream(): return flask.Response(f"part {n}\\n" for n in range(3))
        """,
    "django": """
        import asyncio, os, sys
        from django.conf import settings
        settings.configure(SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
        import django; django.setup()
        from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
        from django.urls import path
        from django.core.wsgi import get_wsgi_application
        from django.core.asgi import get_asgi_application
        def upload(request):
            file = request.FILES["file"]
            return JsonResponse({"name": file.name, "size": file.size})
        def stream(request): return StreamingHttpResponse(f"part {n}\\n" for n in range(3))
        async def asynchronous_stream(request):
            async def parts():
                for n in range(3):
                    await asyncio.sleep(0)
                    yield f"part {n}\\n"
            return StreamingHttpResponse(parts())
        async def slow(request):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                print("the view was cancelled", flush=True)
                raise
        urlpatterns = [
            path("", lambda r: HttpResponse("hello")),
            path("form", lambda r: JsonResponse(r.POST.dict())),
            path("upload", upload),
            path("stream", asynchronous_stream if os.environ.get("ASGI") else stream),
            path("slow", slow),
        ]
        application = get_wsgi_application()
        asynchronous = get_asgi_application()
        """,
    "fastapi": """
        import asyncio
        from contextlib import asynccontextmanager
        from fastapi import BackgroundTasks, FastAPI, Request, UploadFile, WebSocket
        from fastapi import WebSocketDisconnect
        from fastapi.responses import PlainTextResponse, StreamingResponse
        from urllib.parse import parse_qsl
        @asynccontextmanager
        async def lifespan(app):
            yield {"greeting": "hello"}
            print("goodbye", flush=True)
        app = FastAPI(lifespan=lifespan)
        @app.get("/", response_class=PlainTextResponse)
        def index(request: Request): return request.state.greeting
        @app.post("/form")
        async def form(request: Request): return dict(parse_qsl((await request.body()).decode()))
        @app.post("/upload")
        async def upload(file: UploadFile):
            return {"name": file.filename, "size": len(await file.read())}
        @app.get("/stream")
        async def stream():
            async def parts():
                for n in range(3):
                    yield f"part {n}\\n"
            return StreamingResponse(parts())
        @app.get("/forever")
        async def forever():
            async def parts():
                try:
                    yield "the first"
                    await asyncio.sleep(60)
                finally:
                    print("the stream was closed", flush=True)
            return StreamingResponse(parts())
        async def later():
            await asyncio.sleep(0.5)
            print("later", flush=True)
        @app.get("/background")
        async def background(tasks: BackgroundTasks):
            tasks.add_task(later)
            return "sooner"
        @app.websocket("/ws/{name}")
        async def chat(socket: WebSocket, name: str):
            if name == "stranger":
                await socket.close()
                return
            await socket.accept()
            try:
                async for text in socket.iter_text():
                    await socket.send_json({name: text})
            finally:
                print(f"{name} has left", flush=True)
        """,
    "starlette": """
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.base import BaseHTTPMiddleware
        from starlette.middleware.gzip import GZipMiddleware
        from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
        from starlette.responses import StreamingResponse
        from starlette.routing import Route, WebSocketRoute
        async def pass_on(request, call_next):
            response = await call_next(request)
            response.headers["x-passed"] = "on"
            return response
        async def index(request): return PlainTextResponse("hello")
        async def form(request):
            async with request.form() as form: return JSONResponse(dict(form))
        async def upload(request):
            async with request.form() as form:
                file = form["file"]
                return JSONResponse({"name": file.filename, "size": len(await file.read())})
        async def stream(request):
            return StreamingResponse(f"part {n}\\n" for n in range(3))
        async def source(request): return FileResponse(__file__)
        async def echo(socket):
            await socket.accept()
            await socket.send_json({socket.query_params["name"]: await socket.receive_text()})
            await socket.close(4000)
        app = Starlette(
            routes=[Route("/", index), Route("/form", form, methods=["POST"]),
                    Route("/upload", upload, methods=["POST"]), Route("/stream", stream),
                    Route("/source", source), WebSocketRoute("/ws", echo)],
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=pass_on),
                        Middleware(GZipMiddleware)],
        )
        """,
}


@pytest.fixture
def framework(serve, tmp_path: Path):
    def start(name: str, attribute: str = "", worker_class: str = "asgi", **options):
        pytest.importorskip(name)
        (tmp_path / f"{name}_app.py").write_text(textwrap.dedent(APPS[name]))
        target = f"{name}_app{attribute}"
        return serve(target, chdir=tmp_path, worker_class=worker_class, telemetry=tmp_path,
                     probes=True, **options)  # fmt: skip

    return start


def uploaded(size: int) -> bytes:
    return (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=file; filename=a.bin\r\n\r\n"
    ).encode() + bytes(size) + f"\r\n--{BOUNDARY}--\r\n".encode()  # fmt: skip


@pytest.mark.parametrize(
    ("name", "attribute", "worker_class"),
    [
        ("flask", "", "gthread"),
        ("django", "", "gthread"),
        ("django", ":asynchronous", "asgi"),
        ("fastapi", "", "asgi"),
        ("starlette", "", "asgi"),
    ],
)
def test_pages_forms_uploads_and_streams(framework, name, attribute, worker_class):
    if (name, worker_class) in (("fastapi", "asgi"), ("starlette", "asgi")):
        pytest.importorskip("multipart")
    served = framework(name, attribute, worker_class, env={"ASGI": attribute})
    assert served.text("/") == "hello"
    assert json.loads(served.get("/form", "POST", b"a=1&b=2", **FORM).text) == {"a": "1", "b": "2"}
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    answer = served.get("/upload", "POST", uploaded(3_000_000), Content_Type=kind)
    assert json.loads(answer.text) == {"name": "a.bin", "size": 3_000_000}
    assert served.text("/stream") == "part 0\npart 1\npart 2\n"
    assert served.get("/", method="HEAD").text == ""
    assert "ERROR" not in served.log()


class Socket:
    def __init__(self, served, path: str) -> None:
        self.sock = served.connect()
        self.protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.send(Request(host="x", target=path))

    def send(self, event) -> None:
        self.sock.sendall(self.protocol.send(event))

    def next(self):
        while True:
            for event in self.protocol.events():
                return event
            self.protocol.receive_data(self.sock.recv(65536) or None)


def test_fastapi_sockets_background_tasks_lifespan_and_clients_that_leave(framework):
    served = framework("fastapi")
    one, two, stranger = (Socket(served, f"/ws/{name}") for name in ("ann", "bob", "stranger"))
    assert isinstance(one.next(), AcceptConnection)
    assert isinstance(two.next(), AcceptConnection)
    assert stranger.next().status_code == 403
    for socket, name in ((one, "ann"), (two, "bob")):
        socket.send(TextMessage(data="hi"))
        assert json.loads(socket.next().data) == {name: "hi"}
    one.send(CloseConnection(code=1000))
    assert one.next().code == 1000
    two.sock.close()
    served.wait_for(lambda: "ann has left" in served.log() and "bob has left" in served.log())
    connection = http.client.HTTPConnection(*served.address, timeout=20)
    with contextlib.closing(connection):
        for _ in range(2):  # the task of the first holds up nobody
            connection.request("GET", "/background")
            assert connection.getresponse().read() == b'"sooner"'
    served.wait_for(lambda: served.log().count("later") == 2)
    with served.connect() as sock:
        sock.sendall(b"GET /forever HTTP/1.1\r\nHost: x\r\n\r\n")
        while b"the first" not in sock.recv(1000):
            pass
    served.wait_for(lambda: "the stream was closed" in served.log(), 30)
    for each in (one, stranger):
        each.sock.close()
    served.running.stop(10)
    assert "goodbye" in served.log()
    assert "ERROR" not in served.log()


def test_starlette_middleware_files_and_sockets(framework):
    served = framework("starlette")
    answer = served.get("/source")
    assert answer.getheader("x-passed") == "on"
    assert "FileResponse(__file__)" in answer.text
    socket = Socket(served, "/ws?name=ann")
    assert isinstance(socket.next(), AcceptConnection)
    socket.send(TextMessage(data="hi"))
    assert json.loads(socket.next().data) == {"ann": "hi"}
    assert socket.next().code == 4000
    socket.sock.close()


def test_django_cancels_the_view_of_a_client_that_has_left(framework):
    served = framework("django", ":asynchronous", env={"ASGI": "1"})
    with served.connect() as sock:
        sock.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    served.wait_for(lambda: "the view was cancelled" in served.log(), 30)
    assert served.text("/") == "hello"
