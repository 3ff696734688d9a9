# ruff: noqa: E501
"""Variations of each kind of deployment in the field: name, files, (server, workers).

Where what starts is decided at run time, the workers are None, and so is a server of two.
"""

from __future__ import annotations

from tests.advisor.deployed.field_cases import Case, D, P


def S(script: str, cmd: str = 'CMD ["./start.sh"]', **more: str) -> dict[str, str]:
    return D(cmd) | {"start.sh": "#!/bin/bash\n" + script + "\n"} | more


def C(text: str, **more: str) -> dict[str, str]:
    return {"compose.yaml": "services:\n" + text} | more


IMAGE = D('CMD ["gunicorn", "app:app", "-w", "4"]')
ROLES = 'case "$1" in\n  web) exec gunicorn app:app -w 3 ;;\n  small)\n    exec gunicorn app:app -w 1 ;;\n  *) exec "$@" ;;\nesac'
SUPERVISED = "[supervisord]\nnodaemon=true\n[program:nginx]\ncommand=nginx\n[program:web]\ncommand=gunicorn app:app\n  -w 3\n"
POD = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 2\n  template:\n    spec:\n      containers:\n      - name: web\n        image: x\n"
MAIN = "import uvicorn\nif __name__ == '__main__':\n    uvicorn.run('app:app', host='0.0.0.0', workers=3)\n"

