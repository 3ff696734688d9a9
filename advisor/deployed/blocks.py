"""The part of YAML that compose files are written in, with the line of every value.

Blocks by indentation, lists, quoted and plain scalars, flow lists and maps, literal and folded
text, anchors and merges. No tags, no documents after the first, no keys that are not plain. A
library would be another dependency and would not say the lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_KEY = re.compile(
    r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|<<"""
    r"""|[^\s#\[\]{},&*!|>%@`"'][^#]*?)\s*:(?=\s|$)"""
)
_ANCHOR = re.compile(r"&(\S+)\s*")
_TEXT = re.compile(r"([|>])[+-]?\d?[+-]?\s*(?:#.*)?")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "e": "\x1b"}
_MOST_LINES, _LONGEST_LINE, _LONGEST_VALUE, _DEEPEST = 5000, 2000, 200, 40  # values: in lines


Lines = tuple[tuple[int, str], ...]  # number, text


class NotUnderstood(ValueError):
    """The message names the line."""


@dataclass(frozen=True)
class Node:
    """One of: ``text`` (a scalar), ``items``, ``pairs``; ``lines``: (number, text) it stands on."""

    lines: Lines
    text: str | None = None
    items: tuple[Node, ...] | None = None
    pairs: dict[str, Node] | None = None
    plain: bool = False  # a scalar without quotes

    @property
    def line(self) -> int:
        return self.lines[0][0] if self.lines else 0

    def get(self, *path: str) -> Node | None:
        """The node below these keys; None where one is missing."""
        node: Node | None = self
        for key in path:
            node = (node.pairs or {}).get(key) if node is not None else None
        return node

    def scalars(self) -> Iterator[Node]:
        """A list's scalars, or itself."""
        for node in self.items or ((self,) if self.text is not None else ()):
            if node.text is not None:
                yield node


@dataclass
class _Source:
    lines: list[tuple[int, int, str]]  # number, indentation, content
    raw: list[str]
    at: int = 0
    anchors: dict[str, Node] = field(default_factory=dict)

    def peek(self) -> tuple[int, int, str] | None:
        return self.lines[self.at] if self.at < len(self.lines) else None


def parse(text: str) -> Node:
    """Raises NotUnderstood."""
    raw = text.splitlines()
    if len(raw) > _MOST_LINES:
        raise NotUnderstood(f"it has more than {_MOST_LINES} lines")
    lines: list[tuple[int, int, str]] = []
    for number, line in enumerate(raw, 1):
        if line.rstrip() in ("---", "...") or line.startswith("%"):
            if lines and line.rstrip() != "...":
                break  # the next document
            continue
        content = line.strip()
        if len(line) > _LONGEST_LINE:
            raise NotUnderstood(f"line {number} is very long")
        if "\t" in line[: len(line) - len(line.lstrip())]:
            raise NotUnderstood(f"line {number} is indented by a tab")
        if content and not content.startswith("#"):
            lines.append((number, len(line) - len(line.lstrip()), content))
    source = _Source(lines, raw)
    if not lines:
        return Node(())
    made = _block(source, lines[0][1], 0)
    if (rest := source.peek()) is not None:
        raise NotUnderstood(f"line {rest[0]} is not understood")
    return made


def _block(source: _Source, indent: int, depth: int) -> Node:
    if depth > _DEEPEST:
        raise NotUnderstood("it is nested too deeply")
    first = source.peek()
    assert first is not None
    if first[2] == "-" or first[2].startswith("- "):
        return _list(source, indent, depth)
    if _KEY.match(first[2]):
        return _map(source, indent, depth)
    number, _, content = first
    source.at += 1
    return _value(source, content, number, indent - 1, depth)


