"""From counted requests to the shares of an application's routes."""

import random
from collections import Counter

import pytest
from support.access_logs import BEGIN, line, write

from pretune.loadtests.access_logs import mix
from pretune.loadtests.access_logs.log import read_log
from pretune.loadtests.workload import Coverage, Endpoint, Skipped, Workload


def route(pattern: str, regex: str, kind: str = "app", methods=None):
    return {"pattern": pattern, "regex": regex, "kind": kind, "methods": methods}


ROUTES = [
    route("/", "/"),
    route("/product/new/", "/product/new/"),
    route("/product/<int:pk>/", "/product/(?P<pk>[0-9]+)/", methods=["GET", "HEAD"]),
    route("/order/", "/order/", methods=["POST"]),
    route("/reset/<token>/", "/reset/(?P<token>[^/]+)/"),
    route("/static/<path>", "/static/(?P<path>.*)", "static"),
]
OFFERED = Workload(
    (
        Endpoint("/", ("/",), 0.25),
        Endpoint("/product/new/", ("/product/new/",), 0.25),
        Endpoint("/product/<int:pk>/", ("/product/1/", "/product/2/"), 0.5),
    ),
    skipped=(Skipped("/reset/<token>/", "no value was found for token"),),
    coverage=Coverage(3, 5),
)
REQUESTS = {
    ("GET / HTTP/1.1", 200): 30,
    ("GET /?utm=s3cret HTTP/1.1", 304): 10,
    ("GET /product/new/ HTTP/1.1", 200): 5,
    ("GET /product/{id}/ HTTP/1.1", 200): 40,
    ("HEAD /product/{id}/ HTTP/1.1", 200): 2,
    ("GET /product/{id}/ HTTP/1.1", 404): 3,
    ("POST /order/ HTTP/1.1", 302): 4,
    ("GET /reset/s3cret{id}/ HTTP/1.1", 200): 2,
    ("GET /static/x.css HTTP/1.1", 200): 2,
    ("GET /healthz HTTP/1.1", 200): 1,
    ("GET /wp-login.php HTTP/1.1", 404): 1,
}


@pytest.fixture
def log(tmp_path):
    dice = random.Random(3)
    kinds = dice.choices(list(REQUESTS), list(REQUESTS.values()), k=20_000)
    lines = [
        line(BEGIN + at // 20, request.replace("{id}", str(dice.randrange(10**6))), status)
        for at, (request, status) in enumerate(kinds)
    ]
    found = read_log(write(tmp_path / "access.log", lines))
    return found, Counter(kinds)


def test_shares_are_the_logs_within_a_hundredth(log):
    found, kinds = log
    asked = mix.sort_requests(found.tally, ROUTES)
    weighed = mix.weigh(OFFERED, asked, found)
    sent = {
        "/": ("GET / HTTP/1.1", "GET /?utm=s3cret HTTP/1.1"),
        "/product/new/": ("GET /product/new/ HTTP/1.1",),
        "/product/<int:pk>/": ("GET /product/{id}/ HTTP/1.1", "HEAD /product/{id}/ HTTP/1.1"),
    }
    counts = {
        name: sum(n for (text, status), n in kinds.items() if text in texts and status < 400)
        for name, texts in sent.items()
    }
    shares = {each.name: each.share for each in weighed.endpoints}
    assert shares == {name: n / sum(counts.values()) for name, n in counts.items()}
    # the paths are those that exist here
    assert weighed.endpoints[2].paths == ("/product/1/", "/product/2/")
    assert weighed.coverage == Coverage(3, 5)
    part = sum(counts.values()) / 20_000
    assert weighed.peak_rps == pytest.approx(found.rates.peak_rps * part)


def test_what_is_left_out_is_said_with_its_part(log):
    found, kinds = log
    asked = mix.sort_requests(found.tally, ROUTES)
    left = {
        mix.UNSAFE: kinds["POST /order/ HTTP/1.1", 302],
        mix.FAILED: kinds["GET /product/{id}/ HTTP/1.1", 404]
        + kinds["GET /wp-login.php HTTP/1.1", 404],
        mix.STATIC: kinds["GET /static/x.css HTTP/1.1", 200],
        mix.HEALTH_CHECK: kinds["GET /healthz HTTP/1.1", 200],
    }
    assert {why: n for why, n in asked.left_out.items() if n} == left
    weighed = mix.weigh(OFFERED, asked, found)
    assert weighed.assumption.startswith("the shares of ")
    assert "20,000 requests in access.log" in weighed.assumption
    assert all(why in weighed.assumption for why in left)
    (reset,) = weighed.skipped
    assert reset.name == "/reset/<token>/"
    assert reset.reason.startswith("no value was found for token; ")
    assert reset.reason.endswith("% of the log's requests")


def test_nothing_of_a_request_but_its_route_goes_on(log):
    found, _ = log
    weighed = mix.weigh(OFFERED, mix.sort_requests(found.tally, ROUTES), found)
    assert "s3cret" not in repr(weighed)
    assert "203.0.113.9" not in repr(weighed)


def test_pages_of_a_site_are_counted_by_their_folders(tmp_path):
    everything = [route("/*", "(?:/(?P<path>.*))?", "unlisted")]
    offered = Workload(
        (Endpoint("/blog/*", ("/blog/a/",), 0.5), Endpoint("/about", ("/about",), 0.5))
    )
    requests = ["/blog/a/"] * 60 + ["/blog/other/"] * 30 + ["/about"] * 10 + ["/gone/x"] * 20
    lines = [line(BEGIN, f"GET {path} HTTP/1.1") for path in requests]
    found = read_log(write(tmp_path / "access.log", lines))
    weighed = mix.weigh(offered, mix.sort_requests(found.tally, everything), found)
    assert {each.name: each.share for each in weighed.endpoints} == {"/blog/*": 0.9, "/about": 0.1}
    assert mix.NO_ROUTE in weighed.assumption


def test_a_log_of_another_application_leaves_nothing(tmp_path):
    lines = [line(BEGIN, "GET /elsewhere HTTP/1.1")] * 200
    found = read_log(write(tmp_path / "access.log", lines))
    weighed = mix.weigh(OFFERED, mix.sort_requests(found.tally, ROUTES), found)
    assert weighed.endpoints == ()
    assert f"100% {mix.NO_ROUTE}" in weighed.assumption
