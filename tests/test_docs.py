"""What the documentation names is there, and what is there it names."""

import ast
import re
from pathlib import Path

import pytest
import rich_click as click

from pretune.advisor.commands import advise, compare
from pretune.advisor.findings.diagnose import RULES

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "GUIDE.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
ROOMS = ("advisor", "server", "loadtests", "reports", "bench", "examples")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        name, _, anchor = link.partition("#")
        if not name.startswith("http"):
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_the_guide_has_every_finding() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ", GUIDE.partition("## Findings")[2], re.MULTILINE)
    assert {rule.id for rule in RULES} - set(rows) == set()


@pytest.mark.parametrize("command", [advise.command, compare.command])
def test_the_guide_has_every_option(command: click.Command) -> None:
    options = {each for p in command.params for each in p.opts if each.startswith("--")}
    assert {
        each for each in options if f"`{each}" not in GUIDE and f" {each} " not in GUIDE
    } == set()


@pytest.mark.parametrize("room", ["advisor", "server", "loadtests", "reports"])
def test_the_architecture_has_every_folder(room: str) -> None:
    folders = {str(file.parent.relative_to(ROOT)) for file in (ROOT / room).rglob("__init__.py")}
    folders -= {"server/importable/pretune"}  # a seam, no room
    assert {name for name in folders if f"`{name}/`" not in ARCHITECTURE} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_files_it_names_are_there(page: Path) -> None:
    """A module or folder in backquotes, by its path from the repository's root."""
    paths = re.findall(rf"`((?:{'|'.join(ROOMS)})/[\w./-]*)`", page.read_text())
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("room", ROOMS[:4])
def test_docstrings_open_with_what_a_thing_is_or_does(room: str) -> None:
    vague = {"What", "Whether", "Of", "Who", "Where", "How"}
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    openings = [
        f"{file.relative_to(ROOT)}:{node.body[0].lineno}"
        for file in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, kinds)
        and (text := ast.get_docstring(node))
        and re.split(r"\W", text, maxsplit=1)[0] in vague
    ]
    assert openings == []
