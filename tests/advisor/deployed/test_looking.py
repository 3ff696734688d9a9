"""Projects as people write them, and what is read of them as today's deployment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pretune.advisor.deployed import conf, looking
from pretune.advisor.deployed.arguments import Said
from pretune.advisor.deployed.files import MOST_BYTES, Place
from pretune.advisor.deployed.value import Deployed, Look
from pretune.advisor.workspace.directory import Workspace

CORES = 4
Looking = Callable[..., Look]


def no_conf(path: str, shown: str, environ: Mapping[str, str]) -> Said | str:
    return f"{shown} was not to be read"


@pytest.fixture
def look(tmp_path: Path) -> Looking:
    """Write files (name -> text) into a project and look at it."""

    def run(
        files: Mapping[str, str],
        names: tuple[str, ...] = ("shop.wsgi",),
        directory: str = ".",
        ask: Any = no_conf,
    ) -> Look:
        (tmp_path / ".git").mkdir(exist_ok=True)
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        here = tmp_path / directory
        return looking.find_deployment(Place(here, tmp_path, names, CORES, ask))

    return run


def given(found: Look) -> dict[str, Any]:
    """What is said, not by default."""
    assert found.deployed is not None, found
    return {
        name: setting.value
        for name, setting in found.deployed.settings.items()
        if not setting.where.endswith("'s default")
    }


def where(found: Look, name: str) -> str:
    assert found.deployed is not None
    return found.deployed.settings[name].place


PROCFILE = "web: gunicorn shop.wsgi --workers 9 --threads=2 --log-file -\n"

# (files, server, what is said, where the first of it stands)
PROJECTS: dict[str, tuple[dict[str, str], str, dict[str, Any], str]] = {
    "a Procfile with other processes": (
        {"Procfile": "release: python manage.py migrate\n" + PROCFILE + "worker: celery -A shop\n"},
        "gunicorn",
        {"workers": 9, "threads": 2},
        "Procfile:2",
    ),
    "a Procfile that moves first": (
        {"Procfile": "web: cd src && python manage.py migrate && gunicorn shop.wsgi -w 3\n"},
        "gunicorn",
        {"workers": 3},
        "Procfile:1",
    ),
    "a Dockerfile in the shell form": (
        {
            "Dockerfile": "FROM python:3.12-slim\nENV PORT 8080\nWORKDIR /app\nCOPY . ./\n"
            "CMD exec gunicorn --bind :$PORT --workers 1 --threads 8 --timeout 0 shop.wsgi\n"
        },
        "gunicorn",
        {"workers": 1, "threads": 8, "timeout": 0.0},
        "Dockerfile:5",
    ),
    "a Dockerfile in the exec form over lines": (
        {
            "Dockerfile": "FROM python:3.12 AS build\nCMD [\"gunicorn\", \"other:app\"]\n"
            "FROM python:3.12\nARG WORKERS=5\nENV GUNICORN_CMD_ARGS=\"--workers=${WORKERS}\"\n"
            'CMD ["gunicorn", \\\n     # the threads\n     "--threads", "4", \\\n'
            '     "shop.wsgi:application"]\n'
        },
        "gunicorn",
        {"workers": 5, "threads": 4},
        "Dockerfile:5",
    ),
    "an exec form that nobody expands": (
        {"Dockerfile": 'FROM x\nENV W=3\nCMD ["gunicorn", "-w", "$W", "shop.wsgi"]\n'},
        "gunicorn",
        {"workers": None},
        "Dockerfile:3, '$W' is not understood",
    ),
    "the variable of platforms": (
        {"Dockerfile": "FROM x\nENV WEB_CONCURRENCY=6\nCMD gunicorn shop.wsgi\n"},
        "gunicorn",
        {"workers": 6},
        "Dockerfile:2",
    ),
    "an entrypoint with a script": (
        {
            "Dockerfile": "FROM x\nWORKDIR /app\nCOPY . .\n"
            'ENTRYPOINT ["./docker/entrypoint.sh"]\nCMD ["gunicorn", "shop.wsgi", "-w", "4"]\n',
            "docker/entrypoint.sh": '#!/bin/sh\nset -e\npython manage.py migrate\nexec "$@"\n',
        },
        "gunicorn",
        {"workers": 4},
        "Dockerfile:5",
    ),
    "a script that the image knows by another path": (
        {
            "Dockerfile": "FROM x\nWORKDIR /code\nCOPY . /code\n"
            'CMD ["/code/scripts/start.sh"]\n',
            "scripts/start.sh": "#!/bin/bash\nWORKERS=${WORKERS:-3}\nif [ \"$DEBUG\" ]; then\n"
            "  exec uvicorn shop.wsgi:app --reload\nelse\n"
            "  exec gunicorn shop.wsgi:application \\\n    --workers $WORKERS \\\n"
            "    --threads 2\nfi\n",
        },
        "gunicorn",
        {"workers": 3, "threads": 2},
        "scripts/start.sh:7, unless $WORKERS is set, unless $DEBUG is set",
    ),
    "compose with a folded command": (
        {
            "docker-compose.yml": "services:\n  db:\n    image: postgres\n  web:\n    build: .\n"
            "    command: >\n      bash -c \"python manage.py migrate &&\n"
            "      gunicorn shop.wsgi -b 0.0.0.0:80 --workers ${WORKERS:-2}\"\n"
            "    environment:\n      - WEB_CONCURRENCY=8\n    mem_limit: 512m\n",
            ".env": "WORKERS=7\n",
        },
        "gunicorn",
        {"workers": 7},
        "docker-compose.yml:8",
    ),
    "compose around a Dockerfile": (
        {
            "compose.yaml": "services:\n  web:\n    build: {context: .}\n    environment:\n"
            '      WEB_CONCURRENCY: "3"\n    deploy:\n      replicas: 2\n',
            "Dockerfile": "FROM x\nENV WEB_CONCURRENCY=9\nCMD gunicorn shop.wsgi --threads 3\n",
        },
        "gunicorn",
        {"workers": 3, "threads": 3},
        "compose.yaml:5",
    ),
    "a systemd unit": (
        {
            "deploy/shop.service": "[Unit]\nDescription=shop\n[Service]\nUser=www-data\n"
            'Environment="GUNICORN_CMD_ARGS=--threads 4 --workers 2"\n'
            "ExecStart=/srv/venv/bin/gunicorn \\\n          --workers 3 \\\n"
            "          --bind unix:/run/shop.sock shop.wsgi:application\nMemoryMax=1G\n"
        },
        "gunicorn",
        {"workers": 3, "threads": 4},
        "deploy/shop.service:7",
    ),
    "uwsgi by its file": (
        {
            "Dockerfile": 'FROM x\nWORKDIR /app\nCMD ["uwsgi", "--ini", "/app/uwsgi.ini"]\n',
            "uwsgi.ini": "[uwsgi]\nmodule = shop.wsgi\ncallable = application\nmaster = true\n"
            "processes = %k\nthreads = 2\n; a comment\nharakiri = 30\nlazy-apps = true\n"
            "max-requests = 1000\nmax-requests-delta = 10\nfrob = 1\n",
        },
        "uwsgi",
        {"workers": 4, "threads": 2, "timeout": 30.0, "max_requests": 1000,
         "max_requests_jitter": 40, "preload_app": False},
        "uwsgi.ini:5, on 4 cores",
    ),
    "uwsgi.ini with conditions": (
        {
            "uwsgi.ini": "[uwsgi]\nmodule = shop.wsgi:application\nworkers_here = 3\n"
            "processes = %(workers_here)\nstatic-gzip-dir = /x\nif-env = TIMEOUT\n"
            "harakiri = %(_)\nhttp-timeout = %(_)\nendif =\n"
        },
        "uwsgi",
        {"workers": 3},
        "uwsgi.ini:4",
    ),
    "compose that builds from elsewhere": (
        {
            "compose.yml": "services:\n  api:\n    build:\n      context: .\n"
            "      dockerfile: backend/Dockerfile\n    deploy:\n      resources:\n"
            '        limits:\n          memory: "${MEMORY:-0}"\n',
            "backend/Dockerfile": 'FROM x\nWORKDIR /app\nCMD ["/opt/launch.sh"]\n',
            "docker/launch.sh": "exec granian shop.wsgi:app --interface wsgi \\\n"
            "  --workers 2 --blocking-threads 4\n",
        },
        "granian",
        {"workers": 2, "threads": 4},
        "docker/launch.sh:2",
    ),
    "uwsgi.ini alone": (
        {"deploy/uwsgi.ini": "[uwsgi]\nwsgi-file = shop/wsgi.py\nprocesses = $(N)\n"},
        "uwsgi",
        {"workers": None},
        "deploy/uwsgi.ini:3, set by $N at run time",
    ),
    "hypercorn by its file": (
        {
            "Procfile": "web: hypercorn -c hypercorn.toml shop.wsgi:app\n",
            "hypercorn.toml": 'bind = "0.0.0.0:80"\nworkers = 5\nkeep_alive_timeout = 9\n',
        },
        "hypercorn",
        {"workers": 5, "keepalive": 9.0},
        "hypercorn.toml:2",
    ),
    "waitress": (
        {"Procfile": "web: waitress-serve --threads=8 --listen=*:$PORT shop.wsgi:application\n"},
        "waitress",
        {"threads": 8},
        "Procfile:1",
    ),
    "granian": (
        {"Procfile": "web: granian --interface wsgi --workers 2 shop.wsgi:application\n"},
        "granian",
        {"workers": 2},
        "Procfile:1",
    ),
    "mod_wsgi": (
        {"Procfile": "web: mod_wsgi-express start-server shop/wsgi.py --processes 2 --threads 9\n"},
        "mod_wsgi",
        {"workers": 2, "threads": 9},
        "Procfile:1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(PROJECTS))
def test_a_project_s_deployment_is_read(look: Looking, name: str) -> None:
    files, server, settings, place = PROJECTS[name]
    found = look(files)
    assert found.deployed is not None, found
    assert found.deployed.server == server
    assert given(found) == settings
    assert where(found, next(iter(settings))) == place


def test_what_stands_around_the_server_is_told(look: Looking) -> None:
    files, *_ = PROJECTS["compose with a folded command"]
    deployed = look(files).deployed
    assert deployed is not None
    assert [(f.name, f.value, f.where) for f in deployed.facts] == [
        ("memory limit", "512m", "docker-compose.yml:11")
    ]
    files, *_ = PROJECTS["compose around a Dockerfile"]
    deployed = look(files).deployed
    assert deployed is not None
    assert [(f.name, f.value) for f in deployed.facts] == [("replicas", "2")]


def test_what_a_variable_may_change_is_said(look: Looking) -> None:
    files, *_ = PROJECTS["uwsgi.ini with conditions"]
    found = look(files)
    assert where(found, "timeout") == "uwsgi's default, unless $TIMEOUT is set"
    assert found.deployed is not None
    assert found.deployed.unknown == ()


def test_a_file_that_is_not_there_leaves_its_settings_open(look: Looking) -> None:
    found = look({"Procfile": "web: gunicorn -c conf/missing.py -w 3 shop.wsgi\n"})
    assert where(found, "workers") == "Procfile:1"
    assert where(found, "threads") == "conf/missing.py, which was not read"
    assert given(found)["threads"] is None
    assert found.problems == ("Procfile:1 names conf/missing.py, which is not in the project",)


def test_what_other_processes_start_is_no_problem_of_the_server(look: Looking) -> None:
    found = look(
        {
            "docker-compose.yml": "services:\n  jobs:\n    command: ./missing.sh\n"
            "  web:\n    command: gunicorn shop.wsgi -w 3\n  admin:\n    command: uvicorn b:c\n"
        }
    )
    assert given(found) == {"workers": 3}
    assert found.problems == ()


def test_what_surely_starts_the_target_goes_before_what_may(look: Looking) -> None:
    found = look(
        {"Procfile": "web: gunicorn $APP -w 3\n", "Dockerfile": "FROM x\nCMD gunicorn shop.wsgi\n"}
    )
    assert found.deployed is not None
    assert found.deployed.where == "Dockerfile:2"


def test_options_that_are_not_understood_are_named(look: Looking) -> None:
    files, *_ = PROJECTS["uwsgi by its file"]
    deployed = look(files).deployed
    assert deployed is not None
    assert deployed.unknown == ("frob (uwsgi.ini:12)",)


def test_the_first_kind_of_file_counts_and_others_are_told(look: Looking) -> None:
    found = look({"Procfile": PROCFILE, "Dockerfile": "FROM x\nCMD gunicorn shop.wsgi -w 4\n"})
    assert where(found, "workers") == "Procfile:1"
    assert found.deployed is not None
    assert found.deployed.others == ("Dockerfile:2 starts gunicorn with 4 workers, 1 threads",)


def test_another_application_s_deployment_is_not_ours(look: Looking) -> None:
    found = look({"Procfile": "web: gunicorn admin.wsgi -w 4\n"})
    assert found.deployed is None
    assert found.problems == ("Procfile:1 starts another application, admin.wsgi",)


@pytest.mark.parametrize(
    "app", ["shop.wsgi", "wsgi:application", "shop.asgi:application", "${MODULE}", "shop/wsgi.py"]
)
def test_the_target_goes_by_several_names(look: Looking, app: str) -> None:
    assert look({"Procfile": f"web: gunicorn {app} -w 4\n"}).deployed is not None


def test_the_nearest_directory_counts(look: Looking) -> None:
    files = {"Procfile": PROCFILE, "shop/Procfile": "web: gunicorn shop.wsgi -w 2\n"}
    assert where(look(files, directory="shop"), "workers") == "shop/Procfile:1"


def test_a_development_server_is_no_deployment(look: Looking) -> None:
    found = look(
        {"docker-compose.yml": "services:\n  web:\n    command: uvicorn shop.wsgi:a --reload\n"}
    )
    assert found.deployed is None
    assert found.problems == (
        "docker-compose.yml:3 reloads on changes, so it is not taken as a deployment",
    )
    found = look({"Procfile": "web: python manage.py runserver 0.0.0.0:80\n"})
    assert "Procfile:1 starts Django's development server" in found.problems


def test_what_could_not_be_read_is_said(look: Looking) -> None:
    found = look(
        {
            "Procfile": "web: ./missing.sh\n",
            "Dockerfile": 'FROM x\nCMD gunicorn "shop.wsgi\n',
            "compose.yaml": "services:\n  web:\n    command: [gunicorn\n",
            "docker/Dockerfile": "FROM tiangolo/uvicorn-gunicorn-fastapi:python3.11\n",
            "x.service": "#" * (MOST_BYTES + 1),
        }
    )
    assert found.deployed is None
    said = "\n".join(found.problems)
    assert "Procfile:1 runs ./missing.sh, which is not in the project" in said
    assert "Dockerfile:2 is not understood: No closing quotation" in said
    assert "compose.yaml is YAML that is not understood here" in said
    assert "starts what its base image tiangolo/uvicorn-gunicorn-fastapi" in said
    assert "x.service leads out of the project, is too large, or cannot be read" in said


@pytest.mark.parametrize(
    "name", ["Procfile", "Dockerfile", "compose.yaml", "a.service", "uwsgi.ini"]
)
@pytest.mark.parametrize(
    "text",
    [
        "\x00\x01\x02", "[" * 3000, "{" * 1999, "a: " * 900, "- " * 900, "web: $(" * 500,
        "services: *x", "services: &a\n  <<: *a", "services:\n  web: 3\n  b: [1, {c: d}]\n",
        "FROM\nCMD\nENTRYPOINT\nENV\nWORKDIR\n", 'FROM x\nCMD ["a", 3]\nENV =\n', "\\\n" * 5000,
        "[uwsgi]\nprocesses = %(processes)\n%(a = %(b)\n", "[Service]\nExecStart=\nExecStart=\n",
        "services:\n web:\n  command:\n   - gunicorn\n   - [a, b]\n  environment: x\n  build:\n",
        'a: "' + "x\n" * 4999, "\ufeffweb: gunicorn\n", "\t- a\n", "web: \ue000\ue001 gunicorn",
    ],
    ids=range(19),
)  # fmt: skip
def test_hostile_files_never_raise(look: Looking, name: str, text: str) -> None:
    assert isinstance(look({name: text}), Look)


def test_files_outside_the_project_are_not_opened(look: Looking, tmp_path: Path) -> None:
    outside = tmp_path.parent / "outside.sh"
    outside.write_text("exec gunicorn shop.wsgi -w 77\n")
    found = look({"Procfile": "web: ../outside.sh\n"})
    assert found.deployed is None
    os.mkfifo(tmp_path / "Dockerfile")  # would hold whoever opens it
    assert look({}).deployed is None


STARTS = {
    "Procfile": PROCFILE,
    "Dockerfile": "FROM x\nENV N=9\nCMD gunicorn shop.wsgi \\\n --workers $N\n",
    "compose.yaml": "services:\n  web:\n    command: >\n      gunicorn shop.wsgi\n      -w 9\n",
    "a.service": "[Service]\nEnvironment=N=9\nExecStart=/x/gunicorn shop.wsgi \\\n -w $N\n",
    "uwsgi.ini": "[uwsgi]\nmodule = shop.wsgi\nprocesses = 9\n",
}


@pytest.mark.parametrize("name", STARTS)
def test_files_of_windows_are_read_as_others(look: Looking, name: str) -> None:
    assert given(look({name: "\ufeff" + STARTS[name].replace("\n", "\r\n")}))["workers"] == 9


def test_a_loop_of_links_hides_nothing_beside_it(look: Looking, tmp_path: Path) -> None:
    for name in ("loop", "Dockerfile", "run.sh"):
        os.symlink(name, tmp_path / name)
    assert given(look({"Procfile": "web: ./run.sh gunicorn shop.wsgi -w 3\n"})) == {"workers": 3}


def test_a_link_out_of_the_project_is_not_followed(look: Looking, tmp_path: Path) -> None:
    outside = tmp_path.parent / "outside.sh"
    outside.write_text("exec gunicorn shop.wsgi -w 77\n")
    for name in ("run.sh", "gunicorn.conf.py"):
        os.symlink(outside, tmp_path / name)
    assert look({"Procfile": "web: ./run.sh\n"}).deployed is None
    found = look({"Procfile": "web: gunicorn shop.wsgi\n"}, ask=lambda *_: pytest.fail("was run"))
    said = ("gunicorn.conf.py leads out of the project, is too large, or cannot be read",)
    assert found.problems == said


@pytest.mark.parametrize(
    "files",
    [
        {"Procfile": f"web: ./{'a' * 300}.sh\n"},
        {"Procfile": f"web: gunicorn -c {'a' * 300} shop.wsgi\n"},
        {"compose.yaml": f"services:\n  web:\n    build: {'a' * 300}\n"},
    ],
    ids=("script", "conf", "image"),
)
def test_a_name_that_no_file_can_have_is_not_found(look: Looking, files: dict[str, str]) -> None:
    assert isinstance(look(files), Look)


def test_variables_of_variables_do_not_multiply(look: Looking) -> None:
    doubling = "".join(f"ENV A{i}=$A{i - 1}$A{i - 1}\n" for i in range(1, 60))
    found = look({"Dockerfile": f"FROM x\nENV A0=11\n{doubling}CMD gunicorn shop.wsgi -w $A59\n"})
    assert given(found) == {"workers": None}


PASSWORD = "hunter2XYZ"
CONFIDED: dict[str, dict[str, str]] = {
    "an option's value": {"Procfile": f"web: gunicorn --dsn pg://u:{PASSWORD}@h shop.wsgi\n"},
    "a value without a space": {"Procfile": f"web: gunicorn -Z{PASSWORD} shop.wsgi\n"},
    "a command": {"Procfile": f"web: gunicorn -w $(curl -u me:{PASSWORD} http://x) shop.wsgi\n"},
    "a command's variable": {"Procfile": f"web: gunicorn -w `P={PASSWORD} psql` shop.wsgi\n"},
    "an argument of the app": {"Procfile": f"web: gunicorn 'shop.wsgi:make(\"{PASSWORD}\")'\n"},
    "another app": {"Procfile": f"web: gunicorn 'other.wsgi:make(\"{PASSWORD}\")'\n"},
    "the wrong variable": {
        "Dockerfile": f"FROM x\nENV PASSWORD={PASSWORD}\nCMD gunicorn -w $PASSWORD shop.wsgi\n"
    },
    "the app's name": {
        "Dockerfile": f"FROM x\nENV API_TOKEN={PASSWORD}\nCMD gunicorn $API_TOKEN.wsgi\n"
    },
    "compose's .env": {
        "compose.yaml": "services:\n  web:\n    command: gunicorn -w ${SECRET_KEY} shop.wsgi\n",
        ".env": f"SECRET_KEY={PASSWORD}\n",
    },
    "an alias": {"compose.yaml": f"services:\n  web:\n    environment:\n      P: *{PASSWORD}\n"},
    "a limit": {
        "compose.yaml": "services:\n  web:\n    mem_limit: $P\n    command: gunicorn shop.wsgi\n",
        ".env": f"P={PASSWORD}\n",
    },
    "a line of uwsgi.ini": {"uwsgi.ini": f"[uwsgi]\nmodule = shop.wsgi\nenv = A=b\n{PASSWORD}\n"},
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIDED)
def test_a_password_of_the_files_is_not_told(look: Looking, name: str) -> None:
    found = look(CONFIDED[name])
    assert found.deployed is not None or found.problems
    assert PASSWORD not in repr(found)


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Any]:
    """As a run asks: in a child of the app's interpreter."""
    workspace = Workspace(tmp_path / "out")

    def run(path: str, shown: str, environ: Mapping[str, str]) -> Said | str:
        return conf.ask(
            path, shown, chdir=tmp_path, python=Path(sys.executable),
            environ={"PATH": os.environ["PATH"], **environ}, cores=CORES, workspace=workspace,
        )  # fmt: skip

    yield run
    workspace.close()


