"""Values as people write them, on a command line (text) or in a Python file (anything).

Each function takes either and gives what Config holds, or raises ValueError with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pretune.server.config import privileges
from pretune.server.process import access_log
from pretune.server.process.log import LEVELS
from pretune.server.settings import WORKER_CLASSES

_SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_TIMES = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 1e9  # s
_SWITCH = {"true": True, "yes": True, "on": True, "1": True,
           "false": False, "no": False, "off": False, "0": False}  # fmt: skip


def count(least: int, most: int = 2**31 - 1) -> Callable[[Any], int]:
    """A whole number from ``least`` to ``most``."""

    def convert(value: Any) -> int:
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise ValueError(f"{value!r} is not a whole number") from None
        if isinstance(value, float) and value != number:
            raise ValueError(f"{value!r} is not a whole number")
        if not least <= number <= most:
            raise ValueError(f"{number} is {'less' if number < least else 'more'} than "
                             f"{least if number < least else most}")  # fmt: skip
        return number

    return convert


def seconds(value: Any) -> float:
    """``30``, ``1.5``, ``90s``, ``15m``, ``12h``, ``2d``, ``500ms``."""
    number = _scaled(value, r"ms|s|min|m|h|d|", _TIMES, "a duration, such as 30 or 15m")
    if not number < _LONGEST:
        raise ValueError(f"{value!r} is not a duration, such as 30 or 15m")
    return number


def size(value: Any) -> int:
    """Bytes: ``512M``, ``1.5G``, ``300MB``, ``1GiB``, ``1048576``; units are powers of 1024."""
    if isinstance(value, str):
        value = re.sub(r"(?<=[KMGT])I?B$", "", value.strip().upper())
    return int(_scaled(value, r"[KMGT]|", _SIZES, "a size, such as 512M or 1.5G"))


def _scaled(value: Any, units: str, table: dict[str, Any], what: str) -> float:
    match = re.fullmatch(rf"(\d+(?:\.\d*)?|\.\d+)\s*({units})", str(value).strip())
    if match is None or isinstance(value, bool):
        raise ValueError(f"{value!r} is not {what}")
    return float(match[1]) * float(table[match[2]])


def switch(value: Any) -> bool:
    """True or false, also as words."""
    switched = value if isinstance(value, bool) else _SWITCH.get(str(value).strip().lower())
    if switched is None:
        raise ValueError(f"{value!r} is neither true nor false")
    return switched


def text(value: Any) -> str | None:
    """A string; None and "" are none."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")
    return value.strip() or None


def texts(value: Any) -> tuple[str, ...]:
    """A string or a list of them."""
    if not isinstance(value, (str, list, tuple, type(None))):
        raise ValueError(f"{value!r} is neither a string nor a list")
    items = [value] if isinstance(value, str) else list(value or ())
    for each in items:
        if not isinstance(each, str) or not each.strip():
            raise ValueError(f"{each!r} is not a string with something in it")
    return tuple(each.strip() for each in items)


def binds(value: Any) -> tuple[str, ...]:
    """An address or a list of them, never none."""
    addresses = texts(value)
    if not addresses:
        raise ValueError("there is no address in it")
    return addresses


def directories(value: Any) -> tuple[str, ...]:
    """Paths with commas between, as gunicorn's pythonpath."""
    return tuple(p.strip() for each in texts(value) for p in each.split(",") if p.strip())


def pairs(value: Any) -> tuple[tuple[str, str], ...]:
    """``NAME=VALUE``, once or several times, or a dict. A name's last value counts."""
    if isinstance(value, dict):
        return tuple((str(name), str(each)) for name, each in value.items())
    by_name = {}
    for each in texts(value):
        name, separator, rest = each.partition("=")
        if not name or not separator:
            raise ValueError(f"{each!r} is not NAME=VALUE")
        by_name[name] = rest
    return tuple(by_name.items())


def addresses(value: Any) -> str:
    """IP addresses and networks of peers, with commas between; ``*`` is everyone."""
    import ipaddress

    from pretune.server.http11.forwarded import Trust

    parts = [p.strip() for each in texts(value) for p in each.split(",") if p.strip()]
    for each in parts:
        if each != "*":
            ipaddress.ip_network(each)  # its ValueError says what is wrong
            Trust(each)  # takes no netmasks and no interfaces
    return ",".join(parts)


def umask(value: Any) -> int:
    """A number; octal where Python or the shell would say so: ``0o22``, ``022``."""
    try:
        if isinstance(value, str):
            value = int(value, 8 if re.fullmatch(r"0[0-7]+", value) else 0)
        if isinstance(value, int) and 0 <= value <= 0o777:
            return int(value)
    except ValueError:
        pass
    raise ValueError(f"{value!r} is not a umask, such as 022")


def user(value: Any) -> int | None:
    return None if value in (None, "") else privileges.user_id(value)


def group(value: Any) -> int | None:
    return None if value in (None, "") else privileges.group_id(value)


def level(value: Any) -> str:
    name = str(value).strip().lower()
    if name not in LEVELS:
        raise ValueError(f"{value!r} is not one of {', '.join(LEVELS)}")
    return name


def access_format(value: Any) -> str | None:
    pattern = text(value)
    if pattern is not None:
        access_log.check(pattern)
    return pattern


def proxy_protocol(value: Any) -> bool:
    """gunicorn's words; version 1 and 2 are told apart by looking."""
    if isinstance(value, str) and value.strip().lower() in ("auto", "v1", "v2"):
        return True
    return switch("off" if value is None else value)


# what users of other servers write -> ours
CLASSES = {
    "sync": "sync",
    "gunicorn.workers.sync.SyncWorker": "sync",
    "gthread": "gthread",
    "gunicorn.workers.gthread.ThreadWorker": "gthread",
    "gevent": "gevent",
    "gevent_wsgi": "gevent",
    "gevent_pywsgi": "gevent",
    "gunicorn.workers.ggevent.GeventWorker": "gevent",
    "gunicorn.workers.ggevent.GeventPyWSGIWorker": "gevent",
    "asgi": "asgi",
    "gunicorn.workers.gasgi.ASGIWorker": "asgi",
    "uvicorn.workers.UvicornWorker": "asgi",
    "uvicorn.workers.UvicornH11Worker": "asgi",
    "uvicorn_worker.UvicornWorker": "asgi",
    "uvicorn_worker.UvicornH11Worker": "asgi",
    "uvicorn_worker._workers.UvicornWorker": "asgi",
    "auto": "auto",
}


def worker_class(value: Any) -> str:
    """One of ours by its name or another's, or by the class itself."""
    if isinstance(value, type):
        value = f"{value.__module__}.{value.__qualname__}"
    class_name = CLASSES.get(re.sub(r"^egg:gunicorn#", "", str(value).strip()))
    if class_name is None or class_name not in (*WORKER_CLASSES, "auto"):
        choices = ", ".join(("auto", *WORKER_CLASSES))
        raise ValueError(f"{value!r} is not a worker class here; there are {choices}")
    return class_name
