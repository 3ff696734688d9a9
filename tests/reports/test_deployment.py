"""The file to deploy: the server's own parser takes it, and no text of the traffic is code."""

from __future__ import annotations

import configparser
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pretune.reports import deployment
from pretune.reports.gunicorn_conf import NothingRecommended
from pretune.server.adapters.catalogue import SERVERS
from pretune.server.settings import Settings

BIN = Path(sys.executable).parent
FLAGS = [name for name in SERVERS if name not in ("uwsgi", "mod_wsgi")]


# what the command does, up to the point where it would serve
PARSERS = {
    "uvicorn": (
        "import sys, uvicorn; m = sys.modules['uvicorn.main']; m.run = lambda *a, **k: 0; m.main()"
    ),
    "hypercorn": "import sys, hypercorn.__main__ as m; m.run = lambda c: 0; m.main(sys.argv[1:])",
    "waitress": "import sys, waitress.adjustments as m; m.Adjustments.parse_args(sys.argv[1:])",
    "granian": (
        "import granian.cli as m; m.Server = lambda *a, **k: type('S', (), {'serve': print})(); "
        "m.entrypoint()"
    ),
}
Load = Callable[[str], dict[str, Any]]


def verified_on(load: Load, server: str, **settings: Any) -> dict[str, Any]:
    document = load("fits")
    document["verification"]["server"] = f"{server} 1.2.3"
    kind = "gthread" if "gthread" in SERVERS[server].classes else "asgi"
    document["recommendation"]["settings"].update({"worker_class": kind, **settings})
    return document


def command_of(text: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith("exec ")]
    return shlex.split(line)[1:]


@pytest.mark.parametrize("server", list(SERVERS))
def test_every_line_is_a_comment_or_comes_from_the_table(load: Load, server: str) -> None:
    document = verified_on(load, server)
    document["recommendation"]["reasons"]["workers"] = "x\n[uwsgi]\nexec rm -rf /"
    found = deployment.choose(document)
    code = [line for line in found.text.splitlines() if line and not line.startswith("#")]
    assert not any("rm -rf" in line for line in code)
    assert found.name in deployment.NAMES
    assert found.command in found.text


def test_gunicorn_s_file_is_for_gunicorn_and_the_embedded_server(load: Load) -> None:
    document = load("fits")
    for server in ("gunicorn 27.0.1", "pretune (embedded)"):
        document["verification"]["server"] = server
        assert deployment.choose(document).name == "gunicorn.conf.py"
    document["verification"] = None
    assert deployment.choose(document).name == "gunicorn.conf.py"
    document["recommendation"] = None
    with pytest.raises(NothingRecommended):
        deployment.choose(document)


@pytest.mark.parametrize("server", FLAGS)
def test_the_server_s_own_parser_takes_every_flag(load: Load, server: str) -> None:
    document = verified_on(load, server, max_requests=1000, max_requests_jitter=100, workers=2)
    words = command_of(deployment.choose(document).text)
    parse = [sys.executable, "-c", PARSERS[server]]
    assert subprocess.run([*parse, *words[1:]], timeout=60).returncode == 0
    wrong = [*parse, "--no-such-flag=1", *words[1:]]
    assert subprocess.run(wrong, capture_output=True, timeout=60).returncode != 0


def test_apache_s_configuration_made_with_these_flags_is_valid(load: Load) -> None:
    express = Path(__file__).parents[2] / "build" / "apache" / "bin" / "mod_wsgi-express"
    if not express.exists():
        pytest.skip("make build/apache/.done, with Apache installed")
    document = verified_on(load, "mod_wsgi", max_requests=1000, workers=2)
    _, start, *flags = command_of(deployment.choose(document).text)
    assert start == "start-server"
    user = ["--user", "www-data", "--group", "www-data"] if os.getuid() == 0 else []
    with tempfile.TemporaryDirectory() as root:
        setup = [str(express), "setup-server", *flags, *user, "--server-root", root]
        subprocess.run(setup, check=True, capture_output=True, timeout=60)
        check = [f"{root}/apachectl", "configtest"]
        done = subprocess.run(check, capture_output=True, text=True, timeout=60)
    assert "Syntax OK" in done.stdout + done.stderr


def test_uwsgi_takes_every_line_of_its_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'']\n"
    )
    document = verified_on(load, "uwsgi", max_requests=1000, max_requests_jitter=100, workers=2)
    document["target"]["callable_name"] = "app:application"
    text = deployment.choose(document).text
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.read_string(text)
    assert parsed["uwsgi"]["processes"] == "2"
    (tmp_path / "uwsgi.ini").write_text(text.replace("127.0.0.1:8000", "127.0.0.1:0"))
    command = [str(BIN / "uwsgi"), "--strict", "--ini", "uwsgi.ini"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("WSGI app 0"):
                break
        assert any(line.startswith("WSGI app 0") for line in said), "".join(said)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_what_a_server_lacks_is_named(load: Load) -> None:
    text = deployment.choose(verified_on(load, "waitress")).text
    assert "max_requests: waitress has no such option. " in text
    given = SERVERS["waitress"].options(Settings(timeout=7.0, keepalive=3.0))
    assert ("channel-timeout", "3") in given
    assert "7" not in dict(given).values()
