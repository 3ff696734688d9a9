"""Callbacks after a module's import."""

from __future__ import annotations

import importlib
import inspect
import sys
import textwrap
from pathlib import Path

import pytest

from pretune.server.probes import imports


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a module of a fresh name and make it importable; returns its name."""
    names = []

    def make(source: str, name: str = "watched_module") -> str:
        path = tmp_path / f"{name}.py"
        path.write_text(textwrap.dedent(source))
        names.append(name)
        return name

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(imports, "_callbacks", {})
    yield make
    for name in names:
        sys.modules.pop(name, None)


def test_the_callback_runs_after_the_module_executed(module):
    name = module("value = 1")
    seen = []
    imports.when_imported(name, lambda m: seen.append(m.value))
    assert seen == []
    importlib.import_module(name)
    assert seen == [1]


def test_an_imported_module_is_given_at_once(module):
    name = module("value = 2")
    importlib.import_module(name)
    seen = []
    imports.when_imported(name, lambda m: seen.append(m.value))
    assert seen == [2]


def test_the_module_keeps_its_own_loader(module):
    name = module("loader = __loader__\ndef f():\n    return 'source'")
    imports.when_imported(name, lambda m: None)
    imported = importlib.import_module(name)
    for loader in (imported.__loader__, imported.__spec__.loader, imported.loader):
        assert type(loader).__name__ == "SourceFileLoader"
    assert "return 'source'" in inspect.getsource(imported.f)


def test_a_reload_calls_again(module):
    name = module("value = 1")
    seen = []
    imports.when_imported(name, seen.append)
    imported = importlib.import_module(name)
    importlib.reload(imported)
    assert seen == [imported, imported]


def test_several_callbacks_and_submodules(tmp_path, module):
    module("", "unrelated_module")
    package = tmp_path / "watched_package"
    package.mkdir()
    (package / "__init__.py").write_text("from . import inner")
    (package / "inner.py").write_text("value = 3")
    seen = []
    imports.when_imported("watched_package", lambda m: seen.append("package"))
    imports.when_imported("watched_package.inner", lambda m: seen.append("inner 1"))
    imports.when_imported("watched_package.inner", lambda m: seen.append("inner 2"))
    importlib.import_module("watched_package")
    assert seen == ["inner 1", "inner 2", "package"]
    for name in ("watched_package", "watched_package.inner"):
        del sys.modules[name]


def test_a_failing_callback_does_not_break_the_import(module, capsys):
    name = module("value = 1")

    def broken(_):
        raise RuntimeError("the probe is broken")

    imports.when_imported(name, broken)
    assert importlib.import_module(name).value == 1
    assert "the probe is broken" in capsys.readouterr().err


def test_an_error_inside_the_module_is_the_apps_own(module):
    name = module("raise KeyError('theirs')")
    imports.when_imported(name, lambda m: None)
    with pytest.raises(KeyError, match="theirs"):
        importlib.import_module(name)
    assert name not in sys.modules


def test_a_missing_module_is_missing(module):
    imports.when_imported("no_such_module_anywhere", lambda m: None)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module_anywhere")


def test_an_extension_module_can_be_watched():
    seen = []
    imports.when_imported("_lsprof", lambda m: seen.append(m.__name__))
    importlib.import_module("_lsprof")
    assert seen == ["_lsprof"]
