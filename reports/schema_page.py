"""docs/REPORT_JSON.md: every field of report.json and comparison.json, from the two schemas.

``python -m pretune.reports.schema_page > docs/REPORT_JSON.md``; a test holds page and schemas
together. The sentences are the schemas' own ``description``s.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pretune.reports import comparison, document

Node = Mapping[str, Any]

# name, schema, what its definitions' headings begin with
FILES = (
    ("report.json", document.SCHEMA, ""),
    ("comparison.json", comparison.SCHEMA, "comparison "),
)
# Where it is explained how an object's figures are made, below docs/method/.
METHOD = {
    "allocator": "memory.md#other-allocators",
    "baseline": "recommendation.md#other-formulas",
    "boot_memory": "memory.md#memory-at-boot",
    "budget": "preflight.md",
    "candidate": "recommendation.md#the-search",
    "comparison check": "comparison.md#what-is-lost-under-signals",
    "comparison pair": "comparison.md#over-the-rounds",
    "comparison server": "comparison.md",
    "comparison turn": "comparison.md#a-round",
    "cpu_accounting": "measurement.md#cpu-by-three-clocks",
    "database": "preflight.md#postgres-connections",
    "database_time": "database.md#time",
    "demand": "demand.md#what-a-request-costs",
    "endpoint_demand": "demand.md#what-a-request-costs",
    "extrapolation": "extrapolation.md",
    "fleet": "recommendation.md#instances",
    "front": "reverse-proxy.md",
    "front_checks": "reverse-proxy.md#what-it-gives",
    "gate": "verification.md#findings-and-gate",
    "holders": "memory.md#leaks",
    "inside": "demand.md#where-the-time-goes",
    "interval": "measurement.md#intervals",
    "load": "trials.md",
    "measured": "measurement.md",
    "predicted": "model.md",
    "recommendation": "recommendation.md",
    "server_cost": "demand.md#what-a-server-costs",
    "settings": "recommendation.md#settings",
    "shared_database": "recommendation.md#instances",
    "source_line": "demand.md#where-the-time-goes",
    "surroundings": "trials.md#safety-and-validity",
    "today": "recommendation.md#todays-deployment",
    "trial": "trials.md",
    "verification": "verification.md",
    "worker": "trials.md#processes-and-machine",
    "worker_demand": "memory.md#parts",
    "workload": "preflight.md#traffic",
}

_HEAD = """\
# Every field of report.json and comparison.json

Written by `make docs` from [`reports/schema.json`](../reports/schema.json) and
[`reports/comparison.schema.json`](../reports/comparison.schema.json). Every file is checked
against its schema before it is written.

`a[].b` is field `b` of each element of the list `a`, `a{}.b` of each value of the object `a`. An
*interval* is `{"value": x, "low": a, "high": b}`, an estimate with its 95% interval; a plain number
was counted, read or decided.
"""


def render() -> str:
    """The whole page."""
    sections = [_HEAD]
    for name, path, prefix in FILES:
        schema = json.loads(path.read_text(encoding="utf-8"))
        sections.append(_section(f"## {name}", schema, prefix))
        for each, node in sorted(schema["$defs"].items()):
            sections.append(_section(f"### {prefix}{each}", node, prefix))
    return "\n".join(sections)


def rows(node: Node, prefix: str = "", path: str = "") -> Iterator[tuple[str, str, str]]:
    """Path, type and description of every field of an object, objects without a name included.

    The description is empty where the schema has none.
    """
    for name, field in node.get("properties", {}).items():
        yield path + name, _type(field, prefix), field.get("description", "")
        yield from _inner(field, prefix, path + name)


def _inner(field: Node, prefix: str, path: str) -> Iterator[tuple[str, str, str]]:
    for choice in (field, *field.get("anyOf", ())):
        yield from rows(choice, prefix, path + ".")
        for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
            if isinstance(choice.get(key), dict):
                yield from _inner(choice[key], prefix, path + mark)


def _section(heading: str, node: Node, prefix: str) -> str:
    page = METHOD.get(heading.lstrip("# "), "")
    how = f" [How it is made](method/{page})." if page else ""
    lines = [heading, "", node["description"] + how, ""]
    lines += ["| field | type | what it is |", "|---|---|---|"]
    lines += [f"| `{path}` | {kind} | {text} |" for path, kind, text in rows(node, prefix)]
    return "\n".join(lines) + "\n"


def _type(field: Node, prefix: str) -> str:
    return " or ".join(dict.fromkeys(_types(field, prefix)))


def _types(field: Node, prefix: str) -> Iterator[str]:
    """``number``, ``list of [trial](#trial)``, each value of an enumeration, ``null``."""
    if "$ref" in field:
        file, _, name = field["$ref"].rpartition("#/$defs/")
        heading = name if file else prefix + name
        yield f"[{name}](#{heading.replace(' ', '-')})"
    elif "const" in field:
        yield f"`{field['const']}`"
    elif "enum" in field:
        yield from ("null" if each is None else f"`{each}`" for each in field["enum"] if each != "")
    elif "anyOf" in field:
        for choice in field["anyOf"]:
            yield from _types(choice, prefix)
    else:
        kinds = field.get("type", "any")
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            yield f"list of {_type(field['items'], prefix)}" if kind == "array" else kind


if __name__ == "__main__":
    print(render(), end="")
