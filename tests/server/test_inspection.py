"""`bootstrap.py inspect` on small applications of each framework, in a child as the tool does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import pretune.server

BOOTSTRAP = Path(pretune.server.__file__).with_name("bootstrap.py")


def inspect(tmp_path, target="app", python=sys.executable, **files):
    for name, text in files.items():
        path = tmp_path / (name.replace("__", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(text))
    read, write = os.pipe()
    process = subprocess.run(
        [python, BOOTSTRAP, "inspect", target, "--chdir", tmp_path, "--out-fd", str(write)],
        pass_fds=[write],
        capture_output=True,
        text=True,
        timeout=60,
    )
    os.close(write)
    with open(read) as pipe:
        said = pipe.read()
    assert said, process.stderr
    result = json.loads(said)
    assert process.returncode == (0 if result["ok"] else 1)
    return result


def by_pattern(result):
    return {route["pattern"]: route for route in result["routes"]}


PLAIN = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]
"""


def test_an_unknown_application_answers_all_paths(tmp_path):
    result = inspect(tmp_path, app=PLAIN)
    assert (result["interface"], result["framework"]) == ("wsgi", "unknown")
    assert [(route["pattern"], route["kind"]) for route in result["routes"]] == [("/*", "unlisted")]
    assert result["callable"] == "app:app"
    assert result["file"] == str(tmp_path / "app.py")
    assert result["executable"] == sys.executable
    assert 0 < result["boot_s"] < 30


def test_without_out_fd_the_object_is_alone_on_stdout(tmp_path):
    (tmp_path / "app.py").write_text(f"import os\nprint('loud')\nos.system('echo louder')\n{PLAIN}")
    process = subprocess.run(
        [sys.executable, BOOTSTRAP, "inspect", "app", "--chdir", tmp_path],
        capture_output=True,
        text=True,
    )
    assert json.loads(process.stdout)["ok"] is True
    assert "loud" in process.stderr
    assert "louder" in process.stderr


def test_threads_of_the_application_do_not_keep_it_running(tmp_path):
    text = "import threading, time\nthreading.Thread(target=time.sleep, args=(50,)).start()\n"
    assert inspect(tmp_path, app=text + PLAIN)["ok"] is True


@pytest.mark.parametrize(
    ("target", "text", "kind", "word"),
    [
        ("nowhere", "", "module_missing", "nowhere"),
        ("nowhere.py", "", "module_missing", "nowhere.py"),
        ("app:other", PLAIN, "no_callable", "other"),
        ("app", "value = 1", "no_callable", "application or app"),
        ("app", "import nosuchlibrary", "import_error", "nosuchlibrary"),
        ("app", "1 / 0", "import_error", "division"),
        ("app", "raise SystemExit(3)", "import_error", "3"),
        ("app:make()", "def make():\n    1 / 0", "factory_error", "division"),
    ],
)
def test_a_target_that_cannot_be_imported_is_told_apart(tmp_path, target, text, kind, word):
    result = inspect(tmp_path, target, app=text)
    assert result["ok"] is False
    assert result["kind"] == kind
    assert word in result["message"]
    assert result["missing"] == ("nosuchlibrary" if "nosuch" in text else None)
    assert "server" not in re.sub(r"no module.*", "", result["traceback"])
    if kind in ("import_error", "factory_error"):
        assert "app.py" in result["traceback"]


DJANGO = """
import sys
from django.conf import settings
{before}
settings.configure(ROOT_URLCONF="urls", SECRET_KEY="x", INSTALLED_APPS=[
    "django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions",
    "django.contrib.messages", "django.contrib.admin"], USE_I18N=True, {settings})
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""
URLS = """
from django.conf.urls.i18n import i18n_patterns
from django.contrib import admin
from django.http import HttpResponse
from django.urls import include, path, re_path
from django.views import View
from django.views.decorators.http import require_POST
from django.views.static import serve

def view(request, **kwargs):
    return HttpResponse("x")

class Detail(View):
    def get(self, request, **kwargs):
        return HttpResponse("x")
    def delete(self, request, **kwargs):
        return HttpResponse("x")

