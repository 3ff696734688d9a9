"""A workload as a file that a person can read, edit and commit; see file.py for its form."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable

from pretune.loadtests.workload import Endpoint, Workload

WIDTH = 98


def format_file(
    workload: Workload, routes: Iterable[str] = (), comments: Iterable[str] = ()
) -> str:
    """The text of a workload file. Read again it is the same workload.

    ``routes``: names of endpoints that are routes of the application; their paths are left to be
    found in it, because what exists differs from database to database. Raises ValueError for a
    locustfile, which is such a file already.
    """
    if workload.locustfile:
        raise ValueError(f"{workload.locustfile.name} is a workload already: a locustfile")
    left_to_find = frozenset(routes)
    told = [*comments, *(f"left out: {s.name}: {s.reason}" for s in workload.skipped)]
    lines = [line for each in told for line in _comment(each)]
    if workload.kept:
        lines.append('connections = "kept"')
    if workload.peak_rps is not None:
        lines.append(f"rps = {workload.peak_rps:.6g}")
    if workload.headers:
        lines += ["", "[headers]"]
        lines += [f"{_text(name)} = {_text(value)}" for name, value in workload.headers]
    for each in workload.endpoints:
        lines += ["", "[[endpoint]]", *_endpoint(each, each.name in left_to_find)]
    return "\n".join(lines).lstrip("\n") + "\n"


def _endpoint(endpoint: Endpoint, is_route: bool) -> list[str]:
    share = f"share = {100 * endpoint.share:.6g}"
    if is_route or not endpoint.paths:
        return [f"route = {_text(endpoint.name)}", share]
    lines = []
    if endpoint.weights:
        pairs = zip(endpoint.paths, endpoint.weights, strict=True)
        inner = ", ".join(f"{_text(path)} = {weight!r}" for path, weight in pairs)
        lines.append(f"paths = {{ {inner} }}")
    elif len(endpoint.paths) > 1:
        lines.append(f"paths = [{', '.join(map(_text, endpoint.paths))}]")
    else:
        lines.append(f"path = {_text(endpoint.paths[0])}")
    lines.append(share)
    if endpoint.name != endpoint.paths[0]:
        lines.append(f"name = {_text(endpoint.name)}")
    if endpoint.method != "GET":
        lines.append(f"method = {_text(endpoint.method)}")
    return lines


def _text(text: str) -> str:
    """A TOML string; JSON writes the same, but for DEL, which it leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> list[str]:
    # a control character has no place in a comment, and a line break would end it
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    return textwrap.wrap(
        shown, WIDTH, initial_indent="# ", subsequent_indent="#   ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