CONF = """\
import multiprocessing, os

bind = "0.0.0.0:" + os.environ.get("PORT", "8000")
cores = multiprocessing.cpu_count()
workers = int(os.getenv("WEB_CONCURRENCY", cores * 2 + 1))
threads = 4
timeout = int(os.getenv("TIMEOUT", "30"))
tiemout = 5
print("noise")
"""


def test_a_gunicorn_conf_py_is_run_where_the_app_runs(look: Looking, ask: Any) -> None:
    files = {
        "Dockerfile": "FROM x\nENV TIMEOUT=60\nWORKDIR /app\n"
        "CMD gunicorn -c /app/conf/gunicorn.conf.py --threads 2 shop.wsgi\n",
        "conf/gunicorn.conf.py": CONF,
    }
    found = look(files, ask=ask)
    assert given(found) == {"workers": 9, "threads": 2, "timeout": 60.0}
    place = "conf/gunicorn.conf.py:5, on 4 cores, unless $WEB_CONCURRENCY is set"
    assert where(found, "workers") == place
    assert where(found, "threads") == "Dockerfile:4"
    assert where(found, "timeout") == "conf/gunicorn.conf.py:7"
    assert found.deployed is not None
    assert found.deployed.unknown == ("tiemout (conf/gunicorn.conf.py:8)",)


