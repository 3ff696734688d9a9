"""A single question is bounded in time and size, whatever the server does."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from pretune.loadtests import asking
from pretune.loadtests.asking import ask


@pytest.fixture
def answering():
    """Serves one connection with the given pieces, each after its pause."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen = []

    def start(*pieces):
        def serve():
            connection, _ = listener.accept()
            with connection:
                seen.append(connection.recv(65536))
                for piece in pieces:
                    if isinstance(piece, float):
                        time.sleep(piece)
                    else:
                        try:
                            connection.sendall(piece)
                        except OSError:
                            return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        return listener.getsockname(), seen

    yield start
    listener.close()


def test_the_first_answer_may_take_longer_and_all_together_are_bounded():
    given = []

    def answer(address, path, headers, timeout):
        given.append(round(timeout))
        return asking.Answer(200)

    patient = asking.Asking(60.0, answer)
    assert patient.may_ask
    for path in ("/", "/a"):
        patient(("127.0.0.1", 1), path, {})
    asking.Asking(8.0, answer)(("127.0.0.1", 1), "/", {})
    assert given == [30, 10, 8]
    assert not asking.Asking(0.0).may_ask


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"


def test_the_body_is_read_to_its_end(answering):
    address, seen = answering(OK, b"one", 0.01, b"two")
    answer = ask(address, "/käse?a=b c", {"Host": "x.example", "X-A": "1"})
    assert (answer.status, answer.body, answer.failure) == (200, b"onetwo", "")
    assert answer.content_type == "text/html"
    head = seen[0].decode().lower()
    assert head.startswith("get /k%c3%a4se?a=b%20c http/1.1\r\n")
    assert head.count("host:") == 1
    assert "host: x.example\r\n" in head
    assert "x-a: 1\r\n" in head


def test_redirects_are_reported_not_followed(answering):
    address, _ = answering(b"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:1/\r\n\r\n")
    assert ask(address, "/", {}).location == "http://127.0.0.1:1/"


def test_silence_is_given_up(answering):
    address, _ = answering(2.0)
    assert ask(address, "/", {}, timeout=0.1).failure == "does not answer within 0.1 s"


@pytest.mark.parametrize("pause", [0.01, 1.0])
def test_an_answer_that_never_ends_is_given_up(answering, pause):
    address, _ = answering(OK, *[b"x", pause] * 100)
    began = time.monotonic()
    assert ask(address, "/", {}, timeout=0.3).failure == "never ends"
    assert time.monotonic() - began < 5


def test_events_are_listened_to_for_a_shorter_time(answering, monkeypatch):
    monkeypatch.setattr(asking, "EVENTS_TIMEOUT_S", 0.1)
    address, _ = answering(OK.replace(b"text/html", b"text/event-stream"), b"data: x\n\n", 3.0)
    began = time.monotonic()
    assert ask(address, "/", {}).failure == "never ends"
    assert time.monotonic() - began < 5


def test_a_huge_answer_is_given_up(answering, monkeypatch):
    monkeypatch.setattr(asking, "MAX_BODY", 1000)
    address, _ = answering(OK, b"x" * 5000)
    assert ask(address, "/", {}).failure == "answers with more than 5 MB"


def test_other_breakage_is_named(answering):
    address, _ = answering(b"SSH-2.0\r\n")
    assert ask(address, "/", {}).failure.startswith("does not answer in HTTP")
    assert ask(("127.0.0.1", 1), "/", {}).failure.startswith("breaks the connection")
