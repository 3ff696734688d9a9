"""Which server a run measures on and answers for."""

import sys
from pathlib import Path

import pytest

from pretune.advisor.failure import Refused
from pretune.advisor.servers import Servers, choose

HERE, NOWHERE = Path(sys.executable), Path("/nowhere/python")


def test_the_answer_is_for_the_gunicorn_of_the_app_s_environment() -> None:
    found = choose(None, "wsgi", HERE)
    assert (found.measured, found.verified) == ("embedded", "gunicorn")
    assert found.differ
    assert found.label == f"gunicorn {found.version}"
    assert found.version


def test_without_gunicorn_or_for_asgi_everything_happens_on_the_embedded_server() -> None:
    assert choose(None, "wsgi", NOWHERE) == choose(None, "asgi", HERE) == Servers()
    assert choose("embedded", "wsgi", HERE).label == "pretune (embedded)"


def test_a_server_that_is_named_is_measured_and_verified() -> None:
    found = choose("gunicorn", "asgi", HERE)
    assert (found.measured, found.verified) == ("gunicorn", "gunicorn")
    with pytest.raises(Refused, match="-m pip install gunicorn"):
        choose("gunicorn", "wsgi", NOWHERE)
