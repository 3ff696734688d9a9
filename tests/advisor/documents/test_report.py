"""A document has every field of the run, whatever the run holds, or its table names the field."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from support.random_values import Maker

from pretune.advisor.documents.plain import SHAPES, Shape, plain
from pretune.advisor.documents.report import assemble
from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.advisor.run import Run
from pretune.reports.document import SCHEMA, leaf_errors

# Of the run itself: a finding says it.
FINDINGS_SAY_IT = {(Run, "own_lock"), (Run, "preload_hindrance"), (Run, "slow")}

Path = tuple[str | int, ...]


def random_run(seed: int, absent: float) -> tuple[Maker, Run]:
    maker = Maker(seed, absent)
    run = maker.make(Run)
    if run.breakdown is not None and run.demand is not None:  # they are of the same endpoints
        names = [each.name for each in run.demand.by_endpoint]
        pairs = zip(names, run.breakdown.endpoints, strict=True)
        endpoints = tuple(replace(each, name=name) for name, each in pairs)
        run = replace(run, breakdown=replace(run.breakdown, endpoints=endpoints))
    return maker, run


def fields_of(value: Any, path: Path = ()) -> Iterator[tuple[Path, type, str]]:
    """Every field of every dataclass in ``value`` that a document is to have, and where it is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, Interval):
        for each in dataclasses.fields(value):
            left_out = SHAPES.get(type(value), Shape()).omitted
            if each.name not in left_out and (type(value), each.name) not in FINDINGS_SAY_IT:
                here = (*path, each.name)
                yield here, type(value), each.name
                yield from fields_of(getattr(value, each.name), here)
    elif isinstance(value, tuple):
        for number, each in enumerate(value):
            yield from fields_of(each, (*path, number))
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from fields_of(each, (*path, key))


def at(value: Any, path: Path) -> Any:
    for step in path:
        value = getattr(value, step) if dataclasses.is_dataclass(value) else value[step]
    return value


def changed(value: Any, path: Path, new: Any) -> Any:
    """``value`` with ``new`` at the end of the path."""
    if not path:
        return new
    step, rest = path[0], path[1:]
    if dataclasses.is_dataclass(value):
        return replace(value, **{step: changed(getattr(value, step), rest, new)})
    if isinstance(value, tuple):
        return (*value[:step], changed(value[step], rest, new), *value[step + 1 :])
    return {**value, step: changed(value[step], rest, new)}


def text_of(run: Run) -> str:
    return json.dumps({**assemble(run), "created": ""}, allow_nan=False)


def test_every_field_of_a_run_is_in_the_document_or_named_as_left_out() -> None:
    maker, run = random_run(seed=1, absent=0.0)
    before = text_of(run)
    first: dict[tuple[type, str], Path] = {}
    for path, cls, name in fields_of(run):
        first.setdefault((cls, name), path)
    assert len(first) > 250
    silent = []
    for (cls, name), path in first.items():
        other = maker.other(maker.types_of(cls)[name], at(run, path))
        if text_of(changed(run, path, other)) == before:
            silent.append(f"{cls.__name__}.{name}")
    assert silent == []


def test_the_table_names_only_fields_that_are_there() -> None:
    for cls, shape in SHAPES.items():
        names = {each.name for each in dataclasses.fields(cls)}
        assert shape.omitted | shape.elsewhere | set(shape.written) <= names, cls
        assert not shape.omitted & shape.elsewhere, cls


def closed(schema: Any) -> Any:
    """The schema, with no room for a key that it does not name."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(each) for key, each in schema.items()}
    if isinstance(made.get("properties"), dict):
        made.setdefault("additionalProperties", False)
    return made


def test_the_schema_names_every_key_of_the_document() -> None:
    _, run = random_run(seed=1, absent=0.0)
    document = json.loads(json.dumps(assemble(replace(run, boot_memory=None))))
    validator = Draft202012Validator(closed(json.loads(SCHEMA.read_text(encoding="utf-8"))))
    errors = [leaf for each in validator.iter_errors(document) for leaf in leaf_errors(each)]
    # that a random text is none of an enumeration's says nothing
    kinds = ("additionalProperties", "required", "type")
    assert [e.json_path for e in errors if e.validator in kinds] == []


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_missing_or_unknown_there_is_a_document(seed: int) -> None:
    _, run = random_run(seed, absent=0.3)
    run = replace(run, fleet=None)  # counts instances of numbers that are always known
    keys = set(assemble(random_run(1, 0.0)[1]))
    document = assemble(run)
    assert set(document) == keys
    json.dumps(document, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float64("nan"), None),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([1.0, np.inf]), [1.0, None]),
        (UNKNOWN, {"value": None, "low": None, "high": None}),
        ({1: (2,)}, {"1": [2]}),
    ],
)
def test_numbers_of_any_kind_become_json(value: Any, written: Any) -> None:
    assert plain(value) == written
