"""Run something right after a module has been imported: how probes reach the app's libraries.

A probe must patch a driver whenever the app imports it, and must not import a driver the app does
not use. So a finder stands first on ``sys.meta_path``, lets the others find the module, and
stands in for its loader only while the module executes; afterwards the module carries its own
loader again, and nothing can tell it was watched.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Callback = Callable[[ModuleType], None]

_callbacks: dict[str, list[Callback]] = {}


def when_imported(name: str, callback: Callback) -> None:
    """Call ``callback(module)`` once module ``name`` has executed; now if it already has.

    It is called again when the module is reloaded, because a reload makes its functions anew. An
    exception in it is printed and swallowed: a probe never breaks the app's import.
    """
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _callbacks.setdefault(name, []).append(callback)
    module = sys.modules.get(name)
    # A module that is being imported right now was found before we were asked: too late to wait.
    if module is not None:
        _run(callback, module)


def _run(callback: Callback, module: ModuleType) -> None:
    try:
        callback(module)
    except Exception:
        print(f"pretune: the probe of {module.__name__} failed", file=sys.stderr)
        traceback.print_exc()


class _Loader:
    """Stands in for a module's loader until the module has executed."""

    def __init__(self, loader: Any, name: str) -> None:
        self._loader = loader
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._loader, attribute)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        # Before executing: a module may read its own __loader__ while it runs.
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        # The name in sys.modules may be another object by now, if the module replaced itself.
        executed = sys.modules.get(self._name, module)
        for callback in tuple(_callbacks.get(self._name, ())):
            _run(callback, executed)


class _Finder:
    """Asks the finders behind it for the modules somebody waits for; ignores all others."""

    def __init__(self) -> None:
        self._asking = threading.local()

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if name not in _callbacks or getattr(self._asking, "name", None) == name:
            return None
        self._asking.name = name
        try:
            spec = found_by_others(self, name, path, target)
        finally:
            self._asking.name = None
        if spec is None or not hasattr(spec.loader, "exec_module"):
            return spec  # not there, a namespace package, or a loader older than PEP 451
        spec.loader = _Loader(spec.loader, name)  # type: ignore[assignment]
        return spec


def found_by_others(
    asking: object, name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    """Ask the finders beside ``asking`` for a module; None when none of them finds it."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if finder is asking or find is None:
            continue
        spec: ModuleSpec | None = find(name, path, target)
        if spec is not None:
            return spec
    return None


_finder: Any = _Finder()
