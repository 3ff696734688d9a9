from pathlib import Path
from typing import Any

import pytest

from pretune.advisor.preflight.config import Config
from pretune.advisor.preflight.location import Location
from pretune.advisor.preflight.options import Options, UsageError, resolve

FLAGS = [
    "ram",
    "cores",
    "instances",
    "database_url",
    "pg_connections",
    "allow_remote_db",
    "p95",
    "rps",
    "server",
    "workload",
    "path",
    "env_file",
    "time_budget",
    "seed",
    "out",
]


def options(cwd: Path, config: dict[str, Any] | None = None, **flags: Any) -> Options:
    file = cwd / "pyproject.toml" if config is not None else None
    location = Location("app", None, cwd, Config(file, config or {}), Path("/usr/bin/python3"))
    return resolve({**dict.fromkeys(FLAGS), **flags}, location, cwd, {"HOME": "/home/me"})


def test_a_flag_beats_the_configuration_and_both_say_so(tmp_path: Path) -> None:
    found = options(tmp_path, {"ram": "1G", "cores": 2}, ram="4G")
    assert (found.ram_bytes, found.cores) == (4 * 1024**3, 2)
    assert found.sources == {"ram": "--ram", "cores": "pyproject.toml"}


def test_defaults_are_found_out_later(tmp_path: Path) -> None:
    found = options(tmp_path)
    assert (found.ram_bytes, found.cores, found.p95_s, found.instances) == (None,) * 4
    assert found.out == tmp_path / "capacity"


@pytest.mark.parametrize(
    ("flag", "value", "word"),
    [
        ("ram", "4X", "4G"),
        ("ram", "0", "greater than zero"),
        ("cores", 0.0, "greater than zero"),
        ("cores", -1.0, "greater than zero"),
        ("instances", 0, "greater than zero"),
        ("pg_connections", 0, "greater than zero"),
        ("p95", "fast", "300ms"),
        ("p95", "300", "300ms or 300s"),
        ("rps", 0.0, "greater than zero"),
        ("server", "iis", "embedded, gunicorn"),
        ("time_budget", "5s", "at least 20s"),
        ("path", ("search",), "must start with /"),
        ("env_file", "nowhere.env", "No such file"),
    ],
)
def test_a_wrong_value_names_its_flag_and_the_fix(
    tmp_path: Path, flag: str, value: Any, word: str
) -> None:
    with pytest.raises(UsageError, match=f"--{flag.replace('_', '-')}.*{word}"):
        options(tmp_path, **{flag: value})


def test_a_workload_and_paths_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude"):
        options(tmp_path, workload="w.toml", path=("/",))


def test_an_env_file_adds_to_the_user_s_environment(tmp_path: Path) -> None:
    (tmp_path / "dev.env").write_text("SECRET='x y'\n")
    assert options(tmp_path, env_file="dev.env").environ == {"HOME": "/home/me", "SECRET": "x y"}


def test_files_in_the_configuration_are_relative_to_it(tmp_path: Path) -> None:
    assert options(tmp_path, {"out": "reports/now"}).out == tmp_path / "reports" / "now"


def test_seed_zero_is_a_seed(tmp_path: Path) -> None:
    assert options(tmp_path, seed=0).seed == 0


def test_a_path_on_the_command_line_beats_a_workload_in_the_configuration(tmp_path: Path) -> None:
    found = options(tmp_path, {"workload": "w.toml"}, path=("/",))
    assert (found.workload, found.paths) == (None, ("/",))


def test_files_at_one_address_can_only_be_one_directory_s(tmp_path: Path) -> None:
    given = [f"/static/={tmp_path}", f"static={tmp_path}"]
    with pytest.raises(UsageError, match="/static/ is given twice"):
        options(tmp_path, static=given, front="nginx")
