"""The verdict in the terminal: one sentence first, then why, in 80 columns.

All text is put into rich as ``Text``, never as markup, and without control characters: names of
routes and messages come from the app and may be hostile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pretune.reports import breakdown, fronting, numbers, redaction, setting, summary, today
from pretune.reports.document import Document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

VERDICT_STYLE = {
    "fits": "bold green",
    "does_not_fit": "bold red",
    "not_enough_data": "bold yellow",
    "app_failed": "bold red",
    "measurement_invalid": "bold yellow",
}
_SEVERITY_STYLE = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
_CHECK_STYLE = {"ok": "green", "miss": "bold red", "outside": "yellow", "-": "dim"}
_BETTER_STYLE = {"better": "green", "worse": "yellow"}
_WIDEST = 116
_MOST_LINES = 5
_LEAST_OF_TIME = 0.05


def render(document: Document, console: Console) -> None:
    """Print ``document``; without colour where the console has none."""
    document = redaction.redacted(document)
    style = VERDICT_STYLE.get(document["verdict"], "bold")
    console.print(Text(summary.sentence(document), style=style))
    for section in (
        print_failure,
        _print_gate,
        _print_fleet,
        _print_settings,
        _print_today,
        _print_deployment,
        _print_verification,
        _print_front,
        _print_limits,
        _print_extrapolated,
        _print_findings,
        _print_lines,
        _print_boot_memory,
        _print_baselines,
        _print_candidates,
        _print_workload,
        _print_files,
    ):
        section(document, console)


def print_heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def make_table(console: Console, *columns: str, right: frozenset[int] = frozenset()) -> Table:
    """An empty table in our one style; ``right`` are the columns set flush right."""
    made = Table(
        box=box.SIMPLE_HEAD if console.is_terminal else None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        show_edge=False,
        header_style="dim" if console.is_terminal else "",
    )
    for i, name in enumerate(columns):
        last = i == len(columns) - 1
        made.add_column(
            Text(name),
            justify="right" if i in right else "left",
            overflow="fold",
            no_wrap=not last and i == 0,
        )
    return made


def print_table(console: Console, made: Table) -> None:
    console.print(Padding(made, (0, 0, 0, 2), expand=False), width=min(console.width, _WIDEST))


def print_paragraph(console: Console, text: Text | str, indent: int = 2) -> None:
    shown = text if isinstance(text, Text) else Text(text)
    console.print(
        Padding(shown, (0, 0, 0, indent), expand=False), width=min(console.width, _WIDEST)
    )


def print_paragraphs(console: Console, heading: str, texts: Sequence[str]) -> None:
    """Nothing where there is no text."""
    if texts:
        print_heading(console, heading)
        for text in texts:
            print_paragraph(console, text)


def print_failure(document: Document, console: Console) -> None:
    failure = document.get("failure")
    if not failure:
        return
    whose = "load" if failure["kind"] == "load_code" else "app"
    # A traceback stays as it is: its lines are copied and searched for.
    for title, text in (
        (f"The {whose}'s own traceback", failure["traceback"]),
        ("Last lines of its log", failure.get("log_tail", "")),
    ):
        if text.strip():
            print_heading(console, title)
            for row in numbers.clean(text).rstrip().splitlines():
                console.print(Text("  " + row), soft_wrap=True)


def _print_gate(document: Document, console: Console) -> None:
    checks = (document.get("gate") or {}).get("checks") or []
    if not checks:
        return
    print_heading(console, "Gate")
    made = make_table(console, "check", "result", "detail")
    for check in checks:
        word = {True: "ok", False: "failed", None: "undecided"}[check["passed"]]
        style = {True: "green", False: "bold red", None: "yellow"}[check["passed"]]
        detail = Text(numbers.line(check.get("message", "")))
        made.add_row(Text(numbers.line(check["name"])), Text(word, style=style), detail)
    print_table(console, made)


def _print_settings(document: Document, console: Console) -> None:
    rows = summary.settings_rows(document)
    if not rows:
        return
    sure = document["verdict"] == "fits"
    print_heading(
        console, "Settings" if sure else "Settings the model would choose (not confirmed)"
    )
    deployed = today.values(document)
    columns = ("setting", "value", *(("today",) if deployed else ()), "reason")
    made = make_table(console, *columns, right=frozenset(range(1, len(columns) - 1)))
    for name, value, reason in rows:
        was = [Text(deployed.get(name, ""))] if deployed else []
        made.add_row(Text(name), Text(value, style="bold"), *was, Text(reason))
    print_table(console, made)


def _print_today(document: Document, console: Console) -> None:
    print_paragraphs(console, "Today's deployment", today.sentences(document))


def _print_deployment(document: Document, console: Console) -> None:
    rows = summary.deployment(document)
    if not rows:
        return
    print_heading(console, "Around the server")
    made = make_table(console, "what", "value", "reason", right=frozenset({1}))
    for name, value, reason in rows:
        made.add_row(Text(name), Text(value, style="bold"), Text(reason))
    print_table(console, made)


def _print_verification(document: Document, console: Console) -> None:
    verification = document.get("verification")
    if not verification:
        return
    print_heading(console, f"Predicted beside measured: {summary.standing(document)}")
    _print_checks(console, summary.checks(document))
    half = summary.half_load(document)
    if half:
        print_paragraph(console, half)
        _print_checks(console, summary.half_checks(document))
    ran_on = numbers.line(verification.get("server", ""))
    note = numbers.line(verification.get("note", ""))
    remarks = "; ".join(part for part in (ran_on, note) if part)
    missed = summary.misses(document)
    if missed:
        print_paragraph(console, Text(f"not kept: {missed}", style="red"))
    unknown = summary.not_shown(document)
    if unknown:
        print_paragraph(console, Text(f"not shown: {unknown}", style="yellow"))
    if remarks:
        print_paragraph(console, Text(remarks, style="dim"))


def _print_checks(console: Console, checks: Sequence[summary.Check]) -> None:
    if not checks:
        return
    made = make_table(console, "", "predicted", "measured", "")
    for check in checks:
        made.add_row(
            Text(check.name),
            Text(check.expected),
            Text(check.measured),
            Text(check.word, style=_CHECK_STYLE[check.word]),
        )
    print_table(console, made)


def _print_front(document: Document, console: Console) -> None:
    print_paragraphs(console, fronting.title(document), fronting.sentences(document))
    rows = fronting.checks(document)
    if not rows:
        return
    print_heading(console, "What the proxy gives")
    made = make_table(console, "check", "measured", "without", "behind", "")
    # what was done may wrap, its numbers may not
    made.columns[0].no_wrap = False
    for column in made.columns[2:4]:
        column.no_wrap = True
    for done, measured, without, behind, word in rows:
        style = _BETTER_STYLE.get(word, "dim")
        made.add_row(*map(Text, (done, measured, without, behind)), Text(word, style=style))
    print_table(console, made)
    print_paragraph(console, Text(fronting.describe_checks(document), style="dim"))


def _print_limits(document: Document, console: Console) -> None:
    bound = summary.binding(document)
    if not bound:
        return
    print_heading(console, "What limits capacity")
    print_paragraph(console, bound)
    rows = summary.headroom(document)
    if rows:
        made = make_table(console, "budget", "used", "free", right=frozenset({2}))
        for name, used, left in rows:
            broken = left is not None and left < 0
            free = Text(numbers.free(left), style="bold red" if broken else "")
            made.add_row(Text(name), Text(used), free)
        print_table(console, made)


def _print_fleet(document: Document, console: Console) -> None:
    print_paragraphs(console, "Instances", summary.fleet(document))


def _print_extrapolated(document: Document, console: Console) -> None:
    if document.get("recommendation"):
        texts = summary.extrapolated(document)
        print_paragraphs(console, "Extrapolated, not measured", texts)


def _print_findings(document: Document, console: Console) -> None:
    rows = summary.findings(document)
    if not rows:
        return
    print_heading(console, "Findings")
    for finding in rows:
        title = Text(finding["severity"], style=_SEVERITY_STYLE.get(finding["severity"], ""))
        title.append("  " + numbers.line(finding["title"]), style="default")
        title.append(f"  [{finding['id']}]", style="dim")
        print_paragraph(console, title)
        print_paragraph(console, "fix: " + numbers.line(finding["fix"]), indent=4)


_PACKAGES = 6


def _print_boot_memory(document: Document, console: Console) -> None:
    rows = breakdown.boot_memory(document, _PACKAGES)
    if not rows:
        return
    print_heading(console, "Memory of a worker at boot, by package")
    made = make_table(console, "package", "memory", "private", "import", right=frozenset({1, 2, 3}))
    for name, rss, anon, _, seconds in rows[:_PACKAGES]:
        made.add_row(
            Text(name),
            Text(numbers.size(rss)),
            Text(numbers.size(anon)),
            Text(numbers.seconds(seconds)),
        )
    print_table(console, made)


def _print_lines(document: Document, console: Console) -> None:
    """The first ones of the user's own that matter: the report has all."""
    rows = [spent for spent in breakdown.lines(document) if spent.own]
    whole = sum(spent.weight for spent in rows)
    rows = [spent for spent in rows if spent.weight >= _LEAST_OF_TIME * whole][:_MOST_LINES]
    if not rows:
        return
    print_heading(console, "Where the time goes")
    made = make_table(console, "spent", "line", "endpoint")
    for spent in rows:
        made.add_row(
            Text(f"{spent.value} {spent.word}"),
            Text(spent.place),
            Text(spent.endpoint, style="dim"),
        )
    print_table(console, made)


