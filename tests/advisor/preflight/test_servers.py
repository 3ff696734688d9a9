"""Which server a run measures on and answers for."""

import sys
from pathlib import Path

import pytest

from pretune.advisor.failure import Refused
from pretune.advisor.model.scenario import DISCIPLINES
from pretune.advisor.preflight.servers import NAMES, Servers, choose
from pretune.advisor.recommendation import reasons
from pretune.server.adapters.catalogue import SERVERS, every, offer
from pretune.server.adapters.server import Dispatch

HERE, NOWHERE = Path(sys.executable), Path("/nowhere/python")


@pytest.fixture
def with_gunicorn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An environment that has a gunicorn of this version, and perhaps uvicorn's worker."""

    def prepare(version: tuple[int, ...], *, uvicorn_worker: bool = False) -> Path:
        text = f"version_info = {version}\n__version__ = {'.'.join(map(str, version))!r}\n"
        (tmp_path / "gunicorn.py").write_text(text)
        # hides the one of this environment
        (tmp_path / "uvicorn_worker.py").write_text("" if uvicorn_worker else "raise ImportError")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return HERE

    return prepare


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_the_answer_is_for_the_gunicorn_of_the_app_s_environment(interface: str) -> None:
    found = choose(None, interface, HERE)
    assert (found.measured, found.verified) == ("embedded", "gunicorn")
    assert found.differ
    assert found.label == f"gunicorn {found.version}"
    assert found.version
    assert found.worker_class("asgi") == "asgi"


def test_without_gunicorn_everything_happens_on_the_embedded_server() -> None:
    assert choose(None, "wsgi", NOWHERE) == choose(None, "asgi", NOWHERE) == Servers()
    assert choose("embedded", "wsgi", HERE).label == "pretune (embedded)"


def test_a_gunicorn_before_24_serves_asgi_with_uvicorn_s_worker_or_not_at_all(
    with_gunicorn,
) -> None:
    python = with_gunicorn((23, 0, 0))
    assert choose(None, "wsgi", python).label == "gunicorn 23.0.0"
    assert choose(None, "asgi", python) == Servers()
    with pytest.raises(Refused, match=r"serves ASGI.*gunicorn>=24"):
        choose("gunicorn", "asgi", python)
    python = with_gunicorn((23, 0, 0), uvicorn_worker=True)
    found = choose(None, "asgi", python)
    assert found.label == "gunicorn 23.0.0"
    assert found.worker_class("asgi") == "uvicorn_worker.UvicornWorker"
    assert found.worker_class("gthread") == "gthread"


def test_the_answer_is_for_the_server_that_is_deployed_where_it_can_run() -> None:
    found = choose(None, "asgi", HERE, "uvicorn")
    assert (found.measured, found.verified) == ("embedded", "uvicorn")
    assert found.label == f"uvicorn {found.version}"
    assert choose(None, "wsgi", HERE, "waitress").verified == "waitress"
    assert choose(None, "wsgi", HERE, "gunicorn") == choose(None, "wsgi", HERE)
    # what cannot run here is as if nothing were known, and what is asked for goes before
    assert choose(None, "wsgi", HERE, "uvicorn") == choose(None, "wsgi", HERE)
    assert choose(None, "asgi", NOWHERE, "uvicorn") == Servers()
    assert choose("gunicorn", "asgi", HERE, "uvicorn").verified == "gunicorn"


def test_a_server_that_is_named_is_measured_and_verified() -> None:
    found = choose("gunicorn", "asgi", HERE)
    assert (found.measured, found.verified) == ("gunicorn", "gunicorn")
    with pytest.raises(Refused, match="-m pip install gunicorn"):
        choose("gunicorn", "wsgi", NOWHERE)


@pytest.mark.parametrize(
    ("name", "interface"),
    [
        (name, interface)
        for name, server in SERVERS.items()
        for interface in server.interfaces
        if name != "mod_wsgi"  # its environment is another: tests/server/adapters
    ],
)
def test_any_server_of_the_field_can_be_named(name: str, interface: str) -> None:
    found = choose(name, interface, HERE)
    assert (found.measured, found.verified) == (name, name)
    assert found.label == f"{name} {found.version}"
    with pytest.raises(Refused, match=f"-m pip install {SERVERS[name].distribution}"):
        choose(name, interface, NOWHERE)


def test_a_server_is_not_asked_for_what_it_does_not_serve() -> None:
    with pytest.raises(Refused, match="uvicorn serves ASGI only; the app is WSGI"):
        choose("uvicorn", "wsgi", HERE)
    with pytest.raises(Refused, match="waitress serves WSGI only; the app is ASGI"):
        choose("waitress", "asgi", HERE)


def test_the_model_knows_how_each_server_hands_requests_out() -> None:
    assert set(DISCIPLINES) == set(Dispatch)
    assert [server.name for server in every()] == list(NAMES)


def test_no_more_is_offered_than_a_server_has() -> None:
    assert offer("waitress").most_workers == 1
    assert not offer("uvicorn").preloads
    assert not offer("uwsgi").sync
    assert offer("gunicorn") == offer("embedded")


@pytest.mark.parametrize("name", list(SERVERS))
def test_a_setting_that_a_server_lacks_is_named_with_what_happens_there(name: str) -> None:
    said = reasons.lacks(name)
    for setting, meaning in SERVERS[name].settings.items():
        if setting != "workers":
            assert (setting in said) is not bool(meaning.option)
    assert all(meaning.startswith(f"{name} has no such setting. ") for meaning in said.values())
    assert reasons.lacks("gunicorn") == {}