VARIATIONS: list[Case] = [
    # scripts: branches, functions, arrays, set --, sourced files
    ("case by CMD", S(ROLES, 'ENTRYPOINT ["./start.sh"]\nCMD ["web"]'), ("gunicorn", 3)),
    ("case by the run", S(ROLES, 'ENTRYPOINT ["./start.sh"]'), ("gunicorn", None)),
    (
        "case by compose",
        S(ROLES, 'ENTRYPOINT ["./start.sh"]') | C("  web:\n    build: .\n    command: small\n"),
        ("gunicorn", 1),
    ),
    (
        "case by a variable",
        S(
            'case "$ROLE" in\nweb) exec gunicorn app:app -w 3;;\n*) exec celery -A app worker;;\nesac'
        ),
        ("gunicorn", 3),
    ),
    (
        "case by a default",
        S(
            'case "${ROLE:-web}" in\nweb) exec gunicorn app:app -w 3;;\nsmall) exec gunicorn app:app -w 1;;\nesac'
        ),
        ("gunicorn", 3),
    ),
    (
        "if by a variable",
        S(
            'if [ "$APP_ENV" = production ]; then\n  exec gunicorn app:app -w 3\nelse\n  exec gunicorn app:app -w 1\nfi'
        ),
        ("gunicorn", None),
    ),
    (
        "if by ENV",
        S(
            'if [ "$APP_ENV" = production ]; then\n  exec gunicorn app:app -w 3\nfi\nexec gunicorn app:app -w 1',
            'ENV APP_ENV=production\nCMD ["./start.sh"]',
        ),
        ("gunicorn", 3),
    ),
    (
        "if elif [[",
        S(
            'if [[ $APP_ENV == dev* ]]; then W=1; elif [[ "$APP_ENV" == "prod" ]]; then W=3; else W=2; fi\nexec gunicorn app:app -w "$W"',
            'ENV APP_ENV=prod\nCMD ["./start.sh"]',
        ),
        ("gunicorn", 3),
    ),
    (
        "two servers by the run",
        S(
            'if [ "$ASYNC" = 1 ]; then\n  exec uvicorn app:app --workers 2\nelse\n  exec gunicorn app:app -w 3\nfi'
        ),
        (None, None),
    ),
    (
        "a test and a default",
        S('[ "$SMALL" = 1 ] && W=1 || W=3\nexec gunicorn app:app -w $W'),
        ("gunicorn", None),
    ),
    ("-z", S('if [ -z "$W" ]; then W=3; fi\nexec gunicorn app:app -w $W'), ("gunicorn", 3)),
    (
        "a function",
        S('serve() {\n  exec gunicorn app:app -w "$1"\n}\nworker() { exec celery; }\nserve 3'),
        ("gunicorn", 3),
    ),
    (
        "a function by its name",
        S(
            'web() { exec gunicorn app:app -w 3; }\nsmall() { exec gunicorn app:app -w 1; }\n"$@"',
            'ENTRYPOINT ["./start.sh"]\nCMD ["web"]',
        ),
        ("gunicorn", 3),
    ),
    (
        "a function never called",
        S("debug() {\n  gunicorn app:app -w 1\n}\nexec gunicorn app:app -w 3"),
        ("gunicorn", 3),
    ),
    (
        "an array that grows",
        S(
            'cmd=(gunicorn app:app)\ncmd+=(-w 3)\nif [ -n "$TLS" ]; then cmd+=(--keyfile k); fi\nexec "${cmd[@]}"'
        ),
        ("gunicorn", 3),
    ),
    (
        "an array by the run",
        S('args=(-w 3)\n[ "$BIG" = yes ] && args=(-w 9)\nexec gunicorn app:app "${args[@]}"'),
        ("gunicorn", None),
    ),
    ("set --", S('set -- gunicorn app:app -w 3\nexec "$@"'), ("gunicorn", 3)),
    (
        "set -- before arguments",
        S(
            'if [ "${1#-}" != "$1" ]; then\n  set -- gunicorn app:app "$@"\nfi\nexec "$@"',
            'ENTRYPOINT ["./start.sh"]\nCMD ["-w", "3"]',
        ),
        ("gunicorn", 3),
    ),
    (
        "shift",
        S(
            'role=$1; shift\nexec gunicorn app:app "$@"',
            'ENTRYPOINT ["./start.sh"]\nCMD ["web", "-w", "3"]',
        ),
        ("gunicorn", 3),
    ),
    (
        "options in a loop",
        S(
            'while [ $# -gt 0 ]; do\n  case "$1" in\n    --workers) W="$2"; shift 2 ;;\n    *) shift ;;\n  esac\ndone\nexec gunicorn app:app -w ${W:-1}',
            'ENTRYPOINT ["./start.sh"]\nCMD ["--workers", "3"]',
        ),
        ("gunicorn", 3),
    ),
    (
        "waits first",
        S(
            "until nc -z db 5432; do sleep 1; done\npython manage.py migrate || exit 1\nexec gunicorn app:app -w 3"
        ),
        ("gunicorn", 3),
    ),
    (
        "behind a server that stays",
        S("gunicorn app:app -w 3\ngunicorn app:app -w 1"),
        ("gunicorn", 3),
    ),
    (
        "checked first",
        S("gunicorn --check-config app:app && exec gunicorn app:app -w 3"),
        ("gunicorn", 3),
    ),
    ("in the background", S('gunicorn app:app -w 3 &\nnginx -g "daemon off;"'), ("gunicorn", 3)),
    (
        "a health server beside",
        S("gunicorn app:health -w 1 -b :8001 &\nexec gunicorn app:app -w 3"),
        ("gunicorn", 3),
    ),
    (
        "another app beside",
        S("gunicorn admin:app -w 1 -b :8001 &\nexec gunicorn app:app -w 3"),
        ("gunicorn", 3),
    ),
    (
        "a script that runs a script",
        S("exec ./run.sh 3", **{"run.sh": '#!/bin/sh\nexec gunicorn app:app -w "$1"\n'}),
        ("gunicorn", 3),
    ),
    (
        "exports from a file",
        S(
            "set -a; source ./conf.env; set +a\nexec gunicorn app:app",
            **{"conf.env": "WEB_CONCURRENCY=3\n"},
        ),
        ("gunicorn", 3),
    ),
    (
        "arithmetic with bounds",
        S('n=$(( $(nproc) * 2 + 1 ))\n[ "$n" -gt 3 ] && n=3\nexec gunicorn app:app -w $n'),
        ("gunicorn", 3),
    ),
    ("no such script", D('CMD ["./gone.sh"]'), (None, None)),
    # what overrides
    (
        "fly over the image",
        IMAGE | {"fly.toml": "[processes]\nweb = 'gunicorn app:app -w 3'\nworker = 'celery'\n"},
        ("gunicorn", 3),
    ),
    (
        "fly's environment",
        D("CMD gunicorn app:app") | {"fly.toml": "app = 'x'\n[env]\n  WEB_CONCURRENCY = '3'\n"},
        ("gunicorn", 3),
    ),
    (
        "fly's Dockerfile",
        {
            "Dockerfile": "FROM x\nCMD gunicorn app:app -w 4\n",
            "Dockerfile.web": "FROM x\nCMD gunicorn app:app -w 3\n",
            "fly.toml": "[build]\ndockerfile = 'Dockerfile.web'\n",
        },
        ("gunicorn", 3),
    ),
    (
        "fly starts what is not here",
        IMAGE | {"fly.toml": "[processes]\napp = './gone.sh'\n"},
        (None, None),
    ),
    (
        "kubernetes args",
        IMAGE | {"k8s/web.yaml": POD + "        args: [gunicorn, 'app:app', -w, '3']\n"},
        ("gunicorn", 3),
    ),
    (
        "kubernetes command",
        IMAGE
        | {
            "deploy/k8s/deployment.yml": POD
            + "        command: ['/bin/sh', '-c']\n        args:\n        - gunicorn app:app -w 3\n"
        },
        ("gunicorn", 3),
    ),
    (
        "kubernetes env",
        D("CMD gunicorn app:app -w 4")
        | {
            "k8s/web.yaml": POD
            + "        env:\n        - name: W\n          value: '3'\n        command: [gunicorn, 'app:app', -w, $(W)]\n"
        },
        ("gunicorn", 3),
    ),
    (
        "kubernetes ConfigMap",
        D("CMD gunicorn app:app")
        | {
            "k8s/web.yaml": POD
            + "        envFrom:\n        - configMapRef: {name: c}\n---\nkind: ConfigMap\nmetadata: {name: c}\ndata: {WEB_CONCURRENCY: '3'}\n"
        },
        ("gunicorn", 3),
    ),
    (
        "kubernetes map elsewhere",
        D("CMD gunicorn app:app")
        | {"k8s/web.yaml": POD + "        envFrom:\n        - configMapRef: {name: c}\n"},
        ("gunicorn", None),
    ),
    (
        "helm",
        IMAGE
        | {
            "chart/values.yaml": "web:\n  workers: 3\n",
            "chart/templates/web.yaml": POD
            + "        args: [gunicorn, 'app:app', -w, {{ .Values.web.workers | quote }}]\n",
        },
        ("gunicorn", 3),
    ),
    (
        "helm not plain",
        IMAGE
        | {
            "chart/templates/web.yaml": POD
            + "        args: [gunicorn, 'app:app', -w, '{{ include \"w\" . }}']\n"
        },
        ("gunicorn", None),
    ),
    (
        "supervisord by CMD",
        D('ENV W=3\nCMD ["supervisord", "-n", "-c", "/etc/supervisor/supervisord.conf"]')
        | {"docker/supervisord.conf": "[program:web]\ncommand=gunicorn app:app -w %(ENV_W)s\n"},
        ("gunicorn", 3),
    ),
    (
        "supervisord over CMD's text",
        D("CMD service nginx start && supervisord -c supervisord.conf")
        | {"supervisord.conf": SUPERVISED},
        ("gunicorn", 3),
    ),
    (
        "supervisord includes",
        D("CMD supervisord -c supervisord.conf")
        | {
            "supervisord.conf": "[supervisord]\n[include]\nfiles = conf.d/*.conf\n",
            "conf.d/web.conf": '[program:web]\nenvironment=WEB_CONCURRENCY="3"\ncommand=gunicorn app:app\n',
        },
        ("gunicorn", 3),
    ),
    (
        "supervisord's shell",
        {"supervisord.conf": '[program:web]\ncommand=bash -c "sleep 1 && gunicorn app:app -w 3"\n'},
        ("gunicorn", 3),
    ),
    (
        "circus by CMD",
        D("CMD circusd circus.ini")
        | {
            "circus.ini": "[env:web]\nWEB_CONCURRENCY = 3\n[watcher:web]\ncmd = gunicorn\nargs = app:app\n"
        },
        ("gunicorn", 3),
    ),
    (
        "s6-overlay",
        D('ENTRYPOINT ["/init"]')
        | {
            "docker/rootfs/etc/s6-overlay/s6-rc.d/web/run": "#!/command/execlineb -P\nwith-contenv\ns6-setuidgid app\ngunicorn app:app -w 3\n"
        },
        ("gunicorn", 3),
    ),
    (
        "runit by CMD",
        D('CMD ["/sbin/my_init"]')
        | {
            "docker/service/web/run": "#!/bin/sh\ncd /app\nexec /sbin/setuser app gunicorn app:app -w 3 2>&1\n"
        },
        ("gunicorn", 3),
    ),
    (
        "honcho all",
        D("CMD honcho start -f Procfile.all")
        | {"Procfile.all": "web: gunicorn app:app -w 3\nworker: celery\n"},
        ("gunicorn", 3),
    ),
    (
        "railway toml",
        IMAGE | {"railway.toml": '[deploy]\nstartCommand = "gunicorn app:app -w 3"\n'},
        ("gunicorn", 3),
    ),
    (
        "railway not here",
        IMAGE | {"railway.json": '{"deploy": {"startCommand": "./gone.sh"}}'},
        (None, None),
    ),
    (
        "render",
        {
            "render.yaml": "services:\n- type: worker\n  startCommand: celery\n- type: web\n  name: x\n  startCommand: gunicorn app:app\n  envVars:\n  - key: WEB_CONCURRENCY\n    value: 3\n"
        },
        ("gunicorn", 3),
    ),
    (
        "render docker",
        IMAGE
        | {
            "render.yaml": "services:\n- type: web\n  runtime: docker\n  dockerCommand: gunicorn app:app -w 3\n"
        },
        ("gunicorn", 3),
    ),
    (
        "heroku.yml",
        IMAGE
        | {
            "heroku.yml": "build:\n  docker:\n    web: Dockerfile\nrun:\n  web: gunicorn app:app -w 3\n"
        },
        ("gunicorn", 3),
    ),
    (
        "app.yaml's environment",
        {
            "app.yaml": "runtime: python312\nentrypoint: gunicorn app:app\nenv_variables:\n  WEB_CONCURRENCY: '3'\n"
        },
        ("gunicorn", 3),
    ),
    (
        "app.json",
        P("gunicorn app:app") | {"app.json": '{"env": {"WEB_CONCURRENCY": {"value": "3"}}}'},
        ("gunicorn", 3),
    ),
    (
        "nixpacks variables",
        {"nixpacks.toml": '[variables]\nW = "3"\n[start]\ncmd = "gunicorn app:app -w $W"\n'},
        ("gunicorn", 3),
    ),
    # compose
    (
        "compose command keeps the entrypoint",
        S(
            'export WEB_CONCURRENCY=3\nexec "$@"',
            'ENTRYPOINT ["./start.sh"]\nCMD ["gunicorn", "app:app", "-w", "4"]',
        )
        | C("  web:\n    build: .\n    command: gunicorn app:app\n"),
        ("gunicorn", 3),
    ),
    (
        "compose entrypoint",
        IMAGE | C("  web:\n    build: .\n    entrypoint: [gunicorn, 'app:app', -w, '3']\n"),
        ("gunicorn", 3),
    ),
    (
        "compose command not here",
        IMAGE | C("  web:\n    build: .\n    command: ./gone.sh\n"),
        (None, None),
    ),
    (
        "env_file maps",
        D("CMD gunicorn app:app")
        | C("  web:\n    build: .\n    env_file:\n    - path: a.env\n    - b.env\n")
        | {"a.env": "WEB_CONCURRENCY=9\n", "b.env": "# x\nWEB_CONCURRENCY=3\n"},
        ("gunicorn", 3),
    ),
    (
        "env_file under environment",
        D("CMD gunicorn app:app")
        | C("  web:\n    build: .\n    env_file: a.env\n    environment: {WEB_CONCURRENCY: 3}\n")
        | {"a.env": "WEB_CONCURRENCY=9\n"},
        ("gunicorn", 3),
    ),
    (
        "env_file not here",
        D("CMD gunicorn app:app") | C("  web:\n    build: .\n    env_file: prod.env\n"),
        ("gunicorn", None),
    ),
    (
        "build target",
        {
            "docker/Dockerfile": "FROM x AS web\nCMD gunicorn app:app -w 3\nFROM x AS worker\nCMD celery\n"
        }
        | C("  web:\n    build: {context: ., dockerfile: docker/Dockerfile, target: web}\n"),
        ("gunicorn", 3),
    ),
    (
        "Dockerfile.web",
        {
            "Dockerfile.web": "FROM x\nCMD gunicorn app:app -w 3\n",
            "Dockerfile.worker": "FROM x\nCMD celery\n",
        },
        ("gunicorn", 3),
    ),
    (
        "profiles",
        C(
            "  web:\n    image: x\n    command: gunicorn app:app -w 3\n  debug:\n    image: x\n    profiles: [debug]\n    command: gunicorn app:app -w 1\n"
        ),
        ("gunicorn", 3),
    ),
    (
        "profiles first",
        C(
            "  debug:\n    image: x\n    profiles: [debug]\n    command: gunicorn app:app -w 1\n  web:\n    image: x\n    command: gunicorn app:app -w 3\n"
        ),
        ("gunicorn", 3),
    ),
    (
        "override tag",
        C(
            "  web:\n    image: x\n    ports: !override ['80:80']\n    command: !override [gunicorn, 'app:app', -w, '3']\n"
        ),
        ("gunicorn", 3),
    ),
    # systemd, templates
    (
        "systemd drop env",
        {
            "etc/systemd/web.service": "[Service]\nEnvironmentFile=-/etc/default/web\nExecStart=/x/gunicorn app:app\n"
        },
        ("gunicorn", None),
    ),
    (
        "jinja default",
        {
            "ansible/roles/web/templates/web.service.j2": "[Service]\nExecStart=/x/gunicorn app:app -w {{ workers | default(3) }}\n"
        },
        ("gunicorn", 3),
    ),
    # Python programs
    ("program by module", D('CMD ["python", "-m", "main"]') | {"main.py": MAIN}, ("uvicorn", 3)),
    ("program by a script", S("exec python main.py") | {"main.py": MAIN}, ("uvicorn", 3)),
    (
        "program by environment",
        D('ENV N=3\nCMD ["python", "main.py"]')
        | {
            "main.py": "import os, uvicorn\nuvicorn.run('app:app', workers=int(os.environ.get('N', 1)))\n"
        },
        ("uvicorn", 3),
    ),
    (
        "program unknown",
        D('CMD ["python", "main.py"]')
        | {
            "main.py": "import uvicorn\nfrom x import settings\nuvicorn.run('app:app', workers=settings.workers)\n"
        },
        ("uvicorn", None),
    ),
    (
        "program by a branch",
        D('CMD ["python", "main.py"]')
        | {
            "main.py": "import sys, uvicorn\nif len(sys.argv) > 1:\n    uvicorn.run('app:app', workers=1)\nelse:\n    uvicorn.run('app:app', workers=3)\n"
        },
        ("uvicorn", None),
    ),
    (
        "program with gunicorn inside",
        D('CMD ["python", "main.py"]')
        | {
            "main.py": "from gunicorn.app.base import BaseApplication\nfrom app import app\nclass Server(BaseApplication):\n    pass\nServer(app, {'bind': ':80', 'workers': 3}).run()\n"
        },
        ("gunicorn", 3),
    ),
    (
        "program execs",
        D('CMD ["python", "main.py"]')
        | {"main.py": "import os\nos.execvp('gunicorn', ['gunicorn', 'app:app', '-w', '3'])\n"},
        ("gunicorn", 3),
    ),
    # what stands before the server
    ("poetry", P("poetry run gunicorn app:app -w 3"), ("gunicorn", 3)),
    ("uv run --with", P("uv run --with gunicorn gunicorn app:app -w 3"), ("gunicorn", 3)),
    ("uv run module", P("uv run -m gunicorn app:app -w 3"), ("gunicorn", 3)),
    ("uvx version", P("uvx gunicorn@23.0.0 app:app -w 3"), ("gunicorn", 3)),
    ("poetry program", P("poetry run python main.py") | {"main.py": MAIN}, ("uvicorn", 3)),
    (
        "nested wrappers",
        P("dumb-init -- ddtrace-run newrelic-admin run-program gunicorn app:app -w 3"),
        ("gunicorn", 3),
    ),
    # uWSGI
    (
        "inline comments",
        {"uwsgi.ini": "[uwsgi]\nmodule = app:app  ; the app\nprocesses = 3 # workers\n"},
        ("uwsgi", 3),
    ),
    (
        "if-env",
        {
            "uwsgi.ini": "[uwsgi]\nmodule = app:app\nif-env = N\nprocesses = %(_)\nendif =\nif-not-env = N\nprocesses = 3\nendif =\n"
        },
        ("uwsgi", 3),
    ),
    (
        "if-env is set",
        D("ENV N=3\nCMD uwsgi --ini uwsgi.ini")
        | {
            "uwsgi.ini": "[uwsgi]\nmodule = app:app\nif-env = N\nprocesses = %(_)\nendif =\nif-not-env = N\nprocesses = 2\nendif =\n"
        },
        ("uwsgi", 3),
    ),
    (
        "if-exists",
        {
            "uwsgi.ini": "[uwsgi]\nmodule = app:app\nif-exists = /etc/small\nprocesses = 1\nendif =\n"
        },
        ("uwsgi", None),
    ),
    (
        "uwsgi json",
        P("uwsgi --json u.json") | {"u.json": '{"uwsgi": {"module": "app:app", "processes": 3}}'},
        ("uwsgi", 3),
    ),
    # what is run by a task that is not read
    (
        "make over the image",
        IMAGE | C("  web:\n    build: .\n    command: make serve\n"),
        (None, None),
    ),
    (
        "poetry's script over the image",
        IMAGE | {"fly.toml": "[processes]\napp = 'poetry run serve'\n"},
        (None, None),
    ),
    (
        "a worker of the same image",
        IMAGE.copy() | C("  jobs:\n    build: .\n    command: celery -A app worker\n"),
        ("gunicorn", 4),
    ),
    (
        "an unknown program over the image",
        IMAGE | {"railway.toml": '[deploy]\nstartCommand = "shop-server"\n'},
        (None, None),
    ),
    # folders, and other projects
    (
        "two folders down",
        {"deploy/docker/Dockerfile": "FROM x\nCMD gunicorn app:app -w 3\n"},
        ("gunicorn", 3),
    ),
    (
        "another project's",
        {
            "other/Dockerfile": "FROM x\nCMD gunicorn app:app -w 4\n",
            "other/app.py": "",
            "Dockerfile": "FROM x\nCMD gunicorn app:app -w 3\n",
        },
        ("gunicorn", 3),
    ),
    (
        "only another project's",
        {"other/Dockerfile": "FROM x\nCMD gunicorn app:app -w 4\n", "other/app.py": ""},
        (None, None),
    ),
    # what else people write
    ("ARG in CMD", D("ARG W=3\nENV W=$W\nCMD gunicorn app:app -w $W"), ("gunicorn", 3)),
    (
        "entrypoint sh -c exec $0",
        D('ENTRYPOINT ["sh", "-c", "exec gunicorn app:app -w ${W:-3}"]'),
        ("gunicorn", 3),
    ),
    (
        "compose extends",
        C("  base:\n    image: x\n    command: gunicorn app:app -w 3\n  web:\n    extends: base\n"),
        ("gunicorn", 3),
    ),
    (
        "compose extends override",
        C(
            "  base:\n    image: x\n    command: gunicorn app:app -w 4\n  web:\n    extends: {service: base}\n    command: gunicorn app:app -w 3\n"
        ),
        ("gunicorn", 3),
    ),
    ("procfile env unset", P("gunicorn app:app -w $WORKERS"), ("gunicorn", None)),
    ("procfile bash", P('bash -c "gunicorn app:app -w 3"'), ("gunicorn", 3)),
    ("trap", S('trap "exit" TERM\ngunicorn app:app -w 3 &\npid=$!\nwait $pid'), ("gunicorn", 3)),
    (
        "heredoc in script",
        S("cat > x.py <<EOF\ngunicorn app:app -w 1\nEOF\nexec gunicorn app:app -w 3"),
        ("gunicorn", 3),
    ),
    (
        "nested if",
        S(
            'if [ "$1" = web ]; then\n  if [ "${TLS:-no}" = yes ]; then exec gunicorn app:app -w 1 --keyfile k; else exec gunicorn app:app -w 3; fi\nfi',
            'ENTRYPOINT ["./start.sh"]\nCMD ["web"]',
        ),
        ("gunicorn", 3),
    ),
    (
        "case in function",
        S(
            'main() {\n case "$1" in\n  web) shift; exec gunicorn app:app -w 3 "$@";;\n  *) exec "$@";;\n esac\n}\nmain "$@"',
            'ENTRYPOINT ["./start.sh"]\nCMD ["web"]',
        ),
        ("gunicorn", 3),
    ),
    ("eval", S('CMD="gunicorn app:app -w 3"\neval "$CMD"'), ("gunicorn", 3)),
    ("var cmd", S('CMD="gunicorn app:app"\nexec $CMD -w 3'), ("gunicorn", 3)),
    ("let", S("let W=$(nproc)+1\nexec gunicorn app:app -w $W"), ("gunicorn", 3)),
    (
        "cgroup",
        S('W=$(cat /sys/fs/cgroup/cpu.max | cut -d" " -f1)\nexec gunicorn app:app -w $W'),
        ("gunicorn", None),
    ),
    (
        "$(( )) cond",
        S("if (( $(nproc) > 1 )); then W=3; else W=1; fi\nexec gunicorn app:app -w $W"),
        ("gunicorn", 3),
    ),
    ("printenv", S('exec gunicorn app:app -w "$(printenv W || echo 3)"'), ("gunicorn", None)),
    ("apache", D('CMD ["apachectl", "-D", "FOREGROUND"]'), (None, None)),
    ("daphne", P("daphne app:app"), (None, None)),
    ("flask run", P("flask run --host 0.0.0.0"), (None, None)),
    (
        "gunicorn conf env",
        D("ENV N=3\nCMD gunicorn -c gunicorn.conf.py app:app")
        | {"gunicorn.conf.py": "import os\nworkers=int(os.environ['N'])\n"},
        ("gunicorn", 3),
    ),
    (
        "conf cpu",
        P("gunicorn app:app")
        | {"gunicorn.conf.py": "import multiprocessing\nworkers=multiprocessing.cpu_count()+1\n"},
        ("gunicorn", 3),
    ),
    (
        "conf vs -w",
        P("gunicorn app:app -w 3 -c gunicorn.conf.py") | {"gunicorn.conf.py": "workers=9\n"},
        ("gunicorn", 3),
    ),
    ("uvicorn env", D("ENV UVICORN_WORKERS=3\nCMD uvicorn app:app"), ("uvicorn", 3)),
    (
        "uvicorn env_file opt",
        P("uvicorn app:app --env-file .env") | {".env": "WEB_CONCURRENCY=3\n"},
        ("uvicorn", None),
    ),
    ("hypercorn", P("hypercorn app:app -w 3"), ("hypercorn", 3)),
    ("granian", P("granian --interface asgi app:app --workers 3"), ("granian", 3)),
    (
        "uwsgi cheaper",
        {"uwsgi.ini": "[uwsgi]\nmodule=app:app\nworkers = 3\ncheaper = 1\n"},
        ("uwsgi", 3),
    ),
    (
        "uwsgi two sections",
        P("uwsgi --ini u.ini:prod")
        | {"u.ini": "[uwsgi]\nmodule=app:app\nprocesses=1\n[prod]\nmodule=app:app\nprocesses=3\n"},
        ("uwsgi", 3),
    ),
    (
        "uwsgi inherit",
        P("uwsgi --ini u.ini")
        | {
            "u.ini": "[uwsgi]\nini = base.ini\n",
            "base.ini": "[uwsgi]\nmodule=app:app\nprocesses=3\n",
        },
        ("uwsgi", 3),
    ),
    (
        "supervisor numprocs",
        {
            "supervisord.conf": "[program:web]\ncommand=gunicorn app:app -w 3 -b unix:/tmp/%(process_num)d.sock\nnumprocs=2\n"
        },
        ("gunicorn", 3),
    ),
    (
        "fcgi-program",
        {
            "supervisord.conf": "[fcgi-program:web]\nsocket=tcp://localhost:80\ncommand=uvicorn --fd 0 app:app --workers 3\n"
        },
        ("uvicorn", 3),
    ),
    (
        "compose args",
        D("ARG W=1\nENV WEB_CONCURRENCY=$W\nCMD gunicorn app:app")
        | C("  web:\n    build:\n      context: .\n      args: {W: 3}\n"),
        ("gunicorn", 3),
    ),
    (
        "compose host env",
        C(
            "  web:\n    image: x\n    command: gunicorn app:app\n    environment:\n    - WEB_CONCURRENCY\n"
        ),
        ("gunicorn", None),
    ),
    (
        "compose interp",
        C("  web:\n    image: x\n    command: gunicorn app:app -w ${W}\n") | {".env": "W=3\n"},
        ("gunicorn", 3),
    ),
    (
        "systemd two ExecStart",
        {"web.service": "[Service]\nExecStart=\nExecStart=/x/gunicorn app:app -w 3\n"},
        ("gunicorn", 3),
    ),
    (
        "systemd drop-in",
        {
            "web.service": "[Service]\nExecStart=/x/gunicorn app:app -w 1\n",
            "web.service.d/override.conf": "[Service]\nExecStart=\nExecStart=/x/gunicorn app:app -w 3\n",
        },
        ("gunicorn", 3),
    ),
    (
        "ebextensions Procfile",
        {".platform/x": "", "Procfile": "web: gunicorn --workers=3 app:app\n"},
        ("gunicorn", 3),
    ),
    (
        "cronjob k8s",
        {
            "k8s/a.yaml": POD.replace("Deployment", "CronJob")
            + "        args: [gunicorn, 'app:app', -w, '1']\n"
        },
        (None, None),
    ),
    (
        "knative",
        {
            "k8s/a.yaml": POD.replace("Deployment", "Service")
            + "        args: [gunicorn, 'app:app', -w, '3']\n"
        },
        ("gunicorn", 3),
    ),
    (
        "kustomize patch",
        {
            "k8s/base/web.yaml": POD + "        args: [gunicorn, 'app:app', -w, '1']\n",
            "k8s/overlays/prod/patch.yaml": POD.replace("        image: x\n", "")
            + "        args: [gunicorn, 'app:app', -w, '3']\n",
        },
        ("gunicorn", 3),
    ),
    (
        "two manifests",
        {
            "k8s/a.yaml": POD + "        args: [gunicorn, 'app:app', -w, '1']\n",
            "k8s/b.yaml": POD + "        args: [gunicorn, 'app:app', -w, '3']\n",
        },
        (None, None),
    ),
]