shop = [path("<int:pk>/", Detail.as_view(), name="product"), path("buy/", require_POST(view))]
urlpatterns = [
    path("", view, name="home"),
    path("shop/<slug:shelf>/", include(shop)),
    re_path(r"^articles/(?P<year>[0-9]{4})/(?:page-([0-9]+)/)?$", view),
    path("admin/", admin.site.urls),
    path("media/<path:path>", serve, {"document_root": "."}),
] + i18n_patterns(path("about/", view))
"""


def django(tmp_path, settings="", before="", urls=URLS):
    return inspect(
        tmp_path, app=DJANGO.replace("{settings}", settings).replace("{before}", before), urls=urls
    )


def test_django_routes_are_walked_through_includes(tmp_path):
    result = django(tmp_path)
    assert result["framework"] == "django"
    routes = by_pattern(result)
    assert routes["/"]["name"] == "home"
    assert routes["/"]["methods"] is None
    product = routes["/shop/<slug:shelf>/<int:pk>/"]
    assert product["template"] == "/shop/{shelf}/{pk}/"
    assert product["params"] == [
        {"name": "shelf", "converter": "slug"},
        {"name": "pk", "converter": "int"},
    ]
    assert product["methods"] == ["DELETE", "GET", "HEAD", "OPTIONS"] or product["methods"] == [
        "DELETE",
        "GET",
        "OPTIONS",
    ]
    match = re.fullmatch(product["regex"], "/shop/toys/12/")
    assert match.groupdict() == {"shelf": "toys", "pk": "12"}
    assert not re.fullmatch(product["regex"], "/shop/toys/x/")
    assert routes["/shop/<slug:shelf>/buy/"]["methods"] == ["POST"]
    assert "/en-us/about/" in routes


def test_django_regular_expressions_become_readable(tmp_path):
    [route] = [r for r in django(tmp_path)["routes"] if "articles" in r["pattern"]]
    assert route["pattern"] == "/articles/<year>/page-<arg2>/"
    assert route["params"][0] == {"name": "year", "converter": "int"}
    assert re.fullmatch(route["regex"], "/articles/2024/page-3/")


def test_django_admin_and_media_are_marked(tmp_path):
    kinds = {r["pattern"].split("/")[1]: r["kind"] for r in django(tmp_path)["routes"]}
    assert kinds["admin"] == "admin"
    assert kinds["media"] == "static"
    assert kinds["shop"] == "app"


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ("ALLOWED_HOSTS=['*', 'shop.example']", "shop.example"),
        ("ALLOWED_HOSTS=['.shop.example']", "shop.example"),
        ("ALLOWED_HOSTS=['*']", "localhost"),
        ("ALLOWED_HOSTS=[], DEBUG=True", "localhost"),
        ("ALLOWED_HOSTS=[]", None),
    ],
)
def test_django_host_is_one_that_is_allowed(tmp_path, settings, host):
    assert django(tmp_path, settings)["host"] == host


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ("", {}),
        ("SECURE_SSL_REDIRECT=True", {"X-Forwarded-Proto": "https"}),
        (
            "SECURE_SSL_REDIRECT=True, SECURE_PROXY_SSL_HEADER=('HTTP_X_SCHEME', 'on')",
            {"X-Scheme": "on"},
        ),
        (
            "SESSION_COOKIE_SECURE=True,"
            "SECURE_PROXY_SSL_HEADER=('HTTP_X_FORWARDED_PROTO', 'https')",
            {"X-Forwarded-Proto": "https"},
        ),
    ],
)
def test_django_behind_https_is_told_that_it_is(tmp_path, settings, headers):
    assert django(tmp_path, settings)["headers"] == headers


def test_django_databases_become_urls_that_connect(tmp_path):
    databases = """DATABASES={
        "default": {"ENGINE": "django.db.backends.postgresql", "NAME": "my shop", "USER": "u",
                    "PASSWORD": "p@ss/w", "HOST": "::1", "PORT": 5433, "CONN_MAX_AGE": 60},
        "socket": {"ENGINE": "django.db.backends.postgresql", "NAME": "b", "HOST": "/run/pg"},
        "small": {"ENGINE": "django.db.backends.sqlite3", "NAME": "/tmp/x.db"}}"""
    found = {item["alias"]: item for item in django(tmp_path, databases)["databases"]}
    assert found["default"]["url"] == "postgresql://u:p%40ss%2Fw@[::1]:5433/my%20shop"
    assert found["default"]["conn_max_age"] == 60
    assert found["socket"]["url"] == "postgresql:///b?host=%2Frun%2Fpg"
    assert (found["small"]["engine"], found["small"]["url"]) == ("sqlite", "sqlite:////tmp/x.db")


def test_a_broken_urlconf_is_the_users_error(tmp_path):
    result = django(tmp_path, urls="import nosuchlibrary")
    assert (result["ok"], result["kind"]) == (False, "routes_error")
    assert "urls.py" in result["traceback"]
    assert result["missing"] == "nosuchlibrary"


FLASK = """
from flask import Flask
app = Flask(__name__)
app.config.update({config})
@app.route("/")
def home(): return "x"
@app.route("/board/<int:id>/<path:rest>")
def board(id, rest): return "x"
@app.post("/board")
def write(): return "x"
{after}
"""


def flask(tmp_path, config="", after=""):
    return inspect(tmp_path, app=FLASK.replace("{config}", config).replace("{after}", after))


def test_flask_routes_have_their_converters(tmp_path):
    result = flask(tmp_path)
    assert (result["framework"], result["interface"]) == ("flask", "wsgi")
    routes = by_pattern(result)
    board = routes["/board/<int:id>/<path:rest>"]
    assert board["template"] == "/board/{id}/{rest}"
    assert [item["converter"] for item in board["params"]] == ["int", "path"]
    assert re.fullmatch(board["regex"], "/board/3/a/b")["rest"] == "a/b"
    assert not re.fullmatch(board["regex"], "/board/x/a")
    assert "GET" not in routes["/board"]["methods"]
    assert routes["/static/<path:filename>"]["kind"] == "static"


def test_flask_configuration_is_read(tmp_path):
    config = (
        "SERVER_NAME='b.example', PREFERRED_URL_SCHEME='https',"
        "SQLALCHEMY_DATABASE_URI='postgresql+psycopg://u:p@h/b'"
    )
    result = flask(tmp_path, config)
    assert result["host"] == "b.example"
    assert result["headers"] == {"X-Forwarded-Proto": "https"}
    [database] = result["databases"]
    assert (database["engine"], database["driver"]) == ("postgresql", "psycopg")
    assert database["url"] == "postgresql://u:p@h/b"


@pytest.mark.parametrize(
    "wrapped",
    [
        "from werkzeug.middleware.proxy_fix import ProxyFix\napp = ProxyFix(app)",
        "app = app.wsgi_app",
        "import functools\nouter = functools.wraps(app.wsgi_app)(lambda e, s: 0)\napp = outer",
        "import functools\napp = functools.partial(app.wsgi_app)",
        "def wrap(inner):\n    def call(environ, start_response):\n"
        "        return inner(environ, start_response)\n    return call\napp = wrap(app)",
        "class Odd:\n    def __init__(self, app): self.application = self; self._app = app\n"
        "    @property\n    def app(self): raise RuntimeError\n"
        "    def __call__(self, environ, start_response): return self._app(environ, "
        "start_response)\napp = Odd(app)",
    ],
)
def test_middleware_is_looked_through(tmp_path, wrapped):
    result = flask(tmp_path, after=wrapped)
    assert result["framework"] == "flask"
    assert "/board" in by_pattern(result)


FASTAPI = """
from fastapi import APIRouter, Depends, FastAPI
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.staticfiles import StaticFiles
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse

