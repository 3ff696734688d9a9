"""The user's options: flags over ``[tool.pretune]`` over defaults, checked once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretune.advisor.preflight import reverse_proxy, servers
from pretune.advisor.preflight.location import Location
from pretune.advisor.quantity import parse_duration, parse_size
from pretune.server.adapters.nginx_conf import Static

DEFAULT_TIME_BUDGET_S = 120.0
SHORTEST_TIME_BUDGET_S = 20.0
DEFAULT_OUT = "capacity"
DEFAULT_SEED = 1


@dataclass(frozen=True)
class Options:
    """None means: find out, or derive from what is measured. SI units."""

    location: Location
    environ: Mapping[str, str]  # for the app: the user's, plus --env-file
    out: Path
    ram_bytes: int | None = None
    cores: float | None = None
    cpu_factor: float | None = None
    instances: int | None = None  # one, or as many as a rate takes
    database_url: str | None = None
    pg_connections: int | None = None
    allow_remote_db: bool = False
    p95_s: float | None = None
    rps: float | None = None
    server: str | None = None  # one of servers.NAMES; None: choose
    front: str | None = None  # one of reverse_proxy.NAMES
    statics: tuple[Static, ...] = ()  # that the front serves; (): what the app's settings say
    workload: Path | None = None
    log_format: str | None = None  # of a workload that is an access log
    paths: tuple[str, ...] = ()
    time_budget_s: float = DEFAULT_TIME_BUDGET_S
    seed: int = DEFAULT_SEED
    strict: bool = False
    # name -> "--ram" or "pyproject.toml", for "where does this number come from"
    sources: Mapping[str, str] = field(default_factory=dict)


class UsageError(ValueError):
    """Wrong usage: one sentence that names the option and the fix."""


def resolve(
    flags: Mapping[str, Any], location: Location, cwd: Path, environ: Mapping[str, str]
) -> Options:
    """``flags`` as given (None where not). Raises UsageError, ConfigError."""
    config = location.config
    sources: dict[str, str] = {}

    def pick(key: str) -> Any:
        if flags.get(key) not in (None, ()):
            sources[key] = "--" + key.replace("_", "-")
            return flags[key]
        value = config.get(key)
        if value is not None:
            sources[key] = "pyproject.toml"
        return value

    def convert(key: str, parse: Any) -> Any:
        value = pick(key)
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as error:
            raise UsageError(f"{sources[key]}: {error}") from error

    def positive(value: Any) -> Any:
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{value} is not a number greater than zero")
        return value

    def file(key: str) -> Path | None:
        if flags.get(key):
            return Path(cwd, flags[key]).resolve()
        return config.path(key)

    workload, paths = file("workload"), _paths(pick("path"), sources)
    if workload and paths:
        by_flag = {key for key in ("workload", "path") if flags.get(key)}
        if len(by_flag) != 1:
            raise UsageError("--workload and --path exclude each other; give one of them")
        # what is said on the command line beats what stands in the file
        workload, paths = (workload, ()) if "workload" in by_flag else (None, paths)
    ram = convert("ram", lambda text: positive(parse_size(text)))
    options = Options(
        location=location,
        environ=_environment(file("env_file"), environ),
        out=file("out") or (cwd / DEFAULT_OUT),
        ram_bytes=ram,
        cores=convert("cores", lambda x: positive(float(x))),
        cpu_factor=convert("cpu_factor", lambda x: positive(float(x))),
        instances=convert("instances", positive),
        database_url=pick("database_url"),
        pg_connections=convert("pg_connections", positive),
        allow_remote_db=bool(pick("allow_remote_db")),
        p95_s=convert("p95", _p95),
        rps=convert("rps", lambda x: positive(float(x))),
        server=convert("server", _server),
        front=convert("front", _front),
        statics=convert("static", lambda given: _statics(given, location.chdir)) or (),
        workload=workload,
        log_format=pick("log_format"),
        paths=paths,
        time_budget_s=convert("time_budget", parse_duration) or DEFAULT_TIME_BUDGET_S,
        seed=DEFAULT_SEED if (seed := convert("seed", _seed)) is None else seed,
        strict=bool(pick("strict")),
        sources=sources,
    )
    if options.statics and options.front is None:
        raise UsageError(f"{sources['static']}: only a front can serve it; add --front nginx")
    if options.time_budget_s < SHORTEST_TIME_BUDGET_S:
        raise UsageError(
            f"--time-budget {options.time_budget_s:.0f}s is too short for a trial; "
            f"give at least {SHORTEST_TIME_BUDGET_S:.0f}s"
        )
    return options


def _seed(value: int) -> int:
    if value < 0:
        raise ValueError(f"{value} is below zero; a seed is 0, 1, 2, ...")
    return value


def _server(name: str) -> str:
    if name not in servers.NAMES:
        raise ValueError(f"{name!r} is not a server; there are {', '.join(servers.NAMES)}")
    return name


def _front(name: str) -> str:
    if name not in reverse_proxy.NAMES:
        raise ValueError(
            f"{name!r} cannot stand in front; there is {', '.join(reverse_proxy.NAMES)}"
        )
    return name


def _statics(given: Sequence[str], base: Path) -> tuple[Static, ...]:
    """``/static/=DIR``, DIR relative to where the app runs."""
    statics: list[Static] = []
    for text in given:
        url, equals, directory = str(text).partition("=")
        path = (base / directory).resolve()
        if not equals or not directory:
            raise ValueError(f"{text!r} is not URL=DIR, as in /static/=staticfiles")
        if not path.is_dir():
            raise ValueError(f"{path} is no directory")
        static = Static("/" + url.strip("/") + "/", str(path))
        if static.url in [each.url for each in statics]:
            raise ValueError(f"{static.url} is given twice")
        statics.append(static)
    return tuple(statics)


def _p95(text: str) -> float:
    seconds = parse_duration(text)
    if text.strip().replace(".", "").isdigit():
        raise ValueError(f"{text!r} has no unit; write {text}ms or {text}s")
    if not seconds > 0:
        raise ValueError(f"{text} is not greater than zero")
    return seconds


def _paths(value: Any, sources: Mapping[str, str]) -> tuple[str, ...]:
    paths = tuple(value or ())
    for path in paths:
        if not isinstance(path, str) or not path.startswith("/"):
            raise UsageError(f"{sources['path']}: {path!r} must start with /, as in --path /search")
    return paths


def _environment(env_file: Path | None, environ: Mapping[str, str]) -> dict[str, str]:
    from pretune.advisor.workspace.hooks import HookError, parse_env

    if env_file is None:
        return dict(environ)
    try:
        return {**environ, **parse_env(env_file.read_text(), "it")}
    except OSError as error:
        raise UsageError(f"--env-file {env_file}: {error.strerror}") from error
    except (HookError, UnicodeDecodeError) as error:
        raise UsageError(f"--env-file {env_file}: {error}") from error
