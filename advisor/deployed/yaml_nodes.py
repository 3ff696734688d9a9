"""YAML documents as nodes that know the lines they stand on.

PyYAML reads the text. Nodes are built from its events, so that size and depth are bounded while
they grow, and no value is guessed: a scalar stays the text that stands in the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import yaml

MOST_NODES = 10_000  # of a file; as many again with all aliases and merges written out
DEEPEST = 40
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # the line breaks that PyYAML counts
_QUOTED = re.compile(r"'[^'< ]{3,}'")  # in PyYAML's messages: what the file holds, not a token

Lines = tuple[tuple[int, str], ...]  # number, text


class NotUnderstood(ValueError):
    """The message names the line and quotes nothing that stands there: it may be a password."""


@dataclass(frozen=True)
class Node:
    """One of: ``text`` (a scalar), ``items``, ``pairs``; ``lines``: (number, text) it stands on."""

    lines: Lines
    text: str | None = None
    items: tuple[Node, ...] | None = None
    pairs: dict[str, Node] | None = None
    plain: bool = False  # a scalar without quotes and tag
    tag: str = ""  # as it is written: "!reset"

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


def parse(text: str) -> tuple[Node, ...]:
    """The documents of ``text``. Raises NotUnderstood."""
    try:
        return tuple(_Builder(text).documents())
    except yaml.reader.ReaderError as error:
        line = len(_BREAK.findall(text[: error.position])) + 1
        raise NotUnderstood(f"line {line} holds a character that YAML does not allow") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = _QUOTED.sub("the text there", error.problem or error.context or "")
        raise NotUnderstood(f"line {mark.line + 1}: {problem}" if mark else problem) from None
    except RecursionError:
        raise NotUnderstood("it is nested too deeply") from None


@dataclass(frozen=True)
class _Extent:
    """The extent of a node with its aliases written out: its nodes and the levels below it."""

    size: int = 1
    depth: int = 0


class _Builder:
    def __init__(self, text: str) -> None:
        self._raw = _BREAK.split(text)
        self._events = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        self._anchors: dict[str, tuple[Node, _Extent]] = {}
        self._count = 0

    def documents(self) -> Iterator[Node]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors = {}
                yield self._node(next(self._events), 0)[0]

    def _node(self, event: Any, depth: int) -> tuple[Node, _Extent]:
        line = event.start_mark.line + 1
        self._count += 1
        if self._count > MOST_NODES:
            raise NotUnderstood(f"it has more than {MOST_NODES} values")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise NotUnderstood(
                    f"line {line}: the alias names an anchor that is not defined before it"
                )
            node, extent = self._anchors[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            node, extent = self._scalar(event), _Extent()
        elif depth > DEEPEST:
            raise NotUnderstood(f"line {line} is nested too deeply")
        elif isinstance(event, yaml.SequenceStartEvent):
            node, extent = self._list(event, depth)
        else:
            node, extent = self._map(event, depth)
        if extent.size > MOST_NODES:
            raise NotUnderstood(f"line {line}: its aliases make more than {MOST_NODES} values")
        if depth + extent.depth > DEEPEST:
            raise NotUnderstood(f"line {line} is nested too deeply")
        if event.anchor is not None and not isinstance(event, yaml.AliasEvent):
            self._anchors[event.anchor] = node, extent
        return node, extent

    def _scalar(self, event: Any) -> Node:
        first, last = event.start_mark.line, event.end_mark.line
        lines: Lines = ()
        if event.style in ("|", ">"):  # its text begins below the mark, and may end before a line
            lines = self._lines(first + 1, last if event.end_mark.column else last - 1)
        lines = lines or self._lines(first, last) or ((first + 1, ""),)
        plain = event.style is None and event.tag is None
        return Node(lines, text=event.value, plain=plain, tag=event.tag or "")

    def _list(self, start: Any, depth: int) -> tuple[Node, _Extent]:
        made = [self._node(event, depth + 1) for event in self._until(yaml.SequenceEndEvent)]
        items = tuple(node for node, _ in made)
        # each line once: aliases of lists of aliases would multiply them
        lines = tuple(dict.fromkeys(line for node in items for line in node.lines))
        lines = lines or self._lines(start.start_mark.line, start.start_mark.line)
        return Node(lines, items=items, tag=start.tag or ""), _around([e for _, e in made])

    def _map(self, start: Any, depth: int) -> tuple[Node, _Extent]:
        pairs: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        extents: list[_Extent] = []
        for event in self._until(yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            key = self._node(event, depth + 1)[0]
            node, extent = self._node(next(self._events), depth + 1)
            extents.append(extent)
            if key.text is None:
                raise NotUnderstood(f"line {line}: a key that is a list or a map")
            if key.plain and key.text == "<<":
                for each in node.items if node.items is not None else (node,):
                    if each.pairs is None:
                        raise NotUnderstood(f"line {line}: << takes something that is not a map")
                    merged = {**each.pairs, **merged}
            elif key.text in pairs:
                raise NotUnderstood(f"line {line}: a key that appears twice in its map")
            else:
                pairs[key.text] = node
        lines = self._lines(start.start_mark.line, start.start_mark.line)
        made = Node(lines, pairs={**merged, **pairs}, tag=start.tag or "")
        return made, _around(extents)

    def _until(self, end: type) -> Iterator[Any]:
        return takewhile(lambda event: not isinstance(event, end), self._events)

    def _lines(self, first: int, last: int) -> Lines:
        """Those of the lines, counted from 0, that hold something."""
        numbered = enumerate(self._raw[first : last + 1], first + 1)
        return tuple((number, line.strip()) for number, line in numbered if line.strip())


def _around(extents: list[_Extent]) -> _Extent:
    return _Extent(
        1 + sum(extent.size for extent in extents),
        1 + max((extent.depth for extent in extents), default=0),
    )
