"""The tool's part of docs/RELIABILITY.md, from the kept outcomes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bench.faults.trial import Outcome

PAGE = Path(__file__).parents[2] / "docs" / "RELIABILITY.md"
BEGIN, END = "<!-- bench.faults -->", "<!-- /bench.faults -->"
TITLE = "# Reliability\n"
_SANDBOX = re.compile(r"\S*/fault-\w+/")  # of one run, in what was said


def render(outcomes: Sequence[Outcome], planned: int, day: str) -> str:
    """The section between its marks. ``day``: of the last outcomes."""
    tried = [each for each in outcomes if not each.unavailable]
    right = sum(not each.wrong for each in tried)
    left = sum(len(each.left) for each in tried)
    lines = [
        BEGIN,
        "## The tool",
        "",
        "`python -m bench.faults` brings faults about, one after the other, in real runs of `tune`",
        "with a time budget of 20 s (60 s where a later trial is to be reached), and asks of each:",
        "the right exit code and sentence, a report that can be read, and no process, file, shared",
        "memory, control group or database session left.",
        "",
        f"Of {planned} faults {len(tried)} were tried by {day}: "
        f"**{right} right verdicts, {left} left-overs**. Seconds are of the whole process on a",
        "machine of two cores that others kept busy (load 10 to 40), where starting it alone took",
        "up to 20 s.",
        "",
        "| fault | exit code | s | what it said | wrong |",
        "|---|---|---|---|---|",
    ]
    for each in outcomes:
        if each.unavailable:
            lines.append(f"| {each.name} | - | - | not tried: {each.unavailable} | |")
            continue
        wrong = "; ".join((*each.wrong, *each.left)).replace("|", "/")
        said = _SANDBOX.sub("", each.said).replace("|", "/")[:160]
        lines.append(f"| {each.name} | {each.code} | {each.seconds:.0f} | {said} | {wrong} |")
    return "\n".join([*lines, END])


def write(section: str, page: Path = PAGE) -> None:
    """Replace the section, or put it at the end; the rest of the page stays."""
    text = page.read_text() if page.exists() else TITLE
    if BEGIN in text and END in text:
        before, rest = text.split(BEGIN, 1)
        text = before + section + rest.split(END, 1)[1]
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    page.write_text(text)
