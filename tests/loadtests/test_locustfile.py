"""A user's own locustfile: any request, but to the trial's address only."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pretune.loadtests import records
from pretune.loadtests.session import DriverFailed
from pretune.loadtests.workload import Load, Workload


@pytest.fixture
def run(driver, server, tmp_path):
    """Send the load of a locustfile with that text; the result and the records."""

    def run(text, *, users=2, seconds=0.5, times=1, headers=(), **load):
        file = tmp_path / "locustfile.py"
        file.write_text(text)
        workload = Workload((), headers=headers, source="locustfile", locustfile=file)
        sent = tmp_path / "load.records"
        for _ in range(times):
            begun = driver.run(server.address, workload, Load(users, seconds, **load), sent)
            result = begun.wait(seconds + 60)
        return result, records.read(sent)

    return run


BOTH = """
from locust import FastHttpUser, HttpUser, events, task, constant

@events.init.add_listener
def prepare(environment, **_):
    Fast.path = "/item/1"

class Fast(FastHttpUser):
    wait_time = constant(0.02)
    @task
    def read(self):
        self.client.get(self.path, name="/item/[id]")

class Plain(HttpUser):
    wait_time = constant(0.02)
    @task
    def write(self):
        self.client.post("/order", data={"a": 1})
"""


def test_requests_are_recorded_and_numbered_by_name(run, server, tmp_path):
    result, sent = run(BOTH, headers=(("Host", "shop.example"),))
    assert set(result.names) == {"/item/[id]", "/order"}
    assert dict(zip(result.names, result.raw, strict=True)) == {"/item/[id]": False, "/order": True}
    assert result.errors == 0
    assert len(sent) == result.requests > 4
    seen = [each for each in server.seen() if each["headers"]["x-pretune-endpoint"] != "0"]
    for item in seen:
        number = result.names.index({"P": "/order", "G": "/item/[id]"}[item["line"][0]]) + 1
        assert item["headers"]["x-pretune-endpoint"] == str(number)
        assert item["headers"]["host"] == "shop.example"
    assert set(sent["endpoint"]) == {1, 2}
    assert set(sent["user"]) == {0, 1}
    start, end = sent["start"].min(), (sent["start"] + sent["wall"]).max()
    times = [item["time"] for item in seen]
    assert start < min(times) < max(times) < end


def test_a_second_run_counts_each_request_once(run, server, tmp_path):
    result, sent = run(BOTH, seconds=0.3, times=2)
    assert len(sent) == result.requests
    assert len(server.seen()) > result.requests  # the first run's are there as well
    assert len(set(zip(sent["start"], sent["user"], strict=True))) == len(sent)


ELSEWHERE = """
import requests
from locust import FastHttpUser, HttpUser, task

class Fast(FastHttpUser):
    @task
    def away(self):
        self.client.get("http://127.0.0.1:{port}/fast")
        self.client.get("/redirect/127.0.0.1:{port}")
        self.client.get("/home")

class Plain(HttpUser):
    @task
    def away(self):
        self.client.get("http://127.0.0.1:{port}/plain")
        self.client.get("/redirect/127.0.0.1:{port}")
        try:
            requests.get("http://127.0.0.1:{port}/direct")
        except requests.ConnectionError:
            self.client.get("/home")
"""


def test_other_addresses_are_refused(run, server, other_server):
    text = ELSEWHERE.replace("{port}", str(other_server.address[1]))
    result, sent = run(text)
    assert other_server.seen() == []
    kinds = {records.ERRORS[number] for number in sent["error"]}
    assert kinds == {"", "address refused"}
    homes = sum(item["line"].startswith("GET /home") for item in server.seen())
    assert homes > 1
    assert result.errors_by_kind.keys() == {"address refused"}


def test_the_locustfile_judges_answers(run, server, tmp_path):
    text = """
from locust import FastHttpUser, task, constant

class Judge(FastHttpUser):
    wait_time = constant(0.01)
    @task
    def missing_is_fine(self):
        with self.client.get("/status/404", catch_response=True) as answer:
            answer.success()
    @task
    def hello_is_wrong(self):
        with self.client.get("/", catch_response=True) as answer:
            answer.failure("not what I want")
    @task
    def broken(self):
        self.client.get("/status/500")
