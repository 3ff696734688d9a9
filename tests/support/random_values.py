"""Values of any type, made from the type alone; no two leaves of one ``Maker`` are the same."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import math
import pkgutil
import random
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pretune.advisor
from pretune.advisor.profiler.notes import Notes
from pretune.advisor.quantity import UNKNOWN, Interval

# where values are defined that others name for the type checker only
_NAMED = ("profiler", "demand", "reverse_proxy")


def _namespace() -> dict[str, Any]:
    found: dict[str, Any] = {"np": np, "NDArray": NDArray}
    for package in _NAMED:
        folder = Path(pretune.advisor.__path__[0]) / package
        for module in pkgutil.iter_modules([str(folder)]):
            values = vars(importlib.import_module(f"pretune.advisor.{package}.{module.name}"))
            found |= {k: v for k, v in values.items() if dataclasses.is_dataclass(v)}
    return found


class Maker:
    """``absent``: how often an optional value is None, or a number unknown."""

    def __init__(self, seed: int = 1, absent: float = 0.0) -> None:
        self._random = random.Random(seed)
        self._absent = absent
        self._numbers = itertools.count(1000)
        self._names = _namespace()
        self._making: set[Any] = set()

    def make(self, kind: Any) -> Any:
        """A value of that type."""
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in (types.UnionType, typing.Union):
            return self._one_of(arguments)
        if origin is tuple and arguments[0] in self._making:
            return ()  # of its own kind: none of them has another
        if origin is tuple:
            each = arguments[:1] * 2 if arguments[-1] is Ellipsis else arguments
            return tuple(self.make(one) for one in each)
        if origin in (Mapping, dict):
            key, value = arguments
            return {self.make(key): self.make(value) for _ in range(2)}
        if origin is np.ndarray or kind is np.ndarray:
            return np.array([self._number() for _ in range(3)])
        if isinstance(kind, type) and issubclass(kind, Enum):
            return self._random.choice(list(kind))
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind)
        return self._LEAVES[kind](self)

    def other(self, kind: Any, value: Any) -> Any:
        """A value of the type that is not ``value``."""
        if isinstance(value, bool):
            return not value
        if isinstance(kind, type) and issubclass(kind, Enum):
            return next(each for each in kind if each is not value)
        return self.make(kind)

    def types_of(self, cls: type) -> dict[str, Any]:
        """Field -> type."""
        hints = typing.get_type_hints(cls, localns=self._names)
        return {each.name: hints[each.name] for each in dataclasses.fields(cls)}

    def _one_of(self, kinds: tuple[Any, ...]) -> Any:
        if Notes in kinds:  # arrays of the probes' own, which nobody writes as they are
            return None
        if types.NoneType in kinds and self._random.random() < self._absent:
            return None
        return self.make(next(kind for kind in kinds if kind is not types.NoneType))

    def _dataclass(self, cls: Any) -> Any:
        if cls is Interval:
            value = self._number()
            unknown = self._random.random() < self._absent
            return UNKNOWN if unknown else Interval(value, value - 0.25, value + 0.25)
        outermost = cls not in self._making
        self._making.add(cls)
        made = cls(**{name: self.make(kind) for name, kind in self.types_of(cls).items()})
        if outermost:
            self._making.discard(cls)
        return made

    def _number(self) -> float:
        return next(self._numbers) + 0.5

    def _text(self) -> str:
        return f"/text-{next(self._numbers)}/"  # an address and a path, too

    _LEAVES: typing.ClassVar[dict[Any, typing.Callable[[Maker], Any]]] = {
        float: lambda self: (
            math.nan if self._random.random() < self._absent / 4 else self._number()
        ),
        int: lambda self: next(self._numbers),
        str: _text,
        Any: _text,
        bool: lambda self: self._random.random() < 0.5,
        Path: lambda self: Path(self._text()),
    }
