"""Access logs of JSON objects, one a line: Caddy's, Traefik's, nginx's ``escape=json``, others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

# what is wanted -> where it may stand, a dot for an object within; the first that is there counts
_METHOD = ("request.method", "RequestMethod", "request_method", "method", "http.method", "verb")
_PATH = (
    "request.uri", "RequestPath", "request_uri", "uri", "path", "url", "http.url", "target",
)  # fmt: skip
_REQUEST = ("request", "request_line")
_STATUS = ("status", "DownstreamStatus", "status_code", "http.status_code", "response.status")
_TIME = (
    "ts", "StartUTC", "time_iso8601", "@timestamp", "timestamp", "msec", "time", "time_local",
)  # fmt: skip
_AGENT = ("http_user_agent", "user_agent", "request_User-Agent", "userAgent", "agent")
# and the number of its units in a second
_SECONDS = {
    "Duration": 1e9, "duration_ms": 1e3, "duration": 1.0, "request_time": 1.0, "latency_ms": 1e3,
    "response_time": 1.0,
}  # fmt: skip


def read(block: bytes) -> Sequence[tuple[bytes, ...]]:
    """A row of target, status, time, agent and seconds for each line that is such an object."""
    rows = []
    for line in block.splitlines():
        if not line.startswith(b"{"):
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            continue
        row = _row(item) if isinstance(item, dict) else None
        if row is not None:
            rows.append(row)
    return rows


def _row(item: Mapping[str, Any]) -> tuple[bytes, ...] | None:
    status = _find(item, _STATUS)
    method, path = _find(item, _METHOD), _find(item, _PATH)
    if method is None or path is None:
        line = _find(item, _REQUEST)
        method, _, path = line.partition(" ") if isinstance(line, str) else ("", "", "")
    if status is None or not method or not path:
        return None
    target = f"{method} {str(path).partition(' ')[0].partition('?')[0]}"
    agent = _find(item, _AGENT) or _header(item)
    texts = (target, _whole(status), _find(item, _TIME) or "", agent, _duration(item))
    return tuple(str(text).encode(errors="replace") for text in texts)


def _find(item: Mapping[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        value: Any = item.get(name)
        outer, dot, inner = name.partition(".")
        if value is None and dot and isinstance(item.get(outer), dict):
            value = item[outer].get(inner)
        if value is not None and not isinstance(value, dict | list):
            return value
    return None


def _whole(status: Any) -> Any:
    return int(status) if isinstance(status, float) and 0 <= status < 1000 else status


def _header(item: Mapping[str, Any]) -> str:
    """The user agent where Caddy writes it."""
    request = item.get("request")
    headers = request.get("headers") if isinstance(request, dict) else None
    values = headers.get("User-Agent") if isinstance(headers, dict) else None
    return str(values[0]) if isinstance(values, list) and values else ""


def _duration(item: Mapping[str, Any]) -> str:
    for name, per_second in _SECONDS.items():
        value = item.get(name)
        if isinstance(value, str):
            value = float(value) if value.replace(".", "", 1).isdigit() else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return repr(value / per_second)
    return ""