def _list(source: _Source, indent: int, depth: int) -> Node:
    items: list[Node] = []
    lines: list[tuple[int, str]] = []
    while (here := source.peek()) is not None and here[1] == indent:
        number, _, content = here
        if not (content == "-" or content.startswith("- ")):
            break
        inner = content[1:].lstrip()
        if not inner:
            source.at += 1
            items.append(_below(source, number, indent, depth))
        elif _KEY.match(inner):
            # a map that begins behind the dash: as if it stood on a line of its own
            source.lines[source.at] = (number, indent + len(content) - len(inner), inner)
            items.append(_map(source, indent + len(content) - len(inner), depth + 1))
        else:
            source.at += 1
            items.append(_value(source, inner, number, indent, depth))
        lines += items[-1].lines or ((number, content),)
    # each once: aliases of lists of aliases would multiply them
    return Node(tuple(dict.fromkeys(lines)), items=tuple(items))


def _map(source: _Source, indent: int, depth: int) -> Node:
    pairs: dict[str, Node] = {}
    merged: dict[str, Node] = {}
    first = source.peek()
    while (here := source.peek()) is not None and here[1] == indent:
        number, _, content = here
        found = _KEY.match(content)
        if found is None:
            break
        source.at += 1
        key, inner = _unquoted(found[1]), content[found.end() :].strip()
        if not inner or inner.startswith("#"):
            node = _below(source, number, indent, depth)
        else:
            node = _value(source, inner, number, indent, depth)
        if key == "<<":
            for each in node.items or (node,):
                merged = {**(each.pairs or {}), **merged}
        else:
            pairs[key] = node
    assert first is not None
    return Node(((first[0], first[2]),), pairs={**merged, **pairs})


def _below(source: _Source, number: int, indent: int, depth: int) -> Node:
    """What stands on the lines below a key or a dash; a list may be as far left as its key."""
    following = source.peek()
    if following is None:
        return Node(((number, ""),), text="", plain=True)
    is_list = following[2] == "-" or following[2].startswith("- ")
    if following[1] > indent or (is_list and following[1] == indent):
        return _block(source, following[1], depth + 1)
    return Node(((number, ""),), text="", plain=True)


def _value(source: _Source, inner: str, number: int, indent: int, depth: int) -> Node:
    """What begins behind a key or a dash on line ``number``; it may go on below."""
    if anchor := _ANCHOR.match(inner):
        rest = inner[anchor.end() :]
        if rest and not rest.startswith("#"):
            node = _value(source, rest, number, indent, depth)
        else:
            node = _below(source, number, indent, depth)
        source.anchors[anchor[1]] = node
        return node
    if inner.startswith("*"):
        name = inner[1:].split()[0] if inner[1:].split() else ""
        if name not in source.anchors:
            raise NotUnderstood(f"line {number}: what * names is not defined before")
        return source.anchors[name]
    if inner.startswith("!"):
        raise NotUnderstood(f"line {number} has a tag")
    if text := _TEXT.fullmatch(inner):
        return _text(source, text[1], number, indent)
    lines = [(number, inner)]
    while _unfinished(inner) or _goes_on(source, inner, indent):
        following = source.peek()
        if following is None or len(lines) > _LONGEST_VALUE:
            raise NotUnderstood(f"line {number}: what begins there does not end")
        if inner[0] not in "[{\"'" and _KEY.match(following[2]):
            raise NotUnderstood(f"line {following[0]} is further in than it may be")
        source.at += 1
        escaped = inner[0] == '"' and inner.endswith("\\")  # a line's end that is none
        inner = f"{inner[:-1]}{following[2]}" if escaped else f"{inner} {following[2]}"
        lines.append((following[0], following[2]))
    if inner[0] in "[{":
        node, rest = _flow(inner, tuple(lines), source.anchors, 0)
        if rest.strip() and not rest.strip().startswith("#"):
            raise NotUnderstood(f"line {number} is not understood")
        return node
    return _scalar(inner, tuple(lines))


def _goes_on(source: _Source, inner: str, indent: int) -> bool:
    """A plain scalar goes over all lines that are further in."""
    following = source.peek()
    return inner[0] not in "[{\"'" and following is not None and following[1] > indent


def _unfinished(inner: str) -> bool:
    if inner[0] in "\"'":
        return _quoted_end(inner) is None
    if inner[0] not in "[{":
        return False
    depth, i = 0, 0
    while i < len(inner):
        if inner[i] in "\"'" and inner[i - 1] in "[{,: ":
            end = _quoted_end(inner[i:])
            if end is None:
                return True
            i += end
            continue
        depth += (inner[i] in "[{") - (inner[i] in "]}")
        i += 1
    return depth > 0


