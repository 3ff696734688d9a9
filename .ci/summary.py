"""The last lines of `make test`: what was not tested and how it would be, and what is flaky.

`--strict` (CI) fails when more than MOST_FLAKY tests needed their second try.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

BUILD = Path(__file__).resolve().parents[1] / "build"
MOST_FLAKY = 3


def lines(name: str) -> list[str]:
    file = BUILD / name
    return file.read_text().splitlines() if file.exists() else []


def main(strict: bool) -> int:
    untested, flaky = lines("untested.txt"), Counter(lines("flaky.txt"))
    if untested:
        print(
            "\nNot tested here; `.ci/run`, as root on Debian, installs programs that are missing:"
        )
        print(*(f"  {line}" for line in untested), sep="\n")
    if flaky:
        print("\nPassed only when asked a second time (build/flaky.txt); each is a defect to mend:")
        print(*(f"  {count} x {test}" for test, count in flaky.most_common()), sep="\n")
    if strict and len(flaky) > MOST_FLAKY:
        print(f"\n{len(flaky)} flaky tests: more than {MOST_FLAKY}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main("--strict" in sys.argv))
