"""The run's own place: a temporary directory that vanishes, and the output that stays."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pretune.advisor.resources.trial_cgroup import TrialCgroup
from pretune.advisor.workspace import output
from pretune.advisor.workspace.logs import LogBound
from pretune.advisor.workspace.reaper import MARK, SERVICE, TRIAL, Minder, session_members


class Workspace:
    """``temporary`` is removed with the run; ``out`` and what is in it stay."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.services: list[int] = []  # sessions that the setup hook left behind
        self._closed: dict[str, object] | None = None
        self._claim = output.claim(out)
        self._log_bound = LogBound(out / "logs")
        self.run_id = secrets.token_hex(8)
        self.minder = Minder(self.run_id)
        self.temporary = Path(tempfile.gettempdir(), f"pretune-{self.run_id}")
        # The minder knows the name before the directory exists: no moment to leak it.
        self.minder.directory(self.temporary)
        # Passable for others: a setup hook may run a database under another uid in here.
        self.temporary.mkdir(mode=0o711)
        self.temporary.chmod(0o711)
        # Holds what leaves its session and clears its environment; None where none can be made.
        self._cgroup = TrialCgroup.create(
            f"pretune-{self.run_id}", 1.0, before_making=self.minder.cgroup
        )

    def directory(self, name: str) -> Path:
        """A fresh private directory of the run."""
        path = self.temporary / name
        path.mkdir(mode=0o711, exist_ok=True)
        path.chmod(0o711)  # whatever the umask
        return path

    def log(self, name: str) -> Path:
        return self.out / "logs" / f"{name}.log"

    def marked(self, env: Mapping[str, str]) -> dict[str, str]:
        """``env`` with the mark by which the minder knows the run's processes."""
        return {**env, MARK: self.run_id}

    def spawned(self, pid: int) -> None:
        self.minder.session(pid, TRIAL)
        if self._cgroup:
            self._cgroup.add(pid)

    def spawned_service(self, pid: int) -> None:
        self.minder.session(pid, SERVICE)
        self.services.append(pid)
        if self._cgroup:
            self._cgroup.add(pid)

    def forget_if_empty(self, pid: int) -> None:
        if not session_members(pid):
            self.minder.forget_session(pid)

    def close(self) -> dict[str, object]:
        """Ends and removes all the run started. A second Ctrl-C leaves that to the minder."""
        if self._closed is None:
            self._closed = {}
            with contextlib.suppress(KeyboardInterrupt):
                self._closed = self.minder.close()
            self._log_bound.close()
            os.close(self._claim)
        return self._closed
