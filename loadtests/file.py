"""Workload files: ``--workload FILE``, either TOML or a locustfile.

connections = "kept"        # of --rps: arrivals share those that are open; "each" has its own
rps = 16.1                  # the rate to carry, unless --rps names one

[headers]
Authorization = "Bearer ..."

[[endpoint]]
path = "/search?q=tea"      # or paths = ["/product/1/", "/product/2/"], asked for evenly,
                            # or paths = {"/product/1/" = 30, "/product/2/" = 1}, by frequency
                            # or route = "/product/<int:pk>/", as the app writes it: paths of it
                            # are found in the running app
share = 3                   # relative; 1 when left out
name = "/search"            # the path when left out
method = "GET"              # or HEAD; anything else needs a locustfile
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pretune.loadtests.discovery import check_path
from pretune.loadtests.workload import Endpoint, Workload

SUFFIXES = (".toml", ".py")
_KEYS = ("path", "paths", "route", "share", "name", "method")
_METHODS = ("GET", "HEAD")
_EXAMPLE = '[[endpoint]]\npath = "/products/"\nshare = 3'

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # token of RFC 9110


def read(path: Path, headers: Mapping[str, str] | None = None) -> Workload:
    """The workload of a file. ``headers`` are sent as well, unless the file names the same.

    Raises ValueError with a sentence that says what to write instead.
    """
    if not path.is_file():
        raise ValueError(f"there is no workload file {path}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason} at {error.start})") from None
    given = dict(headers or {})
    if path.suffix == ".py":
        _check_python(path, text)
        return Workload(
            (), headers=tuple(given.items()), source="locustfile", locustfile=path.absolute()
        )
    try:
        return parse(text, given)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse(text: str, headers: dict[str, str] | None = None) -> Workload:
    """The workload of a file's text. Raises ValueError with a sentence."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not TOML: {error}") from None
    return _workload(document, headers or {})


def _check_python(path: Path, text: str) -> None:
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}") from None
    if not any(isinstance(node, ast.ClassDef) for node in ast.walk(tree)):
        raise ValueError(f"{path} defines no class; a locustfile has an HttpUser or FastHttpUser")


def _workload(document: Mapping[str, Any], headers: dict[str, str]) -> Workload:
    _check_keys(document, ("endpoint", "headers", "connections", "rps"), "the file")
    rps = document.get("rps")
    if rps is not None and not _is_number(rps):
        raise ValueError(f"rps is a number of requests/s above 0, not {rps!r}")
    connections = document.get("connections", "each")
    if connections not in ("each", "kept"):
        raise ValueError(f'connections is "each" or "kept", not {connections!r}')
    tables = document.get("endpoint")
    if not isinstance(tables, list) or not tables:
        raise ValueError(f"no endpoints; write at least one, like this:\n{_EXAMPLE}")
    endpoints = [_endpoint(table, number) for number, table in enumerate(tables, 1)]
    names = [endpoint.name for endpoint in endpoints]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two endpoints are called {name}; give one of them another name")
    total = sum(endpoint.share for endpoint in endpoints)
    own = document.get("headers", {})
    if not isinstance(own, dict) or not all(isinstance(value, str) for value in own.values()):
        raise ValueError('[headers] holds lines such as Accept-Language = "de"')
    for name, value in own.items():
        if any(sign in name + value for sign in "\r\n\0"):
            raise ValueError(f"header {name} holds a line break")
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"header {name!r} is no header name; write one such as X-Tenant")
        if any(ord(sign) > 0xFF for sign in value):
            raise ValueError(f"header {name} holds {value!r}, which no header can carry")
    replaced = {name.lower() for name in own}
    merged = {name: value for name, value in headers.items() if name.lower() not in replaced}
    shares_given = any("share" in table for table in tables)
    count = len(endpoints)
    return Workload(
        endpoints=tuple(replace(each, share=each.share / total) for each in endpoints),
        headers=tuple({**merged, **own}.items()),
        source="file",
        kept=connections == "kept",
        peak_rps=None if rps is None else float(rps),
        assumption="" if shares_given else f"equal shares of {count} endpoint{'s' * (count != 1)}",
    )


def _endpoint(table: Any, number: int) -> Endpoint:
    place = f"endpoint {number}"
    if not isinstance(table, dict):
        raise ValueError(f"{place} is not a table; write:\n{_EXAMPLE}")
    _check_keys(table, _KEYS, place)
    if sum(key in table for key in ("path", "paths", "route")) != 1:
        raise ValueError(f"{place} needs one of path, paths and route; write:\n{_EXAMPLE}")
    if "route" in table:
        return _route(table, place)
    paths = table.get("paths", [table.get("path")])
    weights: tuple[float, ...] = ()
    if isinstance(paths, dict):
        if not all(_is_number(often) for often in paths.values()):
            raise ValueError(f'{place}: how often is a number above 0: paths = {{"/a/" = 30}}')
        weights, paths = tuple(map(float, paths.values())), list(paths)
    if not isinstance(paths, list) or not paths or not all(isinstance(p, str) for p in paths):
        raise ValueError(f'{place}: a path is written path = "/products/"')
    for path in paths:
        check_path(path)
    share = _share(table, place)
    method = str(table.get("method", "GET")).upper()
    if method not in _METHODS:
        raise ValueError(f"{place}: {method} may change data; only a locustfile may send it")
    name = str(table.get("name", paths[0]))
    return Endpoint(name, tuple(paths), share, method, weights)


def _route(table: Mapping[str, Any], place: str) -> Endpoint:
    """An endpoint whose paths are not known yet."""
    route = table["route"]
    if not isinstance(route, str) or not route:
        raise ValueError(f'{place}: a route is written route = "/product/<int:pk>/"')
    if "name" in table or "method" in table:
        raise ValueError(
            f"{place}: a route is its own name and is asked by GET; leave the rest out"
        )
    return Endpoint(route, (), _share(table, place))


def _share(table: Mapping[str, Any], place: str) -> float:
    share = table.get("share", 1)
    if not _is_number(share):
        raise ValueError(f"{place}: share is a number above 0, not {share!r}")
    return float(share)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e12


def _check_keys(table: Mapping[str, Any], keys: tuple[str, ...], place: str) -> None:
    for key in table:
        if key not in keys:
            near = get_close_matches(key, keys, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(keys)}"
            raise ValueError(f"{place} has an unknown entry {key!r}; {hint}")
