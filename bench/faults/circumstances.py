"""What happens around an ordinary application: to its database, the load, the machine, the run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg

from bench.faults.applications import FAILED, HELPER, LOOK, USAGE
from bench.faults.fault import Act, Fault, Prepare, Unavailable, nothing
from bench.faults.sandbox import Running, Sandbox
from examples import postgres
from pretune.advisor.resources.trial_cgroup import TrialCgroup

TIMELY = "def app(environ, start):\n    import time; time.sleep(0.002)\n    return ok(start)\n"
PLAIN = HELPER + TIMELY
LARGE = "x = bytearray(b'x' * 600_000_000)\n"
INTERRUPTED, KILLED = (130,), (-9,)
SERVICE = "service"  # the directory of the database

QUERY = HELPER + (
    "import os, threading\nimport psycopg\nlocal = threading.local()\n"
    "def app(environ, start):\n"
    "    try:\n"
    "        local.db = getattr(local, 'db', None) or psycopg.connect(os.environ['DATABASE_URL'],"
    " autocommit=True)\n"
    "        local.db.execute('select count(*) from visits').fetchone()\n"
    "    except psycopg.Error:\n"
    "        local.db = None\n"
    "        raise\n"
    "    return ok(start)\n"
)


# -- before the run


def start_postgres(sandbox: Sandbox) -> None:
    directory = sandbox.directory / SERVICE
    directory.mkdir()
    sandbox.stack.callback(postgres.stop, directory)
    url = postgres.start(directory, "bench")
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("create table visits (id int)")
    sandbox.environ["DATABASE_URL"] = url

    def sessions() -> int:
        try:
            with psycopg.connect(url) as database:
                row = database.execute(
                    "select count(*) from pg_stat_activity where pid <> pg_backend_pid()"
                    " and backend_type = 'client backend'"
                ).fetchone()
        except psycopg.OperationalError:
            return 0  # it was ended, as the fault wants it
        return int(row[0]) if row else 0

    sandbox.sessions = sessions


def forget_password(sandbox: Sandbox) -> None:
    start_postgres(sandbox)
    url = urlsplit(sandbox.environ["DATABASE_URL"])
    netloc = f"{url.username}:forgotten@{url.hostname}:{url.port}"
    sandbox.environ["DATABASE_URL"] = url._replace(netloc=netloc).geturl()


def fill_slots(sandbox: Sandbox) -> None:
    """Every connection that an ordinary role may have is taken."""
    start_postgres(sandbox)
    taken, url = contextlib.ExitStack(), sandbox.environ["DATABASE_URL"]
    sandbox.stack.enter_context(taken)
    sandbox.sessions = None  # those are ours
    while True:
        try:
            taken.enter_context(psycopg.connect(url))
        except psycopg.OperationalError:
            return


def write(name: str, text: str) -> Prepare:
    def prepare(sandbox: Sandbox) -> None:
        (sandbox.directory / name).write_text(text)

    return prepare


def fill_disk(attribute: str, size: str = "64k") -> Prepare:
    """A file system of that size, there."""

    def prepare(sandbox: Sandbox) -> None:
        place: Path = getattr(sandbox, attribute)
        place.mkdir(exist_ok=True)
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", place], capture_output=True
        )
        if made.returncode:
            raise Unavailable("no file system can be mounted")
        sandbox.stack.callback(subprocess.run, ["umount", "-l", str(place)], check=False)

    return prepare


def replace_in_proc(name: str, change: Callable[[str], str]) -> Prepare:
    """The run sees another file there: as on a kernel that lacks a field of it."""

    def prepare(sandbox: Sandbox) -> None:
        if shutil.which("unshare") is None or os.geteuid() != 0:
            raise Unavailable("a mount namespace takes root and unshare")
        file = sandbox.directory / "of-proc"
        file.write_text(change(Path("/proc", name).read_text()))
        mount = f'mount --bind {file} /proc/{name} && exec "$@"'
        sandbox.command = ("unshare", "--mount", "sh", "-c", mount, "sh")

    return prepare


def without(word: str) -> Callable[[str], str]:
    """Drop the lines that have the word."""
    return lambda text: "".join(x for x in text.splitlines(True) if word not in x)


def without_steal(text: str) -> str:
    """As Linux 2.6.10 wrote /proc/stat: seven counters a line."""
    return "".join(
        " ".join(x.split()[:8]) + "\n" if x.startswith("cpu") else x for x in text.splitlines(True)
    )


def limit_memory(size: int) -> Prepare:
    """The run lives in a control group of so many bytes, as in a container."""

    def prepare(sandbox: Sandbox) -> None:
        group = TrialCgroup.create(f"fault-{sandbox.directory.name}", limit_bytes=size)
        if group is None:
            raise Unavailable("no control group can be made")
        sandbox.stack.callback(group.remove)
        procs = " ".join(f"{path}/cgroup.procs" for path in group.paths())
        enter = f'for f in {procs}; do echo $$ > $f; done; exec "$@"'
        sandbox.command = ("sh", "-c", enter, "sh")

    return prepare


def use_one_core(sandbox: Sandbox) -> None:
    if shutil.which("taskset") is None:
        raise Unavailable("no taskset")
    sandbox.command = ("taskset", "-c", str(min(os.sched_getaffinity(0))))


def run_another(directory: str) -> Prepare:
    """Another run has begun, into that directory."""

    def prepare(sandbox: Sandbox) -> None:
        out = str(sandbox.directory / directory)
        other = sandbox.start("app.py:app", "--ram", "1G", "--time-budget", "20s", "--out", out)
        other.wait_for("demand")

        def end() -> None:
            other.process.send_signal(signal.SIGINT)
            other.wait()

        sandbox.stack.callback(end)

    return prepare


# -- while it goes on


def when(word: str, act: Act, after_s: float = 0.5) -> Act:
    """Once the run has printed the word, and a little later."""

    def wait_and_act(run: Running) -> None:
        if word:
            run.wait_for(word)
        time.sleep(after_s)
        act(run)

    return wait_and_act


def send(number: int, times: int = 1, every_s: float = 0.1) -> Act:
    def act(run: Running) -> None:
        for _ in range(times):
            run.process.send_signal(number)
            time.sleep(every_s)

    return act


def kill(word: str) -> Act:
    """SIGKILL the run's process whose command line has the word."""

    def act(run: Running) -> None:
        for pid, command in run.sandbox.processes().items():
            if word in command:
                os.kill(pid, signal.SIGKILL)

    return act


