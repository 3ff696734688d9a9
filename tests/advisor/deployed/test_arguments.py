"""Each server's command line, held against the server's own parser where it is installed."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pretune.advisor.deployed.arguments import Said, parse
from pretune.advisor.deployed.grammar import GRAMMARS, SETTINGS
from pretune.advisor.deployed.shell import Surroundings
from tests.advisor.deployed.shell_commands import commands


def said(server: str, text: str) -> Said:
    ((words, _),) = commands(f"x {text}", Surroundings())
    return parse(GRAMMARS[server], words[1:], lambda word: "F:1")


def values(server: str, text: str) -> dict[str, Any]:
    return {name: setting.value for name, setting in said(server, text).settings.items()}


GUNICORN = (
    "-w 4 a:b",
    "-w4 -k gthread --threads=8 a:b",
    "--workers=3 --timeout 90 --graceful-timeout 20 --keep-alive 7 a:b",
    "--max-requests 1000 --max-requests-jitter 50 --preload --backlog 512 a:b",
    "--worker-connections 77 -t 33 a:b --bind 0.0.0.0:80 --access-logfile - --log-level debug",
    "--worker-class uvicorn.workers.UvicornWorker -b unix:/x.sock --log-file=- a:b",
    "--thread 2 --worker-conn 9 a:b",
)


@pytest.mark.parametrize("line", GUNICORN)
def test_gunicorn_s_own_parser_reads_the_same(line: str) -> None:
    config = pytest.importorskip("gunicorn.config").Config()
    theirs = config.parser().parse_args(line.split())
    mine = said("gunicorn", line)
    assert mine.unknown == ()
    assert mine.positional == tuple(theirs.args)
    for name in SETTINGS:
        given = getattr(theirs, name, None)
        setting = mine.settings.get(name)
        if name == "worker_class" and given is not None:
            assert setting is not None
            assert setting.value in ("gthread", "asgi")
        else:
            assert given == (setting.value if setting is not None else None), name


def test_gunicorn_s_defaults_are_its_own() -> None:
    config = pytest.importorskip("gunicorn.config").Config()
    for name, value in GRAMMARS["gunicorn"].defaults.items():
        theirs = config.settings[name].default
        assert (theirs if name != "worker_class" else "sync") == value, name


def test_every_option_of_gunicorn_s_parser_is_known() -> None:
    parser = pytest.importorskip("gunicorn.config").Config().parser()
    _as_they_say(
        "gunicorn",
        {s: a.nargs != 0 for a in parser._actions for s in a.option_strings},
        optional={s for a in parser._actions if a.nargs == "?" for s in a.option_strings},
    )


def test_every_option_of_uvicorn_s_command_is_known() -> None:
    pytest.importorskip("uvicorn.main")
    _as_they_say("uvicorn", _of_click(sys.modules["uvicorn.main"].main))


def test_every_option_of_granian_s_command_is_known() -> None:
    _as_they_say("granian", _of_click(pytest.importorskip("granian.cli").cli))


def test_every_option_of_hypercorn_s_command_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    main = pytest.importorskip("hypercorn.__main__")
    _as_they_say("hypercorn", _of_hypercorn(main, monkeypatch))


def test_every_option_of_waitress_s_command_is_known() -> None:
    adjustments = pytest.importorskip("waitress.adjustments")
    switches = {
        f"--{sign}{name.replace('_', '-')}": False
        for name, cast in adjustments.Adjustments._params
        if cast is adjustments.asbool
        for sign in ("", "no-")
    }
    valued = {
        f"--{name.replace('_', '-')}": True
        for name, cast in adjustments.Adjustments._params
        if cast is not adjustments.asbool
    }
    _as_they_say("waitress", switches | valued)


def _as_they_say(server: str, theirs: dict[str, bool], optional: set[str] | None = None) -> None:
    """``theirs``: option -> whether it takes a value. What a newer version adds is told as unknown
    to the user; what is here in our table must be as it is there."""
    grammar = GRAMMARS[server]
    for option, takes in theirs.items():
        if option in (optional or ()):
            continue
        assert (option in grammar.valued, option in grammar.switches) == (takes, not takes), option
    ours = {o for o in (*grammar.valued, *grammar.switches) if grammar.valued.get(o)}
    assert ours <= set(theirs)


def _of_click(command: Any) -> dict[str, bool]:
    return {
        option: not parameter.is_flag
        for parameter in command.params
        if hasattr(parameter, "is_flag")
        for option in (*parameter.opts, *parameter.secondary_opts)
    }


class _Parser(Exception):
    pass


def _of_hypercorn(main: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    def stop(self: argparse.ArgumentParser, *_: object) -> None:
        raise _Parser(self)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(_Parser) as caught:
        main.main([])
    (parser,) = caught.value.args
    return {s: a.nargs != 0 for a in parser._actions for s in a.option_strings}


def test_uvicorn_reads_the_same_values() -> None:
    pytest.importorskip("uvicorn.main")
    line = (
        "a:b --workers 3 --timeout-keep-alive 9 --backlog 64 --limit-concurrency 101 "
        "--limit-max-requests 5 --limit-max-requests-jitter 2 --timeout-graceful-shutdown 8 "
        "--timeout-worker-healthcheck 4 --no-access-log --proxy-headers --host 0.0.0.0"
    )
    theirs = sys.modules["uvicorn.main"].main.make_context("uvicorn", line.split()).params
    mine = values("uvicorn", line)
    assert mine["worker_connections"] == theirs["limit_concurrency"] - 1
    assert (mine["workers"], mine["keepalive"]) == (3, theirs["timeout_keep_alive"])
    assert (mine["backlog"], mine["max_requests"]) == (64, theirs["limit_max_requests"])
    assert mine["max_requests_jitter"] == theirs["limit_max_requests_jitter"]
    assert mine["graceful_timeout"] == theirs["timeout_graceful_shutdown"]
    assert mine["timeout"] == theirs["timeout_worker_healthcheck"]


def test_granian_reads_the_same_values() -> None:
    cli = pytest.importorskip("granian.cli").cli
    line = (
        "--interface wsgi --workers 3 --blocking-threads 8 --backlog 256 --backpressure 20 "
        "--workers-kill-timeout 9 --no-ws --port 80 a:b"
    )
    theirs = cli.make_context("granian", line.split()).params
    mine = values("granian", line)
    assert mine["workers"] == theirs["workers"]
    assert mine["threads"] == theirs["blocking_threads"]
    assert mine["backlog"] == theirs["backlog"]
    assert mine["worker_connections"] == theirs["backpressure"]
    assert mine["graceful_timeout"] == theirs["workers_kill_timeout"]
    assert said("granian", line).positional == ("a:b",)


def test_waitress_reads_the_same_values() -> None:
    adjustments = pytest.importorskip("waitress.adjustments").Adjustments
    line = "--threads=12 --channel-timeout=60 --connection-limit 77 --backlog=5 --no-ipv6 a:b"
    theirs, _ = adjustments.parse_args(line.split())[:2]
    mine = values("waitress", line)
    assert mine["threads"] == int(theirs["threads"])
    assert mine["keepalive"] == int(theirs["channel_timeout"])
    assert mine["worker_connections"] == int(theirs["connection_limit"])
    assert mine["backlog"] == int(theirs["backlog"])
    defaults = GRAMMARS["waitress"].defaults
    assert defaults["threads"] == adjustments.threads
    assert defaults["keepalive"] == adjustments.channel_timeout
    assert defaults["worker_connections"] == adjustments.connection_limit
    assert defaults["backlog"] == adjustments.backlog


def test_hypercorn_s_defaults_are_its_own() -> None:
    config = pytest.importorskip("hypercorn.config").Config
    defaults = GRAMMARS["hypercorn"].defaults
    assert defaults["workers"] == config.workers
    assert defaults["graceful_timeout"] == config.graceful_timeout
    assert defaults["keepalive"] == config.keep_alive_timeout
    assert defaults["backlog"] == config.backlog


def test_uwsgi_reads_the_same_values(tmp_path: Path) -> None:
    """uWSGI shows the configuration that it understood, and ends: there is no app."""
    pytest.importorskip("pyuwsgi")
    start = "import sys, pyuwsgi; sys.argv[0] = 'uwsgi'; sys.exit(pyuwsgi.run())"
    line = (
        "--http-socket 127.0.0.1:0 -p 3 --threads 2 -t 20 -R 500 --max-requests-delta 10 "
        "--worker-reload-mercy 9 -l 50 --lazy-apps --master"
    )
    words = [*line.split(), "--show-config", "--need-app", "--module", "nothing_here"]
    ran = subprocess.run(
        [sys.executable, "-c", start, *words], cwd=tmp_path, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    shown = dict(
        row.strip().split(" = ", 1)
        for row in (ran.stdout + ran.stderr).splitlines()
        if " = " in row
    )
    mine = values("uwsgi", line)
    assert mine["workers"] == int(shown["processes"])
    assert mine["threads"] == int(shown["threads"])
    assert mine["timeout"] == int(shown["harakiri"])
    assert mine["max_requests"] == int(shown["max-requests"])
    assert mine["max_requests_jitter"] == int(shown["max-requests-delta"])
    assert mine["graceful_timeout"] == int(shown["worker-reload-mercy"])
    assert mine["backlog"] == int(shown["listen"])
    assert mine["preload_app"] is False
    assert "lazy-apps" in shown


def test_mod_wsgi_s_options_are_read() -> None:
    line = (
        "start-server --processes 2 --threads=10 --request-timeout 30 --maximum-requests 900 "
        "--port 80 --log-to-terminal shop/wsgi.py"
    )
    assert values("mod_wsgi", line) == {
        "workers": 2, "threads": 10, "timeout": 30.0, "max_requests": 900,
    }  # fmt: skip
    assert said("mod_wsgi", line).positional == ("start-server", "shop/wsgi.py")


def test_what_is_not_understood_is_named() -> None:
    found = said("gunicorn", "--frobnicate 3 --wat -w three a:b --timeout")
    assert found.positional == ("a:b",)
    assert found.settings["workers"].value is None
    assert found.settings["workers"].note == "'three' is not understood"
    assert found.unknown == (
        "--frobnicate (F:1)", "--wat (F:1)", "--timeout without a value (F:1)",
    )  # fmt: skip


def test_what_is_decided_at_run_time_is_told() -> None:
    found = said("gunicorn", "-w $WORKERS --threads ${THREADS:-4} a:b")
    assert found.settings["workers"].place == "F:1, set by $WORKERS at run time"
    assert found.settings["workers"].value is None
    assert found.settings["threads"].value == 4
    assert found.settings["threads"].place == "F:1, unless $THREADS is set"


@pytest.mark.parametrize("server", list(GRAMMARS))
@pytest.mark.parametrize("text", ["", "-", "--", "-w", "--=", "=", "-- -w 3", "--workers=", "-ww"])
def test_no_command_line_raises(server: str, text: str) -> None:
    assert isinstance(said(server, text), Said)


def test_settings_are_all_of_ours_or_none() -> None:
    for grammar in GRAMMARS.values():
        named = {s for s in grammar.valued.values() if s}
        named |= {what[0] for what in grammar.switches.values() if what is not None}
        assert named | set(grammar.defaults) <= set(SETTINGS)
        json.dumps(dict(grammar.defaults))
