# ruff: noqa: E501
"""Small deployments and what starts there: name, files, (server, workers).

For an app ``app:app`` on a machine of 2 cores. None for workers: not known before run time; None for
the server: none of those that are understood.
"""

from __future__ import annotations

Expected = tuple[str | None, int | None]
Case = tuple[str, dict[str, str], Expected]
NAMES = ("app",)


def P(command: str) -> dict[str, str]:
    return {"Procfile": "web: " + command + "\n"}


def D(lines: str) -> dict[str, str]:
    return {"Dockerfile": "FROM python:3.12\nWORKDIR /app\n" + lines + "\n"}


CASES: list[Case] = [
    ("newrelic", P("newrelic-admin run-program gunicorn app:app -w 3"), ("gunicorn", 3)),
    ("ddtrace", P("ddtrace-run gunicorn app:app -w 3"), ("gunicorn", 3)),
    (
        "otel opts",
        P(
            "opentelemetry-instrument --traces_exporter otlp --service_name shop uvicorn app:app --workers 3"
        ),
        ("uvicorn", 3),
    ),
    ("python -m", P("python -m gunicorn app:app -w 3"), ("gunicorn", 3)),
    ("python -m uvicorn", P("python3.12 -m uvicorn app:app --workers 3"), ("uvicorn", 3)),
    ("pipenv", P("pipenv run gunicorn app:app -w 3"), ("gunicorn", 3)),
    ("uv run", P("uv run --frozen --no-dev gunicorn app:app -w 3"), ("gunicorn", 3)),
    ("uvx", P("uvx --from gunicorn gunicorn app:app -w 3"), ("gunicorn", 3)),
    (
        "tini",
        D('ENTRYPOINT ["/usr/bin/tini", "--"]\nCMD ["gunicorn", "app:app", "-w", "3"]'),
        ("gunicorn", 3),
    ),
    (
        "dumb-init",
        D('ENTRYPOINT ["/usr/bin/dumb-init", "--"]\nCMD gunicorn app:app -w 3'),
        ("gunicorn", 3),
    ),
    (
        "bp-dotenv start-pgbouncer",
        P("bin/start-pgbouncer-stunnel gunicorn app:app -w 3"),
        ("gunicorn", 3),
    ),
    (
        "start-pgbouncer only",
        P("bin/start-pgbouncer newrelic-admin run-program gunicorn app:app -w 3"),
        ("gunicorn", 3),
    ),
    ("honcho", D('CMD ["honcho", "start", "web"]') | P("gunicorn app:app -w 3"), ("gunicorn", 3)),
    (
        "circus",
        {"circus.ini": "[watcher:web]\ncmd = gunicorn app:app -w 3\nnumprocesses = 1\n"},
        ("gunicorn", 3),
    ),
    (
        "supervisor.d",
        {"deploy/supervisor/web.conf": "[program:web]\ncommand=gunicorn app:app -w 3\n"},
        ("gunicorn", 3),
    ),
    ("fly", {"fly.toml": "[processes]\napp = 'gunicorn app:app -w 3'\n"}, ("gunicorn", 3)),
    (
        "railway",
        {"railway.json": '{"deploy": {"startCommand": "gunicorn app:app -w 3"}}'},
        ("gunicorn", 3),
    ),
    ("nixpacks", {"nixpacks.toml": '[start]\ncmd = "gunicorn app:app -w 3"\n'}, ("gunicorn", 3)),
    (
        "gae app.yaml",
        {
            "app.yaml": "runtime: python312\ninstance_class: F2\nentrypoint: gunicorn -b :$PORT -w 3 app:app\n"
        },
        ("gunicorn", 3),
    ),
    (
        "do app spec",
        {".do/app.yaml": "services:\n- name: web\n  run_command: gunicorn -w 3 app:app\n"},
        ("gunicorn", 3),
    ),
    (
        "s6 run",
        {"docker/services.d/web/run": "#!/usr/bin/with-contenv sh\nexec gunicorn app:app -w 3\n"},
        ("gunicorn", 3),
    ),
    (
        "runit",
        {"etc/service/web/run": "#!/bin/sh\nexec chpst -u app gunicorn app:app -w 3\n"},
        ("gunicorn", 3),
    ),
    ("${:-}", P("uvicorn app:app --workers ${WEB_CONCURRENCY:-3}"), ("uvicorn", 3)),
    ("ternary", P("gunicorn app:app -w $(( $(nproc) > 3 ? 4 : 3 ))"), ("gunicorn", 3)),
    (
        "python -c cpu",
        P('gunicorn app:app -w $(python -c "import os; print(os.cpu_count()*2+1)")'),
        ("gunicorn", 5),
    ),
    (
        "GUNICORN_CMD_ARGS env",
        D('ENV GUNICORN_CMD_ARGS="--workers=3 --threads 2"\nCMD ["gunicorn", "app:app"]'),
        ("gunicorn", 3),
    ),
    (
        "sourced env script",
        D('CMD ["./start.sh"]')
        | {
            "start.sh": "#!/bin/sh\n. ./defaults.sh\nexec gunicorn app:app -w $WORKERS\n",
            "defaults.sh": "WORKERS=3\n",
        },
        ("gunicorn", 3),
    ),
    (
        "OPTS var",
        D('CMD ["./start.sh"]')
        | {
            "start.sh": '#!/bin/sh\nOPTS="-w 3 --threads 2"\nOPTS="$OPTS --timeout 90"\nexec gunicorn $OPTS app:app\n'
        },
        ("gunicorn", 3),
    ),
    (
        "array",
        D('CMD ["./start.sh"]')
        | {
            "start.sh": '#!/bin/bash\nargs=(app:app --workers 3 --threads 2)\nexec gunicorn "${args[@]}"\n'
        },
        ("gunicorn", 3),
    ),
    (
        "compose override",
        {
            "compose.yaml": "services:\n  web:\n    build: .\n    command: gunicorn app:app -w 1\n",
            "compose.override.yaml": "services:\n  web:\n    command: gunicorn app:app -w 7\n",
            "compose.prod.yaml": "services:\n  web:\n    command: gunicorn app:app -w 3\n",
            "Dockerfile": "FROM python:3.12\n",
        },
        ("gunicorn", 3),
    ),
    (
        "compose env only",
        D("CMD gunicorn app:app")
        | {
            "compose.yaml": "services:\n  web:\n    build: .\n    environment:\n      - WEB_CONCURRENCY=3\n"
        },
        ("gunicorn", 3),
    ),
    (
        "compose env_file",
        D("CMD gunicorn app:app")
        | {
            "compose.yaml": "services:\n  web:\n    build: .\n    env_file: web.env\n",
            "web.env": "WEB_CONCURRENCY=3\n",
        },
        ("gunicorn", 3),
    ),
    (
        "compose !reset tag",
        {
            "compose.yaml": "services:\n  web:\n    image: x\n    ports: !reset []\n    command: gunicorn app:app -w 3\n"
        },
        ("gunicorn", 3),
    ),
    (
        "compose folded comment",
        {
            "compose.yaml": "services:\n  web:\n    image: x\n    command: >\n      gunicorn app:app\n      --workers 3\n      --threads 2\n"
        },
        ("gunicorn", 3),
    ),
    (
        "systemd envfile",
        {
            "deploy/web.service": "[Service]\nWorkingDirectory=/srv\nEnvironmentFile=/srv/.env\nExecStart=/srv/venv/bin/gunicorn app:app --workers ${WORKERS}\n",
            ".env": "WORKERS=3\n",
        },
        ("gunicorn", 3),
    ),
    (
        "systemd template",
        {
            "web@.service": "[Service]\nExecStart=/srv/venv/bin/gunicorn app:app -w 3 -b unix:/run/%i.sock\n"
        },
        ("gunicorn", 3),
    ),
    (
        "jinja ansible",
        {
            "templates/web.service.j2": "[Service]\nExecStart={{ venv }}/bin/gunicorn app:app -w {{ workers }}\n"
        },
        ("gunicorn", None),
    ),
    (
        "Dockerfile named",
        {"docker/web/Dockerfile": "FROM x\nCMD gunicorn app:app -w 3\n"},
        ("gunicorn", 3),
    ),
    (
        "multi-target last is dev",
        {
            "Dockerfile": "FROM x AS prod\nCMD gunicorn app:app -w 3\nFROM prod AS dev\nCMD gunicorn app:app --reload\n"
        },
        ("gunicorn", 3),
    ),
    (
        "compose build target",
        {
            "Dockerfile": "FROM x AS base\nFROM base AS prod\nCMD gunicorn app:app -w 3\nFROM base AS tests\nCMD pytest\n",
            "compose.yaml": "services:\n  web:\n    build:\n      context: .\n      target: prod\n",
        },
        ("gunicorn", 3),
    ),
    ("fastapi run", P("fastapi run app.py --workers 3"), ("uvicorn", 3)),
    (
        "uvicorn in python",
        D('CMD ["python", "main.py"]')
        | {
            "main.py": "import uvicorn\nif __name__ == '__main__':\n    uvicorn.run('app:app', workers=3)\n"
        },
        ("uvicorn", 3),
    ),
    ("manage.py custom", P("python manage.py run_gunicorn -w 3"), ("gunicorn", 3)),
    ("gunicorn paste", P("gunicorn --paste conf/app.ini -w 3"), ("gunicorn", 3)),
    (
        "procfile two webs",
        {"Procfile": "web: gunicorn app:app -w 3\nwebsocket: gunicorn app:app -w 1\n"},
        ("gunicorn", 3),
    ),
    ("procfile web with env", P("env WEB_CONCURRENCY=3 gunicorn app:app"), ("gunicorn", 3)),
    ("procfile chain", P("python manage.py migrate && gunicorn app:app -w 3"), ("gunicorn", 3)),
    (
        "procfile runs two gunicorns",
        P("gunicorn app:app -w 3 -b :8000 & gunicorn app:health -w 1 -b :8001 & wait -n"),
        ("gunicorn", 3),
    ),
    (
        "uwsgi cmd",
        P("uwsgi --http-socket :$PORT --module app:app --processes 3 --threads 2 --cheaper 1"),
        ("uwsgi", 3),
    ),
    (
        "uwsgi yaml",
        P("uwsgi --yaml uwsgi.yml") | {"uwsgi.yml": "uwsgi:\n  module: app:app\n  processes: 3\n"},
        ("uwsgi", 3),
    ),
    (
        "uwsgi %k expr",
        {"uwsgi.ini": "[uwsgi]\nmodule = app:app\nprocesses = %(%k * 2)\n"},
        ("uwsgi", 4),
    ),
]


