"""Imports the application object that a user's name for it means.

Forms of a target: ``package.module`` (its ``application`` or ``app``), ``module:name`` (dotted),
``module:factory()``, ``path/to/file.py`` with or without ``:name``. A factory takes literals as
arguments, as gunicorn has it: ``module:create("/srv", debug=False)``. A failure says which of three
things it was: the target is not there, the target's own code failed (with the user's traceback,
without our frames), or the module holds no such application (with the callables it does hold).
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import sys
import traceback
from dataclasses import dataclass
from typing import Any

from pretune.server.process.interface import interface_of

DEFAULT_NAMES = ("application", "app")
# Exit status of a process that finds its own descriptors closed: its standard error may be, too.
DESCRIPTORS_CLOSED = 71  # EX_OSERR

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_TARGET = re.compile(r"(?P<place>.+?)(?::(?P<name>[A-Za-z_][\w.]*)(?P<call>\(.*\))?)?", re.DOTALL)


class TargetError(Exception):
    """The target gives no application. ``traceback`` is the user's own code's, or ""."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class TargetMissing(TargetError):
    """There is no such module, file or attribute."""


class TargetBroken(TargetError):
    """The user's code raised while it was imported or while the factory ran."""


@dataclass(frozen=True)
class Call:
    """The arguments a factory is called with; ``text`` is how they were written, brackets too."""

    text: str = "()"
    arguments: tuple[Any, ...] = ()
    keywords: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Target:
    """A target taken apart. ``root`` must be on ``sys.path`` for ``module`` to be found."""

    module: str
    name: str | None = None  # None: the first of DEFAULT_NAMES
    call: Call | None = None  # None: the name is the application itself
    root: str | None = None


@dataclass(frozen=True)
class Loaded:
    """An imported application; ``interface`` is ``"wsgi"`` or ``"asgi"``."""

    app: Any
    module: str
    name: str
    interface: str


def split(text: str) -> tuple[str, str | None, Call | None]:
    """Split a target into its place (a module or a file), its name and how that is called.

    Nothing is looked up. Raises TargetMissing for what cannot be a target.
    """
    match = _TARGET.fullmatch(text.strip())
    if match is None:
        raise TargetMissing(f"{text!r} is not module, module:name, module:factory() or file.py")
    place = match["place"]
    is_file = place.endswith(".py") or os.sep in place
    if not is_file and not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", place):
        raise TargetMissing(f"{place!r} is neither a module's name nor a .py file")
    return place, match["name"], None if match["call"] is None else _parse_call(match["call"])


