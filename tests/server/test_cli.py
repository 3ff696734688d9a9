"""The command line, and what a start makes of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import BOOTSTRAP, connect

from pretune.server import cli
from pretune.server.config import commandline, configuration, options, values
from pretune.server.settings import WORKER_CLASSES, Settings


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch, tmp_path):
    for name in ("WEB_CONCURRENCY", "PORT", "FORWARDED_ALLOW_IPS", "GUNICORN_CMD_ARGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_line_that_people_know():
    line = (
        "myapp.wsgi:application --workers 9 --timeout 120 --max-requests 5000 "
        "--max-requests-jitter 1000 --preload --access-logfile - --error-logfile -"
    )
    config = cli.parse(line.split())
    assert config.target == "myapp.wsgi:application"
    assert config.settings == Settings(
        workers=9, worker_class="auto", timeout=120, max_requests=5000, max_requests_jitter=1000,
        preload_app=True,
    )  # fmt: skip
    assert (config.access_log, config.error_log, config.notes) == ("-", "-", ())


def test_every_flag_reaches_its_field(tmp_path):
    flags = """
        a:b -b 0.0.0.0:80 --bind unix:/s --threads 3 --graceful-timeout 20s --keep-alive 500ms
        --backlog 64 --worker-connections 50 -k sync -e A=b=c -e D=e --chdir / --pythonpath /p,/q
        --boot-timeout 2m --max-worker-memory 1.5G --max-worker-age 12h --reuse-port
        --forwarded-allow-ips 10.0.0.1,10.0.0.0/8 --proxy-protocol auto --proxy-allow-from *
        --metrics-bind 127.0.0.1:9 --limit-request-line 4094 --limit-request-fields 50
        --limit-request-field_size 1000 --access-logformat %(h)s --log-level warning
        --capture-output -u root -g root -m 027 -p pid -n shop --events-fd 5 --telemetry /t --probes
    """
    config = cli.parse(flags.split())
    assert config.binds == ("0.0.0.0:80", "unix:/s")
    assert config.settings == Settings(
        workers=config.settings.workers, threads=3, worker_class="sync", graceful_timeout=20.0,
        keepalive=0.5, backlog=64, worker_connections=50,
    )  # fmt: skip
    assert (config.env, config.chdir) == ((("A", "b=c"), ("D", "e")), "/")
    assert config.pythonpath == ("/p", "/q")
    assert (config.boot_timeout, config.max_worker_age) == (120.0, 43200.0)
    assert config.max_worker_memory == 1536 * 2**20
    assert (config.reuse_port, config.proxy_protocol, config.proxy_allow_ips) == (True, True, "*")
    assert config.forwarded_allow_ips == "10.0.0.1,10.0.0.0/8"
    assert config.metrics == "127.0.0.1:9"
    limits = config.limits
    assert (limits.line, limits.fields, limits.field_size) == (4094, 50, 1000)
    assert (config.access_format, config.log_level) == ("%(h)s", "warning")
    assert config.capture_output
    assert (config.user, config.group, config.umask) == (0, 0, 0o027)
    assert (config.pid_file, config.proc_name) == ("/pid", "shop")
    assert (config.events_fd, config.telemetry, config.probes) == (5, "/t", True)


def test_no_setting_is_left_without_a_place():
    """A row added to the table and forgotten in ``assemble`` would be a flag without effect."""
    with open(configuration.__file__) as file:
        source = file.read()
    for name in options.OPTIONS:
        assert f'"{name}"' in source or name in Settings.__dataclass_fields__, name


def test_every_setting_stands_in_the_documentation():
    text = Path(__file__).parents[2].joinpath("docs", "SERVER.md").read_text()
    for option in options.OPTIONS.values():
        assert f"`{option.name}`" in text
        assert f"`{option.flags[0]}`" in text


@pytest.mark.parametrize(
    "flags",
    [
        "", "a -w 0", "a -w x", "a -w 1.5", "a --timeout -1", "a --timeout nan", "a --timeout inf",
        "a -e novalue", "a -k magic", "a --max-worker-memory 5X", "a --log-level loud", "a --nope",
        "a -u no-such-user", "a -m 999", "a --access-logformat %(h)", "a b",
        "a --forwarded-allow-ips here", "a --proxy-protocol v3",
    ],
)  # fmt: skip
def test_wrong_usage_is_2_and_says_why(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(flags.split())
    assert stop.value.code == 2
    assert "tune serve: error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "number"),
    [("1048576", 2**20), ("512M", 2**29), ("512mb", 2**29), ("0.5GiB", 2**29), ("2k", 2048),
     (4096, 4096), ("0", 0)],
)  # fmt: skip
def test_sizes_as_people_write_them(text, number):
    assert values.size(text) == number


@pytest.mark.parametrize("text", ["", "M", "-1M", "1 000", "1E9", "5Z", True, None, "1MM"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="is not a size"):
        values.size(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("30", 30), (30, 30), (0.5, 0.5), ("1.5s", 1.5), ("90 s", 90), ("15m", 900), ("15min", 900),
     ("12h", 43200), ("2d", 172800), ("500ms", 0.5), ("0", 0)],
)  # fmt: skip
def test_durations_as_people_write_them(text, number):
    assert values.seconds(text) == number


def test_classes_of_others_are_ours():
    assert set(values.CLASSES.values()) - {"auto", "gevent"} <= set(WORKER_CLASSES)
    for name, meant in values.CLASSES.items():
        if meant in (*WORKER_CLASSES, "auto"):
            assert values.worker_class(name) == meant
    for name in WORKER_CLASSES:
        assert values.worker_class(name) == name


def test_classes_given_as_classes():
    made = type("UvicornWorker", (), {"__module__": "uvicorn.workers"})
    assert values.worker_class(made) == "asgi"
    with pytest.raises(ValueError, match=r"shop\.Special' is not a worker class here"):
        values.worker_class(type("Special", (), {"__module__": "shop"}))


def test_help_names_every_flag_with_its_default(capsys):
    with pytest.raises(SystemExit) as stop:
        commandline.parser().parse_args(["--help"])
    assert stop.value.code == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for option in options.OPTIONS.values():
        assert all(flag in text for flag in option.flags)
    assert "(default: 30)" in text
    assert "(default: 127.0.0.1:8000, or 0.0.0.0:$PORT)" in text
    assert "%(h)s" in text
    for name in options.GROUPS:
        assert f"{name}: " in text


def test_no_flag_of_gunicorns_is_an_error():
    pytest.importorskip("gunicorn")
    from gunicorn.config import KNOWN_SETTINGS

    ours = {flag for action in commandline.parser()._actions for flag in action.option_strings}
    theirs = {flag for setting in KNOWN_SETTINGS for flag in setting.cli or ()}
    assert theirs - ours == set()


def test_flags_we_do_not_have_are_named_in_one_warning():
    flags = "a --daemon --worker-tmp-dir /dev/shm --log-syslog --http-protocols h1"
    config = cli.parse(flags.split())
    assert config.notes == (
        (
            "warning",
            "command line: ignored settings: not supported here: daemon, syslog; not needed "
            "here: worker_tmp_dir (heartbeats are in shared memory)",
        ),
    )


# -- as processes


def check(*flags: str, cwd) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, BOOTSTRAP, "serve", *flags],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_configuration_is_checked_without_serving(tune, tmp_path):
    done = check("app", "--check-config", "-w3", "--threads", "2", "-b", "unix:sock", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == (
        "ok: app:application is WSGI, to be served by 3 gthread workers at unix:sock\n"
    )
    assert not (tmp_path / "sock").exists()


@pytest.mark.parametrize(
    ("source", "flags", "said"),
    [
        ("import no_such_library\n", [], "No module named 'no_such_library'"),
        ("x = 1\n", [], "app has no application or app"),
        (
            "async def app(scope, receive, send): ...\n",
            ["-k", "sync"],
            "this is an ASGI application",
        ),
        ("raise SystemExit(0)\n", [], "importing app failed: SystemExit: 0"),
    ],
)
def test_a_check_that_fails_is_1_and_shows_the_users_own(tune, tmp_path, source, flags, said):
    (tmp_path / "app.py").write_text(source)
    done = check("app", "--check-config", *flags, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert "importing.py" not in done.stderr


def test_a_check_does_not_wait_for_the_apps_threads(tune, tmp_path):
    (tmp_path / "app.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "def app(environ, start_response): ...\n"
    )
    assert check("app", "--check-config", cwd=tmp_path).returncode == 0


def test_the_configuration_is_printed_without_secrets(tune, tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("timeout = 7\n")
    done = check("app", "--print-config", "-w3", "-e", "PASSWORD=hunter2", cwd=tmp_path)
    assert done.returncode == 0
    assert re.search(r"^workers += 3  # flag$", done.stdout, re.M)
    assert re.search(rf"^timeout += 7.0  # {tmp_path}/gunicorn.conf.py$", done.stdout, re.M)
    assert re.search(r"^threads += 1  # default$", done.stdout, re.M)
    assert "PASSWORD=***" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_the_line_that_people_know_serves(tune):
    line = (
        "app --workers 2 --timeout 120 --max-requests 5000 --max-requests-jitter 1000 --preload "
        "--access-logfile - --error-logfile - -b 127.0.0.1:0"
    )
    server = tune(*line.split()).ready()
    assert server.get("/known", User_Agent="me") == "hello"
    server.wait_for(lambda: '"GET /known HTTP/1.1" 200 ' in server.log())
    assert server.log().count("is ready after") == 2
    assert server.stop() == 0


def opened(pid: int | str) -> set[str]:
    """The paths of the logs a process has open."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return {path for path in found if re.search(r"/(error|access)(\.\d)?$", path)}


