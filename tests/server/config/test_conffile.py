"""gunicorn.conf.py: what is taken, what is named, whose traceback is shown."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from pretune.server.config import conffile, configuration
from pretune.server.config.config import ConfigBroken


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Read a file with this text, from its directory."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(conffile, "_imported", set())
    known = set(sys.modules)

    def read_(text: str) -> conffile.Settings:
        (tmp_path / "gunicorn.conf.py").write_text(text)
        return conffile.read(str(tmp_path / "gunicorn.conf.py"), str(tmp_path))

    yield read_
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("workers = 9", "workers", 9),
        ("workers = '9'", "workers", 9),
        ("threads = 4", "threads", 4),
        ("timeout = 120", "timeout", 120.0),
        ("bind = '0.0.0.0:80'", "bind", ("0.0.0.0:80",)),
        ("bind = ['0.0.0.0:80', 'unix:/s']", "bind", ("0.0.0.0:80", "unix:/s")),
        ("raw_env = ['A=1', 'B=c=d']", "raw_env", (("A", "1"), ("B", "c=d"))),
        ("preload_app = True", "preload_app", True),
        ("preload_app = 'false'", "preload_app", False),
        ("worker_class = 'uvicorn.workers.UvicornWorker'", "worker_class", "asgi"),
        ("worker_class = 'uvicorn_worker.UvicornWorker'", "worker_class", "asgi"),
        ("worker_class = 'gthread'", "worker_class", "gthread"),
        ("worker_class = 'egg:gunicorn#sync'", "worker_class", "sync"),
        ("worker_class = 'gunicorn.workers.gthread.ThreadWorker'", "worker_class", "gthread"),
        ("umask = 0o027", "umask", 0o027),
        ("umask = '027'", "umask", 0o027),
        ("user = 0", "user", 0),
        ("user = 'root'", "user", 0),
        ("forwarded_allow_ips = '*'", "forwarded_allow_ips", "*"),
        ("forwarded_allow_ips = ['10.0.0.0/8', '::1']", "forwarded_allow_ips", "10.0.0.0/8,::1"),
        ("proxy_protocol = True", "proxy_protocol", True),
        ("proxy_protocol = 'v2'", "proxy_protocol", True),
        ("proxy_protocol = 'off'", "proxy_protocol", False),
        ("loglevel = 'DEBUG'", "loglevel", "debug"),
        ("accesslog = '-'", "accesslog", "-"),
        ("limit_request_line = 0", "limit_request_line", 0),
        ("max_worker_memory = '512M'", "max_worker_memory", 512 * 2**20),
        ("pythonpath = 'a,b'", "pythonpath", ("a", "b")),
        ("wsgi_app = 'shop.wsgi:app'", "wsgi_app", "shop.wsgi:app"),
    ],
)
def test_settings_are_taken(read, line, name, value):
    settings = read(line + "\n")
    assert settings.known == {name: value}
    assert (settings.foreign, settings.unknown) == ({}, ())


def test_none_is_gunicorns_way_of_saying_nothing(read):
    assert read("user = None\naccesslog = None\nlogconfig = None\n").known == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("workers = 'many'", "workers: 'many' is not a whole number"),
        ("workers = 0", "workers: 0 is less than 1"),
        ("timeout = -1", "timeout: -1 is not a duration"),
        ("bind = []", "bind: there is no address"),
        ("bind = 8000", "bind: 8000 is neither a string nor a list"),
        ("raw_env = ['A']", "raw_env: 'A' is not NAME=VALUE"),
        ("loglevel = 'loud'", "loglevel: 'loud' is not one of"),
        ("user = 'no-such-user'", "user: there is no user"),
        ("forwarded_allow_ips = 'here'", "forwarded_allow_ips: 'here' does not appear"),
        ("umask = 4096", "umask: 4096 is not a umask"),
        ("access_log_format = '%(h)'", "access_log_format: "),
        ("def post_fork(server): pass", "post_fork: it is called with 2 arguments"),
        ("post_fork = 5", "post_fork: 5 cannot be called"),
    ],
)
def test_a_value_that_cannot_be_is_named(read, line, message):
    with pytest.raises(ConfigBroken) as broken:
        read(line + "\n")
    assert f"gunicorn.conf.py: {message}" in str(broken.value)


def test_hooks_are_taken_by_their_signature(read):
    settings = read(
        "import functools\n"
        "said = []\n"
        "def post_fork(server, worker): said.append((server, worker))\n"
        "def post_request(worker, req): said.append((worker, req))\n"
        "def pre_request(*everything): said.append(everything)\n"
        "when_ready = functools.partial(said.append)\n"
        "class Ended:\n"
        "    def __call__(self, server): said.append(server)\n"
        "on_exit = Ended()\n"
    )
    assert settings.unknown == ()
    said = settings.hooks["post_fork"].__globals__["said"]
    settings.hooks["post_fork"]("s", "w")
    settings.hooks["post_request"]("w", "r", "environ", "response")
    settings.hooks["pre_request"]("w", "r")
    settings.hooks["when_ready"]("server")
    settings.hooks["on_exit"]("server")
    assert said == [("s", "w"), ("w", "r"), ("w", "r"), "server", "server"]


def test_what_is_not_taken_is_named_once_and_whole(read):
    settings = read(
        "import os, multiprocessing as mp\n"
        "from math import floor\n"
        "cores = mp.cpu_count()\n"  # read below: a helper
        "base = 'x'\n"
        "def helper(): return base\n"
        "names = [helper() for _ in range(2)]\n"
        "class Place: room = base\n"
        "workers = max(1, floor(cores / 2), len(names)); Place()\n"
        "def pre_fork(server, worker): inner = 1\n"
        "_private = 1\n"
        "wrokers = 3\n"
        "cake = 'lie'\n"
        "def when_redy(server): pass\n"
        "daemon = True\n"
        "reload = False\n"  # gunicorn's own default asks for nothing
        "logconfig_dict = {'version': 1}\n"
        "worker_tmp_dir = '/dev/shm'\n"
        "worker_class = 'shop.workers.Special'\n"
    )
    assert conffile.warning("gunicorn.conf.py", settings) == (
        "gunicorn.conf.py: ignored settings: not supported here: daemon, logconfig_dict, "
        "worker_class = 'shop.workers.Special'; not needed here: worker_tmp_dir (heartbeats are in "
        "shared memory); unknown: cake, when_redy (did you mean when_ready?), wrokers (did you "
        "mean workers?)"
    )
    assert conffile.warning("x", read("workers = 2\n")) is None


def test_gunicorns_own_example_says_nothing_we_do_not_know(read):
    """Every setting gunicorn has is either taken or in the table of those we do not have."""
    pytest.importorskip("gunicorn")
    from gunicorn.config import KNOWN_SETTINGS

    from pretune.server.config import hooks, options

    ours = {*options.OPTIONS, *options.FOREIGN, *hooks.ARGUMENTS, "wsgi_app"}
    theirs = {setting.name for setting in KNOWN_SETTINGS}
    # The command line's own, and one of gunicorn's internals.
    assert theirs - ours <= {"config", "check_config", "print_config", "default_proc_name"}


def test_encryption_is_refused_not_left_out(read):
    settings = read("certfile = 'cert.pem'\n")
    with pytest.raises(ConfigBroken, match="certfile: encryption is not offered here"):
        conffile.refuse("gunicorn.conf.py", settings)


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("import os\nos.environ['NOT_THERE']\n", "KeyError: 'NOT_THERE'"),
        ("workers = = 3\n", "SyntaxError: invalid syntax"),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit('the secret is missing')\n", "SystemExit: the secret is missing"),
        ("def f():\n    1/0\nf()\n", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_broken_file_is_the_users_traceback(read, text, last, tmp_path):
    with pytest.raises(ConfigBroken) as broken:
        read(text)
    said = str(broken.value)
    assert said.rstrip().endswith(last)
    assert f'File "{tmp_path}/gunicorn.conf.py"' in said
    assert "conffile.py" not in said
    assert "importlib" not in said


def test_the_projects_modules_are_read_again_and_others_stay(read, tmp_path):
    (tmp_path / "shop_settings.py").write_text("COUNT = 2\n")
    text = "import json, shop_settings\nworkers = shop_settings.COUNT\n"
    assert read(text).known["workers"] == 2
    json = sys.modules["json"]
    (tmp_path / "shop_settings.py").write_text("COUNT = 35\n")
    assert read(text).known["workers"] == 35
    assert sys.modules["json"] is json
    before = sys.modules["shop_settings"]
    (tmp_path / "shop_settings.py").write_text("COUNT = nonsense\n")
    with pytest.raises(ConfigBroken):
        read(text)
    assert sys.modules["shop_settings"] is before


def test_a_file_is_found_as_gunicorn_finds_it(tmp_path):
    directory = str(tmp_path)
    assert conffile.find(None, directory) is None
    (tmp_path / "gunicorn.conf.py").write_text("")
    assert conffile.find(None, directory) == f"{directory}/gunicorn.conf.py"
    assert conffile.find("file:gunicorn.conf.py", directory) == f"{directory}/gunicorn.conf.py"
    assert conffile.find("python:shop.conf", directory) == "python:shop.conf"
    with pytest.raises(ConfigBroken, match="there is no configuration file") as broken:
        conffile.find("absent.py", directory)
    assert broken.value.usage


def test_a_module_can_be_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "shop_conf.py").write_text("workers = 4\ncake = 1\n")
    settings = conffile.read("python:shop_conf", str(tmp_path))
    del sys.modules["shop_conf"]
    assert settings.known == {"workers": 4}
    assert settings.unknown == ("cake",)


# -- who goes before whom


@pytest.fixture
def parse(tmp_path, monkeypatch):
    for name in ("WEB_CONCURRENCY", "PORT", "FORWARDED_ALLOW_IPS", "GUNICORN_CMD_ARGS", "PWD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(conffile, "_imported", set())
    monkeypatch.chdir(tmp_path)

    def parse_(flags: str, text: str | None = None, **environ: str):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        if text is not None:
            (tmp_path / "gunicorn.conf.py").write_text(text)
        return configuration.parse(flags.split())

    return parse_


def test_a_flag_goes_before_the_file_before_the_environment(parse):
    file = "workers = 3\ntimeout = 7\nbind = '127.0.0.1:3'\nraw_env = ['A=file', 'B=file']\n"
    environ = {"WEB_CONCURRENCY": "2", "PORT": "5000", "FORWARDED_ALLOW_IPS": "10.0.0.1"}
    config = parse("app", **environ)
    assert (config.settings.workers, config.binds) == (2, ("0.0.0.0:5000",))
    assert config.forwarded_allow_ips == "10.0.0.1"
    config = parse("app", file)
    assert (config.settings.workers, config.settings.timeout) == (3, 7.0)
    assert config.binds == ("127.0.0.1:3",)
    config = parse("app", GUNICORN_CMD_ARGS="--workers 4 --timeout 8")
    assert (config.settings.workers, config.settings.timeout) == (4, 8.0)
    config = parse("app -w 5 -b 127.0.0.1:5 -e A=flag")
    assert (config.settings.workers, config.settings.timeout) == (5, 8.0)
    assert config.binds == ("127.0.0.1:5",)
    assert config.env == (("A", "flag"),)
    config = parse("app --no-config")
    assert (config.settings.workers, config.settings.timeout) == (2, 30.0)
    assert config.notes == ()


def test_a_target_may_stand_in_the_file(parse):
    assert parse("", "wsgi_app = 'shop.wsgi'\n").target == "shop.wsgi"
    assert parse("other").target == "other"


def test_paths_are_meant_from_where_the_server_works(parse, tmp_path):
    (tmp_path / "deep").mkdir()
    config = parse(
        "app --access-logfile logs/a",
        "chdir = 'deep'\npidfile = 'run/pid'\nerrorlog = '/e'\npythonpath = 'lib'\n",
    )
    deep = f"{tmp_path}/deep"
    assert (config.chdir, config.pid_file) == (deep, f"{deep}/run/pid")
    assert (config.access_log, config.error_log) == (f"{deep}/logs/a", "/e")
    assert config.pythonpath == (f"{deep}/lib",)


def test_the_log_is_told_which_file_and_what_was_not_taken(parse, tmp_path):
    config = parse("app --daemon", "cake = 1\n")
    assert config.notes == (
        ("info", f"settings are read from {tmp_path}/gunicorn.conf.py"),
        ("warning", f"{tmp_path}/gunicorn.conf.py: ignored settings: unknown: cake"),
        ("warning", "command line: ignored settings: not supported here: daemon"),
    )


@pytest.mark.parametrize("name", ["WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"])
def test_a_variable_that_cannot_be_is_named(parse, name):
    with pytest.raises(ConfigBroken, match=f"{name}: .*nonsense"):
        parse("app", **{name: "nonsense"})


def test_nobody_said_how_many_workers(parse, monkeypatch):
    from pretune.server.process import cores

    monkeypatch.setattr(cores, "count_usable", lambda: 7)
    assert parse("app").settings.workers == 7
    assert parse("app", WEB_CONCURRENCY="").settings.workers == 7


# -- as processes

CONF = """
import os
bind = ["127.0.0.1:0", "unix:sock"]
workers = 2
threads = 2
raw_env = ["GREETING=" + os.environ.get("BASE", "good day")]
proc_name = "shop"
pidfile = "run.pid"
accesslog = "access"
access_log_format = '%(m)s %(U)s %(s)s %({x-tested}o)s %({x-trace}i)s'
cake = 1
def when_ready(server):
    server.log.info("the hook says %s at %s", server.cfg.proc_name, server.address[0])
