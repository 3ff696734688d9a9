"""Workload files, and what is said about bad ones."""

from __future__ import annotations

import re

import pytest

from pretune.loadtests.file import read


def write(tmp_path, text, name="load.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_endpoints_with_shares_and_headers(tmp_path):
    path = write(
        tmp_path,
        """
        [headers]
        host = "b.example"
        Accept-Language = "de"
        [[endpoint]]
        path = "/search?q=tea"
        share = 3
        name = "/search"
        [[endpoint]]
        paths = ["/p/1", "/p/2"]
        method = "head"
        """,
    )
    workload = read(path, {"Host": "a.example", "X-Forwarded-Proto": "https"})
    search, product = workload.endpoints
    assert (search.name, search.paths, search.share) == ("/search", ("/search?q=tea",), 0.75)
    assert (product.name, product.paths, product.share) == ("/p/1", ("/p/1", "/p/2"), 0.25)
    assert product.method == "HEAD"
    assert dict(workload.headers) == {
        "X-Forwarded-Proto": "https",
        "host": "b.example",
        "Accept-Language": "de",
    }
    assert (workload.source, workload.assumption) == ("file", "")


def test_paths_by_frequency(tmp_path):
    file = "[[endpoint]]\nname = 'p'\npaths = {'/p/1' = 30, '/p/2' = 1}"
    (product,) = read(write(tmp_path, file)).endpoints
    assert (product.paths, product.weights) == (("/p/1", "/p/2"), (30.0, 1.0))


def test_without_shares_equal_ones_are_assumed(tmp_path):
    workload = read(write(tmp_path, '[[endpoint]]\npath="/a"\n[[endpoint]]\npath="/b"'))
    assert workload.assumption == "equal shares of 2 endpoints"


def test_a_locustfile_is_passed_on(tmp_path):
    path = write(tmp_path, "class Visitor: pass", "visits.py")
    workload = read(path, {"Host": "a"})
    assert workload.locustfile == path
    assert (workload.source, workload.headers) == ("locustfile", (("Host", "a"),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no endpoints; write at least one"),
        ("x = ", "it is not TOML"),
        ("endpoint = 3", "no endpoints"),
        ("endpoint = [3]", "endpoint 1 is not a table"),
        ("[[endpoint]]\nshare=1", "needs one of path, paths and route"),
        ("[[endpoint]]\npath='/a'\npaths=['/b']", "needs one of path, paths and route"),
        ("[[endpoint]]\npath=3", "a path is written"),
        ("[[endpoint]]\npath='a'", "must begin with a slash: /a"),
        ("[[endpoint]]\npath='https://x/a'", "write /a"),
        ("[[endpoint]]\npath='/a'\nshare=0", "share is a number above 0, not 0"),
        ("[[endpoint]]\npath='/a'\nshare='3'", "share is a number"),
        ("[[endpoint]]\npaths={'/a'=0}", "how often is a number above 0"),
        ("[[endpoint]]\npath='/a'\nmethod='POST'", "POST may change data; only a locustfile"),
        ("[[endpoint]]\npath='/a'\nweigth=3", "unknown entry 'weigth'; known are"),
        ("[[endpoint]]\npath='/a'\nshares=3", "did you mean share?"),
        ("[[endpoints]]\npath='/a'", "did you mean endpoint?"),
        ("[[endpoint]]\npath='/a'\n[[endpoint]]\npath='/a'", "two endpoints are called /a"),
        ("[headers]\na=1\n[[endpoint]]\npath='/a'", "headers"),
        ('[headers]\na="x\\ny"\n[[endpoint]]\npath="/a"', "header a holds a line break"),
    ],
)
def test_a_bad_file_is_refused_with_the_fix(tmp_path, text, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read(write(tmp_path, text))
    assert "load.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("visits.py", "class :", "line 1"),
        ("visits.py", "x = 1", "defines no class"),
    ],
)
def test_other_files_are_refused(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path, text, name))


def test_a_missing_or_binary_file_is_said(tmp_path):
    with pytest.raises(ValueError, match="there is no workload file"):
        read(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not UTF-8"):
        read(tmp_path / "b.toml")
