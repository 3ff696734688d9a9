"""What systemd hears: a real datagram socket stands for it."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from pretune.server.master.notify import Notifier


class Manager:
    """The end of the socket that systemd would hold."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + address[1:] if address.startswith("@") else address)
        self.sock.settimeout(30)
        self.heard: list[dict[str, str]] = []

    def next(self) -> dict[str, str]:
        text = self.sock.recv(4096).decode()
        self.heard.append(dict(line.split("=", 1) for line in text.splitlines()))
        return self.heard[-1]

    def until(self, name: str) -> dict[str, str]:
        """The next message with this field."""
        while name not in (message := self.next()):
            pass
        return message


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path: Path):
    address = f"@pretune-{os.getpid()}" if request.param == "abstract" else f"{tmp_path}/notify"
    made = Manager(address)
    yield made
    made.sock.close()


def test_the_life_of_a_service(start, manager, tmp_path):
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "400000"}
    one = start("-w", "2", environ=environ)
    ready = manager.until("READY")
    assert ready["MAINPID"] == str(one.process.pid)
    assert "2 workers" in ready["STATUS"]
    assert manager.until("WATCHDOG") == manager.until("WATCHDOG")
    one.send(signal.SIGHUP)
    assert int(manager.until("RELOADING")["MONOTONIC_USEC"]) > 0
    manager.until("READY")
    # A reload that fails is over, too.
    (tmp_path / "app.py").write_text("import no_such_library\n")
    one.send(signal.SIGHUP)
    manager.until("RELOADING")
    manager.until("READY")
    one.send(signal.SIGTERM)
    manager.until("STOPPING")
    one.process.wait(30)


def test_after_an_upgrade_another_process_is_the_service(start, tmp_path):
    manager = Manager(f"{tmp_path}/notify")
    one = start(environ={"NOTIFY_SOCKET": manager.address})
    manager.until("READY")
    one.send(signal.SIGUSR2)
    assert manager.until("READY")["MAINPID"] != str(one.process.pid)
    one.wait_for(lambda: one.pid(".2"))
    new = one.pid(".2")
    while manager.heard[-1] != {"MAINPID": str(new)}:  # also said by the old one
        manager.next()
    os.kill(new, signal.SIGKILL)
    while manager.heard[-1] != {"MAINPID": str(one.process.pid)}:
        manager.next()
    manager.sock.close()


def test_what_the_app_starts_does_not_speak_for_the_server(start, tmp_path):
    manager = Manager(f"{tmp_path}/notify")
    (tmp_path / "app.py").write_text(
        "import os\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [repr(sorted(n for n in os.environ if n in "
        "('NOTIFY_SOCKET', 'WATCHDOG_USEC', 'PRETUNE_MASTER'))).encode()]\n"
    )
    one = start(environ={"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "60000000"})
    assert one.text() == "[]"
    manager.sock.close()


def test_nobody_asked():
    environ: dict[str, str] = {}
    silent = Notifier(environ)
    silent.ready("x")
    silent.beat(1e12)
    assert silent.next_beat == float("inf")


def test_a_watchdog_of_another_process_is_not_ours():
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    assert Notifier(environ).next_beat == float("inf")
    assert environ == {}


def test_a_manager_that_is_gone_harms_nobody():
    Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"}).ready("x")
