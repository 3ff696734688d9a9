"""Sockets: of one's own, of systemd's, of the master before."""

from __future__ import annotations

import os
import socket
import stat

import pytest
from support.commands import connect

from pretune.server.adapters.process import session_pids
from pretune.server.process import listening
from pretune.server.process.listening import BindFailed, listen


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


IPV6 = pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 here")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def opened():
    """What listen() gives, closed at the end."""
    kept = []

    def open_(*binds, **options):
        kept.append(listen(binds, 16, **options))
        return kept[-1]

    yield open_
    for each in kept:
        listening.close(each, unlink=True)


def answers(address: str) -> bool:
    with connect(address):
        return True


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("1.2.3.4:80", ("1.2.3.4", 80)),
        ("[::1]:80", ("::1", 80)),
        ("[::]:80", ("::", 80)),
        ("tcp://1.2.3.4:80", ("1.2.3.4", 80)),
        (":80", ("0.0.0.0", 80)),
        ("80", ("127.0.0.1", 80)),
        ("localhost", ("localhost", 8000)),
        ("[::1]", ("::1", 8000)),
    ],
)
def test_addresses(bind, address):
    assert listening.split(bind) == address


@pytest.mark.parametrize("bind", ["here:http", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:-1", "::1"])
def test_what_is_no_address(bind):
    if bind == "::1":  # reads as host "::" and port 1, as everywhere
        assert listening.split(bind) == (":", 1)
        return
    with pytest.raises(ValueError, match="is not a port"):
        listening.split(bind)
    with pytest.raises(BindFailed, match="cannot listen on"):
        listen([bind], 16)


@pytest.mark.parametrize(
    ("bind", "path"),
    [("unix:/a/b", "/a/b"), ("unix:///a/b", "/a/b"), ("unix:a", "a"), ("1.2.3.4:80", None)],
)
def test_paths(bind, path):
    assert listening.unix_path(bind) == path


@IPV6
def test_several_at_once(opened, tmp_path):
    found = opened("127.0.0.1:0", "[::1]:0", f"unix:{tmp_path}/sock")
    names = [listening.name(sock) for sock in found]
    assert [sock.family for sock in found] == [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX]
    assert names[1].startswith("[::1]:")
    assert names[2] == f"unix:{tmp_path}/sock"
    assert all(answers(name) for name in names)
    assert not any(sock.getblocking() or os.get_inheritable(sock.fileno()) for sock in found)


@IPV6
def test_both_protocols_on_one_port(opened):
    (first,) = opened("0.0.0.0:0")
    port = first.getsockname()[1]
    first.close()
    found = opened(f"0.0.0.0:{port}", f"[::]:{port}")
    assert answers(f"127.0.0.1:{port}")
    assert answers(f"[::1]:{port}")
    assert len(found) == 2


def test_a_failure_leaves_nothing_open(opened, tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    (taken,) = opened("127.0.0.1:0")
    with pytest.raises(BindFailed, match=r"cannot listen on 127\.0\.0\.1:.*in use"):
        listen([f"unix:{tmp_path}/sock", listening.name(taken)], 16)
    assert not (tmp_path / "sock").exists()
    assert len(os.listdir("/proc/self/fd")) == before + 1


def test_an_unknown_host_is_said():
    with pytest.raises(BindFailed, match=r"cannot listen on no-such-host\.invalid:80"):
        listen(["no-such-host.invalid:80"], 16)


# -- unix sockets


def test_the_file_goes_with_the_socket(opened, tmp_path):
    found = opened(f"unix:{tmp_path}/sock")
    listening.close(found, unlink=True)
    assert not (tmp_path / "sock").exists()


def test_a_stale_socket_is_replaced(opened, tmp_path):
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(f"{tmp_path}/sock")
    dead.listen()
    dead.close()
    assert answers(listening.name(opened(f"unix:{tmp_path}/sock")[0]))


@pytest.mark.parametrize("full", [False, True], ids=["", "queue is full"])
def test_a_living_servers_socket_is_not(opened, tmp_path, full):
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(f"{tmp_path}/sock")
        alive.listen(0)
        waiting = []
        while full:
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            waiting.append(sock)
            try:
                sock.connect(f"{tmp_path}/sock")
            except BlockingIOError:
                break
        with pytest.raises(BindFailed, match="a running server answers there"):
            opened(f"unix:{tmp_path}/sock")
        for sock in waiting:
            sock.close()
    assert (tmp_path / "sock").exists()


def test_somebodys_file_is_not(opened, tmp_path):
    (tmp_path / "sock").write_text("data")
    with pytest.raises(BindFailed, match="not a socket"):
        opened(f"unix:{tmp_path}/sock")
    assert (tmp_path / "sock").read_text() == "data"


def test_a_successors_socket_is_left_alone(opened, tmp_path):
    found = opened(f"unix:{tmp_path}/sock")
    (tmp_path / "sock").unlink()
    (other,) = opened(f"unix:{tmp_path}/sock")
    listening.close(found, unlink=True)
    assert answers(listening.name(other))


@pytest.mark.parametrize(("umask", "mode"), [(None, 0o777), (0o077, 0o700), (0o007, 0o770)])
def test_who_may_connect_is_the_umasks(opened, tmp_path, umask, mode):
    before = os.umask(0o022)
    try:
        opened(f"unix:{tmp_path}/sock", umask=umask)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "sock").stat().st_mode) == mode


@AS_ROOT
def test_the_file_belongs_to_the_workers(opened, tmp_path):
    opened(f"unix:{tmp_path}/sock", owner=(65534, 65533))
    info = (tmp_path / "sock").stat()
    assert (info.st_uid, info.st_gid) == (65534, 65533)


# -- reuse_port


def test_two_servers_share_a_port_only_if_both_want_to(opened):
    (first,) = opened("127.0.0.1:0", reuse_port=True)
    address = listening.name(first)
    opened(address, reuse_port=True)
    with pytest.raises(BindFailed, match="in use"):
        opened(address)


# -- sockets of others


@pytest.fixture
def given():
    """Listening sockets that somebody else opened."""
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    yield socks
    for sock in socks:
        sock.close()


def test_a_descriptor_is_adopted(opened, given):
    number = os.dup(given[0].fileno())
    (sock,) = opened(f"fd://{number}")
    assert sock.getsockname() == given[0].getsockname()
    assert not sock.getblocking()


def test_a_descriptor_that_does_not_listen_is_refused(tmp_path):
    ours, theirs = socket.socketpair()
    with open(tmp_path / "file", "w") as file:
        for number in (ours.fileno(), file.fileno(), 987654):
            with pytest.raises(BindFailed, match=f"descriptor {number}"):
                listen([f"fd://{number}"], 16)
        os.fstat(ours.fileno())  # and it is not closed
    ours.close()
    theirs.close()


def test_systemds_sockets_take_the_place_of_the_binds(opened, given, monkeypatch):
    numbers = sorted(os.dup(sock.fileno()) for sock in given)
    monkeypatch.setattr(listening, "SYSTEMD_FIRST", numbers[0])
    count = 2 if numbers[1] == numbers[0] + 1 else 1
    environ = {
        "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count), "LISTEN_FDNAMES": "a:b", "A": "1",
    }  # fmt: skip
    found = opened("127.0.0.1:1", environ=environ)
    assert len(found) == count
    assert {s.getsockname() for s in found} <= {s.getsockname() for s in given}
    assert environ == {"A": "1"}


def test_systemds_sockets_for_another_process_are_not_ours(opened):
    environ = {"LISTEN_PID": str(os.getppid()), "LISTEN_FDS": "1"}
    (sock,) = opened("127.0.0.1:0", environ=dict(environ))
    assert answers(listening.name(sock))
    assert listening.inherited(environ) is None


def test_what_systemd_passes_must_listen(monkeypatch):
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(listening, "SYSTEMD_FIRST", ours.fileno())
    with pytest.raises(BindFailed, match="systemd passed"):
        listening.inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
    ours.close()
    theirs.close()


@IPV6
def test_a_successor_takes_each_bind_it_still_wants(opened, tmp_path):
    old = opened("127.0.0.1:0", f"unix:{tmp_path}/sock", "[::1]:0")
    environ, numbers = listening.bequeath(old)
    assert numbers == [sock.fileno() for sock in old]
    # The successor has descriptors of its own, under the same numbers.
    for sock in old:
        number = sock.detach()
        assert number in numbers
    new = opened(
        "127.0.0.1:0", f"unix:{tmp_path}/sock", f"unix:{tmp_path}/another", environ=environ
    )
    assert [sock.fileno() for sock in new[:2]] == numbers[:2]
    assert new[2].fileno() != numbers[2] or new[2].family == socket.AF_UNIX
    assert environ == {}
    listening.close(new, unlink=True)
    assert list(tmp_path.iterdir()) == []  # it owns the files now


def test_what_a_master_left_may_be_nonsense():
    for text in ('{"a": 987654}', "{", "[]", '{"a": "b"}'):
        with pytest.raises(BindFailed, match="the master before us"):
            listening.inherited({listening.LEGACY: text})


# -- as processes


@IPV6
def test_a_server_at_several_addresses(tune, tmp_path):
    (tmp_path / "deep").mkdir()
    server = tune(
        "app", "-w1", "-b", "127.0.0.1:0", "--bind", "unix:deep/sock", "-b", "[::1]:0"
    ).ready()
    tcp, unix, tcp6 = server.addresses()
    assert unix == "unix:deep/sock"
    assert server.get("/", tcp) == server.get("/", tcp6) == "hello"
    assert server.get("/", f"unix:{tmp_path}/deep/sock") == "hello"
    assert server.stop() == 0
    assert not (tmp_path / "deep" / "sock").exists()


def test_a_killed_servers_socket_is_taken_over(tune, tmp_path):
    first = tune("app", "-w1", "-b", "unix:sock").ready()
    first.signal(9)
    first.end()
    first.wait_for(lambda: session_pids(first.pid) == [])
    second = tune("app", "-w1", "-b", "unix:sock").ready()
    assert second.get("/", f"unix:{tmp_path}/sock") == "hello"
    third = tune("app", "-w1", "-b", "unix:sock")
    assert third.end() == 1
    assert "a running server answers there" in third.log()
    assert second.get("/", f"unix:{tmp_path}/sock") == "hello"


def test_a_server_on_a_descriptor(tune, given):
    number = given[0].fileno()
    server = tune("app", "-w1", "-b", f"fd://{number}", pass_fds=(number,)).ready()
    host, port = given[0].getsockname()
    assert server.addresses() == [f"{host}:{port}"]
    assert server.get() == "hello"


def test_socket_activation_and_what_the_app_sees_of_it(tune, given):
    """systemd's own way: descriptor 3, and the pid of the process that is meant."""
    number = given[0].fileno()
    first = (
        f"import os; os.dup2({number}, 3)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='web')"
    )
    server = tune("app", "-w1", "-b", "127.0.0.1:1", pass_fds=(number,), first=first).ready()
    host, port = given[0].getsockname()
    assert server.addresses() == [f"{host}:{port}"]
    assert server.get() == "hello"
    assert server.get("/env/LISTEN_FDS") == server.get("/env/LISTEN_PID") == "-"
