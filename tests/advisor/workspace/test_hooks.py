import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pretune.advisor.workspace.directory import Workspace
from pretune.advisor.workspace.hooks import HookError, parse_env, run_setup
from pretune.advisor.workspace.reaper import session_members


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(tmp_path / "out")
    yield workspace
    workspace.close()


def hook(workspace: Workspace, chdir: Path, setup: str | None, teardown: str | None = None):  # type: ignore[no-untyped-def]
    return run_setup(
        setup=setup,
        teardown=teardown,
        workspace=workspace,
        chdir=chdir,
        python=Path(sys.executable),
        environ={"PATH": "/usr/bin:/bin"},
    )


def script(directory: Path, code: str) -> str:
    file = directory / "hook.py"
    file.write_text(code)
    return f"python {file}"


def test_setup_gives_the_app_its_environment(workspace: Workspace, tmp_path: Path) -> None:
    command = script(
        tmp_path,
        "import os\n"
        "assert os.path.isdir(os.environ['PRETUNE_RUN_DIR'])\n"
        "open(os.environ['PRETUNE_ENV'], 'a').write('DATABASE_URL=postgres://u:p@h/d\\n')\n",
    )
    assert hook(workspace, tmp_path, command) == {"DATABASE_URL": "postgres://u:p@h/d"}


def test_what_setup_leaves_behind_ends_with_the_run(workspace: Workspace, tmp_path: Path) -> None:
    command = script(
        tmp_path,
        "import os, subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open(os.environ['PRETUNE_ENV'], 'a').write(f'SESSION={os.getsid(0)}')\n",
    )
    session = int(hook(workspace, tmp_path, command)["SESSION"])
    assert len(session_members(session)) == 1
    workspace.close()
    assert session_members(session) == []


def test_a_setup_that_fails_shows_its_last_words(workspace: Workspace, tmp_path: Path) -> None:
    command = script(tmp_path, "raise SystemExit('no disk left')")
    with pytest.raises(HookError, match=r"exit code 1(.|\n)*no disk left"):
        hook(workspace, tmp_path, command)


def test_teardown_runs_also_after_a_setup_that_failed(workspace: Workspace, tmp_path: Path) -> None:
    done = tmp_path / "done"
    teardown = f"{sys.executable} -c \"open('{done}', 'w')\""
    with pytest.raises(HookError):
        hook(workspace, tmp_path, "false", teardown)
    workspace.close()
    assert done.exists()


def test_a_command_that_is_not_there_is_said(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(HookError, match="cannot run no-such-command"):
        hook(workspace, tmp_path, "no-such-command now")


def test_environment_lines_are_read_as_env_files_are_written() -> None:
    text = "# comment\n\nexport A=1\nB='two words'\nC=\"x=y\"\nD=\n"
    assert parse_env(text) == {"A": "1", "B": "two words", "C": "x=y", "D": ""}


def test_a_wrong_line_is_named_without_its_content() -> None:
    with pytest.raises(HookError) as caught:
        parse_env("A=1\nhunter2\n")
    assert "line 2" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_shell_syntax_is_refused_with_the_way_out(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(HookError, match="sh -c"):
        hook(workspace, tmp_path, "docker compose up -d && ./migrate")
