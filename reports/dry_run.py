"""The plan of a run, before anything is sent: ``tune --dry-run``.

The plan is a plain dict with the document's ``target``, ``budget``, ``slo`` and ``workload`` and
beside them::

    database: null | {"url", "source", "local", ...}    # the url with or without its password
    trials: [{"name", "detail", "expected_s"}]          # in the order they would run
    total_s: the time budget
    deployment_files: the names of those that were read
    today: null | what the project's own files deploy, as in the document
    notes: [sentence]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from pretune.reports import numbers, redaction, summary, terminal, today

if TYPE_CHECKING:
    from rich.console import Console

MOST_ROUTES = 30


def render(plan: Mapping[str, Any], console: Console) -> None:
    """Print ``plan``; nothing is measured and nothing is sent."""
    plan = redaction.redacted(plan)
    target = plan["target"]
    console.print(Text("dry run: each route was tried once, no load is sent", style="bold"))
    _pairs(console, "Target", _target(target))
    _limits(console, plan.get("budget"), plan.get("slo"))
    _pairs(console, "Database", _database(plan.get("database")))
    _today(plan, console)
    render_traffic(console, plan.get("workload"))
    _trials(console, plan.get("trials") or (), plan.get("total_s"))
    for note in plan.get("notes") or ():
        terminal.print_paragraph(console, numbers.line(note), indent=0)


def _target(target: Mapping[str, Any]) -> list[tuple[str, str]]:
    boot = target.get("boot_s")
    fields = [
        ("application", target["spec"]),
        ("callable", target.get("callable_name")),
        ("file", target.get("file")),
        ("directory", target.get("chdir")),
        ("interpreter", target.get("python")),
        ("its version", target.get("python_version")),
        ("interface", (target.get("interface") or "").upper()),
        ("framework", target.get("framework")),
        ("imports in", None if boot is None else numbers.seconds(boot)),
    ]
    return [(label, numbers.line(value)) for label, value in fields if value]


def _database(database: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if not database:
        return [("none", "no DATABASE_URL, no --database-url, none in the app's settings")]
    rows = []
    for name, value in database.items():
        if value is None:
            continue
        shown = redaction.in_dsn(str(value)) if isinstance(value, str) else value
        if isinstance(shown, bool):
            shown = "yes" if shown else "no"
        rows.append((numbers.line(name).replace("_", " "), numbers.line(shown)))
    return rows


def _pairs(console: Console, title: str, rows: list[tuple[str, str]]) -> None:
    terminal.print_heading(console, title)
    made = terminal.make_table(console, "", "")
    made.show_header = False
    for label, value in rows:
        made.add_row(Text(label), Text(value))
    terminal.print_table(console, made)


def _limits(console: Console, budget: Any, slo: Any) -> None:
    if not budget:
        return
    terminal.print_heading(console, "Limits")
    made = terminal.make_table(console, "limit", "value", "from")
    sources = budget["sources"]
    shown = {
        "ram_bytes": numbers.size(budget["ram_bytes"]),
        "reserve_bytes": numbers.size(budget["reserve_bytes"]),
        "cores": numbers.digits(budget["cores"]),
        "pg_connections": numbers.count(budget["pg_connections"]),
        "fds": numbers.count(budget["fds"]),
        "instances": numbers.count(budget["instances"]),
    }
    for name, value in shown.items():
        if budget[name] is None:
            continue
        label = {"reserve_bytes": "RAM kept in reserve"}.get(name, summary.resource(name))
        made.add_row(Text(label), Text(value), Text(numbers.line(sources.get(name, "default"))))
    if slo:
        if slo["p95_ms"] is None:
            p95 = "to be measured"
        else:
            p95 = f"at most {numbers.milliseconds(slo['p95_ms'])}"
        source = Text(numbers.line(slo["source"]))
        made.add_row(Text("SLO: p95"), Text(p95), source)
        made.add_row(Text("SLO: error rate"), Text(f"at most {numbers.percent(slo['error_rate'])}"))
        if slo["rps"] is not None:
            made.add_row(Text("asked for"), Text(f"{numbers.digits(slo['rps'])} requests/s"))
    terminal.print_table(console, made)


def _today(plan: Mapping[str, Any], console: Console) -> None:
    texts = today.sentences(plan)
    files = [numbers.line(name) for name in plan.get("deployment_files") or ()]
    if not texts and plan.get("deployment_files") is None:
        return
    terminal.print_heading(console, "Today's deployment")
    if not texts:
        where = f" in {', '.join(files)}" if files else ""
        terminal.print_paragraph(console, f"none found{where}")
        return
    made = terminal.make_table(console, "setting", "value", "by", right=frozenset({1}))
    for name, (value, where) in today.placed_values(plan).items():
        made.add_row(Text(name), Text(value), Text(where))
    terminal.print_table(console, made)
    for text in (*texts, *([f"Read: {', '.join(files)}."] if files else [])):
        terminal.print_paragraph(console, text)


def render_traffic(console: Console, workload: Any) -> None:
    """Print the document's ``workload``: endpoints or users, shares, what was left out."""
    if not workload:
        return
    endpoints = workload["endpoints"]
    if workload.get("users"):
        _users(console, workload["users"])
    else:
        terminal.print_heading(console, f"Traffic: {len(endpoints)} routes ({workload['source']})")
    if endpoints:
        made = terminal.make_table(console, "route", "share", "first path", right=frozenset({1}))
        for row in endpoints[:MOST_ROUTES]:
            paths = row["paths"]
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            made.add_row(
                Text(numbers.line(f"{row.get('method', 'GET')} {row['name']}")),
                Text(numbers.percent(row["share"])),
                Text(numbers.line(paths[0] if paths else "") + more),
            )
        terminal.print_table(console, made)
        if len(endpoints) > MOST_ROUTES:
            terminal.print_paragraph(console, f"and {len(endpoints) - MOST_ROUTES} more")
    if workload["assumption"]:
        terminal.print_paragraph(console, f"assumed: {numbers.line(workload['assumption'])}")
    covered = summary.coverage({"workload": workload})
    if covered:
        terminal.print_paragraph(console, covered)
    if workload["headers"]:
        headers = workload["headers"].items()
        rows = [(numbers.line(name), numbers.line(value)) for name, value in headers]
        _pairs(console, "Headers sent with each request", rows)
    if workload["skipped"]:
        rows = [(numbers.line(s["name"]), numbers.line(s["reason"])) for s in workload["skipped"]]
        _pairs(console, "Skipped", rows[:MOST_ROUTES])
        if len(rows) > MOST_ROUTES:
            terminal.print_paragraph(console, f"and {len(rows) - MOST_ROUTES} more")