# Larger ones, with the names of the target.
WHOLE: list[tuple[str, dict[str, str], Expected, tuple[str, ...]]] = [
    (
        "single worker recycling",
        {
            "Procfile": (
                "web: uvicorn main:app --host 0.0.0.0 --port $PORT --workers ${UVICORN_WORKERS:-1} --limit-max-requests 10000\n"
            ),
        },
        ("uvicorn", 1),
        ("main",),
    ),
    (
        "supervisord",
        {
            "Dockerfile": (
                "FROM python:3.12-alpine\n"
                "WORKDIR /var/lib/notes\n"
                "COPY . .\n"
                "RUN pip install -r requirements.txt\n"
                "ENV WEB_NUM_WORKERS=3\n"
                "USER notes\n"
                'CMD ["bin/init-env", "supervisord", "-c", "conf/supervisord.conf"]\n'
            ),
            "conf/gunicorn.conf.py": (
                "from os import environ\n"
                "\n"
                'worker_tmp_dir = "/dev/shm"\n'
                'workers = environ["WEB_NUM_WORKERS"]\n'
                "max_requests = 500_000\n"
                "max_requests_jitter = 100_000\n"
            ),
            "conf/supervisord.conf": (
                "[supervisord]\n"
                "nodaemon=true\n"
                'environment=PYTHONUNBUFFERED="1"\n'
                "\n"
                "[program:proxy]\n"
                "command=start-nginx\n"
                "\n"
                "[program:web]\n"
                "command=newrelic-admin run-program gunicorn notes:app -c conf/gunicorn.conf.py -b unix:/run/web.sock\n"
                "stdout_events_enabled=true\n"
                "\n"
                "[program:live]\n"
                "command=gunicorn notes_live:app --worker-class gevent --worker-connections 4096 -b unix:/run/live.sock\n"
                "\n"
                "[program:queue]\n"
                "command=newrelic-admin run-program celery -A notes.tasks worker\n"
            ),
        },
        ("gunicorn", 3),
        ("notes",),
    ),
    (
        "fly processes",
        {
            "Dockerfile": (
                "FROM python:3.11-slim\n"
                "WORKDIR /code\n"
                "COPY . /code\n"
                "EXPOSE 8000\n"
                'CMD ["gunicorn", "--bind", ":8000", "--workers", "4", "meetup:app"]\n'
            ),
            "fly.toml": (
                "app = 'meetup'\n"
                "primary_region = 'arn'\n"
                "\n"
                "[env]\n"
                "  PORT = '8000'\n"
                "\n"
                "[processes]\n"
                "  app = 'gunicorn --bind :8000 --workers 2 --threads 2 meetup:app'\n"
                "  worker = 'python -m celery -A meetup.tasks worker -B -l INFO'\n"
                "\n"
                "[http_service]\n"
                "  internal_port = 8000\n"
                "  min_machines_running = 2\n"
                "  processes = ['app']\n"
                "  [http_service.concurrency]\n"
                '    type = "requests"\n'
                "    hard_limit = 25\n"
                "    soft_limit = 20\n"
                "\n"
                "[[vm]]\n"
                "  cpu_kind = 'shared'\n"
                "  cpus = 1\n"
                "  memory_mb = 1024\n"
            ),
        },
        ("gunicorn", 2),
        ("meetup",),
    ),
    (
        "uwsgi conditions",
        {
            "docker/uwsgi.ini": (
                "[uwsgi]\n"
                "chdir = $(FORMS_DIR)\n"
                "manage-script-name = true\n"
                "mount = $(FORMS_PREFIX)=$(FORMS_DIR)/forms.py\n"
                "callable = app\n"
                "\n"
                "master = true\n"
                "harakiri = $(FORMS_HARAKIRI)\n"
                "worker-reload-mercy = $(FORMS_MERCY)\n"
                "\n"
                "if-env = FORMS_WORKERS\n"
                "workers = %(_)\n"
                "endif =\n"
                "if-not-env = FORMS_WORKERS\n"
                "workers = 2\n"
                "endif =\n"
                "\n"
                "if-env = FORMS_CHEAPER\n"
                "cheaper-algo = busyness\n"
                "cheaper = %(_)\n"
                "cheaper-initial = %(_)\n"
                "cheaper-step = 1\n"
                "endif =\n"
                "\n"
                "if-env = FORMS_MAX_REQUESTS\n"
                "max-requests = %(_)\n"
                "endif =\n"
                "\n"
                "if-not-env = FORMS_RELOAD_RSS\n"
                "reload-on-rss = 512\n"
                "endif =\n"
                "\n"
                "socket = 0.0.0.0:8000\n"
                "listen = @(/proc/sys/net/core/somaxconn)\n"
                "buffer-size = 32768\n"
                "enable-threads = true\n"
                "die-on-term = true\n"
            ),
        },
        ("uwsgi", 2),
        ("forms",),
    ),
    (
        "compose conditional",
        {
            "docker-compose.prod.yml": (
                "x-pool: &pool\n"
                '  POOL: "${POOL:-10}"\n'
                "x-words: &words\n"
                '  WORDS: "${WORDS:-few}"\n'
                "x-shut: &shut\n"
                "  read_only: true\n"
                "\n"
                "services:\n"
                "  api:\n"
                "    image: registry.example/tiles:latest\n"
                "    command: >\n"
                '      sh -c "uv run --no-dev uvicorn tiles:app\n'
                "      --workers $${API_WORKERS:-2}\n"
                "      --timeout-graceful-shutdown $${API_STOP:-30}\n"
                "      $${API_REQUESTS:+--limit-max-requests $${API_REQUESTS}}\n"
                '      --host 0.0.0.0"\n'
                "    stop_grace_period: 30s\n"
                '    mem_limit: "${API_MEMORY:-2g}"\n'
                "    <<: *shut\n"
                "    environment:\n"
                "      <<: [*pool, *words]\n"
                '      API_WORKERS: "${API_WORKERS:-1}"\n'
                '      API_REQUESTS: "${API_REQUESTS:-10000}"\n'
            ),
        },
        ("uvicorn", 1),
        ("tiles",),
    ),
    (
        "script array",
        {
            "Containerfile": (
                "FROM registry.access.redhat.com/ubi10-minimal\n"
                "WORKDIR /app\n"
                "COPY . .\n"
                'CMD ["./run-gunicorn.sh"]\n'
            ),
            "run-gunicorn.sh": (
                "#!/usr/bin/env bash\n"
                "set -eu\n"
                "procs=${PROCS:-}\n"
                'if [ -z "$procs" ]; then\n'
                "    n=$(nproc)\n"
                "    procs=$(( n * 2 + 1 ))\n"
                "    procs=$(( procs < 16 ? procs : 16 ))\n"
                "fi\n"
                "limit=${LIMIT_S:-600}\n"
                "start=(\n"
                "    gunicorn\n"
                '    --workers "$procs"\n'
                '    --timeout "$limit"\n'
                "    --max-requests 80000\n"
                ")\n"
                "start+=( --error-logfile - )\n"
                '[ "${SHARE:-yes}" = yes ] && start+=( --preload )\n'
                'exec "${start[@]}" gateway:app\n'
            ),
        },
        ("gunicorn", 5),
        ("gateway",),
    ),
]
