"""One fault brought about: what `tune` said, and what it left."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.faults.fault import Fault, Unavailable
from bench.faults.sandbox import Running, Sandbox
from pretune.reports import document as documents

TIME_BUDGET = "20s"


@dataclass(frozen=True)
class Outcome:
    """``wrong`` is empty for the right verdict; ``left`` for nothing left. ``unavailable``: what
    is missing on this machine to bring the fault about."""

    name: str
    code: int | None
    seconds: float
    wrong: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    said: str = ""
    unavailable: str = ""

    @property
    def right(self) -> bool:
        return not (self.wrong or self.left or self.unavailable)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def bring_about(fault: Fault) -> Outcome:
    """Run `tune` with the fault; nothing of it is left afterwards, whatever it left."""
    directory = Path(tempfile.mkdtemp(prefix="fault-"))
    directory.chmod(0o755)
    sandbox = Sandbox(directory)
    try:
        (directory / "app.py").write_text(fault.app)
        fault.prepare(sandbox)
        return _run(fault, sandbox)
    except Unavailable as missing:
        return Outcome(fault.name, None, 0.0, unavailable=str(missing))
    finally:
        sandbox.close()
        shutil.rmtree(directory, ignore_errors=True)


def _run(fault: Fault, sandbox: Sandbox) -> Outcome:
    flags = fault.flags
    if "--out" not in flags:
        flags = ("--out", str(sandbox.out), *flags)
    began = time.monotonic()
    run = sandbox.start(fault.target, "--ram", "1G", "--time-budget", TIME_BUDGET, *flags)
    late = ""
    try:
        fault.act(run)
    except TimeoutError as error:
        late = f"the fault was not brought about: {error}"
        run.process.kill()
    code = run.wait()
    seconds = time.monotonic() - began
    wrong, said = [late] if late else _judge(fault, run, code), _sentence(run)
    sandbox.stack.close()  # a second run, a locked table: they are no left-overs of this one
    left = sandbox.left_over()
    return Outcome(fault.name, code, seconds, tuple(wrong), tuple(left), said)


def _judge(fault: Fault, run: Running, code: int | None) -> list[str]:
    wrong = []
    if code not in fault.codes:
        wrong.append(f"exit code {code}, not {' or '.join(map(str, fault.codes))}")
    output, document = run.output(), run.sandbox.out / "report.json"
    if document.exists():  # also what a run that was killed has left
        try:
            output += json.dumps(documents.read(document))
        except (ValueError, OSError) as error:
            wrong.append(f"its report cannot be read: {error}")
    elif code in (1, 3):
        wrong.append("no report")
    if fault.says.lower() not in " ".join(output.split()).lower():
        wrong.append(f"does not say {fault.says!r}")
    if re.search(r"Traceback.*pretune/(advisor|loadtests|reports)/", run.output(), re.DOTALL):
        wrong.append("prints a traceback of our own")
    return wrong


def _sentence(run: Running) -> str:
    """The failure's message, or the last line that was printed."""
    document = run.sandbox.out / "report.json"
    try:
        failure = json.loads(document.read_text()).get("failure")
    except (OSError, ValueError):
        failure = None
    if failure:
        return " ".join(failure["message"].split())[:300]
    lines = [line.strip() for line in run.output().splitlines() if line.strip()]
    # a dry run says what it found in its headings
    traffic = next((line for line in lines if line.startswith("Traffic: ")), "")
    return traffic or (lines[-1][:300] if lines else "")
