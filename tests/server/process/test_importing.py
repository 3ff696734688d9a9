"""From a target's name to the application, and what is said when there is none."""

from __future__ import annotations

import functools
import sys
import textwrap
from pathlib import Path

import pytest

from pretune.server.process import importing
from pretune.server.process.importing import TargetBroken, TargetMissing
from pretune.server.process.interface import interface_of

WSGI = "def {}(environ, start_response): return []\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write files; every module imported from them is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(**files: str) -> str:
        for name, source in files.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source))
        return str(tmp_path)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_application_comes_before_app(project):
    root = project(both_apps=WSGI.format("app") + WSGI.format("application"))
    assert importing.load("both_apps", root).name == "application"
    root = project(only_app=WSGI.format("app"))
    assert importing.load("only_app", root).name == "app"


def test_names_dotted_names_and_factories(project):
    root = project(
        forms="class Holder:\n    @staticmethod\n    def inner(e, s): return []\n"
        "def make():\n    async def app(scope, receive, send): ...\n    return app\n"
    )
    assert importing.load("forms:Holder.inner", root).app is sys.modules["forms"].Holder.inner
    loaded = importing.load("forms:make()", root)
    assert (loaded.name, loaded.interface) == ("make()", "asgi")


def test_a_factory_takes_literal_arguments(project):
    root = project(
        argued="def create(root, *, deep=0):\n    def app(environ, start_response): return []\n"
        "    app.said = (root, deep)\n    return app\n"
    )
    loaded = importing.load('argued:create("/srv:8/x.py", deep=[1, None])', root)
    assert loaded.app.said == ("/srv:8/x.py", [1, None])
    assert loaded.name == 'create("/srv:8/x.py", deep=[1, None])'
    with pytest.raises(TargetBroken, match=r"calling create\(\) failed: TypeError"):
        importing.load("argued:create()", root)


def test_a_package_and_a_namespace_package(project, tmp_path):
    root = project(spaced__shop__wsgi=WSGI.format("application"))
    (tmp_path / "spaced" / "shop" / "__init__.py").touch()
    assert importing.load("spaced.shop.wsgi", root).module == "spaced.shop.wsgi"


def test_a_path_is_imported_by_its_dotted_name(project, tmp_path):
    root = project(
        dir__packed__wsgi="from . import other\n" + WSGI.format("app"), dir__packed__other=""
    )
    (tmp_path / "dir" / "packed" / "__init__.py").touch()
    loaded = importing.load("dir/packed/wsgi.py:app", root)
    assert loaded.module == "packed.wsgi"
    loose = project(loose__alone=WSGI.format("app"))
    assert importing.load("loose/alone.py", loose).module == "alone"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module_here", "no module 'no_such_module_here'"),
        ("some_module.inner", "no module 'some_module.inner'"),
        ("some_module", r"no application or app; it has Thing, create\(\)"),
        ("some_module:missing", r"no missing; it has Thing, create\(\)"),
        ("some_module:number", "is a int, not an application"),
        ("some_module:number()", "is a int, which cannot be called"),
        ("no/such/file.py", "no file no/such/file.py"),
        ("not a module", "neither a module's name nor"),
        ("some_module:create(number)", r"arguments must be literals.*\(number\)"),
        ("some_module:create(**{})", "arguments must be literals"),
        ("some_module:create(1)(2)", "arguments must be literals"),
        ("some_module:create(", "neither a module's name nor"),
    ],
)
def test_what_is_not_there(project, target, message):
    root = project(
        some_module="from functools import partial\nimport json\nnumber = 1\n"
        "class Thing: ...\ndef create(): return 1\n"
    )
    with pytest.raises(TargetMissing, match=message) as error:
        importing.load(target, root)
    assert error.value.traceback == ""


def test_an_import_that_fails_inside_is_the_apps_failure(project):
    root = project(outer_one="import inner_one\n", inner_one="import gone_library\n")
    with pytest.raises(TargetBroken, match="No module named 'gone_library'") as error:
        importing.load("outer_one", root)
    text = error.value.traceback
    assert text.startswith("Traceback (most recent call last):\n  File ")
    assert text.index("outer_one.py") < text.index("inner_one.py")
    assert "importing.py" not in text
    assert "importlib" not in text


@pytest.mark.parametrize("error", ["raise ValueError('x')", "import sys; sys.exit(1)", "1 +"])
def test_any_failure_of_the_users_code(project, error):
    root = project(fails_so=error + "\n")
    with pytest.raises(TargetBroken) as raised:
        importing.load("fails_so", root)
    assert "fails_so.py" in raised.value.traceback


def test_a_factory_that_raises(project):
    root = project(bad_factory="def make():\n    raise KeyError('settings')\n")
    with pytest.raises(TargetBroken, match=r"calling make\(\) failed: KeyError") as error:
        importing.load("bad_factory:make()", root)
    assert "in make" in error.value.traceback
    assert "importing.py" not in error.value.traceback


def test_a_chained_error_shows_its_cause(project):
    root = project(
        chained="try:\n    import gone_a\nexcept ImportError as e:\n    raise OSError from e\n"
    )
    with pytest.raises(TargetBroken) as error:
        importing.load("chained", root)
    assert "gone_a" in error.value.traceback
    assert "importlib" not in error.value.traceback


class WsgiObject:
    def __call__(self, environ, start_response): ...


class WsgiClass:
    def __init__(self, environ, start_response): ...


class AsgiObject:
    async def __call__(self, scope, receive, send): ...


class AsgiClass:
    def __init__(self, scope, receive, send): ...
    def __await__(self): ...


async def asgi(scope, receive, send): ...


async def configured(setting, scope, receive, send): ...


def wsgi(environ, start_response): ...


def asgi_not_async(scope, receive, send):
    return asgi(scope, receive, send)


@pytest.mark.parametrize(
    ("app", "interface"),
    [
        (wsgi, "wsgi"),
        (WsgiObject(), "wsgi"),
        (WsgiObject().__call__, "wsgi"),
        (WsgiClass, "wsgi"),
        (functools.partial(wsgi), "wsgi"),
        (functools.partial(lambda config, environ, start: [], 1), "wsgi"),
        (lambda *args: [], "wsgi"),
        (asgi, "asgi"),
        (asgi_not_async, "asgi"),
        (AsgiObject(), "asgi"),
        (AsgiObject().__call__, "asgi"),
        (AsgiClass, "asgi"),
        (functools.partial(asgi), "asgi"),
        (functools.partial(configured, 1), "asgi"),
        (functools.partial(AsgiObject()), "asgi"),
    ],
)
def test_wsgi_and_asgi_are_told_apart(app, interface):
    assert interface_of(app) == interface


def test_the_frameworks_and_wrappers_are_told_apart():
    fastapi = pytest.importorskip("fastapi")
    flask = pytest.importorskip("flask")
    wrappers = pytest.importorskip("asgiref.wsgi")
    handlers = pytest.importorskip("django.core.handlers.asgi")
    assert interface_of(fastapi.FastAPI()) == "asgi"
    assert interface_of(flask.Flask("x")) == "wsgi"
    assert interface_of(wrappers.WsgiToAsgi(wsgi)) == "asgi"
    assert interface_of(object.__new__(handlers.ASGIHandler)) == "asgi"
