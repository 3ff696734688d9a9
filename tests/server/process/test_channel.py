"""Messages between master and worker."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pretune.server.process.channel import pair


def test_receiving_now_never_waits():
    ours, theirs = pair()
    assert theirs.receive_now() is None
    ours.send({"leave": "stop"})
    ours.send({"reopen": True})
    assert theirs.receive_now() == ({"leave": "stop"}, [])
    assert theirs.receive_now() == ({"reopen": True}, [])
    assert theirs.receive_now() is None
    ours.close()
    assert theirs.receive_now() == (None, [])
    theirs.close()


GREENLETS = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent
from pretune.server.process.channel import pair

ours, theirs = pair()  # made after the patch, as in a worker of a zygote
others = []
gevent.spawn(others.append, "another greenlet ran")
assert theirs.receive_now() is None
ours.send({"leave": "retire"})
assert theirs.receive_now() == ({"leave": "retire"}, [])
assert theirs.receive_now() is None
assert others == []
gevent.sleep(0)
assert others != []
"""


def test_receiving_now_lets_no_other_greenlet_come_between():
    pytest.importorskip("gevent")
    subprocess.run([sys.executable, "-c", GREENLETS], check=True, timeout=60)
