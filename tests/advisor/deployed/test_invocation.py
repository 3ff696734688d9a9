"""Which server a command line starts."""

import pytest

from pretune.advisor.deployed.invocation import (
    Invocation,
    Manager,
    Other,
    Program,
    Script,
    Shell,
    locate,
)
from pretune.advisor.deployed.shell import Surroundings, Word
from tests.advisor.deployed.shell_commands import commands


def found(text: str):
    ((words, _),) = commands(text, Surroundings())
    return locate(words)


@pytest.mark.parametrize(
    ("text", "server", "arguments"),
    [
        ("gunicorn a:b -w 2", "gunicorn", "a:b -w 2"),
        ("/srv/venv/bin/gunicorn a:b", "gunicorn", "a:b"),
        ("exec gunicorn a:b", "gunicorn", "a:b"),
        ("python -m gunicorn a:b", "gunicorn", "a:b"),
        ("/opt/venv/bin/python3.12 -u -m uvicorn a:b", "uvicorn", "a:b"),
        ("python /srv/venv/bin/gunicorn a:b", "gunicorn", "a:b"),
        ("python -X dev -W error -m gunicorn a:b", "gunicorn", "a:b"),
        ("poetry run gunicorn a:b", "gunicorn", "a:b"),
        ("pipenv run gunicorn a:b", "gunicorn", "a:b"),
        ("uv run --no-dev --python 3.12 uvicorn a:b", "uvicorn", "a:b"),
        ("newrelic-admin run-program gunicorn a:b", "gunicorn", "a:b"),
        ("ddtrace-run opentelemetry-instrument gunicorn a:b", "gunicorn", "a:b"),
        ("dumb-init -- gunicorn a:b", "gunicorn", "a:b"),
        ("tini -g -- python -m hypercorn a:b", "hypercorn", "a:b"),
        ("su-exec app gunicorn a:b", "gunicorn", "a:b"),
        ("sudo -u www-data env A=1 gunicorn a:b", "gunicorn", "a:b"),
        ("wait-for-it.sh db:5432 -- gunicorn a:b", "gunicorn", "a:b"),
        ("waitress-serve --port=80 a:b", "waitress", "--port=80 a:b"),
        ("uwsgi --ini x.ini", "uwsgi", "--ini x.ini"),
        ("mod_wsgi-express start-server wsgi.py", "mod_wsgi", "start-server wsgi.py"),
        ("granian --interface asgi a:b", "granian", "--interface asgi a:b"),
        ("uvx --from gunicorn gunicorn a:b", "gunicorn", "a:b"),
        ("uv run --with uvicorn --python 3.12 uvicorn a:b", "uvicorn", "a:b"),
        ("fastapi run main.py --workers 4", "uvicorn", "main.py --workers 4"),
    ],
)
def test_a_server_is_found_behind_what_people_put_before_it(
    text: str, server: str, arguments: str
) -> None:
    what = found(text)
    assert isinstance(what, Invocation)
    assert what.server == server
    assert " ".join(word.text for word in what.arguments) == arguments


def test_what_is_assigned_on_the_line_is_its_environment() -> None:
    what = found("A=1 env WEB_CONCURRENCY=3 gunicorn a:b")
    assert isinstance(what, Invocation)
    assert what.environ == {"A": "1", "WEB_CONCURRENCY": "3"}


@pytest.mark.parametrize(
    "text",
    [
        "pip install gunicorn",
        "uv pip install gunicorn",
        "poetry add uvicorn",
        "python manage.py migrate",
        "python -m pip install gunicorn",
        "python -c 'import gunicorn'",
        "celery.bin -A a worker",
    ],
)
def test_naming_a_server_is_not_starting_it(text: str) -> None:
    assert found(text) is None


def test_scripts_shells_and_development_servers_are_told_apart() -> None:
    assert found("bash -c 'gunicorn a:b'") == Shell("gunicorn a:b")
    assert found("/bin/sh -ec 'gunicorn a:b'") == Shell("gunicorn a:b")
    script = found("./deploy/run.sh gunicorn a:b")
    assert isinstance(script, Script)
    assert script.name == "./deploy/run.sh"
    assert [word.text for word in script.arguments] == ["gunicorn", "a:b"]
    assert isinstance(found("sh run.sh"), Script)
    assert found("python -u src/main.py") == Program("src/main.py", ())
    assert found("python -m shop.run") == Program("shop/run", ())
    manager = found("bin/init-env supervisord -c x.conf")
    assert isinstance(manager, Script)
    assert found("exec supervisord -n") == Manager("supervisord", (Word("-n"),))
    for text, says in (
        ("python manage.py runserver 0.0.0.0:8000", "starts Django's development server"),
        ("flask run --port 80", "starts Flask's development server"),
        ("poetry run daphne a:b", "starts daphne, which is no server that is measured here"),
    ):
        assert found(text) == Other(says)
