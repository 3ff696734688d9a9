"""The clocks of our own code in the application's process, bound before it is imported.

An application may replace the functions of ``time`` for its tests or by mistake, and libraries that
freeze time replace, in every module that is loaded, each attribute that is one of them. A worker
that keeps its deadlines and its measurements by such a clock hangs, or reports nonsense. Attributes
of a class are not reached that way, and cost what ``time.monotonic`` costs: two look-ups.

The application's entry imports this first. ``sleep`` is the operating system's, not a greenlet's.
"""

from __future__ import annotations

import time


class Clock:
    """The functions of ``time`` under the same names, never instantiated."""

    clock_gettime = time.clock_gettime
    clock_gettime_ns = time.clock_gettime_ns
    gmtime = time.gmtime
    monotonic = time.monotonic
    perf_counter = time.perf_counter
    sleep = time.sleep
    strftime = time.strftime
    thread_time = time.thread_time
    time = time.time
