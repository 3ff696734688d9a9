"""YAML documents: their values as text, their lines, and what is refused."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pretune.advisor.deployed.yaml_nodes import MOST_NODES, Node, NotUnderstood, parse


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
        ("- - x\n  - y\n- z\n", [["x", "y"], "z"]),
        ("a: 'it''s'\nb: \"x\\ty\\\"\"\n", {"a": "it's", "b": 'x\ty"'}),
        ("a: http://x:80/#y\nb: 8000:80\n", {"a": "http://x:80/#y", "b": "8000:80"}),
        ('a: ["x", y z, \'w, v\']\n', {"a": ["x", "y z", "w, v"]}),
        ("a: {b: 1, c: [d, e], f: {g: h}}\n", {"a": {"b": "1", "c": ["d", "e"], "f": {"g": "h"}}}),
        ("a: [\n  x,\n  y\n]\n", {"a": ["x", "y"]}),
        ("a: [x]  # why\n", {"a": ["x"]}),
        ("a: >\n  one\n  two\nb: |-\n  # no comment\n  three\n", {
            "a": "one two\n", "b": "# no comment\nthree"}),
        ("a: >\n  one\n\n  two\n\n\nb: x\n", {"a": "one\ntwo\n", "b": "x"}),
        ("\ufeffa: 1\n", {"a": "1"}),
        ('a: "\\u0041\\x42\\U00000043\\_"\n', {"a": "ABC\xa0"}),
        ("a: !!str 5\nb: !custom x\n", {"a": "5", "b": "x"}),
        ("on: yes\noctal: 017\ntime: 12:30:45\nnothing: ~\n", {
            "on": "yes", "octal": "017", "time": "12:30:45", "nothing": "~"}),
        ('"<<": x\n', {"<<": "x"}),
        ("x: &x\n  b: 1\ny: &y\n  <<: *x\n  a: 2\nz:\n  a: 3\n  <<: *y\n", {
            "x": {"b": "1"}, "y": {"b": "1", "a": "2"}, "z": {"a": "3", "b": "1"}}),
        ("a: one\n  two\n  three\nb: x\n", {"a": "one two three", "b": "x"}),
        ('a: "one\n  two"\n', {"a": "one two"}),
        ("x: &x\n  a: 1\n  b: 2\ny:\n  <<: *x\n  b: 3\nz: *x\n", {
            "x": {"a": "1", "b": "2"}, "y": {"a": "1", "b": "3"}, "z": {"a": "1", "b": "2"}}),
        ("x: &x {a: 1}\ny: &y {b: 2}\nz:\n  <<: [*x, *y]\n", {
            "x": {"a": "1"}, "y": {"b": "2"}, "z": {"a": "1", "b": "2"}}),
        ("x: &w 3\ny: *w\n", {"x": "3", "y": "3"}),
        ("%YAML 1.2\n---\na:\nb: 1\n", {"a": "", "b": "1"}),
        ("'quoted key': 1\n\"other\": 2\n", {"quoted key": "1", "other": "2"}),
        ("a:\n\n    # far in\n    b: 1\n\nc: 2\n", {"a": {"b": "1"}, "c": "2"}),
        ('- "a b": 1\n- "c: d"\n', [{"a b": "1"}, "c: d"]),
        ('a: "one\\\n  \\ two\\\n  three"\n', {"a": "one twothree"}),
        ("a: |\n  one\n  ---\n  two\nb: 1\n", {"a": "one\n---\ntwo\n", "b": "1"}),
    ],
)  # fmt: skip
def test_it_is_read_as_yaml_means_it(text: str, expected: Any) -> None:
    (document,) = parse(text)
    assert plain(document) == expected


def test_each_document_of_a_file_is_read_and_keeps_its_anchors() -> None:
    assert parse("") == ()
    assert parse("# nothing\n") == ()
    first, second = parse("a: &x 1\n...\n# between\n---\nb: 2\n")
    assert plain(first) == {"a": "1"}
    assert plain(second) == {"b": "2"}
    assert [node.line for node in (second.pairs or {}).values()] == [5]
    with pytest.raises(NotUnderstood, match="line 3: the alias"):
        parse("a: &x 1\n---\nb: *x\n")


def test_tags_and_quotes_are_told_apart_from_plain_text() -> None:
    (document,) = parse("a: x\nb: 'x'\nc: !reset x\nd: !override {e: f}\ng: !reset []\n")
    pairs = document.pairs or {}
    assert {name: (node.plain, node.tag) for name, node in pairs.items()} == {
        "a": (True, ""),
        "b": (False, ""),
        "c": (False, "!reset"),
        "d": (False, "!override"),
        "g": (False, "!reset"),
    }


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: *hunter2\n", 1, "is not defined before"),
        ("a: &hunter2\n  - *hunter2\n", 2, "is not defined before"),
        ("x: 1\na: !hunter2!b c\n", 2, "undefined tag handle the text there"),
        ("a:\n\tb: 1\n", 2, "cannot start any token"),
        ("a: 1\n   b: 2\n c: 3\n", 2, "not allowed here"),
        ("a: [x\n", 2, "expected ',' or ']'"),
        ('a: "hunter2\n', 2, "unexpected end of stream"),
        ("a: [x] hunter2\n", 1, "expected <block end>"),
        ("{% if x %}\na: 1\n", 1, "cannot start any token"),
        ("a: 1\nb: hunter2\x07\n", 2, "a character that YAML does not allow"),
        ("hunter2: 1\nb: 2\nhunter2: 3\n", 3, "a key that appears twice"),
        ("? [hunter2]\n: b\n", 1, "a key that is a list or a map"),
        ("a:\n  <<: hunter2\n", 2, "<< takes something that is not a map"),
        ("a:\n- " + "[" * 60 + "]" * 60, 2, "nested too deeply"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_line_and_without_its_text(
    text: str, line: int, problem: str
) -> None:
    with pytest.raises(NotUnderstood) as refused:
        parse(text)
    assert f"line {line}" in str(refused.value)
    assert problem in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_many_values_are_refused_before_they_are_all_read() -> None:
    (document,) = parse("a: [" + "x, " * (MOST_NODES - 3) + "]\n")
    assert len((document.get("a") or document).items or ()) == MOST_NODES - 3
    work = []
    for copies in (MOST_NODES, 12 * MOST_NODES):
        began = time.process_time()
        with pytest.raises(NotUnderstood, match=f"more than {MOST_NODES} values"):
            parse("[x, " * 30 + "x, " * copies + "]" * 30 + "\n")
        work.append(time.process_time() - began)
    assert work[1] < 4 * work[0]  # twelve times the text


def test_aliases_that_multiply_are_refused() -> None:
    lists = "a0: &a0\n- x\n" + "".join(
        f"a{i}: &a{i}\n" + f"- *a{i - 1}\n" * 20 for i in range(1, 9)
    )
    maps = "a0: &a0 {k0: 1}\n" + "".join(
        f"a{i}: &a{i} {{l: *a{i - 1}, r: *a{i - 1}}}\n" for i in range(1, 30)
    )
    merges = "a0: &a0 {k0: 1}\n" + "".join(
        f"a{i}: &a{i} {{<<: *a{i - 1}, k{i}: 1}}\n" for i in range(1, 1500)
    )
    for bomb in (lists, maps, merges):
        with pytest.raises(NotUnderstood, match=r"aliases make more|nested too deeply"):
            parse(bomb)
    chain = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 99))
    with pytest.raises(NotUnderstood, match="nested too deeply"):
        parse(chain)


def test_a_reader_out_of_stack_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def overflow(*args: object, **named: object) -> None:
        raise RecursionError

    monkeypatch.setattr("yaml.parse", overflow)
    with pytest.raises(NotUnderstood, match="nested too deeply"):
        parse("a: 1\n")


def test_each_value_knows_its_line() -> None:
    (node,) = parse(
        "services:\n  web:\n    environment:\n      - A=1\n      - B=2\n    mem_limit: 1g\n"
    )
    limit = node.get("services", "web", "mem_limit")
    assert limit is not None
    assert limit.line == 6
    environment = node.get("services", "web", "environment")
    assert environment is not None
    assert [(each.text, each.line) for each in environment.scalars()] == [("A=1", 4), ("B=2", 5)]
    assert node.get("services", "nothing", "at") is None


def test_lines_hold_the_text_that_stands_there() -> None:
    (node,) = parse(
        "a: >-\n  one\n\n  two\n# no more\nb: plain\n  goes on\nc: [x,\n  y]\nd:\ne: |\n  last"
    )
    pairs = node.pairs or {}
    assert {name: each.lines for name, each in pairs.items()} == {
        "a": ((2, "one"), (4, "two")),
        "b": ((6, "b: plain"), (7, "goes on")),
        "c": ((8, "c: [x,"), (9, "y]")),
        "d": ((10, "d:"),),
        "e": ((12, "last"),),
    }
