"""A point of a sweep is measured on real gunicorn, its services beside it."""

from bench.accuracy import applications, grid, stage
from bench.accuracy.grid import Task
from pretune.server.settings import Settings


def test_a_point_of_the_orm_is_measured_on_gunicorn_with_postgres(monkeypatch):
    monkeypatch.setattr(grid, "POINT_S", 2.0)
    app = applications.BY_NAME["orm"]
    with stage.start_services() as services, stage.Stage(app, services) as on:
        assert [e.name for e in on.workload.endpoints] == list(app.paths)
        point = on.point(Task("orm", Settings(2, 1, "sync"), users=2, repeat=0))
    assert point.shape == (2, 1, "sync")
    assert point.requests > 0
    assert point.error_rate == 0
    assert 0 < point.p50 <= point.p95 <= point.p99
    assert point.low["throughput"] <= point.throughput <= point.high["throughput"]
