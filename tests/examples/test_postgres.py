"""The throw-away Postgres: who it is, and that nothing of it stays, however its setup ended."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from examples import postgres

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to give itself up")


def place_of(run: Path) -> Path:
    return Path((run / "postgres.place").read_text())


def shared_memory_of(pids: list[int]) -> list[str]:
    rows = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()]
    creator = rows[0].index("cpid")
    return [" ".join(row) for row in rows[1:] if int(row[creator]) in pids]


def gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def server_at(place: Path) -> psutil.Process:
    """By its own pid file: a search of all processes meets those that are just ending."""
    pid = (place / "data" / "postmaster.pid").read_text().split("\n", 1)[0]
    return psutil.Process(int(pid))


def server_of(hooks: Any) -> psutil.Process:
    return server_at(place_of(hooks.run))


def test_it_is_as_postgres_comes_and_its_role_no_superuser(postgres_running: Any) -> None:
    with psycopg.connect(postgres_running.published()["DATABASE_URL"]) as connection:
        answer = connection.execute(
            "SELECT rolsuper, current_setting('max_connections')"
            " FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert answer == (False, "100")


def test_it_listens_on_loopback_alone(postgres_running: Any) -> None:
    server = server_of(postgres_running)
    listening = [c for c in server.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert [c.laddr.ip for c in listening] == ["127.0.0.1"]
    assert [c.laddr for c in server.net_connections("unix") if c.laddr] == []


def test_it_stays_in_the_session_of_its_setup(postgres_running: Any) -> None:
    assert os.getsid(server_of(postgres_running).pid) == postgres_running.session


@as_root
def test_as_root_all_of_it_runs_unprivileged(postgres_running: Any) -> None:
    running = postgres_running.processes()
    assert len(running) > 3
    assert {uid for p in running for uid in p.uids()} == {postgres.service_user()}
    assert {gid for p in running for gid in p.gids()} == {postgres.service_user()}


@as_root
def test_a_directory_closed_to_others_is_not_opened_but_avoided(postgres_running: Any) -> None:
    run = postgres_running.run
    assert not postgres.reachable(run)
    assert not place_of(run).is_relative_to(run)


def test_a_wrong_password_is_refused(postgres_running: Any) -> None:
    url = postgres_running.published()["DATABASE_URL"]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url, password="wrong")


def test_a_second_start_in_one_place_is_refused_and_spares_the_first(postgres_running: Any) -> None:
    session = postgres_running.session
    second = postgres_running.begin("setup")
    output, _ = second.communicate(timeout=30)
    postgres_running.session = session
    assert second.returncode == 1
    assert "already" in output
    psycopg.connect(postgres_running.published()["DATABASE_URL"]).close()


def test_teardown_leaves_nothing_and_may_come_twice(postgres_hooks: Any) -> None:
    hooks = postgres_hooks
    hooks.finish("setup")
    running, place = hooks.processes(), place_of(hooks.run)
    assert shared_memory_of([p.pid for p in running])
    hooks.finish("teardown")
    assert gone(running) == []
    assert hooks.processes() == []
    assert shared_memory_of([p.pid for p in running]) == []
    assert not place.exists()
    hooks.finish("teardown")


def test_tearing_down_what_was_never_set_up_is_no_error(postgres_hooks: Any) -> None:
    assert postgres_hooks.finish("teardown") == ""


@pytest.mark.parametrize(
    ("moment", "whole_session"),
    [
        ("", False),
        ("data/postmaster.pid", False),
        ("data/postmaster.pid", True),
        ("data/postmaster.opts", True),
    ],
)
def test_a_setup_killed_half_way_leaves_nothing(
    postgres_hooks: Any, moment: str, whole_session: bool
) -> None:
    hooks = postgres_hooks
    setup = hooks.begin("setup")
    deadline = time.monotonic() + 30
    note = hooks.run / "postgres.place"
    while not (note.exists() and note.read_text() and (place_of(hooks.run) / moment).exists()):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    seen = hooks.processes()
    if whole_session:
        os.killpg(setup.pid, signal.SIGKILL)
    else:
        setup.kill()
    setup.wait()
    setup.stdout.close()
    place = place_of(hooks.run)
    seen += hooks.processes()
    hooks.finish("teardown")
    assert gone(seen) == []
    assert hooks.processes() == []
    assert shared_memory_of([p.pid for p in seen]) == []
    assert not place.exists()


def test_a_killed_servers_shared_memory_is_removed(postgres_hooks: Any) -> None:
    hooks = postgres_hooks
    hooks.finish("setup")
    running = hooks.processes()
    pids = [p.pid for p in running]
    server = server_of(hooks)
    server.kill()
    psutil.wait_procs([server], timeout=10)
    assert shared_memory_of(pids)
    hooks.finish("teardown")
    assert gone(running) == []
    assert shared_memory_of(pids) == []


def test_another_port_is_tried_when_the_first_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], postgres.free_port()])
        monkeypatch.setattr(postgres, "free_port", lambda: next(ports))
        try:
            url = postgres.start(tmp_path)
            assert str(taken.getsockname()[1]) not in url
            psycopg.connect(url).close()
        finally:
            postgres.stop(tmp_path)


@as_root
def test_binaries_that_others_cannot_reach_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "open_to_all", lambda path: False)
    try:
        psycopg.connect(postgres.start(tmp_path)).close()
        place = place_of(tmp_path)
        libraries = {m.path for m in server_at(place).memory_maps() if postgres.WHEEL in m.path}
        assert libraries
        assert all(Path(path).is_relative_to(place) for path in libraries)
    finally:
        postgres.stop(tmp_path)


@pytest.mark.parametrize(
    ("lock", "expected"),
    [
        ("", None),
        ("12\n/data\n1700000000\n5432\n\n127.0.0.1\n", None),
        (
            "12\n/data\n1700000000\n5432\n\n127.0.0.1\n  2146399        12\nready\n",
            (12, 2146399, 12),
        ),
        ("-12\n/data\n1700000000\n5432\n\n\n  7   8\n", (12, 7, 8)),
        ("12\n/data\n1700000000\n5432\n\n\n half\n", None),
    ],
)
def test_the_lock_file_names_the_shared_memory(lock: str, expected: object) -> None:
    assert postgres.segment(lock) == expected


def test_memory_of_another_is_not_taken_for_the_servers() -> None:
    assert postgres.users_of(postgres.Segment(os.getpid(), 1, 2)) is None
