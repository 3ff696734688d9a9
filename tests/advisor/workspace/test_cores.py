import os
import subprocess
import sys

import pytest

from pretune.advisor.workspace.cores import confined, move_sessions, plan


@pytest.mark.parametrize(
    ("available", "budget", "server", "generator"),
    [
        ({0}, 1, {0}, {0}),
        ({0, 1}, 2, {0}, {1}),
        ({0, 1}, 0.5, {0}, {1}),
        ({0, 1, 2, 3}, 2, {0, 1}, {2, 3}),
        ({0, 1, 2, 3}, 1.5, {0, 1}, {2, 3}),
        ({4, 5, 6, 7}, 64, {4, 5, 6}, {7}),
    ],
)
def test_server_and_generator_do_not_share_a_core_where_there_are_two(
    available: set[int], budget: float, server: set[int], generator: set[int]
) -> None:
    found = plan(frozenset(available), budget)
    assert (found.server, found.generator) == (server, generator)


def test_confinement_ends() -> None:
    before = os.sched_getaffinity(0)
    with confined(frozenset([min(before)])) as pinned:
        assert pinned
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before


def test_where_pinning_is_refused_the_run_goes_on() -> None:
    before = os.sched_getaffinity(0)
    with confined(frozenset([4095])) as pinned:
        assert not pinned
    assert os.sched_getaffinity(0) == before


def test_a_service_moves_with_the_children_that_left_its_session() -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "print(child.pid, flush=True)\nchild.wait()\n"
    )
    service = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    )
    assert service.stdout
    child = int(service.stdout.readline())
    core = frozenset([max(os.sched_getaffinity(0))])
    try:
        move_sessions([service.pid, 0, 1], core)
        assert os.sched_getaffinity(service.pid) == os.sched_getaffinity(child) == core
    finally:
        os.kill(child, 9)
        service.wait(10)
        service.stdout.close()
