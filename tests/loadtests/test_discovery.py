"""From routes and answers to a workload. The application here is a table of answers."""

from __future__ import annotations

import json
import re

import pytest

from pretune.loadtests import openapi
from pretune.loadtests.asking import Answer, Asking
from pretune.loadtests.candidates import PATHS_PER_ENDPOINT, sort_routes
from pretune.loadtests.discovery import (
    MAX_REQUESTS,
    from_paths,
    probe,
)
from pretune.loadtests.harvest import harvest, local_path
from pretune.loadtests.workload import Coverage

ADDRESS = ("127.0.0.1", 8000)
EXPRESSIONS = {"int": "[0-9]+", "slug": "[-a-zA-Z0-9_]+", "str": "[^/]+", "uuid": "[0-9a-f-]{36}"}
EXPRESSIONS["path"] = ".*"


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

    def __call__(self, address, path, headers, timeout):
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


def discover(routes, table, headers=(), seconds=60.0):
    app = App(table=table)
    workload = probe(ADDRESS, routes, headers, Asking(seconds, app))
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


def test_collections_in_one_another_are_followed_to_their_ends():
    names = ("/b", "/b/<id>", "/b/<b_id>/c", "/b/<b_id>/c/<id>", "/b/<b_id>/c/<c_id>/r")
    routes = [*map(route, names), route("/b/<b_id>/c/<c_id>/r/<id>")]
    table = {
        "/b": data([{"id": "tea"}]),
        "/b/tea": data({}),
        "/b/tea/c": data([{"id": "green"}]),
        "/b/tea/c/green": data({}),
        "/b/tea/c/green/r": data([{"id": "r 1"}]),
        "/b/tea/c/green/r/r%201": data({}),
    }
    _, paths, reasons, _ = discover(routes, table)
    assert paths["/b/<b_id>/c/<c_id>/r/<id>"] == ("/b/tea/c/green/r/r%201",)
    assert reasons == {}


@pytest.mark.parametrize(
    "path", ["/health", "/healthz/", "/api/health-check", "/__heartbeat__", "/v1/__lbheartbeat__",
             "/ping", "/readyz", "/metrics", "/_alive"],
)  # fmt: skip
def test_a_health_check_is_no_part_of_a_load_that_has_pages(path):
    workload, paths, reasons, _ = discover([route("/"), route(path)], lambda _: page())
    assert list(paths) == ["/"]
    assert reasons == {path: "a health check, which users do not ask"}
    assert workload.coverage == Coverage(measured=1, known=1)
    _, alone, _, _ = discover([route(path)], {path: page()})
    assert list(alone) == [path]


@pytest.mark.parametrize("path", ["/health-insurance", "/lively", "/versions", "/shipping"])
def test_a_page_whose_name_only_resembles_a_health_check_is_one(path):
    _, paths, _, _ = discover([route("/"), route(path)], lambda _: page())
    assert path in paths


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
        (Answer(406), "answers 406: give the Accept that it needs in a workload file's [headers]"),
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
    assert app.asked[:2] == ["/", "/x"]


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
    assert app.asked == ["/"]


def test_a_route_that_says_no_methods_is_asked():
    assert len(sort_routes([route("/x", methods=None)]).candidates) == 1


def test_one_pattern_with_two_methods_is_one_endpoint():
    routes = [route("/x", methods=["POST"]), route("/x"), route("/x", methods=["GET", "HEAD"])]
    _, paths, reasons, _ = discover(routes, {"/x": page()})
    assert list(paths) == ["/x"]
    assert list(reasons) == ["POST /x"]


def test_the_number_of_requests_is_bounded_and_shared_fairly(monkeypatch):
    monkeypatch.setattr("pretune.loadtests.discovery.MAX_REQUESTS", 100)
    routes = [route("/")] + [route(f"/r{n}/<int:pk>") for n in range(30)]
    links = [f"/r{n}/{pk}" for n in range(30) for pk in range(8)]
    _, paths, _, app = discover(routes, lambda path: page(*links))
    assert len(app.asked) == len(set(app.asked)) == 100
    counts = {len(found) for name, found in paths.items() if name != "/"}
    assert counts <= {3, 4}


