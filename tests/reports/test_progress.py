"""Progress: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pretune.reports.progress import Progress, clock_text, remaining_s


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def run(tty):
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, width=80, force_terminal=tty, highlight=False)
    return out, clock, Progress(console, 60.0, clock=clock)


@pytest.mark.parametrize(("s", "text"), [(0, "0:00"), (7.4, "0:07"), (125, "2:05"), (-1, "0:00")])
def test_clock(s, text):
    assert clock_text(s) == text


@pytest.mark.parametrize(
    ("finished", "in_phase", "expected", "left"),
    [(0, 0, 20, 60), (20, 5, 10, 35), (20, 50, 10, 30), (60, 0, 0, 0), (80, 0, 0, 0)],
)
def test_an_overrun_does_not_eat_the_time_of_later_phases(finished, in_phase, expected, left):
    assert remaining_s(60, finished, in_phase, expected) == left


def test_one_plain_line_a_phase_without_a_terminal():
    out, clock, progress = run(tty=False)
    with progress:
        progress.phase("demand", "1 worker x 1 thread", 12)
        progress.update("ignored")
        clock.now += 12
        progress.phase("model")
        progress.line("repeated: steal 4%\x1b[2J")
    assert out.getvalue() == (
        "demand: 1 worker x 1 thread (about 12 s)\nmodel\nrepeated: steal 4%\\x1b[2J\n"
    )


def test_the_live_line_says_elapsed_left_and_detail():
    _, clock, progress = run(tty=True)
    with progress:
        progress.phase("demand", "1 x 1", 20)
        clock.now += 20
        progress.phase("memory", "2 x 4", 30)
        clock.now += 5
        progress.update("[red]200 requests\n")
        assert progress.status() == "0:25, about 0:35 left  memory  [red]200 requests"
        clock.now += 500
        assert "about 0:10 left" in progress.status()


def test_finished_phases_stay_on_a_terminal_and_the_cursor_comes_back():
    out, clock, progress = run(tty=True)
    with progress:
        progress.phase("demand", "", 20)
        clock.now += 12
        progress.phase("memory", "", 20)
    assert "0:12" in out.getvalue()
    assert "demand" in out.getvalue()
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")


def test_the_cursor_comes_back_after_an_exception_too():
    out, _, progress = run(tty=True)

    def interrupted():
        with progress:
            progress.phase("demand", "", 20)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")