def _users(console: Console, users: Any) -> None:
    """Print a locustfile's classes and tasks, and the mix that is expected of them."""
    classes = f"{len(users)} class{'es' * (len(users) != 1)} of users"
    terminal.print_heading(console, f"Traffic: {classes} (locustfile)")
    made = terminal.make_table(
        console, "class, task", "weight", "waits", "of all turns", right=frozenset({1, 3})
    )
    for each in users:
        weight = f"{each['weight']:g}" + (" (fixed)" if each["fixed"] else "")
        shown = _share(each["share"], "measured first")
        made.add_row(
            Text(numbers.line(each["name"])), Text(weight), Text(numbers.line(each["wait"])), shown
        )
        if each["begins"]:
            made.add_row(Text("  on_start"), Text(""), Text("sent once, before the load"), Text(""))
        for task in each["tasks"]:
            name = Text("  " + numbers.line(task["name"]))
            made.add_row(name, Text(f"{task['weight']}"), Text(""), _share(task["share"], ""))
    terminal.print_table(console, made)
    terminal.print_paragraph(
        console,
        "A turn is what a user does between two waits. All trials keep this mix; those before the "
        "verification skip the waits.",
    )


def _share(share: float | None, otherwise: str) -> Text:
    return Text(otherwise if share is None else numbers.percent(share))


def _trials(console: Console, trials: Any, total_s: float | None) -> None:
    terminal.print_heading(console, "Plan")
    made = terminal.make_table(console, "trial", "about", "what", right=frozenset({1}))
    for trial in trials:
        made.add_row(
            Text(numbers.line(trial["name"])),
            Text(numbers.seconds(trial["expected_s"])),
            Text(numbers.line(trial.get("detail", ""))),
        )
    terminal.print_table(console, made)
    expected = numbers.seconds(sum(trial["expected_s"] for trial in trials))
    of = f" of a time budget of {numbers.seconds(total_s)}" if total_s else ""
    terminal.print_paragraph(console, f"together about {expected}{of}")