def test_an_application_of_two_hundred_routes_is_measured_whole():
    routes = [route(f"/r{n}") for n in range(200)]
    workload, _, reasons, app = discover(routes, lambda path: page())
    assert len(app.asked) < MAX_REQUESTS
    assert workload.coverage.measured == 200
    assert reasons == {}


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


CATCH_ALL = route("/<path:where>", methods=None)
UNLISTED = route(
    "/*",
    template="/{path}",
    regex="(?:/(?P<path>.*))?",
    params=[{"name": "path", "converter": "path"}],
    methods=None,
    kind="unlisted",
)
FORM = Answer(200, "text/html", body=b"<form method=post><input type='password'></form>")


def test_the_root_is_asked_and_a_catch_all_is_the_pages_it_answers():
    routes = [
        route("/office/", methods=None),
        route("/office/in/", methods=None),
        route("/assets/<name>", kind="static"),
        route("/search/", methods=None),
        CATCH_ALL,
    ]
    avoided = ("/assets/x", "/logout/", "/x.pdf", "/post-1/delete/")
    table = {
        "/": page("/post-1/", "/post-2/", "/docs/a/", *avoided),
        "/office/": Answer(302, location="/office/in/?next=/office/"),
        "/office/in/": page(),
        "/search/": page(),
        "/post-1/": page("/docs/b/"),
        "/post-2/": page(),
        "/docs/a/": page(),
        "/docs/b/": page(),
    }
    workload, paths, reasons, app = discover(routes, table)
    assert paths == {
        "/": ("/",),
        "/search/": ("/search/",),
        "/*": ("/post-1/", "/post-2/"),
        "/docs/*": ("/docs/a/", "/docs/b/"),
    }
    assert reasons["/office/in/"] == "a login page"
    assert not set(avoided) & set(app.asked)
    assert workload.coverage == Coverage(measured=2, known=4)


def test_a_folder_of_a_site_weighs_as_much_as_it_has_pages():
    posts = [f"/blog/{number}/" for number in range(60)]
    table = {"/": page("/about/", "/blog/", *posts), "/search/": page()}
    workload, _, _, app = discover(
        [route("/search/", methods=None), CATCH_ALL],
        lambda path: table.get(path, page()),
    )
    assert len(app.asked) < 60  # what is known of the folder is more than was asked
    shares = {each.name: each.share for each in workload.endpoints}
    assert shares == pytest.approx(
        {"/": 1 / 4, "/search/": 1 / 4, "/*": 2 / 62 / 2, "/blog/*": 60 / 62 / 2}
    )
    assert workload.assumption == (
        "equal shares of 4 routes, a site's folders by their number of pages"
    )


def test_files_that_a_route_of_its_own_answers_are_followed():
    routes = [route("/"), route("/get/<path:filename>")]
    table = {"/": page("/get/a-1.0.whl", "/other/b.whl"), "/get/a-1.0.whl": Answer(200)}
    _, paths, _, app = discover(routes, table)
    assert paths["/get/<path:filename>"] == ("/get/a-1.0.whl",)
    assert "/other/b.whl" not in app.asked


def test_a_parameter_takes_the_values_of_its_namesake_where_it_has_no_sibling():
    routes = [route("/"), route("/simple/<project>/"), route("/<project>/json"), route("/x/<name>")]
    table = {"/": page("/simple/tea/"), "/simple/tea/": page(), "/tea/json": data({})}
    _, paths, reasons, _ = discover(routes, table)
    assert paths["/<project>/json"] == ("/tea/json",)
    assert "no example value for <name>" in reasons["/x/<name>"]


def test_an_application_without_a_list_of_routes_is_found_by_its_links_and_sitemap():
    sitemap = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;">]>
    <urlset><url><loc>https://www.example.org/deep/?a=1&amp;b=2</loc></url>
    <url><loc>&b;</loc></url><url><loc>http://[</loc></url></urlset>"""
    table = {
        "/": page("/one?page=2", "mailto:x@example.org", "https://elsewhere.example/two"),
        "/one?page=2": page(),
        "/sitemap.xml": Answer(200, "application/xml", body=sitemap),
        "/deep/?a=1&b=2": page(),
    }
    workload, paths, _, _ = discover([UNLISTED], table)
    assert paths == {
        "/": ("/",),
        "/*": ("/one?page=2", "/deep/?a=1&b=2"),
    }
    assert workload.coverage == Coverage(measured=0, known=0, listed=False)


