"""Records that outlive a test run, under build/: what was not tested, and what is flaky.

``untested.txt``: a line for each reason that tests were skipped for. ``flaky.txt``: the tests that
failed and passed when they were asked once more (``--second-try``), a line for each time.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

BUILD = Path(__file__).parents[2] / "build"
UNTESTED, FLAKY = "untested.txt", "flaky.txt"


def untested(skipped: list[pytest.TestReport]) -> list[str]:
    """Reason by reason, the most frequent first: ``3 tests: nginx: apt-get install nginx``."""
    reasons: Counter[str] = Counter()
    for report in skipped:
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[text.removeprefix("Skipped: ")] += 1
    return [f"{count} test{'s' * (count > 1)}: {why}" for why, count in reasons.most_common()]


class Records:
    """Of one run, in the process that reports."""

    def __init__(self, directory: Path, *, second_try: bool) -> None:
        self._directory, self._second_try = directory, second_try
        self._skipped: list[pytest.TestReport] = []
        self._passed: set[str] = set()
        self._failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._skipped.append(report)
        if report.failed:
            self._failed.add(report.nodeid)
        elif report.when == "call" and report.passed:
            self._passed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        if self._second_try:
            with (self._directory / FLAKY).open("a") as file:
                file.writelines(f"{each}\n" for each in sorted(self._passed - self._failed))
        else:
            lines = untested(self._skipped)
            (self._directory / UNTESTED).write_text("".join(f"{line}\n" for line in lines))
