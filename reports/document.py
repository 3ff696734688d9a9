"""The document: one plain dict that says everything of a run, saved as ``report.json``.

Everything people and machines read is rendered from it, so a saved run can be rendered again.
Its shape is ``schema.json`` beside this module, version 1; nothing is written that breaks it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pretune.reports import redaction

SCHEMA = Path(__file__).with_name("schema.json")

Document = Mapping[str, Any]


class InvalidDocument(ValueError):
    """The message lists what is wrong where, one line each."""


@cache
def _validator(schema: Path) -> Any:
    """Another schema may refer to parts of this one as ``schema.json#/$defs/...``."""
    # A lazy import: commands that only start must not pay for it.
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    own = json.loads(SCHEMA.read_text(encoding="utf-8"))
    registry: Any = Registry().with_resource(SCHEMA.name, Resource.from_contents(own))
    return Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")), registry=registry)


def leaf_errors(error: Any) -> Iterator[Any]:
    """The innermost errors: for "this or null" the outer one says only that neither fits."""
    inner = [leaf for leaf in error.context if leaf.validator_value != "null"]
    if not inner:
        yield error
    for leaf in inner:
        yield from leaf_errors(leaf)


def validate(document: Document, schema: Path = SCHEMA) -> None:
    """Raises InvalidDocument unless ``document`` follows the schema and is strict JSON."""
    try:
        # What counts is what a reader will see: tuples are lists there, string enums strings.
        plain = json.loads(json.dumps(document, allow_nan=False))
    except (ValueError, TypeError) as error:
        raise InvalidDocument(f"$: not JSON ({error}); an unknown number is null") from None
    leaves = (
        leaf for error in _validator(schema).iter_errors(plain) for leaf in leaf_errors(error)
    )
    errors = sorted(leaves, key=lambda error: error.json_path)
    if errors:
        lines = [f"{error.json_path}: {error.message[:300]}" for error in errors[:20]]
        raise InvalidDocument("\n".join(lines))


def read(path: Path, schema: Path = SCHEMA) -> dict[str, Any]:
    """The document saved at ``path``. Raises OSError, InvalidDocument."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise InvalidDocument(f"{path} is nested too deeply to be a report") from None
    except ValueError as error:
        raise InvalidDocument(f"{path} is not JSON: {error}") from None
    if isinstance(document, dict) and isinstance(document.get("schema"), int):
        version = document["schema"]
        if version != 1:
            raise InvalidDocument(f"{path} is version {version}; this tool reads version 1")
    validate(document, schema)
    return dict(document)


def write(path: Path, document: Document, schema: Path = SCHEMA) -> None:
    """Check ``document``, hide secrets in it, then replace ``path`` by it in one step."""
    validate(document, schema)
    document = redaction.redacted(document)
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` in one step: a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        # Lone surrogates (undecodable bytes of a path) must not lose the whole report.
        with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes it private to the user
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
