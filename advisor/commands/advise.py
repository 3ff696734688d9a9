"""`tune advise TARGET`, which is `tune TARGET`."""

from __future__ import annotations

from typing import Any

import rich_click as click

from pretune.advisor.commands.arguments import shared


@click.command("advise", short_help="Measure TARGET and recommend its settings.")
@shared
@click.option("--dry-run", is_flag=True, help="Show what would be measured, without load.")
def command(**flags: Any) -> None:
    """Measure TARGET and recommend its settings.

    Exit code: 0 it fits, 1 it does not fit, 2 wrong usage, 3 the app failed or the measurement is
    invalid, 4 not enough data (with --strict), 130 after Ctrl-C.
    """
    from pretune.advisor.commands.execution import execute

    execute(flags, gate=False)
