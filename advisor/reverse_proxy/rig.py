"""The rig of the questions of ``checks``: a server, alone and behind nginx."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from pretune.advisor.preflight.servers import START
from pretune.advisor.profiler.processes import ProcessTree
from pretune.advisor.resources.trial_cgroup import bound_memory
from pretune.advisor.reverse_proxy import cost
from pretune.loadtests.clients import Address
from pretune.server.adapters import byte_app, nginx
from pretune.server.adapters.launch import BOOT_SECONDS, Launch, RunningServer
from pretune.server.adapters.nginx import FrontLaunch, RunningFront
from pretune.server.adapters.nginx_conf import Front, Static
from pretune.server.adapters.process import address as written
from pretune.server.settings import Settings

if TYPE_CHECKING:
    from pretune.advisor.preflight.preflight import Preflight
    from pretune.advisor.workspace.directory import Workspace

MOST_SLOTS = 8  # that slow clients try to hold
STOP_S = 5.0
FILE_BYTES = 16 << 10
MOST_FILES = 1000  # looked at, to choose one
STATIC_URL = "/pretune-file/"


class Way(NamedTuple):
    """To the application; ``trees``: the processes on it."""

    address: Address
    trees: tuple[ProcessTree, ...]

    def cpu_s(self) -> float:
        return sum(tree.cpu_s() for tree in self.trees)

    def private_bytes(self) -> int:
        each = (usage for tree in self.trees for usage in tree.usages().values())
        return sum(usage.private_bytes for usage in each)


@dataclass(frozen=True)
class Stand:
    """All that runs. ``closing``: through an nginx that keeps no connection to the server;
    ``slow``: how many slow clients could hold all there is."""

    without: Way
    behind: Way
    closing: Way
    slow: int
    file_path: str  # behind nginx
    file_bytes: int


@contextmanager
def standing(preflight: Preflight, workspace: Workspace, settings: Settings) -> Iterator[Stand]:
    """Raises BootFailed, FrontFailed, TimeoutError. Ends all of it."""
    assert preflight.front is not None
    place = Path(tempfile.mkdtemp(prefix="checks-", dir=workspace.temporary))
    place.chmod(0o711)
    static, url, file = _file(preflight.front.statics, place)
    server = _server(preflight, workspace, settings, place, file)
    fronts: list[RunningFront] = []
    trees: list[ProcessTree] = []
    try:
        address = server.wait_ready(BOOT_SECONDS)
        configured = cost.configure_proxy(
            replace(preflight.front, statics=(static,)),
            preflight.servers.verified, settings, count=1, told_scheme=False,
        )  # fmt: skip
        for each in (configured, replace(configured, idle=0)):
            fronts.append(
                _front(preflight, workspace, each, address, place / f"front-{len(fronts)}")
            )
        trees += [_tree(pid) for pid in (server.master_pid, *(f.pid for f in fronts))]
        alone, kept, closing = trees
        for pid in server.worker_pids():
            alone.add(pid)
        yield Stand(
            Way(address, (alone,)),
            Way(fronts[0].address, (alone, kept)),
            Way(fronts[1].address, (alone, closing)),
            min(MOST_SLOTS, settings.slots),
            quote(os.fsencode(url)),  # a file's name may be no text
            file.stat().st_size,
        )
    finally:
        for tree in trees:
            tree.close()
        for running in fronts:
            running.stop(STOP_S)
            workspace.forget_if_empty(running.pid)
        server.stop(STOP_S)
        workspace.forget_if_empty(server.master_pid)


def _tree(pid: int) -> ProcessTree:
    tree = ProcessTree(pid)
    tree.scan()
    return tree


def _server(
    preflight: Preflight, workspace: Workspace, settings: Settings, place: Path, file: Path
) -> RunningServer:
    name = "asgi" if settings.interface == "asgi" else "application"

    def on_spawn(pid: int) -> None:
        workspace.spawned(pid)
        bound_memory(pid, settings.workers)

    rings = place / "rings"
    rings.mkdir(mode=0o711)
    return START[preflight.servers.verified](
        Launch(
            target=f"{byte_app.__name__}:{name}",
            settings=settings,
            python=preflight.target.python,
            chdir=place,
            env=workspace.marked({**os.environ, byte_app.FILE: str(file)}),
            log=workspace.log("checks"),
            telemetry=rings,
            cores=preflight.core_plan.server,
            on_spawn=on_spawn,
        )
    )


def _front(
    preflight: Preflight,
    workspace: Workspace,
    configured: Front,
    upstream: Address,
    directory: Path,
) -> RunningFront:
    assert preflight.front is not None
    directory.mkdir(mode=0o711)
    return nginx.start(
        FrontLaunch(
            front=replace(configured, upstream=written(upstream)),
            binary=preflight.front.binary,
            directory=directory,
            env=workspace.marked(os.environ),
            log=workspace.log("checks-nginx"),
            cores=preflight.core_plan.server,
            on_spawn=workspace.spawned,
        )
    )


def _file(statics: Sequence[Static], place: Path) -> tuple[Static, str, Path]:
    """One of the app's own files where there are some, of middling size; else one of ours."""
    for static in statics:
        files = sorted(_files(Path(static.directory)), key=lambda path: path.stat().st_size)
        if files:
            chosen = files[len(files) // 2]
            return static, static.url + chosen.relative_to(static.directory).as_posix(), chosen
    own = place / "files"
    own.mkdir(mode=0o755)
    file = own / "a.bin"
    file.write_bytes(os.urandom(FILE_BYTES))
    return Static(STATIC_URL, str(own)), STATIC_URL + file.name, file


def _files(directory: Path) -> list[Path]:
    """The first of them, as they come: a directory may hold any number."""
    paths = (Path(root, name) for root, _, names in os.walk(directory) for name in names)
    first = itertools.islice(paths, MOST_FILES)
    return [path for path in first if os.path.isfile(path) and not path.is_symlink()]
