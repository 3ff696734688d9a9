"""The files of the project, by the names that a deployment knows them by: what opens them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pretune.advisor.confidential import known_secrets
from pretune.advisor.deployed.arguments import Said
from pretune.advisor.deployed.shell import MARKS, Word
from pretune.advisor.deployed.value import Command

MOST_BYTES = 1 << 18
# Where people keep such files, in a project's directories.
FOLDERS = ("deploy", "deployment", "docker", ".docker", "config", "conf", "etc", "systemd", "ops",
           "infra", "compose", "scripts", "bin")  # fmt: skip
# Of an interpreter on this machine, whatever the image's is told.
_OWN = frozenset({"PATH", "PYTHONPATH", "PYTHONHOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "HOME"})
Conf = Callable[[str, str, Mapping[str, str]], "Said | str"]


@dataclass(frozen=True)
class Place:
    """Whose deployment is looked for. ``names``: the target's module by every name it is known by.
    ``cores``: of the deployment's machine."""

    directory: Path
    chdir: Path
    names: tuple[str, ...]
    cores: int
    # what a gunicorn.conf.py says: its path, its name in reports, more environment; TimeoutError
    conf: Conf


class Files:
    """The project's files, as ``resolve.Project`` wants them. Names are relative to ``root``."""

    def __init__(self, place: Place, root: Path) -> None:
        self.place, self.root, self.cores = place, root, place.cores
        self.read: list[str] = []
        self.secrets: set[str] = set()
        # of gunicorn.conf.py, which many commands may name
        self._said: dict[tuple[str, tuple[tuple[str, str], ...]], Said | str] = {}
        self._hanging: dict[str, str] = {}

    def keep(self, environ: Mapping[str, str]) -> None:
        """Remember the secrets among these variables, so that no sentence about the files shows
        them.
        """
        self.secrets.update(known_secrets(environ))

    def shown(self, path: Path) -> str:
        return (
            path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name
        )

    def text(self, file: str) -> str | None:
        path = self.root / file
        try:
            if not path.resolve().is_relative_to(self.root) or not os.path.isfile(path):
                return None
            with path.open("rb") as opened:
                held = opened.read(MOST_BYTES + 1)
        except (OSError, ValueError, RuntimeError):  # RuntimeError: a loop of links
            return None
        if len(held) > MOST_BYTES:
            return None
        text = MARKS.sub("", held.decode("utf-8-sig", errors="replace"))
        if file not in self.read:
            self.read.append(file)
        return text

    def find(self, name: str, command: Command) -> str | None:
        """A path in a container is searched by its end, from the file's directory and the target's:
        what the image calls /app/deploy/run.sh is deploy/run.sh here."""
        if "\0" in name or len(name) > 500:
            return None
        wanted = PurePosixPath(name)
        inside = PurePosixPath(command.directory or "/")
        parts = wanted.relative_to(inside).parts if wanted.is_relative_to(inside) else wanted.parts
        parts = tuple(part for part in parts if part not in ("/", "."))
        here = (self.root / command.file).parent
        built = (here / command.built).parent if command.built else here
        bases = dict.fromkeys((built, here, self.place.chdir, self.place.directory, self.root))
        for base in bases:
            for start in range(len(parts)):
                for folder in ("", *FOLDERS):
                    path = Path(os.path.normpath(base.joinpath(folder, *parts[start:])))
                    if path.is_relative_to(self.root) and os.path.isfile(path):
                        return self.shown(path)
        return None

    def dockerfile(self, command: Command) -> str | None:
        """The one that makes a service."""
        path = Path(os.path.normpath((self.root / command.file).parent / command.built))
        inside = path.is_relative_to(self.root) and os.path.isfile(path)
        return self.shown(path) if inside else None

    def conf(self, place: str, command: Command, environ: Mapping[str, str]) -> Said | str:
        module = place.startswith("python:")
        path = place if module else str(self.root / place)
        if not module and self.text(place) is None:  # else it is among what was read
            return f"{place} leads out of the project, is too large, or cannot be read"
        words = {
            name: Word.from_marked(value) for name, value in environ.items() if name not in _OWN
        }
        variables = {name: word.text for name, word in words.items() if not word.unknown}
        asked = (path, tuple(sorted(variables.items())))
        if path not in self._hanging and asked not in self._said:
            try:
                self._said[asked] = self.place.conf(path, place, variables)
            except TimeoutError as error:
                self._hanging[path] = str(error)
        return self._hanging[path] if path in self._hanging else self._said[asked]
