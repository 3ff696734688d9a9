"""The distance between arrangements of workers and threads. Pure."""

from __future__ import annotations

import math

from pretune.server.settings import Settings

OTHER_CLASS = 1.0  # as far as e times as many workers


def shape_distance(one: Settings, other: Settings) -> float:
    """By how many times the workers and the threads differ: the sum of both logarithms."""
    workers = abs(math.log(one.workers / other.workers))
    return workers + abs(math.log(one.threads / other.threads))


def distance(one: Settings, other: Settings) -> float:
    """The same, and more where the worker class changes; 0 of the same arrangement."""
    changed = one.worker_class != other.worker_class
    return shape_distance(one, other) + OTHER_CLASS * changed