def test_gunicorn_reads_the_file_beside_it_without_being_told(look: Looking, ask: Any) -> None:
    found = look(
        {"Procfile": "web: gunicorn shop.wsgi\n", "gunicorn.conf.py": "workers = 5\n"}, ask=ask
    )
    assert given(found) == {"workers": 5}
    # and it alone tells of a deployment
    found = look(
        {"Procfile": "", "gunicorn.conf.py": "workers = 6\nworker_class = 'tornado'\n"}, ask=ask
    )
    assert given(found) == {"workers": 6, "worker_class": None}
    assert where(found, "worker_class") == "gunicorn.conf.py:2, 'tornado' is not understood"


COMPOSED = "services:\n" + "".join(
    f"  web{i}:\n    command: gunicorn shop.wsgi\n    environment: [N={i}]\n" for i in range(5)
)


def test_a_gunicorn_conf_py_that_hangs_is_run_once(
    look: Looking, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conf, "SECONDS", 1.0)
    asked = []

    def counted(path: str, shown: str, environ: Mapping[str, str]) -> Said | str:
        asked.append(path)
        found: Said | str = ask(path, shown, environ)
        return found

    hangs = "import time\ntime.sleep(3600)\n"
    found = look({"compose.yaml": COMPOSED, "gunicorn.conf.py": hangs}, ask=counted)
    assert found.problems == ("gunicorn.conf.py did not end within 1 s and was not read",)
    assert len(asked) == 1


def test_a_gunicorn_conf_py_may_fork_print_and_leave_threads(look: Looking, ask: Any) -> None:
    odd = (
        "import os, sys, threading, time\nprint('x' * 100_000)\nos.fork()\nworkers = 3\n"
        "threading.Thread(target=time.sleep, args=(3600,)).start()\n"
    )
    found = look({"Procfile": "web: gunicorn shop.wsgi\n", "gunicorn.conf.py": odd}, ask=ask)
    assert found.problems == ()
    assert given(found) == {"workers": 3}


def test_a_gunicorn_conf_py_that_fails_is_told(look: Looking, ask: Any) -> None:
    found = look({"Procfile": PROCFILE, "gunicorn.conf.py": "workers = 1 / 0\n"}, ask=ask)
    assert isinstance(found.deployed, Deployed)
    assert given(found)["workers"] == 9
    assert found.problems == (
        "gunicorn.conf.py cannot be used: ZeroDivisionError: division by zero",
    )
    found = look({"gunicorn.conf.py": "import os\nos._exit(3)\n"}, ask=ask)
    assert found.problems == ("gunicorn.conf.py ended the process that read it",)