_FORMULAS = 6


def _print_baselines(document: Document, console: Console) -> None:
    rows, left = summary.baselines(document, _FORMULAS)
    if not rows:
        return
    print_heading(console, "What other formulas would give this app")
    made = make_table(
        console, "formula", "settings", "requests/s", "RAM", "breaks", right=frozenset({2})
    )
    # a formula's name may wrap, its numbers may not
    for column in made.columns[:-1]:
        column.no_wrap = column is not made.columns[0]
    recommendation = document.get("recommendation")
    deployed = today.row(document)
    rows[:0] = [deployed] if deployed else []
    if recommendation:
        rows.insert(0, {**recommendation, "name": "this report", "violates": []})
    for row in rows:
        predicted = row["predicted"]
        made.add_row(
            Text(numbers.line(row["name"])),
            Text(setting.short(row["settings"])),
            Text(numbers.digits(summary.compared(predicted))),
            Text(numbers.size(numbers.middle(predicted["ram_bytes"]))),
            Text(summary.violations(row) or "nothing", style="red" if row["violates"] else "dim"),
        )
    print_table(console, made)
    if left:
        print_paragraph(console, f"and {left} more formula{'s' if left > 1 else ''} in the report")
    print_paragraph(console, Text(summary.at_load(document), style="dim"))