def stop_postgres(run: Running) -> None:
    postgres.stop(run.sandbox.directory / SERVICE)


def kill_postgres(run: Running) -> None:
    """SIGKILL to its first process; the others then end by themselves."""
    with psycopg.connect(run.sandbox.environ["DATABASE_URL"]) as database:
        os.kill(psutil.Process(database.info.backend_pid).ppid(), signal.SIGKILL)


def restart_postgres(run: Running) -> None:
    """A session that crashes makes it end all others and recover, which takes a moment."""
    with (
        contextlib.suppress(psycopg.Error),
        psycopg.connect(run.sandbox.environ["DATABASE_URL"]) as database,
    ):
        os.kill(database.info.backend_pid, signal.SIGKILL)


def end_sessions(run: Running) -> None:
    """As a restart does, seen by its clients; again and again for two seconds."""
    until = time.monotonic() + 2.0
    while time.monotonic() < until:
        with psycopg.connect(run.sandbox.environ["DATABASE_URL"], autocommit=True) as database:
            database.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where "
                "usename = current_user and pid <> pg_backend_pid()"
            )
        time.sleep(0.2)


def take_slots(run: Running) -> None:
    """All connections that are free, for five seconds, and the sessions there are ended."""
    url, taken = run.sandbox.environ["DATABASE_URL"], []
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        try:
            taken.append(psycopg.connect(url))
        except psycopg.OperationalError:
            time.sleep(0.1)
    for connection in taken:
        connection.close()


def lock_table(held_s: float, times: int = 1) -> Act:
    """The table is locked, so that queries wait as long, and so often."""

    def act(run: Running) -> None:
        for _ in range(times):
            with psycopg.connect(run.sandbox.environ["DATABASE_URL"]) as database:
                database.execute("lock table visits in access exclusive mode")
                time.sleep(held_s)

    return act


def refused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


# -- the table


def plain(
    name: str,
    says: str,
    codes: tuple[int, ...],
    *,
    act: Act = nothing,
    prepare: Prepare = nothing,
    flags: tuple[str, ...] = (),
    target: str = "app.py:app",
    quick: bool = False,
) -> Fault:
    return Fault(name, says, codes, PLAIN, target, flags, prepare, act, quick)


def database(name: str, says: str, codes: tuple[int, ...], act: Act) -> Fault:
    return Fault(name, says, codes, QUERY, prepare=start_postgres, act=act)


LOCUSTFILE = (
    "from locust import HttpUser, constant, task\nclass User(HttpUser):\n"
    "    wait_time = constant(0.01)\n{start}    @task\n    def home(self):\n"
    "        answer = self.client.get('/')\n{end}"
)
RAISES = LOCUSTFILE.format(start="", end="        answer.headers['nothing-has-this-name']\n")
NO_START = LOCUSTFILE.format(
    start="    def on_start(self):\n        raise ValueError('no token')\n", end=""
)
DEEP = 50_000
LOAD = ("--workload", "load.py")

