"""The ticket desk under uvicorn: every route, what it refuses, and its two pools."""

from __future__ import annotations

import re
from typing import Any

import pytest

from examples.tickets import forecast


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", "<h1>Tickets</h1>"),
        ("/tickets", '"queue"'),
        ("/tickets?state=closed&page=3", '"closed"'),
        ("/tickets/7", '"comments"'),
        ("/tickets/7/parcel", '"days"'),
        ("/queues/billing", '"oldest"'),
        ("/search?q=kettle", '"title"'),
        ("/forecast", '"next"'),
        ("/openapi.json", '"/tickets/{ticket_id}"'),
    ],
)
def test_a_route_answers(tickets: Any, path: str, words: str) -> None:
    answer = tickets.get(path)
    assert answer.status == 200, answer.body
    assert words in answer.body


@pytest.mark.parametrize("path", ["/tickets/999999", "/tickets/999999/parcel", "/queues/none"])
def test_what_is_not_there_is_not_found(tickets: Any, path: str) -> None:
    assert tickets.get(path).status == 404


@pytest.mark.parametrize(
    "path", ["/tickets/0", "/tickets/x", "/tickets/99999999999", "/tickets?page=0"]
)
def test_what_cannot_be_is_refused(tickets: Any, path: str) -> None:
    assert tickets.get(path).status == 422


@pytest.mark.parametrize("kind", ["tickets", "queues"])
def test_the_links_of_the_first_page_lead_somewhere(tickets: Any, kind: str) -> None:
    links = set(re.findall(rf'href="(/{kind}/[^"]+)"', tickets.get("/").body))
    assert len(links) > 1
    assert {tickets.get(link).status for link in sorted(links)[:3]} == {200}


def test_a_new_ticket_can_be_read(tickets: Any) -> None:
    made = tickets.post_json("/tickets", {"queue": "press", "title": "Hello", "text": "There"})
    assert made.status == 201, made.body
    assert tickets.get(f"/tickets/{made.json()['id']}").json()["title"] == "Hello"


@pytest.mark.parametrize(
    ("ticket", "status"),
    [({"queue": "none", "title": "a", "text": "b"}, 404), ({"queue": "press", "title": ""}, 422)],
)
def test_a_ticket_for_no_queue_or_without_words_is_refused(
    tickets: Any, ticket: object, status: int
) -> None:
    assert tickets.post_json("/tickets", ticket).status == status


def test_a_worker_holds_no_more_connections_than_its_two_pools(tickets: Any) -> None:
    for path in ("/tickets", "/search"):
        answers = tickets.at_once(30, lambda path=path: tickets.get(path))
        assert {answer.status for answer in answers} == {200}
    assert 2 <= tickets.connections() <= 8 + 4


def test_waiting_for_the_carrier_holds_no_connection_of_the_pool(tickets: Any) -> None:
    asked = tickets.at_once(40, lambda: tickets.get("/tickets/7/parcel"))
    assert {answer.status for answer in asked} == {200}


def test_a_steady_rise_is_forecast_to_go_on() -> None:
    assert forecast.best([float(n) for n in range(2, 40, 2)]).next == pytest.approx(40, rel=0.05)