def _print_candidates(document: Document, console: Console) -> None:
    """Only where nothing won: else the report has them."""
    if document.get("recommendation") or not document["candidates"]:
        return
    print_heading(console, "What was tried, and why each lost")
    made = make_table(console, "settings", "reason")
    for candidate in document["candidates"][:12]:
        made.add_row(
            Text(setting.short(candidate["settings"])),
            Text(numbers.line(candidate["rejected_by"])),
        )
    print_table(console, made)


def _print_workload(document: Document, console: Console) -> None:
    workload = document.get("workload")
    notes = [numbers.line(note) for note in document.get("notes", ())]
    assumed = summary.assumption(document)
    skipped = workload["skipped"] if workload else []
    if not (notes or assumed or skipped):
        return
    console.print()
    if assumed:
        print_paragraph(console, f"assumed: {assumed}", indent=0)
    if skipped:
        print_paragraph(console, f"skipped {len(skipped)} routes:", indent=0)
        for row in skipped[:8]:
            text = f"{numbers.line(row['name'])}  {numbers.line(row['reason'])}"
            print_paragraph(console, text)
        if len(skipped) > 8:
            print_paragraph(console, f"and {len(skipped) - 8} more in the report")
    for note in notes:
        print_paragraph(console, f"note: {note}", indent=0)


def _print_files(document: Document, console: Console) -> None:
    files = document.get("files") or {}
    if not files:
        return
    console.print()
    width = max(len(name) for name in files)
    for name, path in files.items():
        text = Text(f"{numbers.line(name):<{width}}  ", style="dim")
        console.print(text.append(numbers.line(path), style="default"), soft_wrap=True)
