"""docs/METHOD.md says of every number in report.json how it was made."""

import json
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SCHEMA = json.loads((REPOSITORY / "reports" / "schema.json").read_text())
METHOD = (REPOSITORY / "docs" / "METHOD.md").read_text()

# Objects without a name of their own in the schema: under whose heading their numbers stand.
INLINE = {"trial": "conditions", "check": None, "interval": None}
TOP = "target, machine, budget, slo, workload"


def is_number(field):
    kinds = field.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if {"number", "integer"} & set(kinds) or field.get("$ref", "").endswith("/interval"):
        return True
    choices = field.get("anyOf", [])
    return any(is_number(choice) for choice in choices if choice.get("type") != "object")


def numbers(node):
    """Names of all numbers of an object, those of nameless objects inside it too."""
    for name, field in node.get("properties", {}).items():
        more = [field, *field.get("anyOf", []), field.get("items", {})]
        more.append(field.get("additionalProperties") or {})
        if any(isinstance(each, dict) and is_number(each) for each in more):
            yield name
        for each in more:
            yield from numbers(each)


def sections():
    """Heading to text, of the part that goes through the fields."""
    part = METHOD.partition("\n## Every number of report.json\n")[2].partition("\n## ")[0]
    found = {}
    for one in part.split("\n### ")[1:]:
        heading, _, text = one.partition("\n")
        for name in heading.split(", "):
            found[name] = text
    return found


FIELDS = [
    (INLINE.get(name, name), field)
    for name, node in SCHEMA["$defs"].items()
    if INLINE.get(name, name) is not None
    for field in sorted(set(numbers(node)))
] + [("target", field) for field in sorted(set(numbers(SCHEMA))) if field != "schema"]


def test_there_are_numbers_to_explain():
    assert len(FIELDS) > 100


@pytest.mark.parametrize(("where", "field"), FIELDS)
def test_every_number_of_the_report_is_explained(where, field):
    said = sections()
    assert where in said, f"METHOD.md has no heading for {where}"
    assert f"`{field}`" in said[where], f"METHOD.md does not explain {field} under {where}"


def test_every_explained_field_is_in_the_schema():
    known = set(re.findall(r'"([a-z_0-9]+)": \{', json.dumps(SCHEMA)))
    for where, text in sections().items():
        for cell in re.findall(r"^\| (.*?) \|", text, re.MULTILINE):
            for name in re.findall(r"`([a-z_0-9]+)`", cell):
                assert name in known, f"{name}, explained under {where}, is no field"


def test_every_reference_inside_the_method_leads_somewhere():
    headings = re.findall(r"^#+ (.*)$", METHOD, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
    for target in re.findall(r"\]\(#([^)]*)\)", METHOD):
        assert target in anchors
