"""comparison.json, written and read: the document of `tune compare`, version 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pretune.reports import document as documents
from pretune.reports.document import Document

SCHEMA = Path(__file__).with_name("comparison.schema.json")
NAME, PAGE = "comparison.json", "comparison.html"


def write(path: Path, document: Document) -> None:
    """Raises InvalidDocument."""
    documents.write(path, document, SCHEMA)


def read(path: Path) -> dict[str, Any]:
    """Raises OSError, InvalidDocument."""
    return documents.read(path, SCHEMA)
