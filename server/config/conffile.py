"""The user's ``gunicorn.conf.py``: a Python file whose variables are settings and hooks.

It is executed in the master, at the start and again at each HUP, and is the user's code: what it
raises is shown as their traceback. A name we do not know is somebody's typing error or a helper.
It is a helper if the file itself reads it; if nobody does, it is named in the warning, as is what
gunicorn knows and we do not have.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pretune.server.config import hooks, options
from pretune.server.config.config import ConfigBroken
from pretune.server.process.importing import user_traceback

DEFAULT = "gunicorn.conf.py"
_MODULE = "__config__"  # as gunicorn calls it

# Modules of the project that the file imported the last time: a HUP wants them as they are then.
_imported: set[str] = set()


@dataclass(frozen=True)
class Settings:
    """The settings that a file or a command line asks for.

    ``known`` is converted and by gunicorn's names, ``foreign`` gunicorn's that we do not have,
    ``unknown`` nobody's.
    """

    known: Mapping[str, Any] = field(default_factory=dict)
    hooks: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    foreign: Mapping[str, Any] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def find(location: str | None, directory: str) -> str | None:
    """The file to read; None if none was asked for and there is none. Raises ConfigBroken."""
    if location is None:
        default = os.path.join(directory, DEFAULT)
        return default if os.path.isfile(default) else None
    if location.startswith("python:"):
        return location
    path = os.path.join(directory, location.removeprefix("file:"))
    if not os.path.isfile(path):
        raise ConfigBroken(f"there is no configuration file {path}", usage=True)
    return path


def read(place: str, directory: str) -> Settings:
    """Execute the file, with ``directory`` first on ``sys.path``. Raises ConfigBroken."""
    if directory not in sys.path:
        sys.path.insert(0, directory)
    before = {name: sys.modules.pop(name) for name in _imported if name in sys.modules}
    importlib.invalidate_caches()
    already = set(sys.modules)
    try:
        if place.startswith("python:"):
            module, unread = _import(place.removeprefix("python:"))
        else:
            module, unread = _execute(place)
        settings = _sorted(vars(module), unread, place)
    except BaseException:
        sys.modules.update(before)
        raise
    _imported.clear()
    _imported.update(n for n in set(sys.modules) - already if _of_project(n, directory))
    return settings


def _execute(path: str) -> tuple[types.ModuleType, set[str]]:
    module = types.ModuleType(_MODULE)
    module.__file__ = path
    sys.modules[_MODULE] = module
    try:
        with open(path, "rb") as file:
            source = file.read()
        code = compile(source, path, "exec", dont_inherit=True)
        exec(code, module.__dict__)
        return module, _unread(source, path)
    except (Exception, SystemExit) as error:
        raise ConfigBroken(f"{path} cannot be used\n{user_traceback(error)}") from error


def _import(name: str) -> tuple[types.ModuleType, set[str]]:
    try:
        sys.modules.pop(name, None)
        module = importlib.import_module(name)
        source = inspect.getsource(module)
        return module, _unread(source.encode(), name)
    except OSError:  # no source: nothing can be said about names
        return module, set()
    except (Exception, SystemExit) as error:
        raise ConfigBroken(f"module {name} cannot be used\n{user_traceback(error)}") from error


def _unread(source: bytes, path: str) -> set[str]:
    """Names the file gives a value or a body, and never looks at."""
    made: set[str] = set()
    looked_at: set[str] = set()
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.Name):
            (looked_at if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            made.add(node.name)
    # Names of inner scopes are among them: the module has none of those.
    return {name for name in made - looked_at if not name.startswith("_")}


def _of_project(name: str, directory: str) -> bool:
    path = getattr(sys.modules.get(name), "__file__", None) or ""
    inside = path.startswith(os.path.join(directory, ""))
    return inside and "site-packages" not in path and "dist-packages" not in path


def _sorted(variables: Mapping[str, Any], unread: Iterable[str], place: str) -> Settings:
    ours, hooked, foreign = {}, {}, {}
    for name, value in variables.items():
        try:
            if name in options.OPTIONS:
                converted = _converted(name, value)
                if converted is _UNSUPPORTED:
                    foreign[f"{name} = {value!r}"] = value
                elif value is not None:
                    ours[name] = converted
            elif name == "wsgi_app":
                ours[name] = value
            elif name in hooks.ARGUMENTS:
                hooked[name] = _hook(name, value)
            elif name in options.FOREIGN and options.asks(name, value):
                foreign[name] = value
        except (ValueError, TypeError) as error:
            raise ConfigBroken(f"{place}: {name}: {error}") from error
    heard_of = (*options.OPTIONS, *options.FOREIGN, *hooks.ARGUMENTS, "wsgi_app")
    unknown = tuple(sorted(name for name in unread if name not in heard_of and name in variables))
    return Settings(ours, hooked, foreign, unknown)


_UNSUPPORTED = object()


def _converted(name: str, value: Any) -> Any:
    try:
        return options.OPTIONS[name].convert(value) if value is not None else None
    except ValueError:
        # Somebody's own class of workers: ours will do its best with the app.
        if name == "worker_class":
            return _UNSUPPORTED
        raise


def _hook(name: str, value: Any) -> Callable[..., Any]:
    """The function, callable with as many arguments as we have. Raises ValueError."""
    if isinstance(value, str):
        value = _imported_object(value)
    if not callable(value):
        raise ValueError(f"{value!r} cannot be called")
    count = hooks.ARGUMENTS[name]
    # gunicorn lets the last arguments of this one be left out.
    least = 2 if name == "post_request" else count
    for given in range(count, least - 1, -1):
        if _takes(value, given):
            return value if given == count else _shortened(value, given)
    raise ValueError(f"it is called with {count} arguments, and does not take so many")


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # a builtin that does not tell
        return True
    return True


def _shortened(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    return lambda *arguments: function(*arguments[:count])


def _imported_object(text: str) -> Any:
    module, _, name = text.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{text!r} cannot be imported: {error}") from error


def warning(where: str, settings: Settings) -> str | None:
    """The one line about what was not taken; None if all was."""
    reasons = options.NEEDLESS
    missing = [n for n in settings.foreign if n not in reasons]
    needless = [f"{n} ({reasons[n]})" for n in settings.foreign if n in reasons]
    parts = [
        f"{what}: {', '.join(sorted(names))}"
        for what, names in (
            ("not supported here", missing),
            ("not needed here", needless),
            ("unknown", [_with_hint(n) for n in settings.unknown]),
        )
        if names
    ]
    return f"{where}: ignored settings: {'; '.join(parts)}" if parts else None


def _with_hint(name: str) -> str:
    import difflib

    heard_of = (*options.OPTIONS, *options.FOREIGN, *hooks.ARGUMENTS, "wsgi_app")
    close = difflib.get_close_matches(name.lower(), heard_of, 1, 0.8)
    return f"{name} (did you mean {close[0]}?)" if close else name


def refuse(where: str, settings: Settings) -> None:
    """Raises ConfigBroken for what must not be left out in silence or with a warning."""
    for name in settings.foreign:
        if name in options.REFUSED:
            raise ConfigBroken(f"{where}: {name}: {options.REFUSED[name]}", usage=True)