@pytest.mark.parametrize("routes", [[], [route("/x")], [UNLISTED]])
def test_a_redirect_of_the_root_within_the_site_is_followed(routes):
    table = {
        "/": Answer(302, location="http://localhost:8000/start"),
        "/start": Answer(302, location="/start/home"),
        "/start/home": page(),
        "/x": page(),
    }
    workload, paths, reasons, _ = discover(routes, table)
    assert ("/start/home",) in paths.values()
    assert reasons["/"] == "redirects to /start"
    assert workload.coverage.root == ""


def test_redirects_without_end_are_not_followed_for_long():
    def table(path):
        return Answer(302, location=path + "a")

    _, paths, _, app = discover([route("/x")], table)
    assert paths == {}
    assert len(app.asked) < 10


@pytest.mark.parametrize(
    ("answer", "root"),
    [
        (Answer(401), "needs a login (answers 401)"),
        (Answer(302, location="/enter?next=/"), "redirects to a login page"),
        (FORM, "a login page"),
        (Answer(500), "answers 500"),
    ],
)
def test_the_reason_why_the_root_is_not_measured_is_kept(answer, root):
    workload, paths, _, _ = discover([route("/data"), route("/enter")], {
        "/": answer, "/data": data({}), "/enter": page()
    })  # fmt: skip
    assert workload.coverage.root == root
    assert "/data" in paths
    assert ("/enter" in paths) == ("next=" not in answer.location)


def test_a_page_with_a_password_field_among_many_links_is_a_page():
    links = page(*(f"/{n}" for n in range(9)))
    _, paths, _, _ = discover(
        [route("/")], {"/": Answer(200, "text/html", body=links.body + FORM.body)}
    )
    assert "/" in paths


@pytest.mark.parametrize(
    ("path", "body", "kept"),
    [
        ("/reset-password", b"", False),
        ("/password-reminder-sent", b"", False),
        ("/lost_password", b"", False),
        ("/password_reset/done/", b"", False),
        ("/authenticate", b"", False),
        ("/admin", FORM.body, False),
        ("/admin", b"", True),
        ("/passwords", b"", True),
        ("/authentication-explained", b"", True),
    ],
)
def test_pages_around_a_login_are_no_pages_of_a_site_however_many_links_they_have(path, body, kept):
    links = page(*(f"/{n}" for n in range(9))).body
    answer = Answer(200, "text/html", body=links + body)
    _, paths, _, _ = discover([route("/"), route(path)], {"/": page(), path: answer})
    assert (path in paths) == kept


def test_an_api_without_a_page_at_the_root_misses_none():
    workload, _, reasons, _ = discover([route("/health")], {"/health": data({})})
    assert reasons == {}
    assert workload.coverage == Coverage(measured=1, known=1)


DOCUMENT = {
    "openapi": "3.1.0",
    "servers": [{"url": "/api"}],
    "paths": {
        "/pets": {
            "get": {
                "parameters": [
                    {"name": "status", "in": "query", "required": True,
                     "schema": {"$ref": "#/components/schemas/Status"}},
                    {"name": "limit", "in": "query", "required": True,
                     "schema": {"type": "integer", "minimum": 5}},
                    {"name": "more", "in": "query", "schema": {"type": "string"}},
                ]
            }
        },
        "/pets/{pet}": {
            "parameters": [{"name": "pet", "in": "path", "required": True, "example": "p 7"}],
            "get": {},
        },
        "/report": {
            "get": {"parameters": [
                {"name": "X-Tenant", "in": "header", "required": True, "schema": {"type": "string"}}
            ]}
        },
        "/wide": {
            "get": {"parameters": [
                {"name": "X-Zone", "in": "header", "required": True,
                 "schema": {"type": "string", "default": "eu"}}
            ]}
        },
        "/loop": {"get": {"parameters": [{"$ref": "#/paths/~1loop"}, {"$ref": "#/x"}, 7]}},
    },
    "components": {"schemas": {"Status": {"enum": ["sold", "new"]}}},
}  # fmt: skip