def test_usr1_reopens_the_logs_of_all(tune, tmp_path):
    error, access = tmp_path / "error", tmp_path / "access"
    server = tune(
        "app", "-w2", "-b", "unix:sock", "--access-logfile", "access", "--error-logfile", "error"
    )
    server.wait_for(lambda: error.exists() and "] ready" in error.read_text())
    workers = re.findall(r"worker (\d+) is ready", error.read_text())
    assert len(workers) == 2
    for number in range(2):
        for path in (error, access):
            path.rename(f"{path}.{number}")
        server.signal(signal.SIGUSR1)
        for pid in (server.pid, *workers):
            server.wait_for(lambda pid=pid: opened(pid) == {str(error), str(access)})
    server.get("/after", f"unix:{tmp_path}/sock")
    server.wait_for(lambda: "GET /after" in access.read_text())
    assert server.stop() == 0
    assert "stopped" in error.read_text()
    assert "stopped" not in (tmp_path / "error.1").read_text()


def test_a_log_that_cannot_be_opened_is_1(tune):
    server = tune("app", "-w1", "-b", "unix:sock", "--error-logfile", "absent/log")
    assert server.end() == 1
    assert "cannot open the error log" in server.log()
    assert "absent/log: No such file or directory" in server.log()


def test_a_full_access_log_does_not_hurt(tune):
    server = tune("app", "-w1", "-b", "127.0.0.1:0", "--access-logfile", "/dev/full").ready()
    for _ in range(3):
        assert server.get() == "hello"
    server.wait_for(lambda: "the access log cannot be written: No space left" in server.log())
    assert len(server.workers()) == 1


