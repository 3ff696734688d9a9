"""What a leaving worker does next: a table of situations."""

from __future__ import annotations

import pytest

from pretune.server.workers.draining import (
    HANDSHAKE,
    IMPATIENCE,
    RETIRE,
    STOP,
    YIELD,
    next_step,
)

NOW, EARLY, LATE = HANDSHAKE / 2, (HANDSHAKE + IMPATIENCE) / 2, IMPATIENCE * 2
PATIENCE = 30.0


@pytest.mark.parametrize(
    ("how", "elapsed", "queues", "sealed", "connections", "closed", "done"),
    [
        # Nobody waits: the queues close at once, and with nobody inside it is over.
        (STOP, EARLY, {3: False, 4: False}, {3, 4}, 0, (3, 4), True),
        (STOP, EARLY, {3: False, 4: False}, {3, 4}, 2, (3, 4), False),
        # Not quite at once: a handshake may be on its way.
        (STOP, NOW, {3: False, 4: False}, {3}, 0, (4,), False),
        # Somebody waits in a queue nobody new comes to: all of it is answered, however long it is.
        (STOP, EARLY, {3: True, 4: False}, {3, 4}, 0, (4,), False),
        (STOP, LATE, {3: True}, {3}, 0, (), False),
        # A queue that clients keep filling is not waited for.
        (STOP, EARLY, {3: True}, (), 0, (), False),
        (STOP, LATE, {3: True}, (), 0, (3,), True),
        # Nor does a retiring worker: its siblings serve on.
        (RETIRE, EARLY, {3: True}, (), 0, (), False),
        (RETIRE, LATE, {3: True}, (), 0, (3,), True),
        (RETIRE, LATE, {3: True}, (), 1, (3,), False),
        (RETIRE, LATE, {}, (), 0, (), True),
        (YIELD, LATE, {3: True}, (), 1, (3,), False),
        # The newer server takes what is in the queue, but not what siblings hand to each other: a
        # worker with an idle thread stays for what one without may be about to give it.
        (YIELD, NOW, {3: False, 4: False}, {4}, 0, (3,), False),
        (YIELD, LATE, {3: True, 4: True}, {4}, 0, (3,), False),
        (YIELD, LATE, {3: False, 4: False}, {4}, 0, (3, 4), True),
        # Patience has an end.
        (STOP, PATIENCE + 1, {3: True}, {3}, 5, (), True),
        (RETIRE, PATIENCE + 1, {}, (), 5, (), True),
    ],
)
def test_next_step(how, elapsed, queues, sealed, connections, closed, done):
    step = next_step(how, elapsed, PATIENCE, queues, connections, sealed)
    assert (step.shut_queues, step.done) == (closed, done)
    assert (step.close_idle, step.give_idle) == (how == STOP, how == RETIRE)
