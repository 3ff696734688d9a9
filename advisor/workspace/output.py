"""The output directory: whether it can be written, and what becomes of an older run's files.

A run that ends without an answer must not leave an older answer to be taken for its own, and a
mistyped target must not cost the answer of yesterday: so the files of the last run that gave one
stand aside in ``previous/``.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path

from pretune.advisor.verdict import Verdict
from pretune.server.adapters.catalogue import ini_files

PREVIOUS = "previous"
DOCUMENTS = ("report.json", "comparison.json")
PAGES = ("report.html", "comparison.html")
MEASUREMENTS = "measurements.json.gz"
CONFIGURATIONS = ("gunicorn.conf.py", *ini_files(), "start.sh", "nginx.conf")
ANSWERS = (*DOCUMENTS, *PAGES, MEASUREMENTS, *CONFIGURATIONS)
DIRECTORIES = ("logs", "samples")
OURS = ".pretune"  # stands in a directory that runs write to
# Verdicts that say something about the app's capacity.
ANSWERED = {Verdict.FITS, Verdict.DOES_NOT_FIT, Verdict.NOT_ENOUGH_DATA}


class OutputError(Exception):
    """The output directory cannot be written; the message names the fix."""


def claim(out: Path) -> int:
    """Prepare ``out`` for this run alone; gives a descriptor that holds it until it is closed.

    Raises OutputError when nothing can be written there, when somebody's files would go, or while
    another run has claimed it.
    """
    if theirs := others(out):
        raise OutputError(
            f"{out} holds {' and '.join(theirs)} that are not from a run and would be replaced; "
            "name another directory with --out"
        )
    try:
        for name in DIRECTORIES:
            (out / name).mkdir(parents=True, exist_ok=True)
        claimed = os.open(out / OURS, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise OutputError(
            f"cannot write to {out}: {error.strerror}; name another directory with --out"
        ) from error
    try:
        fcntl.flock(claimed, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(claimed, 20).decode(errors="replace").strip()
        os.close(claimed)
        raise OutputError(
            f"another run{f' (process {holder})' if holder.isdigit() else ''} is writing to {out}; "
            "wait until it has ended, or name another directory with --out"
        ) from None
    os.truncate(claimed, 0)
    os.write(claimed, str(os.getpid()).encode())
    return claimed


def others(out: Path) -> list[str]:
    """List what a run would move or delete of a directory that no run has written to."""
    if (out / OURS).exists() or any(_verdict(out / name) for name in DOCUMENTS):
        return []
    files = [name for name in ANSWERS if os.path.lexists(out / name)]
    return files + [name for name in DIRECTORIES if _filled(out / name)]


def _filled(directory: Path) -> bool:
    try:
        return any(directory.iterdir())
    except OSError:
        return os.path.lexists(directory) and not directory.is_dir()


def set_aside(out: Path) -> None:
    """Makes room for a new run: an older answer moves to ``previous/``, an older failure goes.

    Files that are not ours are left where they are. Raises OSError.
    """
    keep = answered(out)
    previous = out / PREVIOUS
    if keep and previous.exists():
        shutil.rmtree(previous)
    for name in (*ANSWERS, *DIRECTORIES):
        path = out / name
        if keep and path.exists():
            previous.mkdir(exist_ok=True)
            path.rename(previous / name)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for name in DIRECTORIES:
        (out / name).mkdir()


def answered(out: Path) -> bool:
    """Return whether ``out`` holds the report of a run that gave an answer."""
    return any(_verdict(out / name) in ANSWERED for name in DOCUMENTS)


def _verdict(document: Path) -> str | None:
    try:
        return str(json.loads(document.read_bytes())["verdict"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