def _quoted_end(text: str) -> int | None:
    """Behind the closing quote of ``text``, which begins with one."""
    quote, i = text[0], 1
    while i < len(text):
        if quote == '"' and text[i] == "\\":
            i += 1
        elif text[i] == quote:
            if quote == "'" and text[i + 1 : i + 2] == "'":
                i += 1
            else:
                return i + 1
        i += 1
    return None


def _unquoted(text: str) -> str:
    if text[:1] == "'":
        return text[1:-1].replace("''", "'")
    if text[:1] == '"':
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), text[1:-1])
    return text


def _scalar(inner: str, lines: Lines) -> Node:
    if inner[0] in "\"'":
        end = _quoted_end(inner)
        assert end is not None
        return Node(lines, text=_unquoted(inner[:end]))
    return Node(lines, text=re.split(r"\s#", inner)[0].strip(), plain=True)


def _text(source: _Source, how: str, number: int, indent: int) -> Node:
    """Literal (``|``) or folded (``>``): the raw lines that are further in, comments included."""
    taken: list[str] = []
    i = number
    while i < len(source.raw):
        line = source.raw[i]
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        taken.append(line)
        i += 1
    while (here := source.peek()) is not None and here[0] <= i:
        source.at += 1
    margin = min((len(t) - len(t.lstrip()) for t in taken if t.strip()), default=0)
    body = [line[margin:].rstrip() for line in taken]
    joined = "\n".join(body) if how == "|" else " ".join(part for part in body if part)
    numbered = tuple((number + 1 + k, line) for k, line in enumerate(taken) if line.strip())
    return Node(numbered or ((number, ""),), text=joined.strip())


def _flow(text: str, lines: Lines, anchors: dict[str, Node], depth: int) -> tuple[Node, str]:
    """The flow value that ``text`` begins with, and what is behind it."""
    if depth > _DEEPEST:
        raise NotUnderstood(f"line {lines[0][0]} is nested too deeply")
    text = text.lstrip()
    if text[:1] not in ("[", "{"):
        return _flow_scalar(text, lines, anchors)
    closing = "]" if text[0] == "[" else "}"
    items: list[Node] = []
    pairs: dict[str, Node] = {}
    rest = text[1:].lstrip()
    while not rest.startswith(closing):
        if not rest:
            raise NotUnderstood(f"line {lines[0][0]}: what begins there does not end")
        node, rest = _flow(rest, lines, anchors, depth + 1)
        rest = rest.lstrip()
        if closing == "]":
            items.append(node)
        elif rest.startswith(":"):
            pairs[node.text or ""], rest = _flow(rest[1:], lines, anchors, depth + 1)
        else:
            pairs[node.text or ""] = Node(lines, text="", plain=True)
        rest = rest.lstrip()
        if rest.startswith(","):
            rest = rest[1:].lstrip()
        elif not rest.startswith(closing):
            raise NotUnderstood(f"line {lines[0][0]} is not understood")
    made = Node(lines, items=tuple(items)) if closing == "]" else Node(lines, pairs=pairs)
    return made, rest[1:]


def _flow_scalar(text: str, lines: Lines, anchors: dict[str, Node]) -> tuple[Node, str]:
    if text[:1] in ("'", '"'):
        end = _quoted_end(text)
        if end is None:
            raise NotUnderstood(f"line {lines[0][0]}: what begins there does not end")
        return Node(lines, text=_unquoted(text[:end])), text[end:]
    plain = re.match(r"(?:[^,\]\[{}:]|:(?!\s|$))*", text)
    assert plain is not None
    if not plain[0] and not text.startswith((",", "]", "}", ":")):
        raise NotUnderstood(f"line {lines[0][0]} is not understood")
    said = plain[0].strip()
    if said.startswith("*") and said[1:] in anchors:
        return anchors[said[1:]], text[plain.end() :]
    return Node(lines, text=said, plain=True), text[plain.end() :]
