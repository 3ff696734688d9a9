"""Readers of an access log's lines: one compiled expression for each format.

Formats are written in their own languages, nginx's ``$request``, Apache's ``%r``, gunicorn's and
uWSGI's ``%(r)s``, and translated by tables: a variable stands for a column, or is passed over. What
stands between two variables is literal, and a variable ends where that begins. Nothing else is
captured: addresses, referrers, cookies and queries never leave the line.

Sources: nginx's ngx_http_log_module, Apache's mod_log_config, gunicorn's access_log_format, uWSGI's
"Formatting uWSGI requests logs", AWS's "Access logs for your Application Load Balancer", Heroku's
"HTTP Routing".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from pretune.loadtests.access_logs import json_lines

# What a line can say; ``target`` is ``GET /path``, and b"" of what is no request.
COLUMNS = ("target", "status", "time", "agent", "seconds")
Row = tuple[bytes, ...]

# Possessive: what a variable holds is never given back, so that a line of another format ends at
# once, and no line can make the expression try all ways of dividing it.
_QUOTED = rb"[^\"\\\n]*+(?:\\.[^\"\\\n]*+)*+"
_SITE = rb"(?:https?://[^/ \"\n]++)?+"
_TARGET = rb"[A-Z-]++ " + _SITE + rb"[^ ?\"\n]*+"
_NUMBER = rb"[\d.]+|-"
_CLF_TIME = rb"\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}"

# what a variable means -> the expression it becomes; a time in other units is divided later
_EXPRESSIONS = {
    "request": rb"(?P<target>" + _TARGET + rb"|)" + _QUOTED,
    "method": rb"(?P<method>[A-Z-]++)",
    "uri": rb"(?P<path>" + _SITE + rb"[^ ?\"\n]*+)[^ \"\n]*+",
    "status": rb"(?P<status>\d{3})",
    "clf": rb"(?P<time>" + _CLF_TIME + rb")",
    "bracketed": rb"\[(?P<time>[^]\n]*+)\]",
    "iso": rb"(?P<time>\d{4}-\d\d-\d\dT[^ \"\n]*)",
    "epoch": rb"(?P<time>\d{9,}(?:\.\d+)?)",
    "s": rb"(?P<s>" + _NUMBER + rb")",
    "ms": rb"(?P<ms>" + _NUMBER + rb")",
    "us": rb"(?P<us>" + _NUMBER + rb")",
    "agent": rb"(?P<agent>" + _QUOTED + rb")",
    "list": rb"[^ ,\"\n]*+(?:(?:, | : )[^ ,\"\n]*+)*+",  # of several upstreams
}
_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6}  # in a second

_NGINX = {
    "request": "request", "request_method": "method", "request_uri": "uri", "uri": "uri",
    "status": "status", "time_local": "clf", "time_iso8601": "iso", "msec": "epoch",
    "request_time": "s", "http_user_agent": "agent", "upstream_addr": "list",
    "upstream_response_time": "list", "upstream_connect_time": "list",
    "upstream_header_time": "list", "upstream_status": "list", "upstream_response_length": "list",
}  # fmt: skip
_APACHE = {
    "r": "request", "m": "method", "U": "uri", "s": "status", "t": "bracketed",
    "D": "us", "T": "s", "{us}T": "us", "{ms}T": "ms", "{s}T": "s", "{user-agent}i": "agent",
}  # fmt: skip
_KEYED = {
    "r": "request", "m": "method", "u": "other", "U": "uri", "s": "status", "t": "bracketed",
    "a": "agent", "D": "us", "L": "s", "M": "ms", "T": "s",
    "method": "method", "uri": "uri", "status": "status", "ltime": "clf", "tmsecs": "epoch",
    "micros": "us", "msecs": "ms", "secs": "s", "uagent": "agent",
}  # fmt: skip
_VARIABLE = re.compile(
    r"\$\{(?P<braced>\w+)\}|\$(?P<nginx>\w+)|%\((?P<keyed>[^)]*)\)s?"
    r"|%[!,\d]*[<>]?(?P<apache>(?:\{[^}]*\}\^?)?[a-zA-Z](?:[io](?![a-zA-Z]))?)"
)


@dataclass(frozen=True)
class LogFormat:
    """``read`` takes whole lines and returns a row for each that is of this format; ``columns`` say
    which of COLUMNS stands where in a row. ``per_second``: of the times in the rows."""

    name: str
    read: Callable[[bytes], Sequence[Row]]
    columns: dict[str, int]
    per_second: float = 1.0


def compile_format(text: str, name: str = "") -> LogFormat:
    """A format in the language of nginx, Apache, gunicorn or uWSGI.

    Raises ValueError with a sentence where it names no request or no status.
    """
    pieces, at = [], 0
    matches = list(_VARIABLE.finditer(text))
    seen: set[str] = set()
    for match, following in zip(matches, [*matches[1:], None], strict=True):
        pieces.append(re.escape(text[at : match.start()]).encode())
        at = match.end()
        literal = text[at : following.start() if following else len(text)]
        meaning = _meaning(match)
        groups = _groups(meaning)
        if meaning in _EXPRESSIONS and not groups & seen:
            seen |= groups
            pieces.append(_EXPRESSIONS[meaning])
        else:
            pieces.append(_until(literal))
    # what follows the last variable says nothing, and a line may say more
    if not ("target" in seen or {"method", "path"} <= seen):
        raise ValueError(
            f"the log format {text!r} holds no request; it is written $request in nginx's "
            "language, %r in Apache's, %(r)s in gunicorn's and %(method) %(uri) in uWSGI's"
        )
    if "status" not in seen:
        raise ValueError(
            f"the log format {text!r} holds no status; it is written $status in nginx's language, "
            "%>s in Apache's, %(s)s in gunicorn's and %(status) in uWSGI's"
        )
    return compile_expression(name or text, b"^" + b"".join(pieces))


def _meaning(match: re.Match[str]) -> str:
    nginx = match["braced"] or match["nginx"]
    if nginx:
        return _NGINX.get(nginx, "other")
    if match["keyed"] is not None:
        key = match["keyed"]
        return "agent" if key.lower() == "{user-agent}i" else _KEYED.get(key, "other")
    directive = match["apache"]
    return _APACHE.get(directive, _APACHE.get(directive.lower(), "other"))


def _groups(meaning: str) -> set[str]:
    return set(re.compile(_EXPRESSIONS.get(meaning, b"")).groupindex)


def _until(literal: str) -> bytes:
    """The expression of a variable that ends where this text begins."""
    if not literal:
        return b""
    if literal[0] == '"':
        return _QUOTED
    return b"[^" + re.escape(literal[0]).encode() + rb"\n]*+"


def compile_expression(name: str, expression: bytes) -> LogFormat:
    """A format whose groups are named as COLUMNS, or s, ms, us for seconds, or method and path."""
    strict = re.compile(expression, re.MULTILINE)
    quick = re.compile(_relax(expression), re.MULTILINE)

    def read(block: bytes) -> Sequence[Row]:
        if b'\\"' not in block:
            rows = quick.findall(block)
            # Each begins a line, so as many as there are lines are one of each line.
            if len(rows) == block.count(b"\n"):
                return rows
        return strict.findall(block)

    places = {group: index - 1 for group, index in strict.groupindex.items()}
    unit = next((each for each in _UNITS if each in places), "s")
    if unit in places:
        places["seconds"] = places.pop(unit)
    joined = "target" not in places
    if joined:
        pair = itemgetter(places.pop("method"), places.pop("path"))
        places["target"] = strict.groups

    def read_pairs(block: bytes) -> Sequence[Row]:
        return [(*row, b" ".join(pair(row))) for row in read(block)]

    columns = {name: places[name] for name in COLUMNS if name in places}
    return LogFormat(name, read_pairs if joined else read, columns, _UNITS[unit])


def _relax(expression: bytes) -> bytes:
    """The expression without its care for line ends and escapes, which takes half as long."""
    relaxed = expression.replace(_QUOTED, b'[^"]*+').replace(b"[^ \\n]", b"\\S")
    return re.sub(rb"\[\^(\\?.)\\n\]", rb"[^\1]", relaxed)


_COMMON = '%h %l %u %t "%r" %>s %b'
_COMBINED = f'{_COMMON} "%{{Referer}}i" "%{{User-Agent}}i"'
# More particular ones first: a line of theirs is one of the others, too.
KNOWN: tuple[LogFormat, ...] = (
    compile_format(_COMBINED, "combined (nginx, Apache, gunicorn)"),
    compile_format(f"%v {_COMBINED}", "combined with the host before it"),
    compile_format(_COMMON, "common"),
    compile_expression(
        "uWSGI's own",
        rb"^\[pid: [^]\n]*\] [^\n]*?\{[^}\n]*\} \[(?P<time>[^]\n]*)\] (?P<target>" + _TARGET
        + rb")[^\n]*? => generated [^\n]*? in (?P<ms>\d+) msecs \(HTTP/[\d.]+ (?P<status>\d{3})\)",
    ),
    compile_expression(
        "AWS Application Load Balancer",
        rb"^(?:https?|h2|grpcs?|wss?) (?P<time>\d{4}-\d\d-\d\dT[^ \n]*) (?:[^ \n]* ){4}"
        rb"(?P<s>[-\d.]+) [^ \n]* (?P<status>\d{3}) [^\"\n]*\"(?P<target>" + _TARGET
        + rb")[^\"\n]*\" \"(?P<agent>" + _QUOTED + rb")\"",
    ),
    compile_expression(
        "Heroku's router",
        rb"^(?P<time>\d{4}-\d\d-\d\dT[^ \n]*) (?:[^ \n]* )?heroku\[router\]: [^\n]*?"
        rb"method=(?P<method>[A-Z]+) path=\"?(?P<path>[^ ?\"\n]*)[^\n]*? service=(?P<ms>\d+)ms "
        rb"status=(?P<status>\d{3})",
    ),
    compile_expression(
        "uvicorn's own",
        rb"^INFO: +[^\n]*? - \"(?P<target>" + _TARGET + rb")[^\"\n]*\" (?P<status>\d{3})",
    ),
    LogFormat("JSON lines", json_lines.read, dict(zip(COLUMNS, range(len(COLUMNS)), strict=True))),
)  # fmt: skip


def recognise(lines: Iterable[bytes]) -> LogFormat | None:
    """The known format of most of these lines, or None where fewer than half are of any."""
    lines = [line for line in lines if line.strip()]
    counted = [(len(each.read(b"\n".join(lines) + b"\n")), each) for each in KNOWN]
    most, best = max(counted, key=itemgetter(0), default=(0, None))
    return best if lines and 2 * most >= len(lines) else None
