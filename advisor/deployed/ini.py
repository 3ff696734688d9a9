"""Sections of an ini file whose values go on over indented lines, with the lines they stand on.

Source: docs.python.org, configparser; supervisord and circus read theirs with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_INLINE = re.compile(r"\s;.*")


@dataclass(frozen=True)
class Section:
    name: str
    pairs: dict[str, str]
    lines: dict[str, tuple[tuple[int, str], ...]]


def sections(text: str) -> Iterator[Section]:
    current: Section | None = None
    key = ""
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not bare or bare[0] in "#;":
            continue
        if bare.startswith("[") and "]" in bare:
            if current is not None:
                yield current
            current, key = Section(bare[1 : bare.index("]")].strip(), {}, {}), ""
        elif current is None:
            continue
        elif line[0] in " \t" and key:
            current.pairs[key] = f"{current.pairs[key]} {_INLINE.sub('', bare)}".strip()
            current.lines[key] += ((number, line),)
        else:
            name, separator, value = bare.partition("=")
            if separator:
                key = name.strip()
                current.pairs[key] = _INLINE.sub("", value).strip()
                current.lines[key] = ((number, line),)
    if current is not None:
        yield current
