from pathlib import Path

import pytest

from pretune.advisor.preflight import config


def write(directory: Path, text: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "pyproject.toml"
    file.write_text(text)
    return file


def test_the_nearest_file_that_has_the_table_counts(tmp_path: Path) -> None:
    write(tmp_path, "[tool.pretune]\nram = '1G'\n")
    write(tmp_path / "app", "[tool.other]\n")
    inner = write(tmp_path / "app" / "api", "[tool.pretune]\nram = '2G'\n")
    assert config.find(tmp_path / "app").get("ram") == "1G"
    found = config.find(tmp_path / "app" / "api")
    assert (found.file, found.get("ram")) == (inner, "2G")


def test_paths_are_relative_to_the_file_they_stand_in(tmp_path: Path) -> None:
    write(tmp_path / "a", "[tool.pretune]\nchdir = '..'\n")
    assert config.find(tmp_path / "a").path("chdir") == tmp_path


def test_an_unknown_key_names_the_one_that_was_meant(tmp_path: Path) -> None:
    write(tmp_path, "[tool.pretune]\ninstance = 3\n")
    with pytest.raises(config.ConfigError, match="did you mean instances"):
        config.find(tmp_path)


@pytest.mark.parametrize("line", ["ram = 4", "instances = true", "path = '/'", "setup = ['a']"])
def test_a_value_of_the_wrong_type_is_named(tmp_path: Path, line: str) -> None:
    write(tmp_path, f"[tool.pretune]\n{line}\n")
    with pytest.raises(config.ConfigError, match=line.split()[0]):
        config.find(tmp_path)


def test_broken_toml_names_the_file(tmp_path: Path) -> None:
    write(tmp_path, "[tool.pretune\n")
    with pytest.raises(config.ConfigError, match=r"pyproject\.toml"):
        config.find(tmp_path)


def test_an_interpreter_s_link_is_kept(tmp_path: Path) -> None:
    write(tmp_path, "[tool.pretune]\npython = '.venv/bin/python'\n")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/usr/bin/env")
    assert config.find(tmp_path).path("python") == python
