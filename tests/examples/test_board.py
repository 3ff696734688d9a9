"""The board under gunicorn: every route, what it refuses, and its pool."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest

from examples.board import markup


def write(board: Any, thread: int, **fields: str) -> Any:
    form = "application/x-www-form-urlencoded"
    return board.request("POST", f"/thread/{thread}", urlencode(fields), Content_Type=form)


def test_loading_and_forking_it_opens_no_connection(board: Any) -> None:
    assert board.connections_at_start == 0


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", "Threads"),
        ("/?page=4", "page=5"),
        ("/thread/7", "<blockquote>"),
        ("/search?q=kettle", "kettle"),
        ("/search?q=100%25", "None"),
        ("/digest", "<strong>"),
        ("/avatar/3.png", "PNG"),
        ("/api/stats", '"2025-01"'),
    ],
)
def test_a_page_answers(board: Any, path: str, words: str) -> None:
    answer = board.get(path)
    assert answer.status == 200, answer.body
    assert words in answer.body


@pytest.mark.parametrize("path", ["/thread/999999", "/avatar/999999.png", "/nowhere"])
def test_what_is_not_there_is_not_found(board: Any, path: str) -> None:
    assert board.get(path).status == 404


def test_the_links_of_the_first_page_lead_to_threads(board: Any) -> None:
    links = set(re.findall(r'href="(/thread/\d+)"', board.get("/").body))
    assert len(links) > 1
    assert {board.get(link).status for link in sorted(links)[:3]} == {200}


def test_a_new_post_is_shown_in_its_thread(board: Any) -> None:
    answer = write(board, 9, name="somebody", text="This is **new** <b>")
    assert answer.status == 303
    shown = board.get(answer.headers["Location"]).body
    assert "somebody" in shown
    assert "This is <strong>new</strong> &lt;b&gt;" in shown


@pytest.mark.parametrize("fields", [{}, {"name": "a"}, {"name": "a", "text": " "}])
def test_a_post_without_a_name_or_a_text_is_refused(board: Any, fields: dict[str, str]) -> None:
    assert write(board, 9, **fields).status == 400


def test_a_post_to_no_thread_is_not_found_and_makes_no_author(board: Any) -> None:
    assert write(board, 999999, name="nobody at all", text="a").status == 404
    assert board.query("SELECT 1 FROM author WHERE name = %s", "nobody at all") == []


def test_more_threads_than_the_pool_wait_for_its_ten_connections(board: Any) -> None:
    for _ in range(2):
        assert {a.status for a in board.at_once(28, lambda: board.get("/api/stats"))} == {200}
    # Those beyond the pool's five are closed when they are given back.
    assert 1 <= board.connections() <= 10


def test_the_module_for_servers_that_want_one_serves_too(board_hooks: Any, serving: Any) -> None:
    with serving(board_hooks, "examples.board.wsgi") as site:
        assert site.get("/thread/7").status == 200


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain", "<p>plain</p>"),
        ("a\nb\n\nc", "<p>a\nb</p>\n\n<p>c</p>"),
        ("# head", "<h3>head</h3>"),
        ("- one\n- *two*", "<ul><li>one</li>\n<li><em>two</em></li></ul>"),
        ("> said", "<blockquote>said</blockquote>"),
        ("    a *b*", "<pre>a *b*</pre>"),
        ("`a` **b**", "<p><code>a</code> <strong>b</strong></p>"),
        ("[a](https://b.example/)", '<p><a rel="nofollow" href="https://b.example/">a</a></p>'),
    ],
)
def test_markup_becomes_html(text: str, html: str) -> None:
    assert markup.render(text) == html


@pytest.mark.parametrize(
    "text",
    ["<script>", "[a](javascript:b)", '[a](https://b"onclick=c)', "[<img>](https://b.example/)"],
)
def test_markup_makes_no_html_that_it_does_not_know(text: str) -> None:
    tags = re.findall(r"<[^>]*>", markup.render(text))
    assert set(tags) <= {"<p>", "</p>", "</a>"} | {t for t in tags if re.fullmatch(LINK, t)}


LINK = r'<a rel="nofollow" href="https?://[^"<>]*">'