app = FastAPI()
app.add_middleware(TrustedHostMiddleware, allowed_hosts=["*.t.example"])
app.add_middleware(HTTPSRedirectMiddleware)
router = APIRouter(prefix="/tickets")

def paging(page: int): return page

@router.get("/{ticket_id}")
def one(ticket_id: int): return {}
@router.post("/")
def new(): return {}
@app.get("/search")
def search(q: str, page: int = Depends(paging), size: int = 10): return {}
@app.get("/file/{name:path}")
def file(name: str): return {}
@app.websocket("/ws")
async def ws(websocket): pass
app.include_router(router, prefix="/v1")
inner = Starlette(routes=[Route("/x/{n:int}", lambda request: PlainTextResponse("x"))])
app.mount("/inner", inner)
app.mount("/files", StaticFiles(directory="."))
"""


def test_fastapi_routes_through_routers_and_mounts(tmp_path):
    result = inspect(tmp_path, app=FASTAPI)
    assert (result["framework"], result["interface"]) == ("fastapi", "asgi")
    routes = by_pattern(result)
    one = routes["/v1/tickets/{ticket_id}"]
    assert one["params"] == [{"name": "ticket_id", "converter": "int"}]
    assert one["methods"] == ["GET"]
    assert re.fullmatch(one["regex"], "/v1/tickets/4")
    assert routes["/v1/tickets/"]["methods"] == ["POST"]
    assert sorted(routes["/search"]["query"]) == ["page", "q"]
    assert routes["/file/{name:path}"]["template"] == "/file/{name}"
    assert routes["/inner/x/{n:int}"]["params"] == [{"name": "n", "converter": "int"}]
    assert routes["/files/*"]["kind"] == "static"
    assert {p for p, r in routes.items() if r["kind"] == "docs"} == {
        "/docs",
        "/redoc",
        "/openapi.json",
        "/docs/oauth2-redirect",
    }
    assert not any("ws" in pattern for pattern in routes)


def test_starlette_middleware_says_host_and_scheme(tmp_path):
    result = inspect(tmp_path, app=FASTAPI)
    assert result["host"] == "t.example"
    assert result["headers"] == {"X-Forwarded-Proto": "https"}


def test_engines_of_sqlalchemy_are_found_with_their_pools(tmp_path):
    text = """
    from sqlalchemy import create_engine
    engine = create_engine("postgresql+psycopg://u:secret@h/d", pool_size=7, max_overflow=2)
    """
    [database] = inspect(tmp_path, app=dedent(text) + PLAIN)["databases"]
    assert database["url"] == "postgresql://u:secret@h/d"
    assert (database["pool_size"], database["max_overflow"]) == (7, 2)


@pytest.mark.parametrize(
    ("url", "said"),
    [("postgresql+psycopg://", None), ("postgresql+psycopg://u@h/d", "postgresql://u@h/d")],
)
def test_where_an_engine_with_a_creator_leads_only_its_own_code_knows(tmp_path, url, said):
    text = f"""
    from sqlalchemy import create_engine
    engine = create_engine("{url}", creator=lambda: None)
    """
    [database] = inspect(tmp_path, app=dedent(text) + PLAIN)["databases"]
    assert (database["engine"], database["url"]) == ("postgresql", said)


def test_versions_of_loaded_libraries_are_said(tmp_path):
    import flask as library

    result = flask(tmp_path)
    assert result["versions"].keys() == {"flask"}
    assert result["python_version"] == sys.version.split()[0]
    assert library