def post_fork(server, worker):
    server.log.info("forked %s of age %d", worker.pid, worker.age)
"""


def test_a_server_from_its_file(tune, tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text(CONF + "wsgi_app = 'app'\n")
    server = tune().ready()
    assert f"settings are read from {tmp_path}/gunicorn.conf.py" in server.log()
    assert "[WARNING] " in server.log()
    assert "ignored settings: unknown: cake\n" in server.log()
    assert server.get("/env/GREETING") == "good day"
    assert server.get("/x", f"unix:{tmp_path}/sock", X_Trace="t1") == "hello"
    server.wait_for(lambda: "GET /x 200 yes t1" in (tmp_path / "access").read_text())
    assert (tmp_path / "run.pid").read_text() == f"{server.pid}\n"
    server.wait_for(lambda: "the hook says shop at 127.0.0.1:" in server.log())
    assert server.log().count("] forked ") == 2
    assert len(server.workers()) == 2


def test_every_python_reads_it(tune, python, tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text(CONF + "wsgi_app = 'app'\n")
    server = tune("--preload", python=python).ready()
    assert "ignored settings: unknown: cake\n" in server.log()
    assert server.get("/env/GREETING") == "good day"
    shown = Path(f"/proc/{server.workers()[0]}/cmdline").read_text().rstrip("\0")
    assert shown == "pretune: worker [shop]"
    assert server.stop() == 0


def test_hup_reads_the_file_again(tune, tmp_path):
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(CONF)
    server = tune("app", "-b", "127.0.0.1:0").ready()
    path.write_text(CONF.replace("good day", "good night").replace('"access"', '"access.2"'))
    server.signal(signal.SIGHUP)
    server.wait_for(lambda: server.get("/env/GREETING") == "good night")
    log = tmp_path / "access.2"
    # A worker of before may still answer, and write to its own log.
    server.wait_for(lambda: server.get("/late") and "GET /late" in log.read_text())


def test_hup_with_a_broken_file_changes_nothing(tune, tmp_path):
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(CONF)
    server = tune("app").ready()
    workers = server.workers()
    broken = (
        ("1/0\n", "ZeroDivisionError"),
        ("threads = 'x'\n", "threads: 'x' is not"),
        ("chdir = 'absent'\n", "absent: No such file"),
        ("chdir = '/'\naccesslog = 'absent/log'\n", "cannot open the access log /absent/log"),
        ("certfile = 'x'\n", "encryption is not offered"),
    )
    for text, said in broken:
        path.write_text(CONF + text)
        server.signal(signal.SIGHUP)
        server.wait_for(lambda said=said: said in server.log())
        assert server.get("/env/GREETING") == "good day"
        assert os.readlink(f"/proc/{server.pid}/cwd") == str(tmp_path)
    assert server.workers() == workers


@pytest.mark.parametrize(
    ("text", "code"), [("1/0\n", 1), ("workers = 'x'\n", 1), ("certfile = 'x'\n", 2)]
)
def test_a_broken_file_never_starts_anything(tune, tmp_path, text, code):
    (tmp_path / "gunicorn.conf.py").write_text(text)
    server = tune("app", "-b", "unix:sock", "-p", "pid")
    assert server.end() == code
    assert "listening" not in server.log()
    assert not (tmp_path / "sock").exists()
    assert not (tmp_path / "pid").exists()


def test_a_trial_is_not_changed_by_a_file_that_lies_there(serve, tmp_path):
    (tmp_path / "plain.py").write_text(
        (Path(__file__).parents[1] / "apps" / "plain.py").read_text()
    )
    (tmp_path / "gunicorn.conf.py").write_text("raise SystemExit('read')\n")
    served = serve("plain", chdir=tmp_path, env={"GUNICORN_CMD_ARGS": "--nonsense"})
    assert served.text("/hello") == "hello"
    assert os.path.exists(tmp_path / "gunicorn.conf.py")


def test_uploads_go_where_the_server_works_and_the_directory_must_be_there(tmp_path):
    argv = ["--no-config", "--chdir", str(tmp_path), "--tmp-upload-dir", "up", "app"]
    with pytest.raises(ConfigBroken, match="no directory"):
        configuration.parse(argv)
    (tmp_path / "up").mkdir()
    assert configuration.parse(argv).tmp_upload_dir == str(tmp_path / "up")