FAULTS = (
    plain("Ctrl-C at once", "", INTERRUPTED, act=when("", send(signal.SIGINT), 1.0), quick=True),
    plain("Ctrl-C ten times", "leaving now", INTERRUPTED, act=when("preflight", send(2, 10))),
    plain("TERM under load", "Interrupted", INTERRUPTED, act=when("demand:", send(15), 2.0)),
    *(
        plain(f"SIGKILL in {phase}", "", KILLED, act=when(f"{phase}:", send(signal.SIGKILL)))
        for phase in ("preflight", "demand", "contrast", "verification", "clean-up")
    ),
    *(
        plain(f"SIGKILL in {phase}", "", KILLED, flags=("--time-budget", "60s"),
              act=when(f"{phase}:", send(signal.SIGKILL)))
        for phase in ("server", "server-alone", "sync", "crowd", "preload")
    ),
    plain("SIGKILL while the model searches", "", KILLED,
          act=when("model:", send(signal.SIGKILL), 0.2)),
    plain("SIGKILL while the report is written", "", KILLED,
          act=when("report:", send(signal.SIGKILL), 0.1)),
    plain("SIGKILL in set-up", "", KILLED, act=when("setup:", send(signal.SIGKILL)), quick=True,
          prepare=write("pyproject.toml", "[tool.pretune]\nsetup = 'sleep 30'\n")),
    plain("the load's process is killed", "the load driver has ended", FAILED,
          act=when("demand:", kill("loadtests.driver"), 3.0)),
    plain("the server is killed", "", FAILED, act=when("demand:", kill("bootstrap.py serve"), 3.0)),
    plain("the cleaner is killed", "cleans up", (2, 3, 70, 130),
          act=when("demand:", kill("reaper.py"), 1.0)),
    plain("nowhere to write: --out", "cannot", USAGE, flags=("--out", "/proc/nowhere"), quick=True),
    plain("a full disk: --out", "app", (0,), prepare=fill_disk("out"), flags=LOOK),
    plain("a full disk: --out, under load", "cannot write to", USAGE,
          prepare=fill_disk("out", "160k")),
    plain("a full disk: TMPDIR", "", (0, 2, 3), prepare=fill_disk("temporary"), flags=LOOK),
    plain("two runs into one directory", "", USAGE, prepare=run_another("capacity")),
    plain("two runs at once", "", (0, 1, 3), prepare=run_another("other")),
    plain("/proc/meminfo without MemAvailable", "app", (0,), flags=LOOK, quick=True,
          prepare=replace_in_proc("meminfo", without("MemAvailable"))),
    plain("/proc/stat without steal, under load", "", (0, 1, 3),
          prepare=replace_in_proc("stat", without_steal)),
    Fault("a control group smaller than the app", "memory", FAILED, HELPER + LARGE,
          prepare=limit_memory(500 << 20)),
    Fault("a control group smaller than the app under load", "", (0, 1, 3),
          HELPER + "kept = []\ndef app(environ, start):\n"
          "    kept.append(bytearray(b'x' * 500_000))\n    return ok(start)\n",
          prepare=limit_memory(600 << 20)),
    plain("one core", "", (0, 1, 3), prepare=use_one_core),
    plain("less RAM than one worker", "does not fit", (1,), flags=("--ram", "10M")),
    plain("a deep pyproject.toml", "pyproject.toml", USAGE, quick=True,
          prepare=write("pyproject.toml", "[tool.pretune]\nx = " + "[" * DEEP + "]" * DEEP)),
    plain("a pyproject.toml that is none", "pyproject.toml", USAGE, quick=True,
          prepare=write("pyproject.toml", "[tool.pretune\n")),
    plain("a deep workload file", "load.json", USAGE, quick=True,
          flags=("--workload", "load.json", *LOOK),
          prepare=write("load.json", "[" * DEEP + "]" * DEEP)),
    plain("an empty target", "", USAGE, target="", quick=True),
    plain("a target without a module", "", USAGE, target=":app", quick=True),
    plain("a target without a name", "", USAGE, target="app:", quick=True),
    plain("a locustfile that cannot be imported", "load.py", USAGE, flags=LOAD,
          prepare=write("load.py", "raise RuntimeError('no fixture')\n")),
    plain("a locustfile whose task raises", "load.py:7 raises KeyError", FAILED, flags=LOAD,
          prepare=write("load.py", RAISES)),
    plain("a locustfile whose on_start raises", "load.py:5 raises ValueError: no token", FAILED,
          flags=LOAD, prepare=write("load.py", NO_START)),
    plain("Postgres refuses", "--database-url", USAGE, quick=True,
          flags=("--database-url", f"postgres://me@127.0.0.1:{refused_port()}/shop")),
    database("Postgres ends", "", (0, 1, 3), when("contrast:", stop_postgres, 2.0)),
    database("Postgres ends every session", "failed", (0, 1, 3),
             when("contrast:", end_sessions, 1.0)),
    database("Postgres runs out of slots", "", (0, 1, 3), when("demand:", take_slots, 1.0)),
    database("Postgres stands still for 3 s", "", (0, 1, 3), when("demand:", lock_table(3.0), 2.0)),
    database("Postgres is killed", "", (0, 1, 3), when("contrast:", kill_postgres, 2.0)),
    database("Postgres restarts", "", (0, 1, 3), when("demand:", restart_postgres, 2.5)),
    database("Postgres slows down in the middle", "", (0, 1, 3),
             when("demand:", lock_table(0.1, times=50), 2.0)),
    Fault("Postgres does not know the password", "password authentication failed", USAGE, QUERY,
          prepare=forget_password, quick=True),
    Fault("Postgres takes no one more", "too many connections", (2, 3), QUERY,
          prepare=fill_slots),
)  # fmt: skip