"""
    result, sent = run(text, seconds=1.0)
    kinds = {(int(item["status"]), records.ERRORS[item["error"]]) for item in sent}
    assert kinds == {(404, ""), (200, "check failed"), (500, "status")}
    assert set(result.names) == {"/status/404", "/", "/status/500"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "raise RuntimeError('no such fixture')",
            r"file\.py:1 raises RuntimeError: no such fixture",
        ),
        ("x = 1", "no HttpUser or FastHttpUser"),
    ],
)
def test_a_locustfile_that_cannot_be_used_fails_with_the_reason(run, text, message):
    with pytest.raises(DriverFailed, match=message):
        run(text)


def test_the_tools_side_imports_neither_locust_nor_gevent():
    code = (
        "import sys, pretune.loadtests.session, pretune.loadtests.records\n"
        "sys.exit(bool({'locust', 'gevent'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


RAISES = """
from locust import HttpUser, SequentialTaskSet, constant, task

class User(HttpUser):
    wait_time = constant(0.01)
    @task
    def read(self):
        answer = self.client.get("/item/1")
        answer.headers["nothing-has-this-name"]
"""


def test_a_task_that_always_raises_is_an_error_of_the_file_and_no_error_of_the_app(
    run, server, tmp_path
):
    result, _ = run(RAISES, times=2)
    error = result.user_error
    assert result.errors == 0
    assert error is not None
    assert error.always
    assert error.raised >= 2
    assert error.where == f"{tmp_path / 'locustfile.py'}:9"
    assert error.exception.startswith("KeyError: 'nothing-has-this-name'")
    assert error.said == f"{error.where} raises {error.exception}"
    assert 'answer.headers["nothing-has-this-name"]' in error.traceback
    assert "execute_next_task" not in error.traceback  # it begins in the user's file


def test_a_raising_on_start_is_an_error_of_the_file(run, server, tmp_path):
    text = RAISES.replace(
        "    @task", '    def on_start(self):\n        raise ValueError("no token")\n    @task'
    )
    result, sent = run(text)
    assert len(sent) == 0
    assert result.user_error is not None
    assert result.user_error.always
    assert result.user_error.exception == "ValueError: no token"


def test_a_user_that_cannot_be_made_is_said_with_its_line(run, server, tmp_path):
    text = RAISES.replace(
        "    @task",
        "    def __init__(self, environment):\n        super().__init__(environment)\n"
        '        self.token = {}["token"]\n    @task',
    )
    with pytest.raises(DriverFailed, match=r"locustfile\.py:8 raises KeyError: 'token'"):
        run(text)


def test_tasks_that_raise_now_and_then_are_counted_beside_those_that_do_not(run, server, tmp_path):
    text = RAISES.replace('answer.headers["nothing', 'self.n = getattr(self, "n", 0) + 1\n'
                          '        self.n % 2 or answer.headers["nothing')  # fmt: skip
    error = run(text)[0].user_error
    assert error is not None
    assert not error.always
    assert abs(error.raised - error.completed) <= 4


@pytest.mark.parametrize(
    "body",
    [
        'self.client.get("/status/500").raise_for_status()',  # the app's error, not the file's
        'self.client.get("/item/1")',
    ],
)
def test_what_follows_an_error_of_the_app_is_not_the_files(run, server, tmp_path, body):
    text = RAISES.replace('answer = self.client.get("/item/1")', body).replace(
        '        answer.headers["nothing-has-this-name"]\n', ""
    )
    assert run(text)[0].user_error is None


def test_the_end_of_a_nested_set_of_tasks_is_no_error(run, server, tmp_path):
    text = """
from locust import HttpUser, SequentialTaskSet, constant, task

class User(HttpUser):
    wait_time = constant(0.01)
    @task
    class Visit(SequentialTaskSet):
        @task
        def read(self):
            self.client.get("/item/1")
        @task
        def leave(self):
            self.interrupt(reschedule=False)
