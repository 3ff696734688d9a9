# ruff: noqa: E501
"""Whatever stands in a deployment's files, looking at them gives an answer."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pretune.advisor.deployed import looking
from pretune.advisor.deployed.files import Place
from pretune.advisor.deployed.value import Look
from pretune.advisor.documents.plain import plain
from pretune.advisor.recommendation import today

FILES = {
    "Procfile": "release: ./start.sh\nweb: ./start.sh gunicorn a:b -w ${W:-$((2*$(nproc)+1))}\n",
    "start.sh": '#!/bin/sh\ncase "$1" in\n  x) exit;;\nesac\nB=${B:-2}\nexec "$@" --threads $B\n',
    "Dockerfile": 'FROM x AS y\nENV A=1 B="2 3"\nFROM y\nWORKDIR /app\nENTRYPOINT ["tini"]\n'
    'CMD ["gunicorn", \\\n  "-w", "3", "a:b"]\n',
    "compose.yaml": "x: &x\n  A: 1\nservices:\n  web:\n    build: {context: ., dockerfile: D}\n"
    '    command: >\n      sh -c "gunicorn a:b\n      -w $$A"\n    environment:\n      <<: *x\n',
    "a.service": "[Service]\nEnvironment=A=1 'B=2 3'\nExecStart=/bin/gunicorn \\\n  -w 3 a:b\n",
    "fly.toml": "[env]\nA = '1'\n[build]\ndockerfile = 'Dockerfile'\n[processes]\napp = './start.sh a:b'\n",
    "railway.json": '{"deploy": {"startCommand": "gunicorn a:b -w 3"}}',
    "nixpacks.toml": "[start]\ncmd = 'gunicorn a:b'\n[variables]\nA = '1'\n",
    "app.yaml": "runtime: python312\nentrypoint: gunicorn a:b\nenv_variables: {A: '1'}\n",
    "render.yaml": "services:\n- type: web\n  startCommand: gunicorn a:b\n  envVars:\n  - {key: A, value: b}\n",
    "k8s.yaml": "kind: Pod\nmetadata: {name: x}\nspec:\n  containers:\n  - args: [gunicorn, '{{ .Values.a }}']\n"
    "    env:\n    - {name: A, value: $(A)}\n    envFrom:\n    - configMapRef: {name: c}\n",
    "supervisord.conf": "[supervisord]\nenvironment=A='1'\n[program:web]\ncommand=gunicorn a:b\n  -w %(ENV_A)s\n",
    "circus.ini": "[env]\nA=1\n[watcher:web]\ncmd = gunicorn\nargs = a:b -w $(circus.env.A)\n",
    "services.d/web/run": "#!/bin/sh\nexec gunicorn a:b\n",
    "Procfile.prod": "web: python main.py\n",
    "main.py": "import os, uvicorn\nif __name__ == '__main__':\n    uvicorn.run('a:b', workers=int(os.getenv('A', 1)) * 2)\n",
    "uwsgi.ini": "[uwsgi]\nmodule = a:b\nn = %k\nprocesses = %(n)\nif-env = X\nthreads=%(_)\n",
}
SPLINTERS = st.sampled_from(
    ["$", "${", "}", "$(", "$((", "))", "'", '"', "\\", "\n", "#", "&&", ";", "|", "`", "[", "]",
     "{", ":", "- ", "*x", "&x", "<<", "%(", "%k", "=", "\t", "\0", "$@", "--", "-w", "EOF", "\r",
     "\ue000", "\ue002", "9" * 30, "**", "CMD ", "FROM ", "services:", "if-env = Y\n", "!t", "|-",
     "é", "\u2028", "case $1 in\n", "esac\n", "if ", "; then ", "fi\n", "while ", "do ", "done\n", "f() {", "x=(", "set -- ",
     "{{ x }}", "{%"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(FILES)),
    edits=st.lists(st.tuples(st.floats(0, 1), SPLINTERS, st.integers(0, 9)), max_size=12),
)
def test_no_file_makes_it_raise(name: str, edits: list[tuple[float, str, int]]) -> None:
    text = FILES[name]
    for where, splinter, cut in edits:
        at = int(where * len(text))
        text = text[:at] + splinter + text[at + cut :]
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        (directory / "services.d/web").mkdir(parents=True)
        for each, usual in FILES.items():
            if each in (name, "start.sh", "Procfile.prod"):
                (directory / each).write_text(text if each == name else usual)
        found = looking.find_deployment(
            Place(directory, directory, ("a",), 4, lambda *_: "not read")
        )
    assert isinstance(found, Look)
    if found.deployed is not None:
        for interface in ("wsgi", "asgi"):
            plain(today.take_deployed(found.deployed, interface, "gunicorn"))
