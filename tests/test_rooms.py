"""Who may import whom, as docs/ARCHITECTURE.md says."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("advisor", "server", "loadtests", "reports")
# Of the adapters, the tables (catalogue, nginx_conf) may be read anywhere; these start processes.
STARTERS = tuple(
    f"pretune.server.adapters.{name}"
    for name in ("commands", "embedded", "gunicorn", "hosted", "launch", "nginx.", "process")
)


# Folders and files at the top of a room, lowest first: each may import what stands before it.
FLOORS = {
    "advisor": (
        *("quantity", "failure", "confidential", "verdict", "progress", "time_budget"),
        *("resources", "workspace", "profiler", "observations", "deployed", "preflight"),
        *("demand", "model", "trials", "reverse_proxy", "recommendation", "run"),
        *("findings", "conclusion", "promises", "headline", "verification", "judge"),
        *("outcome", "documents", "saved"),
        *("gate", "session", "pipeline", "comparison", "commands", "cli", "__main__"),
    ),
    "server": (
        *("clock", "settings", "telemetry", "http11", "process", "probes", "config"),
        *("workers", "wsgi", "asgi", "master", "hosted", "adapters"),
        *("inspection", "checking", "entry", "cli", "bootstrap"),
    ),
}
# The package itself, and what stands for it on the path of the app's interpreter.
NO_FLOOR = {"__init__", "importable"}


def imports(file: Path, *, top_level_only: bool = False) -> set[str]:
    """Absolute names of what a module imports."""
    tree = ast.parse(file.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("file", modules("server"), ids=lambda p: p.name)
def test_the_server_needs_nothing_but_the_standard_library(file: Path) -> None:
    for name in imports(file, top_level_only=True):
        first = name.partition(".")[0]
        assert name.startswith("pretune.server") or first in sys.stdlib_module_names, name


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("server", ("pretune.advisor", "pretune.loadtests", "pretune.reports")),
        ("loadtests", ("pretune.advisor", "pretune.reports")),
        ("reports", ("pretune.loadtests", "pretune.advisor.trials", *STARTERS)),
    ],
)
def test_a_room_does_not_reach_into_another(room: str, forbidden: tuple[str, ...]) -> None:
    for file in modules(room):
        reached = [name for name in imports(file) if f"{name}.".startswith(forbidden)]
        assert reached == [], file


def test_only_commands_render() -> None:
    for file in modules("advisor"):
        if "commands" not in file.parts:
            assert [n for n in imports(file) if n.startswith("pretune.reports")] == [], file


def test_only_files_and_conf_read_of_a_deployment() -> None:
    """The readers are pure: text in, values out."""
    for file in sorted((ROOT / "advisor" / "deployed").glob("*.py")):
        reached = {name.partition(".")[0] for name in imports(file)} & {"os", "subprocess", "io"}
        assert not reached or file.stem in ("files", "conf", "looking"), file
        opens = [n for n in ast.walk(ast.parse(file.read_text())) if _opens(n)]
        assert not opens or file.stem == "files", file


def _opens(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
    return name in ("open", "read_text", "read_bytes")


def test_locust_lives_in_a_process_of_its_own() -> None:
    for room in ROOMS:
        for file in modules(room):
            firsts = {name.partition(".")[0] for name in imports(file)}
            # The worker class gevent runs in the app's process, where the app has gevent.
            mine = {"gevent"} if file == ROOT / "server" / "wsgi" / "greenlets.py" else set()
            if (firsts - mine) & {"locust", "gevent"}:
                assert file.parent.name == "loadtests", file


def test_gevent_is_imported_only_when_its_class_is_asked_for() -> None:
    file = ROOT / "server" / "wsgi" / "greenlets.py"
    firsts = {name.partition(".")[0] for name in imports(file, top_level_only=True)}
    assert not firsts & {"gevent", "greenlet"}


@pytest.mark.parametrize("room", FLOORS)
def test_no_import_goes_upward(room: str) -> None:
    """Neither one for the type checker, nor one inside a function."""
    floor = {name: number for number, name in enumerate(FLOORS[room])}
    upward = set()
    for file in modules(room):
        mine = file.relative_to(ROOT / room).parts[0].removesuffix(".py")
        if mine in NO_FLOOR:
            continue
        for name in imports(file):
            top, _, rest = name.removeprefix("pretune.").partition(".")
            other = rest.partition(".")[0]
            if top == room and other in floor and floor[other] > floor[mine]:
                upward.add((str(file.relative_to(ROOT)), other))
    assert upward == set()


@pytest.mark.parametrize("room", FLOORS)
def test_every_folder_has_its_floor_in_the_architecture_too(room: str) -> None:
    tops = {p.relative_to(ROOT / room).parts[0].removesuffix(".py") for p in modules(room)}
    assert tops - NO_FLOOR <= set(FLOORS[room])
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    told = re.findall(rf"^\| `{room}/(\w+)/` \|", text, re.MULTILINE)
    assert told == [name for name in FLOORS[room] if (ROOT / room / name).is_dir()]


@pytest.mark.parametrize("room", ROOMS)
def test_no_imports_make_a_circle(room: str) -> None:
    """Between modules; the type checker's imports and those inside a function count."""
    files = {dotted(file): file for file in modules(room)}
    graph = {
        module: {
            other
            for name in imports(file)
            for other in (name, name.rpartition(".")[0])
            if other in files and other != module
        }
        for module, file in files.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def dotted(file: Path) -> str:
    return "pretune." + ".".join(file.relative_to(ROOT).with_suffix("").parts)


def test_asking_what_to_measure_loads_no_numbers() -> None:
    """A refused option or a broken app is answered before numba could be imported."""
    asked = "import sys, pretune.advisor.preflight.preflight; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert not {"numba", "scipy", "numpy", "locust", "gevent"} & set(ran.stdout.split())
