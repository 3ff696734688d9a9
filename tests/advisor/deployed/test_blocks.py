"""YAML as compose files are written, and what of YAML is refused."""

from __future__ import annotations

from typing import Any

import pytest

from pretune.advisor.deployed.blocks import Node, NotUnderstood, parse


def plain(node: Node) -> Any:
    """Maps, lists and texts."""
    if node.pairs is not None:
        return {name: plain(value) for name, value in node.pairs.items()}
    if node.items is not None:
        return [plain(item) for item in node.items]
    return node.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb:\n  c: two words # comment\n", {"a": "1", "b": {"c": "two words"}}),
        ("a:\n- x\n- y\nb: z\n", {"a": ["x", "y"], "b": "z"}),
        ("a:\n  - b: 1\n    c: 2\n  - d\n", {"a": [{"b": "1", "c": "2"}, "d"]}),
        ("a:\n  -\n    b: 1\n", {"a": [{"b": "1"}]}),
        ("- - x\n", ["- x"]),  # a list in a list on one line is not taken apart
        ("a: 'it''s'\nb: \"x\\ty\\\"\"\n", {"a": "it's", "b": 'x\ty"'}),
        ("a: http://x:80/#y\nb: 8000:80\n", {"a": "http://x:80/#y", "b": "8000:80"}),
        ('a: ["x", y z, \'w, v\']\n', {"a": ["x", "y z", "w, v"]}),
        ("a: {b: 1, c: [d, e], f: {g: h}}\n", {"a": {"b": "1", "c": ["d", "e"], "f": {"g": "h"}}}),
        ("a: [\n  x,\n  y\n]\n", {"a": ["x", "y"]}),
        ("a: [x]  # why\n", {"a": ["x"]}),
        ("a: >\n  one\n  two\nb: |-\n  # no comment\n  three\n", {
            "a": "one two", "b": "# no comment\nthree"}),
        ("a: one\n  two\n  three\nb: x\n", {"a": "one two three", "b": "x"}),
        ('a: "one\n  two"\n', {"a": "one two"}),
        ("x: &x\n  a: 1\n  b: 2\ny:\n  <<: *x\n  b: 3\nz: *x\n", {
            "x": {"a": "1", "b": "2"}, "y": {"a": "1", "b": "3"}, "z": {"a": "1", "b": "2"}}),
        ("x: &x {a: 1}\ny: &y {b: 2}\nz:\n  <<: [*x, *y]\n", {
            "x": {"a": "1"}, "y": {"b": "2"}, "z": {"a": "1", "b": "2"}}),
        ("x: &w 3\ny: *w\n", {"x": "3", "y": "3"}),
        ("---\na:\nb: 1\n---\nc: 2\n", {"a": "", "b": "1"}),
        ("'quoted key': 1\n\"other\": 2\n", {"quoted key": "1", "other": "2"}),
        ("a:\n\n    # far in\n    b: 1\n\nc: 2\n", {"a": {"b": "1"}, "c": "2"}),
        ('- "a b": 1\n- "c: d"\n', [{"a b": "1"}, "c: d"]),
        ('a: "one\\\n  \\ two\\\n  three"\n', {"a": "one twothree"}),
        ("a: |\n  one\n  ---\n  two\nb: 1\n", {"a": "one\n---\ntwo", "b": "1"}),
        ("", None),
    ],
)  # fmt: skip
def test_it_is_read_as_yaml_means_it(text: str, expected: Any) -> None:
    assert plain(parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: *hunter2\n", "line 1: what * names is not defined before"),
        ("a: !ref b\n", "line 1 has a tag"),
        ("a:\n\tb: 1\n", "line 2 is indented by a tab"),
        ("a: 1\n   b: 2\n c: 3\n", "line"),
        ("a: [x\n", "does not end"),
        ('a: "x\n', "does not end"),
        ("a: [x] y\n", "line 1 is not understood"),
        ("{% if x %}\na: 1\n", "line"),
        ("a: " + "x" * 3000, "line 1 is very long"),
        ("a:\n" * 6000, "more than 5000 lines"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(NotUnderstood, match=said.replace("*", r"\*")):
        parse(text)


def test_aliases_of_lists_of_aliases_do_not_multiply() -> None:
    levels = (f"a{i}: &a{i}\n" + f"- *a{i - 1}\n" * 20 for i in range(1, 9))
    made = parse("a0: &a0\n- x\n" + "".join(levels)).get("a8")
    assert made is not None
    assert len(made.items or ()) == 20
    assert made.lines == ((2, "x"),)


def test_each_value_knows_its_line() -> None:
    node = parse(
        "services:\n  web:\n    environment:\n      - A=1\n      - B=2\n    mem_limit: 1g\n"
    )
    limit = node.get("services", "web", "mem_limit")
    assert limit is not None
    assert limit.line == 6
    environment = node.get("services", "web", "environment")
    assert environment is not None
    assert [(each.text, each.line) for each in environment.scalars()] == [("A=1", 4), ("B=2", 5)]
    assert node.get("services", "nothing", "at") is None