def _parse_call(text: str) -> Call:
    """Read ``("/srv", debug=False)``: literals only, nothing is evaluated. Raises TargetMissing."""
    try:
        call = ast.parse(f"factory{text}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError("not one call")
        arguments = tuple(ast.literal_eval(item) for item in call.args)
        keywords = []
        for keyword in call.keywords:
            if keyword.arg is None:
                raise ValueError("** is no literal")
            keywords.append((keyword.arg, ast.literal_eval(keyword.value)))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        message = f'a factory\'s arguments must be literals, as in ("/srv", debug=False): {text}'
        raise TargetMissing(message) from None
    return Call(text, arguments, tuple(keywords))


def parse(text: str, chdir: str = ".") -> Target:
    """Take a target apart; a path is looked up in ``chdir``. Raises TargetMissing."""
    place, name, call = split(text)
    if not (place.endswith(".py") or os.sep in place):
        return Target(place, name, call)
    path = os.path.join(os.path.abspath(chdir), os.path.expanduser(place))
    if not os.path.isfile(path):
        raise TargetMissing(f"there is no file {place}")
    module, root = _module_of(os.path.normpath(path))
    return Target(module, name, call, root)


def _module_of(path: str) -> tuple[str, str]:
    """A file's dotted name and the directory that name starts from."""
    directory, filename = os.path.split(path)
    parts = [filename[:-3]]
    if parts == ["__init__"]:
        parts = []
    while os.path.isfile(os.path.join(directory, "__init__.py")):
        directory, package = os.path.split(directory)
        parts.insert(0, package)
    return ".".join(parts), directory


def load(text: str, chdir: str = ".") -> Loaded:
    """Import a target; ``chdir`` stands first on ``sys.path``. Raises TargetError."""
    target = parse(text, chdir)
    for entry in (target.root, os.path.abspath(chdir)):
        if entry is not None:
            if entry in sys.path:
                sys.path.remove(entry)
            sys.path.insert(0, entry)
    module = _import(target.module)
    app, name = _application(module, target)
    if target.call is not None:
        app, name = _call_factory(app, name, target.call), f"{name}{target.call.text}"
    if not callable(app):
        raise TargetMissing(f"{target.module}:{name} is a {type(app).__name__}, not an application")
    return Loaded(app, target.module, name, interface_of(app))


def project(chdir: str, module: str) -> tuple[str, ...]:
    """Directories in which a loaded application's own code lies, the one it runs in first."""
    top = sys.modules.get(module.partition(".")[0])
    where = list(getattr(top, "__path__", ())) if top is not None else []
    beside = getattr(top, "__file__", None)
    above = [os.path.dirname(os.path.abspath(path)) for path in (*where, beside) if path]
    if where and beside:
        above[-1] = os.path.dirname(above[-1])  # of a package, not its __init__'s
    return tuple(dict.fromkeys((os.path.abspath(chdir), *above)))


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        text = user_traceback(error)
        # Its own absence, or that of a package above it, with no user code on the way there.
        absent = error.name is not None and (name + ".").startswith(error.name + ".")
        if absent and not _user_frames(error):
            raise TargetMissing(f"there is no module {error.name!r}{_hint(name)}") from None
        raise TargetBroken(f"importing {name} failed: {_last_line(error)}", text) from error
    except (Exception, SystemExit) as error:
        message = f"importing {name} failed: {_last_line(error)}"
        raise TargetBroken(message, user_traceback(error)) from error


def _hint(name: str) -> str:
    first = name.split(".", 1)[0]
    return f" (searched {first} in {os.getcwd()} and {len(sys.path)} other places on sys.path)"


def _application(module: Any, target: Target) -> tuple[Any, str]:
    names = DEFAULT_NAMES if target.name is None else (target.name,)
    for name in names:
        value = module
        try:
            for part in name.split("."):
                value = getattr(value, part)
        except AttributeError:
            continue
        return value, name
    callable_names = callables(module)
    candidates = (
        f"it has {', '.join(callable_names)}" if callable_names else "it has no callable of its own"
    )
    raise TargetMissing(f"{target.module} has no {' or '.join(names)}; {candidates}")


def callables(module: Any) -> list[str]:
    """Names in a module that might be meant: its own functions and classes, callable objects."""
    names = []
    for name, value in sorted(vars(module).items()):
        if name.startswith("_") or not callable(value):
            continue
        if inspect.isclass(value) or inspect.isroutine(value):
            if getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(value) and not _required(value):
                name += "()"
        names.append(name)
    return names


def _required(function: Any) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
               for p in parameters)  # fmt: skip


def _call_factory(factory: Any, name: str, call: Call) -> Any:
    if not callable(factory):
        raise TargetMissing(f"{name} is a {type(factory).__name__}, which cannot be called")
    try:
        return factory(*call.arguments, **dict(call.keywords))
    except (Exception, SystemExit) as error:
        message = f"calling {name}{call.text} failed: {_last_line(error)}"
        raise TargetBroken(message, user_traceback(error)) from error


def _last_line(error: BaseException) -> str:
    return traceback.format_exception_only(type(error), error)[-1].strip()


def _is_ours(frame: traceback.FrameSummary) -> bool:
    filename = frame.filename
    return (
        filename.startswith((_OURS, "<frozen importlib"))
        or filename == importlib.__file__
        or filename == os.path.join(os.path.dirname(_OURS), "bootstrap.py")
    )


def _user_frames(error: BaseException) -> bool:
    return any(not _is_ours(frame) for frame in traceback.extract_tb(error.__traceback__))


def user_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, without the frames of this server and of importlib."""
    whole = traceback.TracebackException.from_exception(error)
    pending, seen = [whole], set()
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        kept = [frame for frame in part.stack if not _is_ours(frame)]
        part.stack = traceback.StackSummary.from_list(kept)
        inner = [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]
        pending.extend(p for p in inner if p is not None)
    return "".join(whole.format())
