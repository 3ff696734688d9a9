"""One self-contained ``report.html``: no script, no request, readable offline and on paper.

The template escapes every text (autoescape); what it takes as markup is only our own stylesheet
and charts that went through ``svg.sanitised``. A Content-Security-Policy in the page forbids
scripts and requests all the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.reports import (
    breakdown,
    charts,
    deployment,
    fronting,
    numbers,
    redaction,
    setting,
    summary,
    today,
)
from pretune.reports.document import Document, write_text

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent

# Colour role of the charts -> custom property of the stylesheet.
_ROLES = {
    charts.INK: "--ink",
    charts.MUTED: "--muted",
    charts.GRID: "--grid",
    charts.LIMIT: "--bad",
    **{colour: f"--series-{i}" for i, colour in enumerate(charts.SERIES)},
    **dict(zip(charts.PARTS.values(), ("--cpu", "--db", "--wait"), strict=True)),
}


def templates() -> Environment:
    """Ours, with the filters they use and every text escaped."""
    # A lazy import: commands that only start must not pay for it.
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    def visible(value: Any) -> Any:
        """No control characters, nothing that turns the reading direction."""
        if isinstance(value, Markup):
            return value
        return numbers.clean(value) if isinstance(value, str) else value

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
    )
    for show in (
        numbers.count,
        numbers.size,
        numbers.seconds,
        numbers.milliseconds,
        numbers.percent,
        numbers.free,
        numbers.digits,
        numbers.bare,
        numbers.middle,
        numbers.line,
        setting.short,
        summary.resource,
        summary.evidence,
        summary.violations,
        summary.compared,
    ):
        environment.filters[show.__name__] = show
    return environment


def stylesheet() -> str:
    return (_HERE / "report.css").read_text(encoding="utf-8")


def render(document: Document) -> str:
    """The whole page as text. The document is taken as valid."""
    from markupsafe import Markup

    document = redaction.redacted(document)
    drawn = charts.draw(document)
    template = templates().get_template("report.html.jinja")
    return template.render(
        document=document,
        css=Markup(stylesheet() + _chart_colours()),
        charts={name: (chart, Markup(chart.svg)) for name, chart in drawn.items()},
        sentence=summary.sentence(document),
        settings=summary.settings_rows(document),
        today=today.sentences(document),
        today_values=today.values(document),
        today_row=today.row(document),
        today_said=[
            (name, value, where) for name, (value, where) in today.placed_values(document).items()
        ],
        checks=summary.checks(document),
        half=summary.half_load(document),
        half_checks=summary.half_checks(document),
        binding=summary.binding(document),
        fleet=summary.fleet(document),
        deployment=summary.deployment(document),
        front_title=fronting.title(document),
        front=fronting.sentences(document),
        front_checks=fronting.checks(document),
        front_checked_on=fronting.describe_checks(document),
        extrapolated=summary.extrapolated(document),
        standing=summary.standing(document),
        misses="; ".join(filter(None, (summary.misses(document), summary.not_shown(document)))),
        tiles=_tiles(document),
        findings=summary.findings(document),
        candidates=_candidates(document),
        at_load=summary.at_load(document),
        endpoints=_endpoints(document),
        lines=breakdown.lines(document),
        hosts=breakdown.hosts(document),
        waiting=breakdown.contention(document),
        latency_from=_latency_trial(document)[0],
        request_costs=_request_costs(document),
        worker_costs=_worker_costs(document),
        boot_memory=breakdown.boot_memory(document, _PACKAGES),
        boot_check=breakdown.boot_check(document),
        machine=machine(document),
        method=_method(document),
        deploy=_deploy(document),
        accounts=_accounts(document),
        database_times=_database_times(document),
        **_workers(document),
    )


def write(path: Path, document: Document) -> None:
    """Replace ``path`` by the page in one step."""
    write_text(path, render(document))


def _chart_colours() -> str:
    rules = (
        f'svg [fill="{colour}"]{{fill:var({role})}}svg [stroke="{colour}"]{{stroke:var({role})}}'
        for colour, role in _ROLES.items()
    )
    return "\n".join(rules)


def _tiles(document: Document) -> list[tuple[str, str, float]]:
    """The budgets of which something is used; p95 has a tile of its own."""
    return [
        (name, used, left)
        for name, used, left in summary.headroom(document)
        if left is not None and left < 0.99 and name != summary.resource("p95_ms")
    ]


def _candidates(document: Document) -> list[Any]:
    """The winner first, then the fastest."""

    def place(candidate: Any) -> tuple[bool, float]:
        rps = summary.compared(candidate["predicted"])
        return bool(candidate["rejected_by"]), -(rps or 0.0)

    return sorted(document["candidates"], key=place)


def _latency_trial(document: Document) -> tuple[str, dict[str, Any]]:
    """The trial whose latencies per endpoint are shown: the verification, else the last one."""
    verification = document.get("verification")
    named = [(t["name"], t["measured"]) for t in document["trials"]]
    if verification:
        named.append(("verification", verification["measured"]))
    with_endpoints = [(name, m) for name, m in named if m and m.get("by_endpoint")]
    return with_endpoints[-1] if with_endpoints else ("", {})


def _accounts(document: Document) -> list[tuple[str, Any]]:
    """Trial and its three counts of one request's CPU."""
    measured = [(t["name"], t["measured"] or {}) for t in document["trials"]]
    return [(name, m["cpu_accounting"]) for name, m in measured if m.get("cpu_accounting")]


