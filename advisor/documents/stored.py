"""Values as JSON that can be read back: dataclasses, enums, paths and arrays name their type.

What may be read back is a closed table, so that a file can make nothing but these values.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretune.advisor import observations, quantity, run
from pretune.advisor import verdict as verdicts
from pretune.advisor.demand import allocation_sites, allocators, apart
from pretune.advisor.deployed import value as deployed
from pretune.advisor.model import bounds, paired, prediction
from pretune.advisor.preflight import facts, reverse_proxy, servers, target
from pretune.advisor.profiler import measurement, notes
from pretune.advisor.recommendation import today
from pretune.advisor.resources import budget, pooler, postgres
from pretune.advisor.reverse_proxy import values as proxy
from pretune.loadtests import workload
from pretune.server import settings
from pretune.server.adapters import nginx_conf
from pretune.server.probes import user_frames

MODULES: tuple[ModuleType, ...] = (
    allocation_sites, allocators, apart, bounds, budget, deployed, facts, measurement, notes,
    nginx_conf, observations, paired, pooler, postgres, prediction, proxy, quantity,
    reverse_proxy, run, servers, settings, target, today, user_frames, verdicts, workload,
)  # fmt: skip


def _types(modules: tuple[ModuleType, ...]) -> dict[str, type[Any]]:
    """Value types by name, of those that a module defines itself."""
    types: dict[str, type[Any]] = {}
    for module in modules:
        for name, kind in vars(module).items():
            if not isinstance(kind, type) or kind.__module__ != module.__name__:
                continue
            if dataclasses.is_dataclass(kind) or issubclass(kind, Enum) or _is_named_tuple(kind):
                assert name not in types, f"two types are called {name}"
                types[name] = kind
    return types


def _is_named_tuple(kind: type[Any]) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


TYPES: Mapping[str, type[Any]] = _types(MODULES)


# Fields whose strings are ours and choose what is done: no secret stands there, and a password
# "sync" must not take a worker class away.
OWN = frozenset({"worker_class", "interface", "server", "measured", "verified", "front", "kind"})


def encode(value: Any, *, text: Callable[[str], str] = str, single: bool = False) -> Any:
    """A tree of JSON's own types. ``text`` changes every string but names of types, members and
    what stands in a field of ``OWN``; ``single`` keeps arrays of floats in single precision.

    Raises TypeError for a value of another type.
    """

    def tree(value: Any, name: str = "") -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {
                f.name: tree(getattr(value, f.name), f.name) for f in dataclasses.fields(value)
            }
            return {"type": type(value).__name__, **fields}
        if isinstance(value, Enum):
            return {"type": type(value).__name__, "value": value.value}
        if isinstance(value, Path):
            return {"type": "path", "value": text(str(value))}
        if isinstance(value, np.ndarray):
            return _array(value, single)
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Mapping):
            return {"type": "dict", "items": {key: tree(each, key) for key, each in value.items()}}
        if isinstance(value, tuple) and _is_named_tuple(type(value)):
            names: tuple[str, ...] = type(value)._fields  # type: ignore[attr-defined]
            parts = zip(names, value, strict=True)
            return {"type": type(value).__name__, **{name: tree(part) for name, part in parts}}
        if isinstance(value, tuple | list):
            return [tree(each) for each in value]
        if isinstance(value, str):
            return value if name in OWN else text(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        raise TypeError(f"{type(value).__name__} is not stored")

    return tree(value)


def decode(value: Any, types: Mapping[str, type[Any]] = TYPES) -> Any:
    """The value that was encoded, its sequences as tuples. A field that its type has no more is
    left out, one that was added since has its default.

    Raises KeyError for a type unknown, TypeError or ValueError for fields that do not fit.
    """
    if isinstance(value, list):
        return tuple(decode(each, types) for each in value)
    if not isinstance(value, dict):
        return value
    kind = value["type"]
    if kind == "dict":
        return {key: decode(each, types) for key, each in value["items"].items()}
    if kind == "path":
        return Path(value["value"])
    if kind == "array":
        stored, dtype = _dtype(value["stored"]), _dtype(value["dtype"])
        return np.frombuffer(base64.b64decode(value["base64"]), stored).astype(dtype)
    fields = {key: decode(each, types) for key, each in value.items() if key != "type"}
    cls = types[kind]
    if issubclass(cls, Enum):
        return cls(fields["value"])
    if dataclasses.is_dataclass(cls):
        names = {f.name for f in dataclasses.fields(cls)}
        fields = {name: each for name, each in fields.items() if name in names}
    return cls(**fields)


def _array(value: NDArray[Any], single: bool) -> dict[str, Any]:
    """A table's ``start`` counts from its first where single precision must hold it: to 0.1 us."""
    stored = value.dtype
    if single:
        if value.dtype.names and "start" in value.dtype.names and len(value):
            value = value.copy()
            value["start"] -= value["start"].min()
        stored = _narrow(value.dtype)
    return {
        "type": "array",
        "dtype": _described(value.dtype),
        "stored": _described(stored),
        "base64": base64.b64encode(value.astype(stored).tobytes()).decode(),
    }


def _narrow(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.names:
        return np.dtype([(name, _narrow(dtype[name])) for name in dtype.names])
    return np.dtype("<f4") if dtype == np.float64 else dtype


def _described(dtype: np.dtype[Any]) -> Any:
    if dtype.names:
        return [[name, dtype[name].str] for name in dtype.names]
    return dtype.str


def _dtype(described: Any) -> np.dtype[Any]:
    if isinstance(described, str):
        return np.dtype(described)
    return np.dtype([(name, kind) for name, kind in described])
