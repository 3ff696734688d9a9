"""What the shop needs before it can serve: Postgres with its data, and the carrier it asks."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from examples import hooks, postgres, upstream


def start(directory: Path) -> Mapping[str, str]:
    variables = {
        "DATABASE_URL": postgres.start(directory, "shop"),
        "UPSTREAM_URL": upstream.start(directory),
    }
    os.environ |= variables
    migrate()
    return variables


def migrate() -> None:
    """Make the tables and fill them."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "examples.shop.settings"
    import django
    from django.core.management import call_command
    from django.db import connection

    from examples.rows import settle
    from examples.shop.fill import fill

    django.setup()
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        fill(cursor.cursor)
        settle(cursor.cursor)
    connection.close()


def stop(directory: Path) -> None:
    upstream.stop(directory)
    postgres.stop(directory)


if __name__ == "__main__":
    sys.exit(hooks.main(start, stop))
