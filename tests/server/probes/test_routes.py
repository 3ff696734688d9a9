"""The routes of real applications of each framework, as they are mounted in one another."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pretune.server.probes.routes import readers


def plain(environ: Any, start_response: Any) -> list[bytes]:
    """A WSGI application of no framework."""
    return [b""]


def kinds(app: Any) -> dict[str, str]:
    """Pattern -> kind; each expression matches what its template makes of small values."""
    routes = readers.read(app)
    for route in routes:
        path = route["template"]
        for param in route["params"]:
            path = path.replace("{" + param["name"] + "}", "7")
        assert re.fullmatch(route["regex"], path), route
    return {route["pattern"]: route["kind"] for route in routes}


def methods(app: Any, pattern: str) -> set[str]:
    (route,) = (each for each in readers.read(app) if each["pattern"] == pattern)
    return set(route["methods"])


def make_flask(path: str = "/in") -> Any:
    flask = pytest.importorskip("flask")
    app = flask.Flask("inner", static_folder=None)
    app.add_url_rule(path, view_func=lambda: "", endpoint="in")
    return app


def test_an_application_of_no_framework_answers_all_paths() -> None:
    assert kinds(plain) == {"/*": "unlisted"}


def test_applications_below_prefixes_are_read_the_longest_prefix_first() -> None:
    dispatcher = pytest.importorskip("werkzeug.middleware.dispatcher")
    proxy = pytest.importorskip("werkzeug.middleware.proxy_fix")
    mounts = {"/a": make_flask("/one"), "/a/b": make_flask("/two"), "/c": plain}
    app = proxy.ProxyFix(dispatcher.DispatcherMiddleware(make_flask("/"), mounts))
    assert readers.unwrap(app)[1] == "flask"
    found = kinds(app)
    assert list(found.items()) == [
        ("/a/b/two", "app"), ("/a/one", "app"), ("/c/*", "unlisted"), ("/", "app")
    ]  # fmt: skip


def test_an_application_mounted_in_itself_ends() -> None:
    dispatcher = pytest.importorskip("werkzeug.middleware.dispatcher")
    app = dispatcher.DispatcherMiddleware(plain, {})
    app.mounts["/again"] = app
    assert len(readers.read(app)) < 20


def test_starlette_mounts_of_other_frameworks() -> None:
    pytest.importorskip("starlette")
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.routing import Host, Mount, Route, Router
    from starlette.staticfiles import StaticFiles

    wsgi = pytest.importorskip("starlette.middleware.wsgi").WSGIMiddleware

    async def page(request: Any) -> None: ...

    routes = [
        Route("/", page),
        Mount("/router", Router([Route("/{n:int}", page)])),
        Mount("/zipped", routes=[Route("/k", page)], middleware=[Middleware(GZipMiddleware)]),
        Mount("/flask", wsgi(make_flask())),
        Mount("/files", StaticFiles(directory="/")),
        Host("api.example", Router([Route("/only", page)])),
        Mount("/rest", wsgi(plain)),
    ]
    app = Starlette(routes=routes)
    assert kinds(app) == {
        "/": "app", "/router/{n:int}": "app", "/zipped/k": "app", "/flask/in": "app",
        "/files/*": "static", "/only": "app", "/rest/*": "unlisted",
    }  # fmt: skip
    assert {each["pattern"]: each["host"] for each in readers.read(app)}["/only"] == "api.example"


def test_fastapi_names_required_headers() -> None:
    fastapi = pytest.importorskip("fastapi")
    app = fastapi.FastAPI()
    needed, optional = fastapi.Header(), fastapi.Header("")

    def report(x_tenant: str = needed, x_other: str = optional) -> None: ...

    app.get("/report")(report)
    route = next(each for each in readers.read(app) if each["pattern"] == "/report")
    assert [name.lower().replace("_", "-") for name in route["headers"]] == ["x-tenant"]


def test_litestar() -> None:
    litestar = pytest.importorskip("litestar")
    from litestar.static_files import create_static_files_router

    @litestar.get("/a/{x:int}")
    async def one() -> str:
        return ""

    @litestar.post("/b")
    async def two() -> str:
        return ""

    @litestar.asgi("/mounted", is_mount=True, copy_scope=True)
    async def three(scope: Any, receive: Any, send: Any) -> None: ...

    found = kinds(litestar.Litestar([one, two, three, create_static_files_router("/files", ["/"])]))
    docs = {pattern for pattern, kind in found.items() if kind == "docs"}
    assert "/schema/openapi.json" in docs
    assert {pattern: kind for pattern, kind in found.items() if pattern not in docs} == {
        "/a/{x:int}": "app", "/b": "app", "/mounted/*": "unlisted",
        "/files/{file_path:path}": "static",
    }  # fmt: skip


def test_pyramid() -> None:
    config = pytest.importorskip("pyramid.config")

    def view(request: Any) -> None: ...

    def make(*, traversal: bool) -> Any:
        with config.Configurator() as made:
            made.add_route("rest", "/h/{id}/*rest")
            made.add_view(view, route_name="rest", request_method=("GET", "POST"))
            made.add_route("year", r"year/{y:\d{1,4}}")
            made.add_view(view, route_name="year", request_method="POST")
            made.add_static_view("files", "/")
            if traversal:
                made.add_view(view, name="edit", context=object)
            return made.make_wsgi_app()

    app = make(traversal=False)
    listed = {"/h/{id}/*rest": "app", r"/year/{y:\d{1,4}}": "app", "/files/*subpath": "static"}
    assert kinds(app) == listed
    assert "GET" in methods(app, "/h/{id}/*rest")
    assert methods(app, r"/year/{y:\d{1,4}}") == {"POST"}
    assert kinds(make(traversal=True)) == {**listed, "/*": "unlisted"}


def test_bottle() -> None:
    bottle = pytest.importorskip("bottle")
    app = bottle.Bottle()
    app.route("/x/<name>/<id:int>/<code:re:[0-9]{1,2}>")(lambda **_: "")
    app.route("/any", method="ANY")(lambda: "")
    app.post("/write")(lambda: "")
    app.mount("/flask", make_flask())
    app.mount("/plain/", plain)
    assert kinds(app) == {
        "/x/<name>/<id:int>/<code:re:[0-9]{1,2}>": "app", "/any": "app", "/write": "app",
        "/flask/in": "app", "/plain/*": "unlisted",
    }  # fmt: skip
    assert methods(app, "/write") == {"POST"}


@pytest.mark.filterwarnings("ignore:Warning. Use of deprecated feature:DeprecationWarning")
def test_bottle_as_its_rules_were_written() -> None:
    bottle = pytest.importorskip("bottle")
    app = bottle.Bottle()
    app.route("/old/:name/:code#[0-9]{1,2}#")(lambda **_: "")
    assert kinds(app) == {"/old/:name/:code#[0-9]{1,2}#": "app"}


def test_aiohttp_that_something_serves_as_asgi() -> None:
    web = pytest.importorskip("aiohttp.web")

    async def page(request: Any) -> None: ...

    inner = web.Application()
    inner.router.add_get(r"/{year:\d{4}}/{rest:.*}", page)
    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_post("/write", page)
    app.router.add_route("*", "/any/{name}", page)
    app.router.add_static("/files", "/")
    app.add_subapp("/inner", inner)

    class Served:
        application = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    assert readers.unwrap(Served())[1] == "aiohttp"
    routes = {each["template"]: each for each in readers.read(Served())}
    assert {template: each["kind"] for template, each in routes.items()} == {
        "/": "app", "/write": "app", "/any/{name}": "app", "/files/{path}": "static",
        "/inner/{year}/{rest}": "app",
    }  # fmt: skip
    assert [p["converter"] for p in routes["/inner/{year}/{rest}"]["params"]] == ["int", "path"]
    assert re.fullmatch(routes["/inner/{year}/{rest}"]["regex"], "/inner/2024/a/b")
    assert (routes["/write"]["methods"], routes["/any/{name}"]["methods"]) == (["POST"], None)


def test_falcon() -> None:
    falcon = pytest.importorskip("falcon")

    class Resource:
        def on_get(self, request: Any, response: Any, **values: str) -> None: ...

    app = falcon.App()
    app.add_route("/x/{id:int(min=1)}/y", Resource())
    app.add_route("/z/{a}-{b}.txt", Resource())
    app.add_static_route("/files", "/")
    app.add_sink(lambda *_, **__: None, "/sink")
    assert kinds(app) == {
        "/x/{id:int(min=1)}/y": "app", "/z/{a}-{b}.txt": "app", "/files/*": "static",
        "/sink/*": "unlisted",
    }  # fmt: skip
    assert methods(app, "/z/{a}-{b}.txt") & {"GET", "POST", "PUT"} == {"GET"}


def test_quart() -> None:
    quart = pytest.importorskip("quart")
    app = quart.Quart("it", static_folder=None)
    blueprint = quart.Blueprint("inner", "inner", url_prefix="/b")
    blueprint.route("/c/<int:n>")(lambda n: "")
    app.register_blueprint(blueprint)
    assert readers.unwrap(app)[1] == "quart"
    assert kinds(app) == {"/b/c/<int:n>": "app"}


def test_sanic() -> None:
    sanic = pytest.importorskip("sanic")
    app = sanic.Sanic("it")
    blueprint = sanic.Blueprint("inner", url_prefix="/b")
    blueprint.get("/k/<n:int>/<rest:path>")(plain)
    app.blueprint(blueprint)
    app.static("/files", "/")
    assert set(kinds(app).values()) == {"app", "static"}
    assert "/b/k/<n:int>/<rest:path>" in kinds(app)


def test_routes_stand_as_flask_matches_them_not_as_they_were_added() -> None:
    flask = pytest.importorskip("flask")
    app = flask.Flask("wiki", static_folder=None)
    rules = ("/<path:page>", "/user/<name>", "/<path:page>/history", "/user/me", "/")
    for rule in rules:
        app.add_url_rule(rule, endpoint=rule, view_func=lambda **_: "")
    assert list(kinds(app)) == [
        "/user/me", "/", "/user/<name>", "/<path:page>/history", "/<path:page>"
    ]  # fmt: skip


def test_dash() -> None:
    dash = pytest.importorskip("dash")
    found = kinds(dash.Dash("it").server)
    assert (found["/"], found["/<path:path>"]) == ("app", "app")
    assert all(kind == "static" for pattern, kind in found.items() if "component-suites" in pattern)
