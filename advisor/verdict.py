"""The five verdicts and the exit codes they become."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    FITS = "fits"
    DOES_NOT_FIT = "does_not_fit"
    NOT_ENOUGH_DATA = "not_enough_data"
    APP_FAILED = "app_failed"
    MEASUREMENT_INVALID = "measurement_invalid"


EXIT_USAGE = 2
EXIT_DEFECT = 70  # of pretune itself: never to be taken for a verdict
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141
EXIT_CODES = {
    Verdict.FITS: 0,
    Verdict.DOES_NOT_FIT: 1,
    Verdict.NOT_ENOUGH_DATA: 0,  # 4 under --strict
    Verdict.APP_FAILED: 3,
    Verdict.MEASUREMENT_INVALID: 3,
}
EXIT_STRICT_NOT_ENOUGH_DATA = 4


def exit_code(verdict: Verdict, *, strict: bool) -> int:
    if strict and verdict is Verdict.NOT_ENOUGH_DATA:
        return EXIT_STRICT_NOT_ENOUGH_DATA
    return EXIT_CODES[verdict]
