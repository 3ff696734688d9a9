"""Another server is one row of the catalogue and one command line: nothing else names servers."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]

# In a process of its own: the row is there before anything that reads the table is imported.
WALK = """
    import json, math, os, sys
    from dataclasses import replace
    from pathlib import Path

    from pretune.server.adapters import catalogue
    from pretune.server.adapters.server import Dispatch, Recycling, WorkerClass

    row = replace(
        catalogue.WAITRESS,
        name="ninth",
        classes={"gthread": WorkerClass(Dispatch.ONE_BY_ONE, True, True, says="nine threads")},
        recycling=Recycling.OVERLAPS,
        longest_request_s=lambda settings: 3 * settings.timeout,
        deployed=lambda app, settings: (["ninth-serve", "--port=8000"], [app]),
    )
    before_s = len([server for server in catalogue.every() if server.usual])
    catalogue.SERVERS["ninth"] = row

    from pretune.server.adapters import commands
    commands.COMMANDS["ninth"] = commands.COMMANDS["waitress"]

    from pretune.advisor.comparison import contestants, plan
    from pretune.advisor.deployed.value import Deployed, Setting
    from pretune.advisor.model.scenario import discipline
    from pretune.advisor.model.predict import capacity
    from pretune.advisor.model.simulation import Discipline
    from pretune.advisor.preflight.servers import NAMES, START, choose
    from pretune.advisor.profiler.measurement import Conditions
    from pretune.advisor.recommendation import reasons, today
    from pretune.reports import deployment, server_table
    from pretune.server.adapters import nginx_conf
    from pretune.server.adapters.launch import Launch
    from pretune.server.settings import Settings
    from support.demands import ask, make_demand
    from support.served import Served

    # it can be asked for, is chosen where it is deployed, and its interface counts
    python = Path(sys.executable)
    assert "ninth" in NAMES
    assert choose("ninth", "wsgi", python).verified == "ninth"
    assert choose(None, "wsgi", python, "ninth").verified == "ninth"
    here, _ = contestants.find(["ninth"], "wsgi", python)
    assert [each.verified for each in here] == ["ninth"]
    assert plan.budget_s(None) == plan.BEGIN_S + plan.EACH_S * (before_s + 1)
    said = Deployed("ninth", "Procfile:1", "app", {"threads": Setting(4, "Procfile:1")})
    assert today.take_deployed(said, "wsgi", "ninth").settings == Settings(1, 4, "gthread")

    # the model knows how it serves
    settings = Settings(1, 4, "gthread", timeout=10.0)
    assert discipline("ninth", settings) == Discipline(when_free=True, sticky=False, pick="random")
    conditions = Conditions(1.0, 0.0, True, False, server="ninth")
    predicted = capacity(ask(make_demand(cpu=0.005, db=0.0), conditions), settings)
    assert 150 < predicted.throughput_rps.value < 250
    assert "ninth" in reasons.lacks("ninth")["max_requests"]

    # nginx closes its connections as the server does, and waits for its requests
    front = nginx_conf.before("ninth", settings)
    assert front.idle == 0
    assert front.read_s == 30.0 + nginx_conf.READ_MARGIN_S

    # the file to deploy and the page say it
    document = json.loads(Path(sys.argv[1]).read_text())
    document["verification"]["server"] = "ninth 9.9"
    document["recommendation"]["settings"]["worker_class"] = "gthread"
    text = deployment.choose(document).text
    assert "\\nexec ninth-serve --port=8000 --trusted-proxy=127.0.0.1" in text
    page = server_table.render()
    assert "## ninth" in page and "`gthread`: nine threads" in page
    assert "ninth's `gthread`" in page

    # and it runs
    Path("app.py").write_text(
        "def application(environ, start_response):\\n"
        "    start_response('200 OK', [('Content-Length', '5')])\\n"
        "    return [b'hello']\\n"
    )
    launch = Launch("app", settings, python, Path.cwd(), dict(os.environ), Path("log"))
    server = Served(START["ninth"](launch), launch)
    try:
        server.address = server.running.wait_ready(20.0)
        assert server.get() == "hello"
    finally:
        server.running.stop(5.0)
    print("walked")
"""


def test_a_row_and_a_command_line_are_enough(tmp_path: Path) -> None:
    report = ROOT / "tests" / "reports" / "documents" / "fits.json"
    command = [sys.executable, "-c", textwrap.dedent(WALK), str(report)]
    path = {"PYTHONPATH": str(ROOT / "tests"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=tmp_path, env=path, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "walked\n", done.stderr


# Who may call a server by its name: the table and the command lines; what reads deployments, where
# each server has an option grammar of its own; and nginx's own name for a kind of its files.
NAMING = ("server/adapters/catalogue.py", "server/adapters/commands.py", "advisor/deployed/")
FILES_OF_NGINX = ("server/adapters/nginx_conf.py", "uwsgi")


def test_no_other_module_names_a_server_of_the_field() -> None:
    from pretune.server.adapters.catalogue import SERVERS

    named = set()
    for room in ("advisor", "server", "loadtests", "reports"):
        for file in (ROOT / room).rglob("*.py"):
            place = file.relative_to(ROOT).as_posix()
            if not place.startswith(NAMING):
                for node in ast.walk(ast.parse(file.read_text())):
                    if isinstance(node, ast.Constant) and node.value in SERVERS:
                        named.add((place, node.value))
    assert named == {FILES_OF_NGINX}
