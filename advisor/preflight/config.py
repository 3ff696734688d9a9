"""``[tool.pretune]`` of the nearest pyproject.toml: the same names as the flags, plus hooks."""

from __future__ import annotations

import difflib
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# key -> the type its value must have, and a right one. Flags of the same name override.
_KEYS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "ram": (str, 'ram = "4G"'),
    "cores": ((int, float), "cores = 1.5"),
    "cpu_factor": ((int, float), "cpu_factor = 1.4"),
    "instances": (int, "instances = 3"),
    "database_url": (str, 'database_url = "postgres://..."'),
    "pg_connections": (int, "pg_connections = 40"),
    "p95": (str, 'p95 = "300ms"'),
    "rps": ((int, float), "rps = 40"),
    "server": (str, 'server = "gunicorn"'),
    "front": (str, 'front = "nginx"'),
    "static": (list, 'static = ["/static/=staticfiles"]'),
    "workload": (str, 'workload = "traffic.toml"'),
    "log_format": (str, "log_format = '$remote_addr [$time_local] \"$request\" $status'"),
    "path": (list, 'path = ["/", "/search"]'),
    "python": (str, 'python = ".venv/bin/python"'),
    "env_file": (str, 'env_file = "dev.env"'),
    "time_budget": (str, 'time_budget = "120s"'),
    "seed": (int, "seed = 1"),
    "out": (str, 'out = "capacity"'),
    "strict": (bool, "strict = true"),
    "allow_remote_db": (bool, "allow_remote_db = true"),
    "chdir": (str, 'chdir = "."'),
    "setup": (str, 'setup = "docker compose up --detach --wait database"'),
    "teardown": (str, 'teardown = "docker compose down"'),
    "gate": (dict, 'max_worker_memory = "300M" under [tool.pretune.gate]'),
}
KEYS = {key: kind for key, (kind, _) in _KEYS.items()}
EXAMPLES = {key: example for key, (_, example) in _KEYS.items()}


class ConfigError(ValueError):
    """A pyproject.toml that cannot be used; the message names file, key and fix."""


@dataclass(frozen=True)
class Config:
    """``values`` as written; ``file`` None when no pyproject.toml has ``[tool.pretune]``."""

    file: Path | None = None
    values: dict[str, Any] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def path(self, key: str) -> Path | None:
        """A value that names a file, relative to the pyproject.toml it stands in."""
        value = self.values.get(key)
        if value is None or self.file is None:
            return None
        # not resolved: an interpreter is known by the link's own place in its environment
        return Path(os.path.normpath(self.file.parent / value))


def find(start: Path) -> Config:
    """The nearest configuration at or above ``start``; an empty one when there is none."""
    for directory in (start, *start.parents):
        file = directory / "pyproject.toml"
        if not file.is_file():
            continue
        try:
            tool = tomllib.loads(file.read_text()).get("tool", {})
        except RecursionError:
            raise ConfigError(f"{file}: nested too deeply to be read") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise ConfigError(f"{file}: {error}") from error
        table = tool.get("pretune") if isinstance(tool, dict) else None
        if table is not None and not isinstance(table, dict):
            raise ConfigError(f"{file}: tool.pretune is no table; write [tool.pretune]")
        if table is not None:
            return Config(file, check(table, file))
    return Config()


def check(table: dict[str, Any], file: Path) -> dict[str, Any]:
    """The table itself; raises ConfigError for an unknown key or a value of the wrong type."""
    for key, value in table.items():
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(KEYS)}"
            raise ConfigError(f"{file}: [tool.pretune] has no key {key!r}{hint}")
        if not isinstance(value, KEYS[key]) or (isinstance(value, bool) and KEYS[key] is not bool):
            sentence = f"{file}: [tool.pretune] {key} = {value!r} has the wrong type"
            raise ConfigError(f"{sentence}; write {EXAMPLES[key]}")
    return table
