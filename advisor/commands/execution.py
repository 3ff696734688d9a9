"""Execution of a run, for ``advise`` and ``gate``: run the pipeline, write the files, show, exit.

Whatever happens, the workspace is closed first: nothing the run started outlives this function.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console

from pretune.advisor.commands.interruption import Interruption
from pretune.advisor.confidential import hide, known_secrets
from pretune.advisor.failure import AppFailed, MeasurementInvalid, Refused
from pretune.advisor.preflight.config import ConfigError
from pretune.advisor.preflight.location import LocationError, locate
from pretune.advisor.preflight.options import Options, UsageError, resolve
from pretune.advisor.verdict import (
    EXIT_DEFECT,
    EXIT_INTERRUPTED,
    EXIT_PIPE_CLOSED,
    EXIT_USAGE,
    Verdict,
    exit_code,
)
from pretune.advisor.workspace import output
from pretune.advisor.workspace.directory import Workspace
from pretune.advisor.workspace.hooks import HookError
from pretune.advisor.workspace.output import OutputError

if TYPE_CHECKING:
    from pretune.advisor.saved import Saved
    from pretune.advisor.session import Session
    from pretune.reports.progress import Progress

# (options, workspace, console, flags, thresholds of a gate, secrets) -> exit code
Work = Callable[..., int]


def execute(flags: Mapping[str, Any], *, gate: bool = False, work: Work | None = None) -> NoReturn:
    """Ends the process with the exit code of the verdict; ``work`` None: `advise` and `gate`."""
    console = _Console(stderr=bool(flags["as_json"]), highlight=False)
    Interruption().install()
    secrets: tuple[str, ...] = ()
    try:
        options = _options(flags)
        if gate and options.instances is None:  # a gate holds a change to what there is
            options = replace(options, instances=1)
        thresholds = _thresholds(options) if gate else None
        secrets = known_secrets(options.environ, options.database_url or "")
        workspace = Workspace(options.out)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except (UsageError, ConfigError, LocationError, OutputError, ValueError, OSError) as error:
        _refuse(console, hide(str(error), secrets))
    try:
        code = (work or _execute)(options, workspace, console, flags, thresholds, secrets)
    except KeyboardInterrupt:
        workspace.close()
        console.print("Interrupted; everything the run started has ended.")
        code = EXIT_INTERRUPTED
    except (UsageError, HookError, Refused) as error:
        workspace.close()
        _refuse(console, hide(str(error), secrets))
    except BrokenPipeError:
        workspace.close()
        console.on_broken_pipe()
    except Exception as error:
        workspace.close()
        code = _unexpected(console, error, options.out, secrets)
    finally:
        workspace.close()
    sys.exit(code)


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Whoever read our output has left, as ``head`` does. Rich's own code, 1, is a verdict."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_PIPE_CLOSED)


def _unexpected(console: Console, error: Exception, out: Path, secrets: tuple[str, ...]) -> int:
    """No verdict may be read from what went wrong here: an exit code of its own."""
    import traceback

    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        _refuse(console, f"cannot write to {out}: {error.strerror}; name another with --out")
    text = hide("".join(traceback.format_exception(error)), secrets)
    try:
        file = out / "logs" / "defect.log"
        file.write_text(text)
        where = f"the traceback is in {file}"
    except OSError:
        where = text
    console.print(
        f"tune: this should not happen: {type(error).__name__}: {hide(str(error), secrets)}\n"
        f"It is a defect of pretune, not a verdict; please report it: {where}",
        markup=False,
        soft_wrap=True,
    )
    return EXIT_DEFECT


def _refuse(console: Console, message: str) -> NoReturn:
    from rich.text import Text

    console.print(Text.assemble(("tune: ", "bold red"), message), soft_wrap=True)
    sys.exit(EXIT_USAGE)


def _options(flags: Mapping[str, Any]) -> Options:
    cwd = Path.cwd()
    location = locate(
        flags["target"],
        cwd=cwd,
        chdir=Path(flags["chdir"]) if flags["chdir"] else None,
        python=(cwd / flags["python"]) if flags["python"] else None,
        environ=os.environ,
    )
    return resolve(flags, location, cwd, os.environ)


def _thresholds(options: Options) -> Mapping[str, Any]:
    from pretune.advisor import gate

    return gate.parse(options.location.config.get("gate") or {})


def _execute(
    options: Options,
    workspace: Workspace,
    console: Console,
    flags: Mapping[str, Any],
    thresholds: Mapping[str, Any] | None,
    secrets: tuple[str, ...],
) -> int:
    from pretune.advisor.documents.report import assemble
    from pretune.advisor.pipeline import Pipeline
    from pretune.advisor.saved import Saved
    from pretune.advisor.session import Session
    from pretune.reports.progress import Progress

    if not flags.get("dry_run"):
        output.set_aside(options.out)
    session = Session(options, workspace)
    pipeline = Pipeline(session)
    plan = None
    with Progress(console, options.time_budget_s) as progress:
        with ending(session, progress):
            if flags.get("dry_run"):
                plan = pipeline.dry_run(progress)
            else:
                pipeline.advise(progress)
        if plan is None:
            progress.phase("report", "writing the report", 2.0)
            document = assemble(session.run)
            if thresholds is not None:
                document = _judge(document, thresholds)
            # what setup gave the app is known only now
            secrets = known_secrets({**options.environ, **session.environ}, *session.database_urls)
            document = hide(document, secrets)
            if not flags.get("dry_run"):
                document["files"] = _write(document, options.out)
                if pipeline.evidence is not None:
                    _save(Saved.from_run(session.run, pipeline.evidence), options.out, secrets)
    if plan is not None:
        secrets = known_secrets({**options.environ, **session.environ}, *session.database_urls)
        return _show_plan(hide(plan, secrets), console, bool(flags["as_json"]))
    if flags["as_json"]:
        show_json(document)
    else:
        from pretune.reports import terminal

        terminal.render(document, console)
    return exit_code(Verdict(document["verdict"]), strict=options.strict)


@contextmanager
def ending(session: Session, progress: Progress) -> Iterator[None]:
    """Turn a failure of app or measurement into the verdict; then end all that was started."""
    try:
        yield
    except AppFailed as error:
        session.fail(Verdict.APP_FAILED, error)
    except MeasurementInvalid as error:
        session.fail(Verdict.MEASUREMENT_INVALID, error)
    progress.phase("clean-up", "ending what the run started", 1.0)
    session.note_cleanup(session.workspace.close())


def _show_plan(plan: dict[str, Any], console: Console, as_json: bool) -> int:
    from pretune.reports import dry_run

    if as_json:
        show_json(plan)
    else:
        dry_run.render(plan, console)
    return 0


def show_json(document: Mapping[str, Any]) -> None:
    """With the passwords hidden that are hidden in the file. Raises BrokenPipeError here, and not
    when the process ends; whatever the terminal's encoding, it takes ASCII."""
    from pretune.reports.redaction import redacted

    sys.stdout.write(json.dumps(redacted(document), indent=2) + "\n")
    sys.stdout.flush()


