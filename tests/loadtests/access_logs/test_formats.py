"""Lines as the documentation of servers and services shows them, and lines that are none."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretune.loadtests.access_logs.formats import COLUMNS, KNOWN, compile_format, recognise

COMBINED = (
    b'203.0.113.9 - ann [10/Oct/2026:13:55:36 -0700] "GET /a/b?token=s3cret HTTP/1.1" 200 2326 '
    b'"https://example.com/?x=1" "Mozilla/5.0 (X11; Linux)"'
)
LINES = {
    "combined (nginx, Apache, gunicorn)": (COMBINED, "10/Oct/2026:13:55:36 -0700", None),
    "combined with the host before it": (
        b"example.com:443 " + COMBINED, "10/Oct/2026:13:55:36 -0700", None,
    ),
    "common": (COMBINED.partition(b' "https')[0], "10/Oct/2026:13:55:36 -0700", None),
    "uWSGI's own": (
        b"[pid: 24|app: 0|req: 1/1] 127.0.0.1 () {28 vars in 306 bytes} [Tue Dec  1 02:29:25 2026] "
        b"GET /a/b?token=s3cret => generated 3 bytes in 18 msecs (HTTP/1.1 200) 1 headers in 44 "
        b"bytes (1 switches on core 0)",
        "Tue Dec  1 02:29:25 2026", 0.018,
    ),
    "uvicorn's own": (
        b'INFO:     127.0.0.1:53 - "GET /a/b?token=s3cret HTTP/1.1" 200 OK', None, None,
    ),
    "Heroku's router": (
        b'2026-10-11T03:47:20+00:00 heroku[router]: at=info method=GET path="/a/b?token=s3cret" '
        b'host=x.com fwd="203.0.113.9" dyno=web.1 connect=1ms service=18ms status=200 bytes=13',
        "2026-10-11T03:47:20+00:00", 0.018,
    ),
    "AWS Application Load Balancer": (
        b"https 2026-07-02T22:23:00.186641Z app/my-lb/50dc 203.0.113.9:2817 10.0.0.1:80 0.086 "
        b'0.048 0.037 200 200 0 57 "GET https://www.example.com:443/a/b?token=s3cret HTTP/1.1" '
        b'"curl/7.46.0" ECDHE TLSv1.2 arn:aws "Root=1" "www.example.com" "-" 0',
        "2026-07-02T22:23:00.186641Z", 0.048,
    ),
    "JSON lines": (
        json.dumps(
            {
                "level": "info", "ts": 1786861401.5, "logger": "http.log.access",
                "request": {
                    "remote_ip": "203.0.113.9", "method": "GET", "uri": "/a/b?token=s3cret",
                    "headers": {"User-Agent": ["curl/7.82.0"], "Cookie": ["id=s3cret"]},
                },
                "duration": 0.018, "size": 10900, "status": 200,
            }
        ).encode(),
        "1786861401.5", 0.018,
    ),
}  # fmt: skip


def columns_of(log_format, line: bytes) -> dict[str, bytes]:
    (row,) = log_format.read(line + b"\n")
    return {name: row[place] for name, place in log_format.columns.items()}


@pytest.mark.parametrize("name", LINES)
def test_each_known_format_is_recognised_and_read(name):
    line, moment, seconds = LINES[name]
    found = recognise([line] * 5)
    assert found is not None
    assert found.name == name
    read = columns_of(found, line)
    assert re.fullmatch(rb"GET (https://www.example.com:443)?/a/b", read["target"])
    assert read["status"] == b"200"
    assert read.get("time", b"").decode() == (moment or "")
    if seconds is not None:
        assert float(read["seconds"]) / found.per_second == pytest.approx(seconds)
    assert b"s3cret" not in b"".join(read.values())
    assert b"203.0.113.9" not in b"".join(read.values())


def test_every_known_format_has_a_line_here():
    assert {each.name for each in KNOWN} == set(LINES)


OWN = (
    (
        '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
        '"$http_referer" "$http_user_agent" rt=$request_time uct="$upstream_connect_time"',
        rb'203.0.113.9 - - [01/Dec/2026:02:29:25 +0000] "GET /q?z HTTP/1.1" 200 5 "-" "a \" b" '
        rb'rt=0.003 uct="0.000, 0.001"',
        {"seconds": b"0.003", "agent": rb"a \" b"},
    ),
    (
        "$remote_addr $time_iso8601 $request_method $request_uri $status $upstream_response_time "
        "${request_time}s",
        b"203.0.113.9 2026-12-01T02:29:25+00:00 GET /q?z 200 0.001, 0.002 0.003s",
        {"seconds": b"0.003", "time": b"2026-12-01T02:29:25+00:00"},
    ),
    (
        '%h %l %u %t "%r" %>s %O %D "%{Referer}i" "%{User-Agent}i"',
        b'203.0.113.9 - - [01/Dec/2026:02:29:25 +0000] "GET /q?z HTTP/1.1" 200 5 3000 "-" "x"',
        {"seconds": b"3000", "agent": b"x"},
    ),
    (
        '%a %{ms}T "%m %U%q %H" %s %{X-Id}i',
        b'203.0.113.9 3 "GET /q?z HTTP/1.1" 200 -',
        {"seconds": b"3"},
    ),
    (
        '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %(L)s',
        b'203.0.113.9 - - [01/Dec/2026:02:29:25 +0000] "GET /q?z HTTP/1.1" 200 5 "-" "x" 0.003',
        {"seconds": b"0.003"},
    ),
    (
        "%(addr) [%(ltime)] %(method) %(uri) %(status) %(msecs)",
        b"203.0.113.9 [01/Dec/2026:02:29:25 +0000] GET /q?z 200 3",
        {"seconds": b"3", "time": b"01/Dec/2026:02:29:25 +0000"},
    ),
)


@pytest.mark.parametrize(("text", "line", "expected"), OWN, ids=[text[:20] for text, *_ in OWN])
def test_a_format_is_given_in_the_servers_own_language(text, line, expected):
    read = columns_of(compile_format(text), line)
    assert read["target"] == b"GET /q"
    assert read["status"] == b"200"
    assert expected.items() <= read.items()


def test_what_is_no_request_is_counted_and_has_no_target():
    found = KNOWN[0]
    line = rb'203.0.113.9 - - [01/Dec/2026:02:29:25 +0000] "\x16\x03\x01" 400 150 "-" "-"'
    assert columns_of(found, line)["target"] == b""


@pytest.mark.parametrize(
    ("text", "message"), [("$status $bytes", "no request"), ('"$request" $bytes', "no status")]
)
def test_a_format_without_request_or_status_is_refused_with_how_it_is_written(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        compile_format(text)
    assert "%r" in str(caught.value) or "%>s" in str(caught.value)


# Pieces of lines, so that what nearly is a line comes often.
PIECES = st.sampled_from([b" ", b'"', b"\\", b"[", b"]", b"GET /", b"200", b"\n", b"{", b"}", b":"])
HOSTILE = st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=60).map(b"".join)


@given(HOSTILE)
def test_no_line_breaks_a_parser(block):
    for each in KNOWN:
        for row in each.read(block):
            assert set(each.columns) <= set(COLUMNS)
            assert row[each.columns["target"]] == b"" or b" " in row[each.columns["target"]]
            assert b"?" not in row[each.columns["target"]]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("sign", [b" ", b'"', b"\\", b"[", b'" "', b"a", b"{", b'\\"'])
def test_a_long_line_is_not_tried_in_all_ways(sign):
    """It ends at all: with as many ways as two to the power of its length it would not."""
    for each in KNOWN:
        each.read(COMBINED[:60] + sign * 30_000)
