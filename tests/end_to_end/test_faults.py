"""Of the fault corpus what is decided in a few seconds; `python -m bench.faults` does them all."""

import pytest

from bench.faults import page
from bench.faults.fault import Fault
from bench.faults.table import FAULTS
from bench.faults.trial import Outcome, bring_about

# One of each kind.
NAMES = (
    "raises at import",
    "segfault at import",
    "not callable",
    "closes every descriptor at import",
    "out of memory at import",
    "returns text",
    "redirects in a loop",
    "_exit in every request",
    "ASGI: startup fails",
    "ASGI: returns on lifespan",
    "freezes the clocks",
    "leaves a daemon without environment",
    "Ctrl-C at once",
    "nowhere to write: --out",
    "a deep pyproject.toml",
    "a target without a name",
)
QUICK = [fault for fault in FAULTS if fault.name in NAMES]


def test_names_are_unique_and_each_that_is_tested_is_in_the_table() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names))
    assert {fault.name for fault in QUICK if fault.quick} == set(NAMES)


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.name)
def test_a_fault_gets_its_verdict_and_leaves_nothing(fault: Fault) -> None:
    outcome = bring_about(fault)
    assert outcome.right, outcome


def test_a_page_keeps_what_others_wrote_into_it(tmp_path) -> None:
    path = tmp_path / "RELIABILITY.md"
    path.write_text(f"# Reliability\n\n## Server\n\nflat\n\n{page.BEGIN}\nold\n{page.END}\n\nend\n")
    fine = Outcome("fine", 0, 1.0)
    bad = Outcome("bad | worse", 70, 2.0, wrong=("exit code 70",), left=("process 7",))
    untried = Outcome("untried", None, 0.0, unavailable="no disk")
    page.write(page.render([fine, bad, untried], 4, "2026-11-30"), path)
    text = path.read_text()
    assert "## Server\n\nflat" in text
    assert text.endswith("end\n")
    assert "old" not in text
    assert "Of 4 faults 2 were tried by 2026-11-30: **1 right verdicts, 1 left-overs**" in text
