"""Results as text: for a terminal, and as Markdown for the docs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool) -> str:
    """The first column to the left, the others to the right."""
    if markdown:
        lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
        return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "  ".join(cells).rstrip()

    return "\n".join([line(head), "  ".join("-" * width for width in widths), *map(line, rows)])


def ratio(value: dict[str, float] | None) -> str:
    if value is None:
        return "-"
    return f"{value['value']:.2f} ({value['low']:.2f}-{value['high']:.2f})"


def speed(document: dict[str, Any], headers: str, interface: dict[str, str], markdown: bool) -> str:
    head = ("server", "requests/s", "CPU us/request", "times the reference, requests/s",
            "times the reference, CPU", "marked")  # fmt: skip
    rows: list[list[str]] = []
    for row in document["rows"]:
        if row["headers"] != headers:
            continue
        itself = row["server"] == row["reference"]
        marks = []
        if row["disturbed"]:
            marks.append(f"steal {row['disturbed']}")
        if row["invalid"]:
            marks.append(f"errors {len(row['invalid'])}")
        rows.append(
            [
                row["server"] + (f" ({interface[row['server']]})" if not markdown else ""),
                f"{row['rps']:,.0f}",
                f"{row['cpu_us']:.1f}",
                "reference" if itself else ratio(row["ratio"]["rps"]),
                "reference" if itself else ratio(row["ratio"]["cpu"]),
                ", ".join(marks),
            ]
        )
    return table(head, rows, markdown=markdown)


def aims(document: dict[str, Any], markdown: bool) -> str:
    head = ("aim", "headers", "at least", "requests/s", "CPU per request", "met")
    rows = []
    for row in document["aims"]:
        met = [
            row[kind] is not None and row[kind]["value"] >= row["aim"] for kind in ("rps", "cpu")
        ]
        rows.append(
            [
                f"{row['server']} against {row['against']}",
                row["headers"],
                f"{row['aim']:g} x",
                ratio(row["rps"]),
                ratio(row["cpu"]),
                "yes" if all(met) else "no" if not any(met) else "in part",
            ]
        )
    return table(head, rows, markdown=markdown)


def footprint(document: dict[str, Any], markdown: bool) -> str:
    """Memory, boot, idle and telemetry, each a table with its sentence."""
    parts = []
    if "memory" in document:
        rows = [
            [row["server"], *(f"{row[key] / 2**20:.1f}" for key in
             ("worker_uss", "worker_pss", "over_uss", "over_pss", "marginal_pss", "tree_pss"))]
            for row in document["memory"]
        ]  # fmt: skip
        head = ("MiB", "worker USS", "worker PSS", "USS over bare", "PSS over bare",
                "one more worker", "all, 1 worker")  # fmt: skip
        parts.append(table(head, rows, markdown=markdown))
    if "boot" in document:
        rows = [
            [row["server"], f"{row['boot_s']['value']:.3f}",
             f"{row['boot_s']['low']:.3f}-{row['boot_s']['high']:.3f}"]
            for row in document["boot"]
        ]  # fmt: skip
        head = ("spawn to first answer", "s", "95% interval")
        parts.append(table(head, rows, markdown=markdown))
    if "idle" in document:
        rows = [
            [row["server"], f"{row['workers']}", f"{row['master']:.3%}", f"{row['all']:.3%}"]
            for row in document["idle"]
        ]
        head = ("idle", "workers", "master, of a core", "all processes, of a core")
        parts.append(table(head, rows, markdown=markdown))
    if "telemetry" in document:
        rows = [
            [row["server"], f"{row['off_us']:.2f}", f"{row['cost_us']['value']:+.2f}",
             f"{row['cost_us']['low']:+.2f} to {row['cost_us']['high']:+.2f}"]
            for row in document["telemetry"]
        ]  # fmt: skip
        head = ("telemetry", "off, CPU us/request", "on costs, us", "95% interval")
        parts.append(table(head, rows, markdown=markdown))
    return "\n\n".join(parts)
