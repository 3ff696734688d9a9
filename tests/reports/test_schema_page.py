"""docs/REPORT_JSON.md explains every field of the two schemas, in the schemas' own words."""

import json
from pathlib import Path

import pytest

from pretune.reports import schema_page

ROOT = Path(__file__).parents[2]
SCHEMAS = {name: json.loads(path.read_text()) for name, path, _ in schema_page.FILES}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_every_field_and_every_object_is_described(schema):
    nodes = {"": schema, **schema["$defs"]}
    assert [name for name, node in nodes.items() if not node.get("description")] == []
    rows = [(name, *row) for name, node in nodes.items() for row in schema_page.rows(node)]
    assert len(rows) > 50
    assert [f"{name} {path}" for name, path, _, text in rows if not text] == []


def test_the_page_is_what_the_schemas_give():
    page = ROOT / "docs" / "REPORT_JSON.md"
    assert page.read_text(encoding="utf-8") == schema_page.render(), "run `make docs`"


def test_fields_of_nameless_objects_are_among_the_rows():
    node = {
        "properties": {
            "a": {"type": "array", "items": {"properties": {"b": {"type": "number"}}}},
            "c": {"additionalProperties": {"properties": {"d": {"description": "Why."}}}},
            "e": {"anyOf": [{"properties": {"f": {"$ref": "#/$defs/x"}}}, {"type": "null"}]},
        }
    }
    assert list(schema_page.rows(node, "my ")) == [
        ("a", "list of any", ""),
        ("a[].b", "number", ""),
        ("c", "any", ""),
        ("c{}.d", "any", "Why."),
        ("e", "any or null", ""),
        ("e.f", "[x](#my-x)", ""),
    ]
