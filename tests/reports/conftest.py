"""The documents the tests render: one per verdict, and one whose every text is hostile."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

DOCUMENTS = Path(__file__).parent / "documents"
VERDICTS = ("fits", "does_not_fit", "not_enough_data", "app_failed", "measurement_invalid")
HOSTILE = "</script><img src=x onerror=alert(1)>[red]\x1b]0;x\x07\u202e{{ 7*7 }}\nimport os"
_CLOSED = {  # fields whose values the schema fixes, and keys a renderer looks up
    "verdict",
    "worker_class",
    "leak_class",
    "severity",
    "created",
    "interface",
    "id",
    "kind",
    "lock",
    "question",
    "quantity",
}


@pytest.fixture(params=VERDICTS)
def any_document(request: pytest.FixtureRequest) -> dict[str, Any]:
    return json.loads((DOCUMENTS / f"{request.param}.json").read_text())


@pytest.fixture
def load() -> Callable[[str], dict[str, Any]]:
    """A fresh copy of the document of a verdict."""
    return lambda verdict: json.loads((DOCUMENTS / f"{verdict}.json").read_text())


def poison(tree: Any, key: str = "") -> Any:
    """``tree`` with HOSTILE appended to every free text."""
    if isinstance(tree, dict):
        return {name: poison(value, name) for name, value in tree.items()}
    if isinstance(tree, list):
        return [poison(value, key) for value in tree]
    if isinstance(tree, str) and key not in _CLOSED:
        return tree + HOSTILE
    return tree


@pytest.fixture
def poisoned() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The same document with hostile text wherever text is free."""
    return _poisoned


@pytest.fixture
def hostile(any_document: dict[str, Any]) -> dict[str, Any]:
    return _poisoned(any_document)


def _poisoned(document: dict[str, Any]) -> dict[str, Any]:
    document = poison(document)
    workload = document["workload"]
    if workload:
        workload["headers"][HOSTILE] = HOSTILE
    for finding in document.get("findings", ()):
        finding["evidence"][HOSTILE] = HOSTILE
    return document


@pytest.fixture
def show() -> Callable[..., str]:
    """``show(render, document, width=80, tty=False)``: what reaches the terminal."""

    def shown(
        render: Callable[[Any, Console], None], document: Any, width: int = 80, tty: bool = False
    ) -> str:
        out = io.StringIO()
        render(document, Console(file=out, width=width, force_terminal=tty, highlight=False))
        return out.getvalue()

    return shown
