"""The services that measured applications need: a Postgres, and a slow upstream."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from examples import postgres, upstream
from pretune.advisor.workspace.cores import confined, plan


class Services:
    """Those that are named, on the load generator's cores, for any number of stages. ``environ``:
    their URLs, under the names that the applications read; ``delay_s``: an answer of the upstream
    takes from the first to the second, in seconds."""

    def __init__(
        self,
        database: str | None,
        upstream: str | None,
        *,
        delay_s: tuple[float, float] = upstream.DELAY_S,
    ) -> None:
        self._database, self._upstream, self._delay_s = database, upstream, delay_s
        self._stack = ExitStack()
        self.environ: dict[str, str] = {}

    def __enter__(self) -> Services:
        directory = Path(tempfile.mkdtemp(prefix="services-"))
        directory.chmod(0o711)  # Postgres may run under another user
        self._stack.callback(shutil.rmtree, directory, ignore_errors=True)
        available = frozenset(os.sched_getaffinity(0))
        try:
            with confined(plan(available, len(available)).generator):
                if self._database is not None:
                    self._stack.callback(postgres.stop, directory)
                    self.environ[self._database] = postgres.start(directory, "bench")
                if self._upstream is not None:
                    self._stack.callback(upstream.stop, directory)
                    self.environ[self._upstream] = upstream.start(directory, self._delay_s)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
