"""The wait for a server of the app to be ready, and what it means when it is not."""

from __future__ import annotations

from pathlib import Path

from pretune.advisor.failure import AppFailed, OutOfTime
from pretune.advisor.workspace.logs import log_tail
from pretune.server.adapters.launch import BootFailed, RunningServer

# A boot may take so many times the import, and so long besides, before it is said to hang.
SLOWER, BESIDES_S = 3.0, 4.0


def wait_ready(
    server: RunningServer, seconds: float, inspected_s: float, what: str, log: Path
) -> tuple[str, int]:
    """Wait until the server that ``what`` needs is ready; return its address.

    ``inspected_s``: what a process took here to start and to import the app, by which a slow boot,
    or a busy machine, is told from a boot that hangs where the time budget leaves few ``seconds``.
    Raises AppFailed, OutOfTime.
    """
    try:
        return server.wait_ready(round(seconds, 1))
    except BootFailed as error:
        raise AppFailed("boot", str(error), error.traceback, log_tail(log)) from error
    except TimeoutError as error:
        if seconds < SLOWER * inspected_s + BESIDES_S:
            raise OutOfTime(_describe_slow(what, seconds, inspected_s)) from error
        raise AppFailed("boot_hangs", str(error), log_tail=log_tail(log)) from error


def _describe_slow(what: str, seconds: float, inspected_s: float) -> str:
    return (
        f"the time budget ended {seconds:.0f} s after {what} had begun to boot the app, whose "
        f"import alone took {inspected_s:.0f} s; each trial boots it: {advise_time(inspected_s)}"
    )


def advise_time(boot_s: float) -> str:
    """The time budget that an app with such boots needs."""
    # preflight boots twice, an answer's trials three times at least, and there is load besides
    return f"give --time-budget {60 + 10 * round(boot_s)}s or more"
