"""A run's measurements in a file, so that it can be concluded again without load.

The file stands beside the report and holds the facts of preflight, every trial's measurement, and
what no trial gives: deployment, notes, checks. It holds nothing that a conclusion computes. Of
records of single requests it keeps those that a conclusion reads, in full, so that the same code
gives the same numbers: the demand and the contrast trial's, and the first one's notes of probes.
They are bounded where they are taken: 400,000 records of each (``profiler.reservoir``), 45 MB, and
16 MB of notes (``server.probes.journal``), before compression. A run of two minutes on an ordinary
app has thousands, and takes 0.1 MB.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pretune.advisor.conclusion import conclude
from pretune.advisor.documents import stored
from pretune.advisor.observations import Observations
from pretune.advisor.outcome import finish, with_conclusion
from pretune.advisor.preflight.facts import Facts
from pretune.advisor.profiler.measurement import Measurement, Role
from pretune.advisor.run import Run, Trial
from pretune.server.settings import Settings

VERSION = 1
WITH_REQUESTS = frozenset({Role.DEMAND, Role.CONTRAST})


class Unreadable(Exception):
    """A file that is not one of these, or was written by a version that kept other things."""


@dataclass(frozen=True)
class Evidence:
    """All that the last conclusion of a run rested on."""

    facts: Facts
    observations: Observations
    think_s: float
    front_keeps: bool
    recommended: Settings | None  # as concluded, so that a verification is known to be of it


@dataclass(frozen=True)
class Saved:
    """A run without what was concluded, and the evidence. ``observed``: the trials of ``run`` that
    the conclusion rested on, by their places there."""

    version: int
    run: Run
    facts: Facts
    observed: tuple[int, ...]
    think_s: float
    front_keeps: bool
    recommended: Settings | None
    preload_failed: str = ""  # as in Observations

    @classmethod
    def from_run(cls, run: Run, evidence: Evidence) -> Saved:
        used = [id(trial) for trial in evidence.observations.all()]
        places = tuple(n for n, t in enumerate(run.trials) if id(t.measurement) in used)
        today = run.today and replace(
            run.today, predicted=None, violates=(), difference=None, gain=""
        )
        verification = run.verification
        if verification is not None:
            half = verification.half and _trial(verification.half)
            verification = replace(verification, trial=_trial(verification.trial), half=half)
        bare = Run(
            run.spec,
            run.seed,
            run.verdict,
            target=run.target,
            budget=run.budget,
            workload=evidence.facts.workload,
            boot_memory=run.boot_memory,
            trials=tuple(map(_trial, run.trials)),
            verification=verification,
            today=today,
            notes=run.notes,
            slow=run.slow,
            holders=run.holders,
            allocators=run.allocators,
            cpu_steal=run.cpu_steal,
            database=run.database,
            server=run.server,
            front=run.front,
        )
        return cls(
            VERSION,
            bare,
            evidence.facts,
            places,
            evidence.think_s,
            evidence.front_keeps,
            evidence.recommended,
            evidence.observations.preload_failed,
        )

    @property
    def observations(self) -> Observations:
        observations = Observations.from_trials(
            self.run.trials[place].measurement for place in self.observed
        )
        return replace(observations, preload_failed=self.preload_failed)


def _trial(trial: Trial) -> Trial:
    return replace(trial, measurement=_kept(trial.measurement))


def _kept(measured: Measurement) -> Measurement:
    """The measurement without records of requests that no conclusion reads."""
    if measured.role in WITH_REQUESTS:
        return measured
    further = tuple(map(_kept, measured.further))
    return replace(measured, telemetry=measured.telemetry[:0], notes=None, further=further)


def conclude_again(saved: Saved) -> Run:
    """Conclude, judge and diagnose the run as this version does, without load.

    A verification of other settings than are recommended now says nothing of them: it is left out,
    and a note says so.
    """
    conclusion = conclude(
        saved.facts,
        saved.observations,
        seed=saved.run.seed,
        think_s=saved.think_s,
        front_keeps=saved.front_keeps,
    )
    run = with_conclusion(saved.run, saved.facts, conclusion)
    recommended = conclusion.recommendation
    if run.verification is not None and (recommended and recommended.settings) != saved.recommended:
        verified = run.verification.trial.measurement.settings
        run = replace(run, verification=None).with_notes(
            f"the verification was of {verified.workers} workers x {verified.threads} threads "
            f"({verified.worker_class}), which are not what is recommended now"
        )
    return finish(run, saved.facts, conclusion)


def write(path: Path, saved: Saved, text: Callable[[str], str] = str) -> None:
    """``text`` changes every string, to hide secrets. Raises OSError."""
    tree = stored.encode(saved, text=text)
    path.write_bytes(gzip.compress(json.dumps(tree).encode(), compresslevel=6, mtime=0))


def read(path: Path) -> Saved:
    """Raises OSError, Unreadable."""
    try:
        tree = json.loads(gzip.decompress(path.read_bytes()))
        if tree["version"] != VERSION:
            raise Unreadable(f"it has version {tree['version']}, this tune reads {VERSION}")
        decoded = stored.decode(tree, {**stored.TYPES, Saved.__name__: Saved})
    except (gzip.BadGzipFile, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"it holds no measurements that this tune can read ({error})") from error
    if not isinstance(decoded, Saved):
        raise Unreadable("it holds no measurements")
    return decoded
