"""The cost of importing each package: memory, and time.

A finder stands first on ``sys.meta_path`` and lets the others find; it stands in for the loader
while a module is created and executed, and reads ``statm`` on both sides. What a module imports in
turn is taken off its own part, so the own parts add up. Before a module executes it has its own
loader again (it may read it).

Memory that one module's import allots and another's uses is the first one's: a pool of the
allocator, a library that several extensions link. Order decides there, as it does in a worker.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from pretune.server.clock import Clock
from pretune.server.probes.imports import found_by_others

_PAGE = os.sysconf("SC_PAGE_SIZE")
# seconds; resident bytes; resident bytes that no file backs
Reading = tuple[float, int, int]


class Package:
    """Sums over the modules of one top-level package: seconds, RSS, anonymous bytes."""

    __slots__ = ("modules", "own", "whole")

    def __init__(self) -> None:
        self.modules = 0
        self.own: list[float] = [0.0, 0.0, 0.0]
        self.whole: list[float] = [0.0, 0.0, 0.0]  # with what its modules imported of others


class _Visit:
    __slots__ = ("began", "inner", "name")

    def __init__(self, name: str, began: Reading) -> None:
        self.name, self.began = name, began
        self.inner = [0.0, 0.0, 0.0]


class ImportCost:
    """``install()``, import, ``remove()``, ``describe()``."""

    def __init__(self) -> None:
        self.packages: dict[str, Package] = {}
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._here = threading.local()  # .stack: visits; .asking: names being looked for
        self._before = self._after = self.read()

    def install(self) -> None:
        self._before = self.read()
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        self._after = self.read()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def read(self) -> Reading:
        fields = os.pread(self._statm, 128, 0).split()
        resident, shared = int(fields[1]), int(fields[2])
        return Clock.perf_counter(), resident * _PAGE, (resident - shared) * _PAGE

    def describe(self) -> dict[str, Any]:
        """``interpreter`` is the process before, ``elsewhere`` what grew outside of imports."""
        grown = [after - before for before, after in zip(self._before, self._after, strict=True)]
        rows = [
            {
                "package": name,
                "standard_library": name in sys.stdlib_module_names,
                "modules": package.modules,
                **_named(package.own),
                **{f"whole_{key}": value for key, value in _named(package.whole).items()},
            }
            for name, package in self.packages.items()
        ]
        own = [sum(p.own[i] for p in self.packages.values()) for i in range(3)]
        return {
            "interpreter": _named([0.0, *self._before[1:]]),
            "elsewhere": _named([a - b for a, b in zip(grown, own, strict=True)]),
            "process": _named([grown[0], *self._after[1:]]),
            "packages": sorted(rows, key=lambda row: -row["rss_bytes"]),
        }

    # -- as a finder

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        asking = self._here.__dict__.setdefault("asking", set())
        if name in asking:
            return None
        asking.add(name)
        try:
            spec = found_by_others(self, name, path, target)
        finally:
            asking.discard(name)
        # A class is the importer of built-in and frozen modules: nothing to measure there.
        measurable = spec is not None and hasattr(spec.loader, "exec_module")
        if spec is not None and measurable and not isinstance(spec.loader, type):
            spec.loader = _Loader(spec.loader, name, self)  # type: ignore[assignment]
        return spec

    # -- one module

    def enter(self, name: str) -> None:
        self._here.__dict__.setdefault("stack", []).append(_Visit(name, self.read()))

    def leave(self, *, module: bool) -> None:
        stack: list[_Visit] = self._here.stack
        visit = stack.pop()
        total = [after - before for before, after in zip(visit.began, self.read(), strict=True)]
        top = visit.name.partition(".")[0]
        package = self.packages.setdefault(top, Package())
        package.modules += module
        for i in range(3):
            package.own[i] += total[i] - visit.inner[i]
        if all(outer.name.partition(".")[0] != top for outer in stack):
            for i in range(3):
                package.whole[i] += total[i]
        if stack:
            for i in range(3):
                stack[-1].inner[i] += total[i]


class _Loader:
    """Stands in for a module's loader until the module executes."""

    def __init__(self, loader: Any, name: str, cost: ImportCost) -> None:
        self._loader, self._name, self._cost = loader, name, cost

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._loader, attribute)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        self._cost.enter(self._name)
        try:
            # A loader that reads its own spec must find itself there.
            spec.loader = self._loader
            module: ModuleType | None = self._loader.create_module(spec)
        finally:
            spec.loader = self  # type: ignore[assignment]
            self._cost.leave(module=False)
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._cost.enter(self._name)
        try:
            self._loader.exec_module(module)
        finally:
            self._cost.leave(module=True)


def _named(values: Sequence[float]) -> dict[str, float]:
    seconds, rss, anon = values
    return {"seconds": seconds, "rss_bytes": int(rss), "anon_bytes": int(anon)}
