"""What the load would reach outside this machine is refused or named, however it is reached."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.runs import Sandbox

HERE, THERE = "198.18.77.1", "198.18.77.2"  # RFC 2544: for tests of networks
NAMESPACE = f"pretune-test-{os.getpid()}"

# The other machine: accepts on a few ports, and says nothing.
LISTENER = """
import select, socket, sys
servers = [socket.create_server(("", int(port))) for port in sys.argv[1:]]
print("ready", flush=True)
kept = []
while True:
    for server in select.select(servers, [], [])[0]:
        kept.append(server.accept())
"""

APP = """
import socket, time

def application(environ, start_response):
    with socket.create_connection((HOST, PORT), timeout=5):
        time.sleep(0.2)  # a query
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def another_machine() -> Iterator[None]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2: another machine is a network namespace here")
    try:
        ip("netns", "add", NAMESPACE)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace can be made: {error.stderr!r}")
    listener = None
    try:
        ip(
            "link",
            "add",
            "pretune0",
            "type",
            "veth",
            "peer",
            "name",
            "pretune1",
            "netns",
            NAMESPACE,
        )
        ip("addr", "add", f"{HERE}/30", "dev", "pretune0")
        ip("link", "set", "pretune0", "up")
        ip("-n", NAMESPACE, "addr", "add", f"{THERE}/30", "dev", "pretune1")
        ip("-n", NAMESPACE, "link", "set", "pretune1", "up")
        listener = subprocess.Popen(
            [
                "ip",
                "netns",
                "exec",
                NAMESPACE,
                sys.executable,
                "-c",
                LISTENER,
                "5432",
                "587",
                "7001",
            ],
            stdout=subprocess.PIPE,
        )
        assert listener.stdout is not None
        assert listener.stdout.readline() == b"ready\n"
        yield
    finally:
        if listener is not None:
            listener.kill()
            listener.communicate()
        ip("netns", "delete", NAMESPACE)  # takes the veth pair along


def write_app(sandbox: Sandbox, port: int) -> None:
    app = APP.replace("HOST", repr(THERE)).replace("PORT", str(port))
    (sandbox.directory / "tiny.py").write_text(app)


@pytest.mark.usefixtures("another_machine")
def test_a_postgres_that_nothing_names_is_refused_when_the_app_connects(sandbox: Sandbox) -> None:
    write_app(sandbox, 5432)
    code, output = sandbox.run("tiny", "--ram", "1G", "--dry-run")
    assert code == 2, output
    assert f"{THERE}:5432" in output
    assert "--allow-remote-db" in output
    code, output = sandbox.run("tiny", "--ram", "1G", "--dry-run", "--allow-remote-db")
    assert code == 0, output


@pytest.mark.usefixtures("another_machine")
def test_another_service_is_a_line_of_the_dry_run(sandbox: Sandbox) -> None:
    write_app(sandbox, 587)
    code, output = sandbox.run("tiny", "--ram", "1G", "--dry-run")
    assert code == 0, output
    assert f"{THERE}:587" in output


@pytest.mark.usefixtures("another_machine")
def test_a_trial_ends_when_the_app_reaches_one_only_under_load(sandbox: Sandbox) -> None:
    """Its first requests look harmless."""
    app = APP.replace("HOST", repr(THERE)).replace("PORT", "5432")
    app = app.replace(
        "    with", "    global count\n    count += 1\n    if count > 50:\n     with", 1
    )
    app = app.replace("        time", "         time", 1)
    (sandbox.directory / "tiny.py").write_text("count = 0\n" + app)
    code, output = sandbox.run("tiny", "--ram", "1G", "--time-budget", "20s")
    assert code == 2, output
    assert f"{THERE}:5432" in output


@pytest.mark.usefixtures("another_machine")
@pytest.mark.parametrize(
    "environ",
    [
        {"DATABASE_URL": f"host={THERE} dbname=shop"},
        {"DATABASE_URL": "postgresql:///shop", "PGHOST": THERE},
        {"DATABASE_URL": "postgresql:///shop", "PGSERVICE": "prod", "PGSERVICEFILE": "services"},
        {"DATABASE_URL": f"postgresql://app@{THERE}:7001/shop"},
    ],
)
def test_what_the_environment_names_is_refused_before_anything_runs(
    sandbox: Sandbox, environ: dict[str, str]
) -> None:
    services = sandbox.directory / "services"
    services.write_text(f"[prod]\nhost={THERE}\n")
    environ = {name: str(services) if v == "services" else v for name, v in environ.items()}
    Path(sandbox.directory, "app.env").write_text(
        "".join(f"{name}={value!r}\n" for name, value in environ.items())
    )
    code, output = sandbox.run("tiny", "--ram", "1G", "--dry-run", "--env-file", "app.env")
    assert code == 2, output
    assert "--allow-remote-db" in output
    assert THERE in output
