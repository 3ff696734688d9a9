"""Paired differences: how much less one arrangement carries than another, under the same draws."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import t as student

from pretune.advisor.model.prediction import Prediction
from pretune.advisor.quantity import UNKNOWN, Interval


def loss(of: Prediction, against: Prediction) -> Interval:
    """Part of its rate, the mean over draws with Student's 95% interval; below zero where ``of``
    carries more. What makes both as uncertain cancels out. UNKNOWN where one has no draws."""
    if len(of.draws) < 2 or len(of.draws) != len(against.draws):
        return UNKNOWN
    logs = np.log(np.maximum(against.draws, 1e-12)) - np.log(np.maximum(of.draws, 1e-12))
    mean = float(logs.mean())
    half = float(student.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs)))
    value, low, high = (1 - math.exp(-x) for x in (mean, mean - half, mean + half))
    return Interval(value, low, high)
