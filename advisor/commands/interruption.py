"""Ctrl-C, TERM and HUP of a command that has something to end."""

from __future__ import annotations

import os
import signal
from typing import Final

from pretune.advisor.verdict import EXIT_INTERRUPTED

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SHOW_CURSOR: Final = b"\x1b[?25h"  # a progress display hides it
_LEAVING: Final = b"\ntune: leaving now; what the run started is being ended in the background.\n"


class Interruption:
    """The handler: the first signal raises KeyboardInterrupt, so that the command cleans up.

    A second one ends this process at once, whatever it is doing. The reaper sees its pipe close and
    goes on with the clean-up.
    """

    def __init__(self) -> None:
        self._interrupted = False

    def install(self) -> None:
        """Handle the signals from here on, but for one that was ignored from the start (nohup)."""
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self)

    def __call__(self, number: int, frame: object) -> None:
        if not self._interrupted:
            self._interrupted = True
            raise KeyboardInterrupt
        os.write(2, (_SHOW_CURSOR if os.isatty(2) else b"") + _LEAVING)
        os._exit(EXIT_INTERRUPTED)
