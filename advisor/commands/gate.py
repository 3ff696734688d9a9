"""`tune gate TARGET`: the same run as a pass or a fail."""

from __future__ import annotations

from typing import Any

import rich_click as click

from pretune.advisor.commands.arguments import shared


@click.command("gate", short_help="Measure TARGET and judge it by [tool.pretune.gate], for CI.")
@shared
def command(**flags: Any) -> None:
    """Measure TARGET and fail when a budget or a threshold of `[tool.pretune.gate]` does not hold.

    A threshold fails only when the measured 95% interval lies wholly beyond it; when the interval
    straddles it the answer is "not enough data" (exit code 4 with --strict, else 0).
    """
    from pretune.advisor.commands.execution import execute

    execute(flags, gate=True)
