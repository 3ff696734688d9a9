"""What a leaving worker does next: a table of situations."""

from __future__ import annotations

import pytest

from pretune.server.workers.draining import IMPATIENCE, RETIRE, STOP, YIELD, next_step

EARLY, LATE = IMPATIENCE / 2, IMPATIENCE * 2
PATIENCE = 30.0


@pytest.mark.parametrize(
    ("how", "elapsed", "doors", "connections", "closed", "close_idle", "done"),
    [
        # Nobody waits: the doors close at once, and with nobody inside it is over.
        (STOP, EARLY, {3: False, 4: False}, 0, (3, 4), True, True),
        (STOP, EARLY, {3: False, 4: False}, 2, (3, 4), True, False),
        # Somebody waits at one of them: it stays open, however long that takes.
        (STOP, EARLY, {3: True, 4: False}, 0, (4,), False, False),
        (STOP, LATE, {3: True}, 0, (), False, False),
        # A retiring worker does not wait for a queue that its siblings' clients fill.
        (RETIRE, EARLY, {3: True}, 0, (), False, False),
        (RETIRE, LATE, {3: True}, 0, (3,), False, True),
        (RETIRE, LATE, {3: True}, 1, (3,), False, False),
        (RETIRE, LATE, {}, 0, (), False, True),
        (YIELD, LATE, {3: True}, 1, (3,), False, False),
        # Patience has an end.
        (STOP, PATIENCE + 1, {3: True}, 5, (), False, True),
        (RETIRE, PATIENCE + 1, {}, 5, (), False, True),
    ],
)
def test_next_step(how, elapsed, doors, connections, closed, close_idle, done):
    step = next_step(how, elapsed, PATIENCE, doors, connections)
    assert (step.close_doors, step.close_idle, step.done) == (closed, close_idle, done)
    assert step.give_idle == (how == RETIRE)
