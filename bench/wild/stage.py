"""An application set up: its environment, its copy of the files, its database, all filled."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.servers import environment
from bench.services import Services
from bench.wild.applications import Application

APPS = Path(__file__).with_name("apps")
DATABASE = "DATABASE_URL"
FILL_S = 900.0


class NotSetUp(Exception):
    """An application could not be installed or filled; the message says why."""


@dataclass(frozen=True)
class Stage:
    """A place from which the application can be served. ``environ`` is its whole environment."""

    application: Application
    directory: Path
    bin: Path
    environ: dict[str, str]

    @property
    def python(self) -> Path:
        return self.bin / "python"


@contextmanager
def staged(application: Application) -> Iterator[Stage]:
    """Set one up and take it away afterwards. Raises NotSetUp."""
    source = APPS / application.name
    try:
        bin_ = environment.prepare(requirements=source / "requirements.txt")
    except subprocess.CalledProcessError as error:
        raise NotSetUp(f"{application.name} cannot be installed: {error}") from error
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix=f"wild-{application.name}-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        home = directory / application.name
        shutil.copytree(source, home, ignore=shutil.ignore_patterns("__pycache__"))
        services = Services(DATABASE if application.postgres else None, None)
        environ = {**os.environ, **stack.enter_context(services).environ}
        environ["PATH"] = f"{bin_}:{environ['PATH']}"
        environ["VIRTUAL_ENV"] = str(bin_.parent)
        environ |= {
            name: value.format(home=home, database=environ.get(DATABASE, ""))
            for name, value in application.environ
        }
        stage = Stage(application, home, bin_, environ)
        _fill(stage)
        yield stage


def _fill(stage: Stage) -> None:
    """Run ``fill.py``, where there is one; it starts from nothing each time."""
    script = stage.directory / "fill.py"
    if not script.exists():
        return
    done = subprocess.run(
        [str(stage.python), str(script)], cwd=stage.directory, env=stage.environ,
        capture_output=True, text=True, timeout=FILL_S, check=False,
    )  # fmt: skip
    script.unlink()  # a deployment would not have it
    if done.returncode:
        tail = (done.stdout + done.stderr)[-1500:]
        raise NotSetUp(f"{stage.application.name} cannot be filled: {tail}")