def _workers(document: Document) -> dict[str, Any]:
    """Workers of the trial whose latencies are shown."""
    name, measured = _latency_trial(document)
    workers = [w for w in measured.get("workers", ()) if "voluntary_switches" in w]
    return {
        "workers": workers,
        "workers_from": name,
        "stopped_under_load": measured.get("stopped_under_load"),
    }


def _endpoints(document: Document) -> list[dict[str, Any]]:
    """Demand and latency by the endpoint's name; either may be None."""
    latency = {row["name"]: row for row in _latency_trial(document)[1].get("by_endpoint", ())}
    demand = {row["name"]: row for row in (document.get("demand") or {}).get("by_endpoint", ())}
    return [
        {"name": name, "demand": demand.get(name), "measured": latency.get(name)}
        for name in dict.fromkeys([*demand, *latency])
    ]


_PACKAGES = 15  # shown of what a worker consists of
# label, field of demand, how it is shown
_REQUEST = (
    ("CPU in the app", "cpu_s", numbers.seconds),
    ("part of it under the GIL", "cpu_gil_fraction", numbers.percent),
    ("CPU of server and kernel", "overhead_cpu_s", numbers.seconds),
    ("waiting for the database", "db_s", numbers.seconds),
    ("database calls", "db_calls", numbers.count),
    ("CPU of Postgres", "db_cpu_s", numbers.seconds),
    ("other waiting", "wait_s", numbers.seconds),
    ("outbound calls", "wait_calls", numbers.count),
    ("p95 without load", "unloaded_p95_s", numbers.seconds),
)
_WORKER = (
    ("warm worker with one thread (PSS)", "base_pss_bytes", numbers.size),
    ("each further thread", "per_thread_bytes", numbers.size),
    ("master, once per server", "fixed_pss_bytes", numbers.size),
    ("saved per further worker by preload", "preload_saving_bytes", numbers.size),
    ("growth per request", "leak_slope_bytes_per_request", numbers.size),
    ("leak class", "leak_class", lambda x: str(x).replace("_", " ")),
    ("boot", "boot_s", numbers.seconds),
    ("shutdown", "shutdown_s", numbers.seconds),
    ("file descriptors", "fds", numbers.count),
    ("Postgres connections, one thread", "pg_connections", numbers.count),
)


def _costs(table: Any, source: Any) -> list[tuple[str, str]]:
    return [
        (label, show(source[field]))
        for label, field, show in table
        if source and source.get(field) is not None
    ]


def _request_costs(document: Document) -> list[tuple[str, str]]:
    return _costs(_REQUEST, document.get("demand"))


def _worker_costs(document: Document) -> list[tuple[str, str]]:
    return _costs(_WORKER, (document.get("demand") or {}).get("worker"))


