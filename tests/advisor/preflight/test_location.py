import os
import sys
from pathlib import Path

import pytest

from pretune.advisor.preflight.location import LocationError, find_file, find_python, locate


def touch(*parts: str | Path) -> Path:
    file = Path(*parts)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    return file


def place(spec: str, cwd: Path, chdir: Path | None = None):  # type: ignore[no-untyped-def]
    return locate(spec, cwd=cwd, chdir=chdir, python=None, environ={})


def test_a_module_runs_where_the_user_stands(tmp_path: Path) -> None:
    file = touch(tmp_path, "shop", "wsgi.py")
    found = place("shop.wsgi:application", tmp_path)
    assert (found.file, found.chdir, found.spec) == (file, tmp_path, "shop.wsgi:application")


def test_a_file_in_a_package_runs_where_its_topmost_package_stands(tmp_path: Path) -> None:
    file = touch(tmp_path, "project", "shop", "web", "wsgi.py")
    touch(tmp_path, "project", "shop", "__init__.py")
    touch(tmp_path, "project", "shop", "web", "__init__.py")
    found = place("project/shop/web/wsgi.py:app", tmp_path)
    assert found.chdir == tmp_path / "project"
    assert found.spec == f"{file}:app"


def test_configuration_beside_the_target_says_where_it_runs(tmp_path: Path) -> None:
    touch(tmp_path, "shop", "wsgi.py")
    (tmp_path / "shop" / "pyproject.toml").write_text("[tool.pretune]\nchdir = '..'\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert place(str(tmp_path / "shop" / "wsgi.py"), elsewhere).chdir == tmp_path


def test_the_flag_beats_the_configuration(tmp_path: Path) -> None:
    touch(tmp_path, "shop", "wsgi.py")
    (tmp_path / "shop" / "pyproject.toml").write_text("[tool.pretune]\nchdir = '..'\n")
    assert place("wsgi", tmp_path, Path("shop")).chdir == tmp_path / "shop"


def test_a_package_is_found_by_its_init(tmp_path: Path) -> None:
    file = touch(tmp_path, "shop", "__init__.py")
    assert find_file("shop:create_app()", tmp_path) == file


@pytest.mark.parametrize("spec", ["nowhere.py", "dir/nowhere.py:app"])
def test_a_file_that_is_not_there_is_said(tmp_path: Path, spec: str) -> None:
    with pytest.raises(LocationError, match="no such file"):
        place(spec, tmp_path)


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LocationError, match="no such directory"):
        place("app", tmp_path, Path("nowhere"))


def fake_environment(directory: Path) -> Path:
    python = directory / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    return python


def test_the_active_environment_comes_before_the_one_beside_the_project(tmp_path: Path) -> None:
    active = fake_environment(tmp_path / "active")
    beside = fake_environment(tmp_path / "project" / ".venv")
    environ = {"VIRTUAL_ENV": str(tmp_path / "active")}
    assert find_python(None, tmp_path / "project", environ) == active
    assert find_python(None, tmp_path / "project", {}) == beside


def test_without_any_environment_the_tool_s_own_serves(tmp_path: Path) -> None:
    environ = {"VIRTUAL_ENV": sys.prefix}
    assert find_python(None, tmp_path, environ) == Path(sys.executable)


def test_an_environment_directory_means_its_interpreter(tmp_path: Path) -> None:
    python = fake_environment(tmp_path / "env")
    assert find_python(tmp_path / "env", tmp_path, {}) == python


def test_an_interpreter_that_does_not_start_is_said(tmp_path: Path) -> None:
    broken = touch(tmp_path, "python")
    os.chmod(broken, 0o755)
    with pytest.raises(LocationError, match="does not start"):
        find_python(broken, tmp_path, {})
