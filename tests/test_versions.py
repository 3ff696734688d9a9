"""What is pinned is what is declared, and what the changelog speaks of is this version."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"].values()
DECLARED = [*PROJECT["dependencies"], *(each for extra in EXTRAS for each in extra)]

specification = importlib.util.spec_from_file_location("upgrade", ROOT / ".ci" / "upgrade.py")
assert specification is not None
assert specification.loader is not None
upgrade = importlib.util.module_from_spec(specification)
specification.loader.exec_module(upgrade)
PINNED = {
    canonicalize_name(name): version
    for name, version in upgrade.read((ROOT / "constraints.txt").read_text()).items()
}


@pytest.mark.parametrize("declared", DECLARED)
def test_every_declared_distribution_is_pinned_within_its_range(declared: str) -> None:
    wanted = Requirement(declared)
    assert wanted.specifier.contains(PINNED[canonicalize_name(wanted.name)])


def test_what_stands_in_the_apache_environment_is_pinned_too() -> None:
    line = re.search(r"--constraint constraints.txt (mod_wsgi .*?) \|\|", makefile())
    assert line is not None
    assert {canonicalize_name(name) for name in line[1].split()} <= set(PINNED)


def makefile() -> str:
    return (ROOT / "Makefile").read_text()


def test_an_upgrade_says_what_came_what_went_and_what_moved() -> None:
    old = upgrade.read("# pins\na==1\nB-b==2.0\nc_c==3\n")
    assert upgrade.moves(old, {"a": "1", "B-b": "2.1", "d": "4"}) == [
        "B-b 2.0 -> 2.1",
        "c_c 3 -> -",
        "d - -> 4",
    ]


def test_the_changelog_has_this_version_and_what_comes_after_it() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:2] == ["Unreleased", PROJECT["version"]]


def test_every_command_that_the_pages_name_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", makefile(), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        named = set(re.findall(r"(?:^|`)make ([a-z]+)", (ROOT / page).read_text(), re.MULTILINE))
        assert named - targets == set(), page