def machine(document: Document) -> list[tuple[str, str]]:
    target, here = document["target"], document["machine"]
    rows = [
        ("application", target["spec"]),
        (
            "framework",
            ", ".join(filter(None, (target.get("framework"), target.get("interface")))),
        ),
        ("its Python", f"{target.get('python_version') or ''} {target.get('python') or ''}"),
        (
            "machine",
            f"{numbers.digits(here['cores'])} cores, {numbers.size(here['ram_bytes'])}",
        ),
        ("CPU time stolen", numbers.percent(here["cpu_steal"])),
        ("tool", f"{document['tool']} on Python {here['python']}, seed {document['seed']}"),
        ("created", document["created"]),
    ]
    rows = [(label, value) for label, value in rows if value.strip()]
    budget = document.get("budget")
    if budget:
        for name, value in (
            ("ram_bytes", numbers.size(budget["ram_bytes"])),
            ("cores", numbers.digits(budget["cores"])),
            ("cpu_factor", numbers.count(budget.get("cpu_factor"))),
            ("pg_connections", numbers.count(budget["pg_connections"])),
            ("fds", numbers.count(budget["fds"])),
            ("reserve_bytes", numbers.size(budget["reserve_bytes"])),
            ("instances", numbers.count(budget["instances"])),
        ):
            if budget.get(name) is None:
                continue
            source = budget["sources"].get(name, "")
            label = {
                "reserve_bytes": "RAM kept in reserve",
                "cpu_factor": "speed of a core, relative to this machine's",
            }.get(name, summary.resource(name))
            rows.append((f"budget: {label}", f"{value}{f' (from {source})' if source else ''}"))
    return [*rows, *_database(document.get("database"))]


def _database(database: Any) -> list[tuple[str, str]]:
    """Postgres and what stands before it."""
    if not database:
        return []
    limits = [f"max_connections {database['max_connections']}"]
    reserved = database["superuser_reserved"] + database["reserved"]
    limits += [f"{reserved} reserved", f"{database['others_in_use']} used by others"]
    limits += [
        f"{name} limit {database[f'{name}_limit']}"
        for name in ("role", "database")
        if database[f"{name}_limit"] is not None
    ]
    where = "on this machine" if database["local"] else "elsewhere"
    rows = [("Postgres", f"{database['version']} {where}: {', '.join(limits)}")]
    pooler = database["pooler"]
    if pooler:
        limits_shown = (
            pooler["problem"]
            or f"{pooler['pool_mode']} mode, pool of {pooler['pool_size']}, "
            f"max_client_conn {pooler['max_client_conn']}, {pooler['clients']} clients of others"
        )
        rows.append(("pooler", f"{pooler['kind']} {pooler['version']}: {limits_shown}"))
    return rows


def _database_times(document: Document) -> list[tuple[str, Any]]:
    """Trial and its database time from both sides."""
    measured = [(t["name"], t["measured"] or {}) for t in document["trials"]]
    return [(name, m["database_time"]) for name, m in measured if m.get("database_time")]


def _method(document: Document) -> list[str]:
    """Assumptions and sources of the numbers, one sentence each."""
    texts = []
    workload, slo = document.get("workload"), document.get("slo")
    if workload:
        count = len(workload["endpoints"])
        texts.append(f"The traffic is {workload['source']}: {count} routes.")
        if workload["assumption"]:
            texts.append(f"Assumed: {workload['assumption']}.")
    if slo:
        p95 = numbers.milliseconds(slo["p95_ms"])
        rate = numbers.percent(slo["error_rate"])
        source = f" ({slo['source']})" if slo["source"] else ""
        texts.append(f"The SLO is a p95 of at most {p95}{source} and at most {rate} errors.")
    if document.get("demand"):
        texts.append(
            "What one request and one worker cost was measured in trials on this machine; every "
            "other configuration is predicted from that by simulation. Intervals are 95%."
        )
    texts.extend(document.get("notes", ()))
    return texts


def _deploy(document: Document) -> dict[str, Any] | None:
    recommendation = document.get("recommendation")
    if not recommendation:
        return None
    deploy = deployment.choose(document)
    grace = recommendation["settings"]["graceful_timeout"]
    advised = {a["name"]: a["value"] for a in recommendation.get("deployment") or ()}
    return {
        "name": deploy.name,
        "command": deploy.command,
        "conf": deploy.text,
        "front": deployment.render_front(document),
        "grace": numbers.digits(grace),
        "stop": numbers.digits(advised.get("stop_grace_s", grace + 5)),
    }
