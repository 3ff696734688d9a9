"""The files of the project, by the names that a deployment knows them by: what opens them."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pretune.advisor.confidential import known_secrets
from pretune.advisor.deployed.arguments import Said
from pretune.advisor.deployed.shell import LONGEST, MARKS, Word
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


# Folders that hold no deployment of the project, and folders with a dot that may.
_SKIPPED_WORDS = """
    node_modules venv env site-packages __pycache__ tests test docs doc examples vendor dist
    build static media templates_c
"""
_SKIPPED = frozenset(_SKIPPED_WORDS.split())
_WITH_DOT = frozenset({".do", ".docker", ".platform", ".deploy", ".devops", ".k8s", ".infra",
                       ".circus"})  # fmt: skip
MOST_SHELL = 1 << 18  # characters of shell text, of all files together
MOST_ENTRIES = 6000  # of all folders together
DEEPEST = 6  # folders below one of those above the target


class Files:
    """The project's files, as ``resolve.Project`` wants them. Names are relative to ``root``."""

    def __init__(self, place: Place, root: Path) -> None:
        self.place, self.root, self.cores = place, root, place.cores
        self.read: list[str] = []
        self.secrets: set[str] = set()
        # of gunicorn.conf.py, which many commands may name
        self._said: dict[tuple[str, tuple[tuple[str, str], ...]], Said | str] = {}
        self._hanging: dict[str, str] = {}
        self._spent = 0  # characters of shell text that were followed
        self.followed: set[str] = set()
        self.overridden: set[str] = set()  # Dockerfiles whose command another replaces, not known
        self._listed: tuple[tuple[int, str], ...] | None = None

    def spend(self, characters: int) -> bool:
        self._spent += min(characters, LONGEST)
        return self._spent <= MOST_SHELL

    def follow(self, file: str) -> None:
        self.followed.add(file)

    def walk(self, directories: Sequence[Path]) -> tuple[tuple[int, str], ...]:
        """(steps up from the target, name) of the project's files, the nearest folders first."""
        if self._listed is None:
            self._listed = tuple(self._walked(directories))
        return self._listed

    def _walked(self, directories: Sequence[Path]) -> Iterator[tuple[int, str]]:
        queue = [(up, 0, directory) for up, directory in enumerate(directories)]
        seen = set(directories)
        count = 0
        for up, depth, directory in queue:
            try:
                entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
            except OSError:
                continue
            names = {entry.name for entry in entries}
            if depth and directory not in directories and self._is_another(names):
                continue
            for entry in entries:
                count += 1
                if count > MOST_ENTRIES:
                    return
                path = directory / entry.name
                try:
                    if entry.is_file():
                        yield up, self.shown(path)
                    elif entry.is_dir(follow_symlinks=False) and depth < DEEPEST:
                        hidden = entry.name.startswith(".") and entry.name not in _WITH_DOT
                        if not hidden and entry.name not in _SKIPPED and path not in seen:
                            queue.append((up, depth + 1, path))
                except OSError:
                    continue

    def _is_another(self, names: set[str]) -> bool:
        """Return whether a folder holds a module called like the target, of another project."""
        return any(f"{name.rpartition('.')[2]}.py" in names for name in self.place.names)

    def matching(self, pattern: str, command: Command) -> tuple[str, ...]:
        wanted = pattern.strip().lstrip("./") or pattern
        near = PurePosixPath(command.file).parent.as_posix()
        names = [name for _, name in self._listed or () if len(name) < 500]
        for _ in range(8):  # what the image calls /etc/supervisor/x.conf may be supervisor/x.conf
            found = [n for n in names if fnmatch.fnmatchcase(f"/{n}", f"*/{wanted}")]
            if found:
                break
            wanted = wanted.partition("/")[2]
            if not wanted or wanted.startswith("*"):
                break
        return tuple(sorted(found, key=lambda name: not name.startswith(near)))

    def peek(self, file: str) -> str:
        """Return a file's text without counting the file as read."""
        before = list(self.read)
        text = self.text(file)
        self.read = before
        return text or ""

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
        alone = {n for _, n in self._listed or () if parts and n.endswith(f"/{parts[-1]}")}
        return alone.pop() if len(alone) == 1 else None

    def dockerfile(self, command: Command) -> str | None:
        """The one that makes a service; one without a folder is also looked for above."""
        here = (self.root / command.file).parent
        above = () if "/" in command.built else (self.place.directory, self.place.chdir, self.root)
        for base in (here, *above):
            path = Path(os.path.normpath(base / command.built))
            if path.is_relative_to(self.root) and os.path.isfile(path):
                return self.shown(path)
        return None

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
