"""GET operations of an OpenAPI document, with values for what they cannot do without.

Values are the document's own: examples, defaults, enumerations; for a query parameter also one of
its type. Pure functions over a hostile document: depth and number are bounded, and what is not as
the specification has it is passed over. Versions 2 and 3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

MAX_OPERATIONS = 300
_MAX_DEPTH = 8
_TYPES = {"boolean": "true", "string": "a"}
_FORMATS = {
    "date": "2024-01-31",
    "date-time": "2024-01-31T12:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000001",
    "email": "a@example.org",
}
# Never filled from a document: they are the client's own, or secrets.
_NOT_FILLED = frozenset({"authorization", "cookie", "host", "accept", "content-type"})


@dataclass(frozen=True)
class Operation:
    """One GET. ``base`` stands before ``path`` where the document names a server below a prefix.

    ``values`` are those of parameters in the path; ``missing_...`` name what has no value.
    """

    path: str
    base: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    missing_query: tuple[str, ...] = ()
    missing_headers: tuple[str, ...] = ()

    @property
    def asks(self) -> bool:
        """True where it cannot do without a query parameter or a header."""
        return bool(self.query or self.headers or self.missing_query or self.missing_headers)

    @property
    def query_string(self) -> str:
        """``?a=1&b=2``, or ""."""
        pairs = "&".join(f"{quote(name)}={quote(value)}" for name, value in self.query.items())
        return f"?{pairs}" if pairs else ""


def shape(template: str) -> str:
    """A template without the names of its parameters, to compare it with another's."""
    return re.sub(r"{[^{}]*}", "{}", template)


def read(body: bytes) -> list[Operation]:
    """The document's GET operations; none where it is no such document."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return []
    if not isinstance(document, dict) or not ({"openapi", "swagger"} & document.keys()):
        return []
    paths = document.get("paths")
    if not isinstance(paths, dict):
        return []
    base = _base(document)
    found: list[Operation] = []
    for path, item in paths.items():
        operation = item.get("get") if isinstance(item, dict) else None
        if isinstance(operation, dict) and path.startswith("/") and len(found) < MAX_OPERATIONS:
            found.append(_operation(path, base, item, operation, document))
    return found


def _base(document: Mapping[str, Any]) -> str:
    servers = document.get("servers")
    first = servers[0] if isinstance(servers, list) and servers else None
    url = first.get("url") if isinstance(first, dict) else document.get("basePath")
    try:
        return urlsplit(url).path.rstrip("/") if isinstance(url, str) and "{" not in url else ""
    except ValueError:
        return ""


def _operation(
    path: str,
    base: str,
    item: Mapping[str, Any],
    operation: Mapping[str, Any],
    document: Mapping[str, Any],
) -> Operation:
    sorts: dict[str, dict[str, str]] = {"path": {}, "query": {}, "header": {}}
    missing: dict[str, list[str]] = {"path": [], "query": [], "header": []}
    for parameter in _parameters(item, operation, document):
        sort, name = parameter.get("in"), parameter.get("name")
        if sort not in sorts or not isinstance(name, str) or not parameter.get("required"):
            continue
        value = _value(parameter, document, typed=sort == "query")
        if sort == "header" and name.lower() in _NOT_FILLED:
            value = None
        if value is None or any(ord(sign) < 0x20 for sign in value):
            missing[sort].append(name)
        else:
            sorts[sort][name] = value
    return Operation(
        path,
        base,
        sorts["path"],
        sorts["query"],
        sorts["header"],
        tuple(missing["query"]),
        tuple(missing["header"]),
    )


def _parameters(
    item: Mapping[str, Any], operation: Mapping[str, Any], document: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    """The path's parameters, then the operation's own."""
    for owner in (item, operation):
        listed = owner.get("parameters")
        for parameter in listed if isinstance(listed, list) else ():
            resolved = _resolve(parameter, document)
            if isinstance(resolved, dict):
                yield resolved


def _resolve(value: Any, document: Mapping[str, Any]) -> Any:
    """Follow ``$ref`` within the document, a bounded number of times."""
    for _ in range(_MAX_DEPTH):
        reference = value.get("$ref") if isinstance(value, dict) else None
        if not isinstance(reference, str):
            return value
        value = document
        for part in reference.removeprefix("#/").split("/"):
            value = value.get(part) if isinstance(value, dict) else None
    return None


def _value(parameter: Mapping[str, Any], document: Mapping[str, Any], *, typed: bool) -> str | None:
    examples = parameter.get("examples")
    named = next(iter(examples.values()), None) if isinstance(examples, dict) else None
    given = _text(parameter.get("example"))
    if given is None and isinstance(named, dict):
        given = _text(named.get("value"))
    if given is not None:
        return given
    return _of_schema(parameter.get("schema", parameter), document, typed, 0)


def _of_schema(schema: Any, document: Mapping[str, Any], typed: bool, depth: int) -> str | None:
    schema = _resolve(schema, document)
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return None
    for key in ("example", "x-example", "default", "const"):
        if (said := _text(schema.get(key))) is not None:
            return said
    for key in ("examples", "enum"):
        values = schema.get(key)
        if isinstance(values, list) and values and (said := _text(values[0])) is not None:
            return said
    for key in ("allOf", "anyOf", "oneOf"):
        parts = schema.get(key)
        for part in parts if isinstance(parts, list) else ():
            if (said := _of_schema(part, document, typed, depth + 1)) is not None:
                return said
    if schema.get("type") == "array":
        return _of_schema(schema.get("items"), document, typed, depth + 1)
    return _of_type(schema) if typed else None


def _of_type(schema: Mapping[str, Any]) -> str | None:
    kind = schema.get("type")
    if kind in ("integer", "number"):
        low, high = schema.get("minimum"), schema.get("maximum")
        if not isinstance(low, int | float) and isinstance(schema.get("exclusiveMinimum"), int):
            low = schema["exclusiveMinimum"] + 1
        value: float = 1
        value = max(value, low) if isinstance(low, int | float) else value
        value = min(value, high) if isinstance(high, int | float) else value
        return f"{value:g}" if kind == "number" else str(int(value))
    if kind == "string" and (schema.get("pattern") or schema.get("minLength", 0) not in (0, 1)):
        return None
    return _FORMATS.get(str(schema.get("format")), _TYPES.get(str(kind)))


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) and value != "" else None