def test_levels_and_captured_output(tune, tmp_path):
    (tmp_path / "loud.py").write_text("print('printed')\n" + (tmp_path / "app.py").read_text())
    server = tune(
        "loud", "-w1", "-b", "unix:sock", "--error-logfile", "error", "--capture-output",
        "--log-level", "warning",
    )  # fmt: skip
    server.wait_for(lambda: (tmp_path / "sock").exists())
    server.wait_for(lambda: server.get("/", f"unix:{tmp_path}/sock") == "hello")
    server.stop()
    text = (tmp_path / "error").read_text()
    assert "printed\n" in text
    assert "[INFO]" not in text
    assert server.log() == ""


def test_closed_standard_descriptors_are_not_given_to_sockets(tune, tmp_path):
    first = "import os; [os.close(fd) for fd in (0, 1, 2)]"
    server = tune(
        "app", "-w1", "-b", "unix:sock", "--access-logfile", "-", "--error-logfile", "error",
        first=first,
    )  # fmt: skip
    server.wait_for(lambda: (tmp_path / "error").exists() and "] ready" in
                    (tmp_path / "error").read_text())  # fmt: skip
    assert server.get("/", f"unix:{tmp_path}/sock") == "hello"
    for fd in (0, 1, 2):
        assert not os.readlink(f"/proc/{server.pid}/fd/{fd}").startswith("socket:")


def test_port_and_concurrency_of_the_environment(tune):
    with socket.create_server(("", 0)) as probe:
        port = probe.getsockname()[1]
    server = tune("app", env={"PORT": str(port), "WEB_CONCURRENCY": "2"}).ready()
    assert server.addresses() == [f"0.0.0.0:{port}"]
    assert server.get("/", f"127.0.0.1:{port}") == "hello"
    assert len(server.workers()) == 2


def test_an_address_in_use_is_1(tune):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = tune("app", "-w1", "-b", f"127.0.0.1:{port}")
        assert server.end() == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in server.log()


def test_two_servers_share_a_port(tune):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    flags = ("app", "-w1", "-b", f"127.0.0.1:{port}", "--reuse-port")
    first, second = tune(*flags).ready(), tune(*flags).ready()
    first.stop()
    assert second.get() == "hello"


def test_a_path_for_modules(tune, tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "further.py").write_text("WORD = 'found'\n")
    (tmp_path / "user.py").write_text("import further\n" + (tmp_path / "app.py").read_text())
    server = tune("user", "-w1", "-b", "unix:sock", "--pythonpath", "lib").ready()
    with connect(f"unix:{tmp_path}/sock"):
        assert len(server.workers()) == 1
