"""Finds the deployment files of a project and says which of them is today's.

From the target's directory up to the repository's root, and in the folders below each. A command
counts when it starts the target; of several, the one whose format stands first in ``FORMATS``, then
the one nearest to the target.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pretune.advisor.confidential import hide
from pretune.advisor.deployed.files import Files, Place
from pretune.advisor.deployed.formats import FORMATS, Format
from pretune.advisor.deployed.value import Deployed, Look

MOST_FILES = 40
MOST_PEEKS = 200  # into files of a general name
MOST_DIRECTORIES = 8  # up to the root


def find_deployment(place: Place) -> Look:
    """Never raises for what files hold, and tells no password of theirs."""
    directories = _directories(place)
    files = Files(place, directories[-1])
    result = _looked(directories, files)
    secrets = tuple(files.secrets)
    deployed = _hidden(result.deployed, secrets) if result.deployed is not None else None
    return replace(result, deployed=deployed, problems=tuple(hide(result.problems, secrets)))


def _hidden(deployed: Deployed, secrets: tuple[str, ...]) -> Deployed:
    settings = {
        name: replace(setting, note=hide(setting.note, secrets))
        for name, setting in deployed.settings.items()
    }
    return replace(
        deployed,
        application=hide(deployed.application, secrets),
        settings=settings,
        unknown=tuple(hide(deployed.unknown, secrets)),
        others=tuple(hide(deployed.others, secrets)),
        problems=tuple(hide(deployed.problems, secrets)),
    )


def _looked(directories: list[Path], files: Files) -> Look:
    found: list[tuple[tuple[int, ...], Deployed, str]] = []
    problems: list[str] = []
    beside: list[str] = []
    files.walk(directories)
    undecided = len(FORMATS)  # the first format whose command replaces others, and is not known
    for number, form in enumerate(FORMATS):
        if form.alone and (undecided < number or any(not each.develops for _, each, _ in found)):
            break  # a file of settings counts by itself only where no command is known
        for distance, file in _files(directories, form, files):
            text = files.text(file)
            if text is None:
                problems.append(f"{file} leads out of the project, is too large, or cannot be read")
                continue
            started = form.read(files, file, text)
            problems += started.problems
            beside += started.beside
            if started.open and form.replaces:
                undecided = min(undecided, number)
            for deployed in started.servers:
                doubt = _doubt(deployed, files.place.names)
                if doubt is None:
                    sentence = (
                        f"{deployed.where} starts another application, {deployed.application}"
                    )
                    beside.append(sentence)
                else:
                    staged = form.several and "prod" not in file
                    rank = (
                        *(deployed.develops, doubt, number, staged, distance),
                        _unusual(deployed),
                    )
                    found.append((rank, deployed, file))
    found = [each for each in found if each[2] not in files.followed]
    found.sort(key=lambda each: each[0])
    chosen = found[0][1] if found else None
    if chosen is not None and chosen.develops:
        beside.append(f"{chosen.where} reloads on changes, so it is not taken as a deployment")
        chosen = None
    elif chosen is not None and (not chosen.server or undecided < found[0][0][2]):
        beside += [*chosen.problems, *([_says(chosen)] if chosen.server else [])]
        chosen = None
    if chosen is None:
        return Look(None, tuple(files.read), tuple(dict.fromkeys((*problems, *beside))))
    (_, _, number, *_), _, file = found[0]
    rivals = [
        other
        for rank, other, name in found[1:]
        if FORMATS[number].several and rank[2] == number and name != file
        and ("prod" in name) >= ("prod" in file) and _differs(other, chosen)
    ]  # fmt: skip
    if rivals:
        said = f"which is applied is not known: {_says(chosen)}, {_says(rivals[0])}"
        return Look(None, tuple(files.read), tuple(dict.fromkeys((said, *problems, *beside))))
    others = tuple(_says(other) for _, other, _ in found[1:] if _differs(other, chosen))
    problems = list(dict.fromkeys((*chosen.problems, *problems)))
    chosen = replace(chosen, others=tuple(dict.fromkeys(others)), problems=tuple(problems))
    return Look(chosen, tuple(files.read), chosen.problems)


def _directories(place: Place) -> list[Path]:
    """The target's directory first, the repository's root last; without a repository no further
    than where the app runs."""
    start, chdir = place.directory.resolve(), place.chdir.resolve()
    above = [start, *start.parents][:MOST_DIRECTORIES]
    for i, directory in enumerate(above):
        if (directory / ".git").exists():
            return above[: i + 1]
    for i, directory in enumerate(above):
        if directory == chdir:
            return above[: i + 1]
    return [start]


def _files(directories: list[Path], form: Format, files: Files) -> Iterator[tuple[int, str]]:
    """(steps up from the target, name) of those of a format, the nearest first."""
    found = []
    for order, (distance, name) in enumerate(files.walk(directories)):
        base = name.rpartition("/")[2]
        for number, pattern in enumerate(form.patterns):
            text = f"/{name}" if "/" in pattern else base
            if fnmatch.fnmatchcase(text, f"*/{pattern}" if "/" in pattern else pattern):
                found.append((distance, number, order, name))
                break
    count = 0
    for distance, _, _, name in sorted(found)[:MOST_PEEKS]:
        if form.marker is not None and not form.marker.search(files.peek(name)):
            continue
        count += 1
        if count > MOST_FILES:
            return
        yield distance, name


# of two applications of one module, the one that is not for health checks or the like
_USUAL = frozenset({"", "app", "application", "api", "server", "asgi", "wsgi", "asgi_app",
                    "wsgi_app", "main", "create_app", "create_app(...)"})  # fmt: skip


def _unusual(deployed: Deployed) -> bool:
    return deployed.application.partition(":")[2] not in _USUAL


def _doubt(deployed: Deployed, names: tuple[str, ...]) -> int | None:
    """Rate the doubt that it starts the target: 0 none, 1 some (it names no app, or one beside it),
    None where it starts another.
    """
    module = deployed.application.partition(":")[0].removesuffix(".py").removeprefix("./")
    module = module.strip("/").replace("/", ".")
    if not module or "$" in module:
        return 1
    if any(
        f".{a}".endswith(f".{b}") for name in names for a, b in ((name, module), (module, name))
    ):
        return 0
    packages = {name.rpartition(".")[0] for name in names} - {""}
    return 1 if module.rpartition(".")[0] in packages else None


_COMPARED = ("workers", "threads", "worker_class")


def _differs(one: Deployed, other: Deployed) -> bool:
    if one.server != other.server:
        return True
    values = [
        [(d.settings[n].value if n in d.settings else None) for n in _COMPARED]
        for d in (one, other)
    ]
    return values[0] != values[1]


def _says(deployed: Deployed) -> str:
    """``Dockerfile:9 starts gunicorn with 4 workers``."""
    sentences = []
    for name in ("workers", "threads"):
        setting = deployed.settings.get(name)
        if setting is not None:
            shown = setting.place.partition(", ")[2] if setting.value is None else setting.value
            sentences.append(f"{shown} {name}" if setting.value is not None else f"{name} {shown}")
    return f"{deployed.where} starts {deployed.server} with {', '.join(sentences)}"
