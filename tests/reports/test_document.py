"""The document against its schema, and its file."""

from __future__ import annotations

import json
import os

import pytest

from pretune.reports import document as documents


def test_the_schema_itself_is_valid():
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(json.loads(documents.SCHEMA.read_text()))


def test_a_document_of_each_verdict_is_valid(any_document):
    documents.validate(any_document)


def test_added_fields_keep_the_version(any_document):
    any_document["new"] = {"x": 1}
    any_document["target"]["new"] = "y"
    documents.validate(any_document)


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("verdict",), "perhaps", "perhaps"),
        (("schema",), 2, "1 was expected"),
        (("recommendation", "predicted", "throughput_rps"), 182.0, "throughput_rps"),
        (("recommendation", "settings", "workers"), 0, "workers"),
        (("verification", "measured", "error_rate"), 3.0, "error_rate"),
        (("findings", 0, "severity"), "fatal", "fatal"),
        (("demand", "cpu_s", "value"), float("nan"), "unknown number is null"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(load, path, value, complaint):
    document = load("fits")
    tree = document
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value
    with pytest.raises(documents.InvalidDocument, match=complaint):
        documents.validate(document)


@pytest.mark.parametrize(
    "name", sorted(json.loads(documents.SCHEMA.read_text(encoding="utf-8"))["required"])
)
def test_each_section_must_be_there(load, name):
    document = load("fits")
    del document[name]
    with pytest.raises(documents.InvalidDocument, match=name):
        documents.validate(document)


def test_tuples_are_lists_as_they_will_be_in_the_file(load):
    document = load("fits")
    document["findings"] = tuple(document["findings"])
    documents.validate(document)


def test_a_written_document_is_read_back(load, tmp_path):
    document = load("fits")
    path = tmp_path / "deep" / "report.json"
    documents.write(path, document)
    assert documents.read(path) == document
    assert os.listdir(path.parent) == ["report.json"]


def test_an_invalid_document_does_not_replace_a_good_one(load, tmp_path):
    path = tmp_path / "report.json"
    documents.write(path, load("fits"))
    before = path.read_bytes()
    with pytest.raises(documents.InvalidDocument):
        documents.write(path, {**load("fits"), "verdict": "perhaps"})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["report.json"]


def test_undecodable_bytes_in_a_path_do_not_lose_the_report(load, tmp_path):
    document = load("fits")
    document["target"]["file"] = "/srv/\udcff.py"
    path = tmp_path / "report.json"
    documents.write(path, document)
    assert documents.read(path)["target"]["file"] == "/srv/\udcff.py"


@pytest.mark.parametrize(
    ("text", "complaint"), [("{", "not JSON"), ('{"schema": 7}', "version 7"), ("[]", "object")]
)
def test_a_foreign_file_is_refused_in_a_sentence(tmp_path, text, complaint):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(documents.InvalidDocument, match=complaint):
        documents.read(path)
