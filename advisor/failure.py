"""Why a run can end early, by what it means for the exit code."""

from __future__ import annotations


class AppFailed(Exception):
    """The app does not boot or answers only errors: exit 3, with the user's own traceback."""

    def __init__(self, kind: str, message: str, traceback: str = "", log_tail: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.traceback = traceback
        self.log_tail = log_tail


class MeasurementInvalid(Exception):
    """The machine or the generator spoiled the measurement to the end: exit 3."""

    kind = "measurement"
    traceback = ""


class OutOfTime(MeasurementInvalid):
    """The time budget ended before there was anything to answer with: exit 3."""

    kind = "time_budget"


class LoadFailed(MeasurementInvalid):
    """The user's own load code raises: exit 3, with its traceback."""

    kind = "load_code"

    def __init__(self, message: str, traceback: str) -> None:
        super().__init__(message)
        self.traceback = traceback


class Refused(Exception):
    """Something the user must change before anything can be measured: exit 2, one sentence."""
