"""A locustfile's traffic has one mix, whatever the number of its users."""

from __future__ import annotations

import textwrap
from collections import Counter

import numpy as np
import pytest

from pretune.loadtests import records
from pretune.loadtests.workload import Load, Workload

HEAD = """
import random, time
from locust import *
from locust.exception import StopUser
"""

# name: the classes of a file, and the shares of its requests; None: what they are is learned
FILES: dict[str, tuple[str, dict[str, float] | None]] = {
    "classes by weight": (
        """
        class Reader(HttpUser):
            weight = 3
            @task(5)
            def list(self): self.client.get("/list")
            @task
            def one(self): self.client.get(f"/one/{random.random()}", name="/one/[id]")
        class Robot(FastHttpUser):
            @task
            def home(self): self.client.get("/")
        """,
        {"/list": 0.625, "/one/[id]": 0.125, "/": 0.25},
    ),
    "a sequence after a login": (
        """
        class Buying(SequentialTaskSet):
            def on_start(self): self.client.post("/login", {"name": "ada"})
            @task
            def look(self): self.client.get("/look")
            @task
            def take(self): self.client.get("/take")
            @task
            def pay(self): self.client.get("/pay")
        class Buyer(FastHttpUser):
            tasks = [Buying]
        """,
        {"/look": 1 / 3, "/take": 1 / 3, "/pay": 1 / 3},
    ),
    "nested sets": (
        """
        class User(FastHttpUser):
            @task
            class Section(TaskSet):
                @task(3)
                def read(self): self.client.get("/read")
                @task
                def leave(self): self.interrupt()
            @task
            def home(self): self.client.get("/")
        """,
        {"/read": 0.75, "/": 0.25},
    ),
    "the same waits": (
        """
        class Visitor(FastHttpUser):
            weight = 4
            wait_time = between(1, 5)
            def on_start(self): self.client.get("/start")
            @task
            def read(self): self.client.get("/read")
        class Buyer(FastHttpUser):
            wait_time = between(1, 5)
            @task
            def take(self): self.client.get("/take")
        """,
        {"/read": 0.8, "/take": 0.2},
    ),
    "waits that differ": (
        """
        class Slow(FastHttpUser):
            wait_time = constant(30)
            @task
            def rare(self): self.client.get("/rare")
        class Quick(FastHttpUser):
            wait_time = constant_pacing(10)
            @task
            def often(self): self.client.get("/often")
        """,
        {"/rare": 0.25, "/often": 0.75},
    ),
    "one waits and one does not": (
        """
        class Slow(FastHttpUser):
            weight = 3
            wait_time = constant(0.02)
            @task
            def rare(self): self.client.get("/rare")
        class Quick(FastHttpUser):
            @task
            def often(self): self.client.get("/often")
        """,
        None,
    ),
    "a sleep within a task": (
        """
        class User(FastHttpUser):
            @task
            def visit(self):
                self.client.get("/first")
                time.sleep(20)
                self.client.get("/second")
        """,
        {"/first": 0.5, "/second": 0.5},
    ),
    "a fixed number": (
        """
        class Watcher(FastHttpUser):
            fixed_count = 1
            @task
            def watch(self): self.client.get("/watch")
        class User(FastHttpUser):
            weight = 3
            @task
            def home(self): self.client.get("/")
        """,
        {"/watch": 0.25, "/": 0.75},
    ),
    "an abstract base": (
        """
        class Base(FastHttpUser):
            abstract = True
            def on_start(self): self.client.get("/login")
        class One(Base):
            @task
            def home(self): self.client.get("/")
        class Two(One):
            weight = 2
            @task
            def list(self): self.client.get("/list")
        """,
        {"/": 2 / 3, "/list": 1 / 3},
    ),
    "users who stop": (
        """
        class User(FastHttpUser):
            def on_start(self):
                self.left = 4
                self.client.get("/start")
            @task
            def home(self):
                self.client.get("/")
                self.left -= 1
                if not self.left: raise StopUser()
        """,
        {"/": 0.8, "/start": 0.2},
    ),
}


@pytest.fixture
def send(driver, server, tmp_path):
    """Send a locustfile's load; the result, the records and their shares by name."""

    def send(text, *, users=1, seconds=0.5, name="locustfile.py", **load):
        file = tmp_path / name
        file.write_text(HEAD + textwrap.dedent(text))
        workload = Workload((), source="locustfile", locustfile=file)
        path = tmp_path / "load.records"
        result = driver.run(server.address, workload, Load(users, seconds, **load), path).wait(60)
        sent = records.read(path)
        counts = Counter(result.names[number - 1] for number in sent["endpoint"].tolist())
        return result, sent, counts

    return send


@pytest.mark.parametrize("name", FILES)
def test_shares_are_the_same_for_one_user_and_for_many(send, name):
    text, expected = FILES[name]
    shares = expected
    for users in (1, 6):
        result, sent, counts = send(text, users=users, seconds=0.6)
        assert result.errors == 0
        assert result.user_error is None
        if shares is None:
            shares = {path: count / len(sent) for path, count in counts.items()}
        # a few turns are under way at the begin and at the end
        slack = 4 + users / 2
        for path in counts | shares:
            wanted = shares.get(path, 0.0) * len(sent)
            assert abs(counts[path] - wanted) <= slack, (users, path, counts)


def test_users_wait_as_they_are_told_where_the_load_thinks(send):
    text = """
    class User(FastHttpUser):
        wait_time = constant(0.1)
        @task
        def home(self): self.client.get("/")
    """
    result, sent, _ = send(text, users=4, seconds=1.0, think_s=0.1)
    assert result.think_s == pytest.approx(0.1)
    for user in range(4):
        assert np.diff(np.sort(sent["start"][sent["user"] == user])).min() > 0.09
    _, busy, _ = send(text, users=4, seconds=1.0)
    assert len(busy) > len(sent)


def test_waits_are_those_of_the_mix_for_each_request(send):
    text = """
    class Slow(FastHttpUser):
        wait_time = constant(3000)
        @task
        def rare(self): self.client.get("/rare")
    class Quick(FastHttpUser):
        wait_time = constant(1000)
        @task
        def often(self):
            self.client.get("/often")
            self.client.get("/often")
    """
    # 1 turn of 3000 s with one request to 3 of 1000 s with two
    assert send(text)[0].think_s == pytest.approx((3000 + 3 * 1000) / (1 + 3 * 2), rel=0.02)


def test_tasks_at_a_rate_count_from_their_intended_start(send, server):
    text = """
    class Reader(FastHttpUser):
        weight = 3
        wait_time = constant(5)
        @task
        def read(self): self.client.get("/sleep/0.05")
    class Robot(FastHttpUser):
        wait_time = constant(5)
        @task
        def home(self): self.client.get("/")
    """
    result, sent, counts = send(text, seconds=2.0, rps=60.0)
    assert result.errors == 0
    # Poisson: five standard deviations
    assert abs(len(sent) - 120) < 5 * 120**0.5
    assert abs(counts["/"] - len(sent) / 4) <= 4
    assert result.most_waiting > 1
    gaps = np.diff(np.sort(sent["start"]))
    assert 0.5 < gaps.std() / gaps.mean() < 1.5
    assert (sent["late_us"] > 0).any()
