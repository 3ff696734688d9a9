"""All findings of a run, from the rules of every subject.

A rule fires only on measured numbers; what a run did not reach is silent. Nothing here is a guess
about the user's code: a title says what was seen, a fix what to change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pretune.advisor.findings import (
    application,
    arrangement,
    causes,
    connections,
    deployed,
    environment,
    measurement,
    memory,
)
from pretune.advisor.findings.rule import FindingContext, Rule, hints
from pretune.advisor.preflight.facts import Facts
from pretune.advisor.quantity import format_bytes, format_seconds
from pretune.advisor.run import SEVERITIES, Finding, Run

SUBJECTS = (
    causes, memory, environment, deployed, connections, application, arrangement, measurement,
)  # fmt: skip
# Of equally severe findings, what stands first is shown first.
RULES: tuple[Rule, ...] = tuple(rule for subject in SUBJECTS for rule in subject.RULES)


def diagnose(run: Run, facts: Facts | None = None) -> tuple[Finding, ...]:
    """All findings, the most severe first."""
    context = FindingContext(run, facts)
    findings = []
    for rule in RULES:
        evidence = rule.evidence(context)
        if evidence is not None:
            shown = {name: _show(name, value) for name, value in evidence.items()}
            # known only where looks at stacks were enough
            shown["at_line"] = f", at {evidence['line']}" if evidence.get("line") else ""
            shown["to_host"] = f" to {evidence['host']}" if evidence.get("host") else ""
            shown |= hints(context.framework)
            title, fix = rule.title.format(**shown), rule.fix.format(**shown)
            findings.append(Finding(rule.id, rule.severity, title, evidence, fix))
    return tuple(sorted(findings, key=lambda f: SEVERITIES.index(f.severity)))


def _show(name: str, value: Any) -> str:
    """By the unit at the end of the name."""
    if isinstance(value, list | tuple):
        return ", ".join(str(v) for v in value[:3]) + (", ..." if len(value) > 3 else "")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    for suffix, show in _UNITS:
        if name.endswith(suffix):
            return show(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


_UNITS: tuple[tuple[str, Callable[[float], str]], ...] = (
    ("_bytes", format_bytes),
    ("_bytes_per_request", format_bytes),
    ("_s", format_seconds),
    ("_rate", lambda x: f"{x:.2%}"),
    ("_fraction", lambda x: f"{x:.0%}"),
    ("_rps", lambda x: f"{x:.0f}"),
)
