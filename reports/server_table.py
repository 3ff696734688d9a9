"""docs/SERVERS.md: what gunicorn's settings are on each server of the field.

``python -m pretune.reports.server_table > docs/SERVERS.md``; a test holds the two together.
"""

from __future__ import annotations

from pretune.server.field import SERVERS, FieldServer

_HEAD = """\
# The other servers

`tune TARGET --server NAME` measures and verifies on one of these, as it is installed in the app's
environment and started by its own command. Settings have gunicorn's names in reports; this is what
they are there. Where a server has no option for one, the setting does nothing.
"""


def render() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(_section(server) for server in SERVERS.values())])


def _section(server: FieldServer) -> str:
    kinds = "; ".join(f"`{kind}`: {what}" for kind, what in server.classes.items())
    lines = [
        f"## {server.name}",
        "",
        f"`{server.install}`. Serves {' and '.join(server.interfaces).upper()}. {kinds}.",
        "",
        "| setting | option | what it really means there |",
        "|---|---|---|",
    ]
    for name, meaning in server.settings.items():
        option = f"`--{meaning.option}`" if meaning.option else "none"
        lines.append(f"| `{name}` | {option} | {meaning.says} |")
    lines += ["", "Signals: " + ", ".join(_signals(server)) + "."]
    for option, value, why in server.fixed:
        lines.append(f"Always given: `--{option}{' ' + value if value else ''}` ({why}).")
    return "\n".join([*lines, *server.remarks]) + "\n"


def _signals(server: FieldServer) -> list[str]:
    return [
        f"{what.replace('_', ' ')} {getattr(number, 'name', number)}"
        for what, number in server.signals.items()
    ]


if __name__ == "__main__":
    print(render(), end="")
