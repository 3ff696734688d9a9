"""The user's set-up and tear-down commands around a run.

A hook is a command from ``[tool.pretune]``: ``setup`` starts what the app needs (a database, an
upstream) and may leave processes behind; ``teardown`` stops them. Both get ``PRETUNE_RUN_DIR``,
a directory of the run, and ``PRETUNE_ENV``, a file to which setup appends ``NAME=value`` lines
for the app's environment: the convention that CI systems have made familiar.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pretune.advisor.confidential import hide, known_secrets
from pretune.advisor.workspace.directory import Workspace
from pretune.advisor.workspace.logs import log_tail

SETUP_SECONDS = 300.0
LOG_TAIL = 15


class HookError(Exception):
    """The setup command failed; the message shows the end of what it printed."""


def run_setup(
    *,
    setup: str | None,
    teardown: str | None,
    workspace: Workspace,
    chdir: Path,
    python: Path,
    environ: Mapping[str, str],
) -> dict[str, str]:
    """Run setup and return its variables for the app; {} without a setup. Raises HookError."""
    if not setup and not teardown:
        return {}
    env_file = workspace.temporary / "setup.env"
    env_file.touch(mode=0o600)
    env = workspace.marked(
        {
            **environ,
            "PATH": f"{python.parent}{os.pathsep}{environ.get('PATH', os.defpath)}",
            "PRETUNE_RUN_DIR": str(workspace.directory("hook")),
            "PRETUNE_ENV": str(env_file),
        }
    )
    log = workspace.log("setup")
    if teardown:
        # before setup runs: it must also end a setup that failed half-way
        argv = _command(teardown, python, "teardown")
        workspace.minder.teardown(argv, chdir, env, workspace.log("teardown"))
    if setup:
        _run(_command(setup, python, "setup"), chdir, env, log, workspace)
    try:
        return parse_env(env_file.read_text(), "what setup wrote to $PRETUNE_ENV")
    except (OSError, UnicodeDecodeError) as error:
        raise HookError(f"what setup left at $PRETUNE_ENV cannot be read: {error}") from error


def _command(text: str, python: Path, name: str) -> list[str]:
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise HookError(f"[tool.pretune] {name} = {text!r}: {error}") from error
    if not argv:
        raise HookError(f"[tool.pretune] {name} is empty")
    shell = {"&&", "||", "|", ";", ">", "<", "&"} & set(argv)
    if shell:
        raise HookError(
            f"[tool.pretune] {name} runs without a shell, so {shell.pop()} means nothing there; "
            "put the commands in a script, or write: sh -c '...'"
        )
    # an environment need not be active for its interpreter to be meant
    return [str(python), *argv[1:]] if argv[0] in ("python", "python3") else argv


def _run(
    argv: list[str], chdir: Path, env: dict[str, str], log: Path, workspace: Workspace
) -> None:
    log.unlink(missing_ok=True)
    with log.open("ab") as output:  # appending, as LogBound needs it
        try:
            process = subprocess.Popen(
                argv,
                cwd=chdir,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            raise HookError(f"setup: cannot run {argv[0]}: {error.strerror}") from error
        workspace.spawned_service(process.pid)
        try:
            code = process.wait(SETUP_SECONDS)
        except subprocess.TimeoutExpired:
            raise HookError(f"setup did not end within {SETUP_SECONDS:.0f} s") from None
    workspace.forget_if_empty(process.pid)
    if code != 0:
        text = log_tail(log, LOG_TAIL)
        command = shlex.join(argv)
        secrets = known_secrets(env, command, text)
        tail = hide(text, secrets)
        shown = hide(command, secrets)
        raise HookError(f"setup ended with exit code {code}: {shown}\n{tail}".rstrip())


def parse_env(text: str, name_of_file: str = "the environment file") -> dict[str, str]:
    """``NAME=value`` lines; blank lines and ``#`` comments are skipped, ``export `` and quotes go.

    Raises HookError for any other line, without its content: it may hold a secret.
    """
    variables = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip().removeprefix("export ").strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier() or "\0" in value:
            raise HookError(f"line {number} of {name_of_file} is not NAME=value")
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        variables[name] = value
    return variables
