"""The simple commands of a shell text, over all its ways."""

from __future__ import annotations

from collections.abc import Iterator

from pretune.advisor.deployed.script import follow
from pretune.advisor.deployed.shell import Surroundings, Word


def commands(text: str, around: Surroundings) -> Iterator[tuple[list[Word], dict[str, str]]]:
    """Each once, with the variables that it sees."""
    seen = set()
    for way in follow(text, around):
        for run in way.runs:
            if run not in seen:
                seen.add(run)
                yield list(run.words), dict(run.variables)