"""
    result, sent = run(text)
    assert len(sent) > 4
    assert result.user_error is None


REFUSED = {
    "a library that the tool has not": (
        "import no_such_library",
        r"locustfile\.py:4 imports no_such_library, which the tool's Python has not; .* -m pip ins",
    ),
    "a data file that is nowhere": (
        "open('people.json')",
        r"locustfile\.py:4 opens people\.json, which is not in .*; nor does it lie beside",
    ),
    "a variable of the environment": (
        "import os; os.environ['SHOP_USER']",
        r"locustfile\.py:4 reads the environment variable SHOP_USER, which tune's own",
    ),
    "an argument without a default": (
        "events.init_command_line_parser.add_listener("
        "lambda parser, **_: parser.add_argument('--tenant', required=True))",
        r"arguments for locust's command line cannot be filled in \(.*--tenant\); give each",
    ),
    "a token from another address": (
        "import requests; requests.get('http://127.0.0.1:9/token')",
        r"locustfile\.py:4 connects to 127\.0\.0\.1:9, and the load may go to the server under",
    ),
}
PLAIN = """
from locust import *

LINE
class User(FastHttpUser):
    @task
    def home(self):
        self.client.get("/item/1")
"""


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_locustfile_needs_and_has_not_is_said_with_its_line(driver, tmp_path, name):
    line, message = REFUSED[name]
    file = tmp_path / "locustfile.py"
    file.write_text(PLAIN.replace("LINE", line))
    with pytest.raises(DriverFailed, match=message):
        driver.describe(file)


def test_own_arguments_files_and_modules_beside_it_are_found(run, server, tmp_path):
    (tmp_path / "people.json").write_text("[]")
    (tmp_path / "beside.py").write_text("PATH = '/item/3'\n")
    text = """
from locust import *
import beside

open("people.json").close()

@events.init_command_line_parser.add_listener
def add(parser):
    parser.add_argument("--tenant", default="acme")

class User(HttpUser):
    host = "https://shop.example"
    @task
    def home(self):
        options = self.environment.parsed_options
        self.client.get(f"{self.environment.host}/item/1", headers={"X-Tenant": options.tenant})
        self.client.get("https://shop.example/item/2")
        self.client.get(beside.PATH)
"""
    result, sent = run(text)
    assert result.errors == 0
    assert result.names == ("/item/1", "/item/2", "/item/3")
    assert len(sent) > 2
    assert server.seen()[0]["headers"]["x-tenant"] == "acme"


def test_requests_to_another_host_are_said_with_their_line(run, server):
    text = PLAIN.replace("LINE", "").replace("/item/1", "http://else.example/item/1")
    result, _ = run(text)
    said, count = result.elsewhere
    assert count == result.requests > 0
    assert "locustfile.py:8 asks http://else.example, which is not the server under test" in said


def test_a_class_whose_users_cannot_begin_ends_the_load(run):
    text = """
from locust import *

class Fine(FastHttpUser):
    @task
    def home(self):
        self.client.get("/item/1")

class Buyer(FastHttpUser):
    def on_start(self):
        self.client.get("/item/2").headers["token"]
    @task
    def buy(self):
        self.client.get("/item/3")
"""
    result, _ = run(text, seconds=20)
    assert result.duration_s < 10
    assert result.user_error is not None
    assert (result.user_error.unstarted, result.user_error.always) == ("Buyer", True)
    assert result.user_error.where.endswith("locustfile.py:11")


def test_classes_weights_waits_and_the_mix_are_known_before_any_load(driver, tmp_path):
    file = tmp_path / "locustfile.py"
    file.write_text("""
from locust import *

class Reader(HttpUser):
    weight = 3
    wait_time = between(1, 5)
    def on_start(self): pass
    @task(2)
    def list(self): pass
    @task
    def one(self): pass

class Buyer(HttpUser):
    wait_time = constant(9)
    @task
    class Section(SequentialTaskSet):
        @task
        def look(self): pass
        @task
        def pay(self): pass

class Socket(User):
    @task
    def ping(self): pass

class Stages(LoadTestShape):
    def tick(self): return None
""")
    (reader, buyer), left_out = driver.describe(file)
    assert (reader.name, reader.weight, reader.wait, reader.begins) == (
        "Reader",
        3,
        "1 to 5 s",
        True,
    )
    # 3 users who come each 3 s, and one who comes each 9 s
    assert (reader.share, buyer.share) == pytest.approx((0.9, 0.1))
    assert [(t.name, t.weight, t.share) for t in reader.tasks] == [
        ("list", 2, pytest.approx(0.6)),
        ("one", 1, pytest.approx(0.3)),
    ]
    assert [(t.name, t.share) for t in buyer.tasks] == [
        ("Section.look", pytest.approx(0.05)),
        ("Section.pay", pytest.approx(0.05)),
    ]
    assert [name for name, _ in left_out] == ["class Socket", "shape Stages"]