@pytest.mark.parametrize("listed", [True, False])
def test_required_parameters_are_filled_from_the_openapi_document_or_named(listed):
    names = ("/pets", "/pets/<slug:pet_id>", "/report", "/wide", "/loop")
    routes = [route("/openapi.json", kind="docs"), *map(route, names)] if listed else [UNLISTED]
    base = "" if listed else "/api"
    table = {
        "/openapi.json": data(DOCUMENT),
        f"{base}/pets": Answer(422),
        f"{base}/pets?status=sold&limit=5": page(),
        f"{base}/pets/p%207": page(),
        f"{base}/report": Answer(422),
        f"{base}/wide": page(),
        f"{base}/loop": page(),
    }
    if listed:
        routes = [
            {**each, "headers": ["X-Zone"]} if each["pattern"] == "/wide" else each
            for each in routes
        ]
        routes[3] = {**routes[3], "headers": ["X-Tenant"]}
        routes[1] = {**routes[1], "query": ["status", "limit"]}
        routes[2] = {**routes[2], "regex": "/pets/(?P<pet_id>[^/]+)"}
    workload, paths, reasons, _ = discover(routes, table)
    assert (f"{base}/pets?status=sold&limit=5",) in paths.values()
    assert (f"{base}/wide",) in paths.values()
    assert workload.headers == ()
    own = {each.paths[0]: each.headers for each in workload.endpoints if each.headers}
    assert own == {f"{base}/wide": (("X-Zone", "eu"),)}  # no other route asked for it
    wanted = "needs the header X-Tenant: give it in a workload file's [headers]"
    assert reasons[f"{base}/report"] == wanted
    assert ((f"{base}/pets/p%207",) in paths.values()) == (not listed)  # named differently there


def test_a_query_that_only_the_document_asks_for_is_filled_or_named():
    names = ("/wide", "/pets", "/report")  # of a framework that does not say what they require
    document = {"openapi": "3.1.0", "paths": {path: DOCUMENT["paths"][path] for path in names}}
    document["components"] = DOCUMENT["components"]
    table = {"/schema/openapi.json": data(document), "/pets": Answer(400), "/report": Answer(400)}
    table |= {"/wide": page(), "/pets?status=sold&limit=5": page()}
    docs = route("/schema/openapi.json", kind="docs")
    _, paths, reasons, _ = discover([docs, *map(route, names)], table)
    assert paths["/pets"] == ("/pets?status=sold&limit=5",)
    assert reasons["/report"].startswith("needs the header X-Tenant")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"openapi": 1, "paths": 3}',
        b'{"openapi": 1, "paths": {"/x": {"get": 1}}}',
        b'{"openapi": 1, "paths": {"/x": {"get": {"parameters": {"a": 1}}}}}',
    ],
)
def test_a_hostile_document_gives_no_values_and_breaks_nothing(body):
    assert all(not each.query for each in openapi.read(body))


def test_downloads_are_no_more_than_half_of_a_mix_and_static_files_none():
    routes = [route(f"/{name}") for name in ("a", "b", "c", "page", "style")]
    image = Answer(200, "image/png")
    table = {"/a": image, "/b": image, "/c": Answer(200, "text/csv", attachment=True)}
    table |= {"/page": page(), "/style": Answer(200, "text/css")}
    workload, _, reasons, _ = discover(routes, table)
    shares = {each.name: each.share for each in workload.endpoints}
    assert shares == pytest.approx({"/a": 1 / 6, "/b": 1 / 6, "/c": 1 / 6, "/page": 1 / 2})
    assert reasons["/style"].startswith("a static file")


def test_the_time_for_trying_routes_is_bounded():
    _, paths, reasons, app = discover([route("/"), route("/x")], lambda path: page(), seconds=0.0)
    assert list(paths) == app.asked == ["/"]
    assert reasons["/x"] == "not asked: trying the routes took more than 0 s"