def _judge(document: dict[str, Any], thresholds: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the gate's checks and verdict."""
    from pretune.advisor import gate
    from pretune.advisor.documents.plain import plain

    checks = gate.judge(document, thresholds)
    document["gate"] = {"checks": plain(checks)}
    document["verdict"] = str(gate.verdict(Verdict(document["verdict"]), checks))
    return document


def _save(measured: Saved, out: Path, secrets: tuple[str, ...]) -> None:
    """Save what was measured, without the secrets that the report hides."""
    from pretune.advisor import saved
    from pretune.reports.redaction import in_urls, safe_headers

    workload = measured.facts.workload
    workload = replace(workload, headers=safe_headers(workload.headers))
    facts, run = (
        replace(measured.facts, workload=workload),
        replace(measured.run, workload=workload),
    )
    saved.write(
        out / output.MEASUREMENTS,
        replace(measured, facts=facts, run=run),
        text=lambda text: in_urls(hide(text, secrets)),
    )


def _write(document: dict[str, Any], out: Path) -> dict[str, str]:
    """Every file of the run; what it is -> its path. A failed run has no configuration."""
    from pretune.reports import deployment, html
    from pretune.reports import document as documents

    files = {"report": str(out / "report.html"), "data": str(out / "report.json")}
    if document["recommendation"]:
        for what, deploy in deployment.choose_all(document).items():
            documents.write_text(out / deploy.name, deploy.text)
            files[what] = str(out / deploy.name)
    files["logs"] = str(out / "logs")
    document["files"] = files
    documents.write(out / "report.json", document)
    documents.write_text(out / "report.html", html.render(document))
    return files
