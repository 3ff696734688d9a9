"""What it means that a server is not ready."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pretune.advisor.failure import AppFailed, OutOfTime
from pretune.advisor.preflight.booting import wait_ready
from pretune.server.adapters.launch import BootFailed

pytestmark = pytest.mark.fast


def server(error: Exception) -> Any:
    def wait(seconds: float) -> tuple[str, int]:
        raise error

    return SimpleNamespace(wait_ready=wait)


@pytest.mark.parametrize(
    ("seconds", "inspected_s", "hangs"),
    [(60.0, 15.0, True), (12.0, 0.1, True), (5.0, 0.1, True), (12.0, 15.0, False)],
)
def test_a_slow_boot_is_told_from_one_that_hangs(
    seconds: float, inspected_s: float, hangs: bool, tmp_path: Path
) -> None:
    late = server(TimeoutError("gunicorn was not ready after 12 s: 0 of 1 workers"))
    with pytest.raises(AppFailed if hangs else OutOfTime) as error:
        wait_ready(late, seconds, inspected_s, "the server of the trial demand", tmp_path / "log")
    if hangs:
        assert error.value.kind == "boot_hangs"
    else:
        assert str(error.value) == (
            "the time budget ended 12 s after the server of the trial demand had begun to boot "
            "the app, whose import alone took 15 s; each trial boots it: give --time-budget 210s "
            "or more"
        )


def test_a_boot_that_failed_is_the_app_s_own(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("no database\n")
    failed = server(BootFailed("KeyError: 'x'", "Traceback"))
    with pytest.raises(AppFailed) as error:
        wait_ready(failed, 5.0, 0.1, "the server", tmp_path / "log")
    assert (error.value.kind, error.value.log_tail) == ("boot", "no database")
