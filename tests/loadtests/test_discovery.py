"""From routes and answers to a workload. The application here is a table of answers."""

from __future__ import annotations

import json
import re

import pytest

from pretune.loadtests.asking import Answer
from pretune.loadtests.discovery import (
    MAX_REQUESTS,
    PATHS_PER_ENDPOINT,
    from_paths,
    probe,
    sort_routes,
)
from pretune.loadtests.harvest import harvest, local_path

ADDRESS = ("127.0.0.1", 8000)
EXPRESSIONS = {"int": "[0-9]+", "slug": "[-a-zA-Z0-9_]+", "str": "[^/]+", "uuid": "[0-9a-f-]{36}"}


def route(pattern, **more):
    """A route as server/probes/routes.py describes it, from ``/product/<int:pk>/``."""
    params = [
        {"converter": converter or "str", "name": name}
        for converter, name in re.findall(r"<(?:(\w+):)?(\w+)>", pattern)
    ]
    regex = template = pattern
    for param in params:
        mark = re.compile(rf"<(?:\w+:)?{param['name']}>")
        template = mark.sub("{" + param["name"] + "}", template)
        regex = mark.sub(f"(?P<{param['name']}>{EXPRESSIONS[param['converter']]})", regex)
    said = {
        "pattern": pattern,
        "template": template,
        "regex": regex,
        "params": params,
        "methods": ["GET"],
        "name": None,
        "kind": "app",
        "host": None,
        "query": [],
    }
    return said | more


class App:
    """Answers by path; counts what it was asked."""

    def __init__(self, **answers):
        self.answers = answers.pop("table")
        self.asked = []
        self.headers = None

    def __call__(self, address, path, headers):
        assert address == ADDRESS
        self.asked.append(path)
        self.headers = headers
        found = self.answers(path) if callable(self.answers) else self.answers.get(path)
        return found or Answer(404)


def page(*links):
    body = "".join(f'<a href="{link}">x</a>' for link in links)
    return Answer(200, "text/html; charset=utf-8", body=body.encode())


def data(document):
    return Answer(200, "application/json", body=json.dumps(document).encode())


def discover(routes, table, headers=()):
    app = App(table=table)
    workload = probe(ADDRESS, routes, headers, app)
    paths = {endpoint.name: endpoint.paths for endpoint in workload.endpoints}
    reasons = {skipped.name: skipped.reason for skipped in workload.skipped}
    return workload, paths, reasons, app


def test_routes_that_answer_share_the_load_equally():
    workload, paths, reasons, _ = discover(
        [route("/"), route("/about")], {"/": page(), "/about": page()}
    )
    assert paths == {"/": ("/",), "/about": ("/about",)}
    assert [endpoint.share for endpoint in workload.endpoints] == [0.5, 0.5]
    assert workload.assumption == "equal shares of 2 routes"
    assert reasons == {}


def test_parameters_are_filled_from_links_through_several_pages():
    routes = [route("/"), route("/shelf/<slug:shelf>/"), route("/product/<int:pk>/")]
    table = {
        "/": page("/shelf/tea/", "shelf/coffee/?sort=up#top", "https://elsewhere.example/shelf/x/"),
        "/shelf/tea/": page("../../product/12/"),
        "/shelf/coffee/": page("http://127.0.0.1:8000/product/13/"),
        "/product/12/": page(),
        "/product/13/": page("/product/404/"),
    }
    _, paths, reasons, _ = discover(routes, table)
    assert paths["/shelf/<slug:shelf>/"] == ("/shelf/tea/", "/shelf/coffee/")
    assert paths["/product/<int:pk>/"] == ("/product/12/", "/product/13/")
    assert reasons == {}


def test_links_belong_to_the_first_route_that_matches():
    routes = [route("/"), route("/user/me"), route("/user/<name>")]
    table = {"/": page("/user/me", "/user/ann"), "/user/me": page(), "/user/ann": page()}
    _, paths, _, _ = discover(routes, table)
    assert paths["/user/<name>"] == ("/user/ann",)


def test_parameters_are_filled_from_identifiers_in_json():
    routes = [route("/tickets"), route("/tickets/<int:ticket_id>"), route("/queue/<name>")]
    table = {
        "/tickets": data([{"id": 7, "queue": {"name": "a b"}, "size": 3}, {"id": 9}]),
        "/tickets/7": data({}),
        "/tickets/9": data({}),
        "/queue/a%20b": data({}),
    }
    _, paths, _, _ = discover(routes, table)
    assert paths["/tickets/<int:ticket_id>"] == ("/tickets/7", "/tickets/9")
    assert paths["/queue/<name>"] == ("/queue/a%20b",)


def test_an_id_of_another_collection_is_not_used():
    routes = [route("/users"), route("/tickets/<int:ticket_id>")]
    _, paths, _, app = discover(routes, {"/users": data([{"id": 70}])})
    assert "/tickets/70" not in app.asked
    assert "/tickets/<int:ticket_id>" not in paths


def test_a_sibling_with_the_same_parameter_lends_its_values():
    routes = [route("/"), route("/api/product/<int:pk>"), route("/product/<int:pk>/")]
    table = {
        "/": page("/product/12/"),
        "/product/12/": page(),
        "/api/product/12": data({}),
    }
    _, paths, _, app = discover(routes, table)
    assert paths["/api/product/<int:pk>"] == ("/api/product/12",)
    assert "/api/product/1" not in app.asked


def test_small_numbers_are_tried_last():
    routes = [route("/product/<int:pk>/"), route("/item/<item_id>"), route("/tag/<slug:tag>/")]
    table = {"/product/2/": page(), "/item/1": page()}
    _, paths, reasons, app = discover(routes, table)
    assert paths == {"/product/<int:pk>/": ("/product/2/",), "/item/<item_id>": ("/item/1",)}
    assert reasons["/tag/<slug:tag>/"] == "no example value for <tag>; name one with --path"
    assert not any("/tag/" in path for path in app.asked)


