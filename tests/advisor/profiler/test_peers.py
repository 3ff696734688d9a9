"""Where an app's connections lead is read from the kernel's lists."""

import os
import socket
import threading

from pretune.advisor.profiler.peers import (
    Peer,
    find_postgres,
    list_peers,
    remote_peers,
    watch_peers,
)


def test_a_postgres_is_known_by_its_port_or_by_what_the_app_says() -> None:
    peers = {Peer("203.0.113.7", 443), Peer("203.0.113.7", 7000)}
    assert find_postgres(peers, frozenset()) is None
    assert find_postgres(peers, frozenset({7000})) == Peer("203.0.113.7", 7000)
    assert find_postgres({Peer("10.0.0.1", 5432)}, frozenset()) == Peer("10.0.0.1", 5432)


def test_a_peer_is_shown_with_its_port_s_service() -> None:
    assert str(Peer("10.0.0.9", 443)) == "10.0.0.9:443 (https)"
    assert str(Peer("2001:db8::7", 5)).startswith("[2001:db8::7]:5")


def test_the_kernel_lists_connections_of_both_families() -> None:
    """Loopback is never remote; told not to be this machine's own, nothing else is connected."""
    for host in ("127.0.0.1", "::1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with (
            socket.create_server((host, 0), family=family) as server,
            socket.create_connection(server.getsockname()[:2]) as client,
        ):
            everything = list_peers(frozenset(), is_here=lambda _: False)
            peer = everything[os.fstat(client.fileno()).st_ino]
            assert peer == Peer(*server.getsockname()[:2])
            assert os.fstat(client.fileno()).st_ino not in list_peers(frozenset())


def test_only_sockets_of_the_asked_processes_count() -> None:
    assert remote_peers(lambda: [os.getpid()], frozenset()) == set()


def test_watching_ends_with_its_block() -> None:
    before = threading.active_count()
    with watch_peers(lambda: [os.getpid()], 0.001, 0.5) as seen:
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert seen == set()