def test_a_query_the_application_links_to_is_used_where_one_is_needed():
    routes = [route("/search", query=["q"]), route("/")]
    table = {"/": page("/search?q=tea"), "/search": Answer(422), "/search?q=tea": page()}
    _, paths, reasons, _ = discover(routes, table)
    assert paths["/search"] == ("/search?q=tea",)
    assert reasons == {}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(302, location="/accounts/login/?next=/x"), "redirects to a login page"),
        (Answer(302, location="/sign-in"), "redirects to a login page"),
        (Answer(301, location="/x/"), "redirects to /x/"),
        (Answer(301, location="https://127.0.0.1:8000/x"), "redirects to https (name the header "),
        (Answer(301, location="https://shop.example/x"), "redirects to https (name the header "),
        (Answer(301, location="//cdn.example/x"), "redirects to another host (cdn.example)"),
        (Answer(302, location="http://[bad"), "redirects to an address that cannot be read"),
        (Answer(401), "needs a login"),
        (Answer(403), "needs a login"),
        (Answer(404), "answers 404"),
        (Answer(405), "does not answer GET"),
        (Answer(429), "limits the rate of requests (answers 429)"),
        (Answer(500), "answers 500"),
        (Answer(200, failure="never ends"), "never ends"),
        (Answer(failure="does not answer within 10 s"), "does not answer within 10 s"),
    ],
)
def test_every_failure_has_its_reason(answer, reason):
    workload, _, reasons, app = discover([route("/x")], {"/x": answer}, [("Host", "shop.example")])
    assert reasons["/x"].startswith(reason)
    assert workload.endpoints == ()
    assert app.asked == ["/x"]


def test_a_missing_query_parameter_is_named():
    _, _, reasons, _ = discover([route("/s", query=["q"])], {"/s": Answer(422)})
    assert reasons["/s"] == "needs the query parameter q; give it with --path '/s?q=...'"


@pytest.mark.parametrize(
    ("more", "name", "reason"),
    [
        ({"methods": ["OPTIONS", "POST"]}, "POST /x", "only answers POST"),
        ({"kind": "admin"}, "/x", "the admin site"),
        ({"kind": "static"}, "/x", "static files, which a web server in front should serve"),
        ({"kind": "docs"}, "/x", "generated API documentation"),
        ({"host": "api.example"}, "/x", "answers on another host (api.example)"),
    ],
)
def test_some_routes_are_not_even_asked(more, name, reason):
    _, _, reasons, app = discover([route("/x", **more)], {"/x": page()})
    assert reasons == {name: reason}
    assert app.asked == []


def test_a_route_that_says_no_methods_is_asked():
    assert len(sort_routes([route("/x", methods=None)]).candidates) == 1


def test_one_pattern_with_two_methods_is_one_endpoint():
    routes = [route("/x", methods=["POST"]), route("/x"), route("/x", methods=["GET", "HEAD"])]
    _, paths, reasons, _ = discover(routes, {"/x": page()})
    assert list(paths) == ["/x"]
    assert list(reasons) == ["POST /x"]


def test_the_number_of_requests_is_bounded_and_shared_fairly():
    routes = [route("/")] + [route(f"/r{n}/<int:pk>") for n in range(30)]
    links = [f"/r{n}/{pk}" for n in range(30) for pk in range(8)]
    _, paths, _, app = discover(routes, lambda path: page(*links))
    assert len(app.asked) == len(set(app.asked)) == MAX_REQUESTS
    counts = {len(found) for name, found in paths.items() if name != "/"}
    assert counts <= {3, 4}


def test_an_endpoint_gets_at_most_its_number_of_paths():
    routes = [route("/"), route("/p/<int:pk>")]
    _, paths, _, _ = discover(routes, lambda path: page(*(f"/p/{n}" for n in range(50))))
    assert len(paths["/p/<int:pk>"]) == PATHS_PER_ENDPOINT


def test_headers_are_sent_and_kept():
    headers = (("Host", "shop.example"), ("X-Forwarded-Proto", "https"))
    workload, paths, _, app = discover(
        [route("/"), route("/p/<slug:s>")],
        {"/": page("https://SHOP.example/p/a"), "/p/a": page()},
        headers,
    )
    assert app.headers == dict(headers)
    assert workload.headers == headers
    assert paths["/p/<slug:s>"] == ("/p/a",)


def test_hostile_bodies_harvest_nothing_and_break_nothing():
    hosts = frozenset({"here"})
    assert harvest(b'{"a": ' * 100_000, "application/json", "/", hosts).links == []
    assert harvest(b"[" * 900 + b"1" + b"]" * 900, "application/json", "/", hosts).values == {}
    assert harvest(b"\xff<a href='\x00'><a href=", "text/html", "/", hosts).links is not None
    assert harvest(b"<a href='http://[x'>", "text/html", "/", hosts).links == []
    assert local_path("javascript:alert(1)", "/", hosts) is None
    assert local_path("mailto:a@b", "/", hosts) is None


def test_paths_given_by_hand_count_as_often_as_they_are_given():
    workload = from_paths(["/a", "/b?x=1", "/a"])
    assert [(e.name, e.share) for e in workload.endpoints] == [("/a", 2 / 3), ("/b?x=1", 1 / 3)]
    assert workload.source == "paths"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("products", "must begin with a slash: /products"),
        ("http://x.example/a?b", "write /a\\?b"),
        ("/a\nb", "control character"),
    ],
)
def test_a_path_that_is_none_is_refused_with_the_fix(path, message):
    with pytest.raises(ValueError, match=message):
        from_paths([path])
