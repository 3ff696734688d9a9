"""docs/WILD.md from what is stored. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from bench.servers.tables import table
from bench.wild import claims
from bench.wild.applications import Application
from bench.wild.pages import Record

Stored = Sequence[tuple[Application, Record]]
BUSY = 1.0  # load average before a run, above which the machine was not idle


def pages_line(found: Record) -> str:
    if "problem" in found:
        return str(found["problem"]).replace("\n", " ")[:300]
    text = f"{found['found']} of {found['there']} pages, exit {found['exit']}"
    text += f", missed {' '.join(found['missed'])}" if found["missed"] else ""
    text += f", astray {' '.join(found['astray'][:6])}" if found["astray"] else ""
    text += f", / is not measured: {found['root']}" if found["root"] else ""
    return text + (f", {found['said'][-400:]}" if "said" in found else "")


def run_line(found: Record) -> str:
    if "problem" in found or "verdict" not in found:
        return str(found.get("problem") or found.get("said"))[-600:]
    text = f"{found['verdict']}, {found['took_s']:.0f} s"
    if "by_hand" not in found:
        return f"{text}, {found['failure']}"
    settings, error = found["settings"], errors(found)
    text += f", {settings['workers']} x {settings['threads']} on {found['server']}"
    text += f", promised {found['predicted']['throughput_rps']['value']:.0f}/s"
    text += "".join(f", {name} {value:+.1%}" for name, value in error.items() if value is not None)
    loss = regret(found)
    text += f", regret {loss:.1%}" if loss is not None else ""
    return text + "".join(f"; {said}: {verdict}" for said, verdict, _ in judged(found))


def middle(row: Record, load: str, name: str) -> float | None:
    """Median of one arrangement's rounds."""
    values = [each[load][name] for each in row["rounds"] if load in each and each[load]["rps"]]
    return statistics.median(values) if values else None


def errors(found: Record) -> dict[str, float | None]:
    """Measured by hand over predicted, less 1: at the headline, at half of it, and its memory."""
    answer, predicted, half = found["by_hand"][0], found["predicted"], found["predicted_half"]

    def over(measured: float | None, said: float | None) -> float | None:
        return measured / said - 1 if measured and said else None

    memory = [each["pss_bytes"] for each in answer["rounds"]]
    return {
        "rps": over(middle(answer, "users", "rps"), predicted["throughput_rps"]["value"]),
        "half": over(middle(answer, "half", "rps"), half["rps"]),
        "memory": over(
            statistics.median(memory) if memory else None, predicted["pss_bytes"]["value"]
        ),
    }


def is_late(found: Record, row: Record) -> bool:
    """True where an arrangement breaks the p95 by more than a tenth at the headline's load."""
    p95 = middle(row, "users", "p95_ms")
    return p95 is not None and bool(found["slo_p95_ms"]) and p95 > 1.1 * found["slo_p95_ms"]


def regret(found: Record) -> float | None:
    """What the best of all arrangements carries more, of those that keep the p95 as the answer."""
    ours = middle(found["by_hand"][0], "users", "rps")
    if ours is None:
        return None
    kept = [row for row in found["by_hand"] if not is_late(found, row)] or found["by_hand"]
    rates = [rate for row in kept if (rate := middle(row, "users", "rps")) is not None]
    return max([*rates, ours]) / ours - 1


def judged(found: Record) -> list[tuple[str, str, str]]:
    """Each sentence with what became of it, and the measured ratio."""
    rows = []
    late = is_late(found, found["by_hand"][0])
    for claim in found["claims"]:
        ratio = claims.measured_ratio(found["by_hand"], claim["other"])
        other = next(
            (row for row in found["by_hand"][1:] if row["settings"] == claim["other"]), None
        )
        breaks = other is not None and not late and is_late(found, other)
        verdict = claims.judge(claim["ratio"], claim["at_most"], ratio, breaks)
        shown = f"{ratio.value:.2f} ({ratio.low:.2f}-{ratio.high:.2f})" if ratio else "-"
        rows.append((claim["text"], verdict, shown))
    return rows


def page(rows: Stored) -> str:
    """The whole of docs/WILD.md."""
    looked = [(a, r["pages"]) for a, r in rows if "pages" in r]
    ran = [(a, r["run"]) for a, r in rows if "run" in r]
    parts = [_HEAD, "## The applications", _applications(rows), _PAGES_HEAD, _pages(looked)]
    parts += [_missed(looked), _RUNS_HEAD, _runs(ran), _aims(looked, ran), _sentences(ran)]
    parts += [_conditions(looked, ran)]
    return "\n\n".join(part for part in parts if part) + "\n"


_HEAD = """# Applications of others

Written by `python -m bench.wild report` from what is stored in `bench/results/wild`. Applications
from the package index, each in an environment of its own, set up by the folder of its name in
`bench/wild/apps`: pins, settings, the file that starts it, and what fills its tables. No method is
fitted to them."""
_PAGES_HEAD = """## The right pages

`tune TARGET --dry-run`, without a path or a workload. *There are*: kinds of pages that visitors, or
clients of an API, ask for without a password, written down beforehand
(`bench/wild/applications.py`). *Astray*: the part of the load that goes to what is none of them."""
_RUNS_HEAD = """## Answers

`tune TARGET --ram 4G --cores 1`, then its answer by hand on the server that it is for, without
anything of ours in it, the client wrk, as many connections as the headline has users; and six
other arrangements at the same load, all in interleaved rounds. *Error*: measured over promised,
less 1, at the headline and at half of its users. *Regret*: what the best of the seven that keep
the p95 carries more. Server and Postgres have one core together, as the headline says, the client
another."""


def _applications(rows: Stored) -> str:
    head = ("application", "written in", "target", "served by", "Postgres")
    body = [
        [a.name, a.framework, f"`{a.target}`", a.server, "yes" if a.postgres else ""]
        for a, _ in rows
    ]
    return table(head, body, markdown=True)


def _pages(looked: Stored) -> str:
    head = ("application", "found", "there are", "`/`", "astray", "exit", "s")
    body = []
    for a, found in looked:
        if "problem" in found:
            body.append([a.name, "-", str(len(a.pages)), "could not be set up", "-", "-", "-"])
            continue
        root = "-" if found["root"] is None else "measured or none" if not found["root"] else "not"
        body.append(
            [a.name, str(found["found"]), str(found["there"]), root,
             f"{found['astray_share']:.0%}", str(found["exit"]), f"{found['took_s']:.0f}"]
        )  # fmt: skip
    return table(head, body, markdown=True)


def _missed(looked: Stored) -> str:
    lines = []
    for a, found in looked:
        if "problem" in found:
            continue
        parts = []
        if found["missed"]:
            parts.append("missed " + ", ".join(f"`{each}`" for each in found["missed"]))
        if found["astray"]:
            parts.append("astray " + ", ".join(f"`{each}`" for each in found["astray"][:8]))
        if found["root"]:
            parts.append(f"`/`: {found['root']}")
        if parts:
            lines.append(f"- **{a.name}**: {'; '.join(parts)}.")
    return "What fell short:\n\n" + "\n".join(lines) if lines else ""


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1%}"


def _runs(ran: Stored) -> str:
    head = ("application", "verdict", "answer", "promised /s", "error", "at half", "memory",
            "regret", "verification", "s", "load before")  # fmt: skip
    body = []
    for a, found in ran:
        if "verdict" not in found:
            body.append([a.name, "none", *["-"] * 9])
            continue
        load = f"{found['load_before']:.1f}" + ("*" if found["load_before"] > BUSY else "")
        ends = [f"{found['took_s']:.0f} of {found['time_budget_s']}", load]
        held = found.get("verification")
        holds = "-" if held is None else "holds" if held["holds"] else "does not hold"
        if "by_hand" not in found:
            body.append([a.name, found["verdict"], *["-"] * 6, holds, *ends])
            continue
        error, s = errors(found), found["settings"]
        body.append(
            [a.name, found["verdict"],
             f"{s['workers']} x {s['threads']} {s['worker_class']}, {found['server']}",
             f"{found['predicted']['throughput_rps']['value']:.0f}", _percent(error["rps"]),
             _percent(error["half"]), _percent(error["memory"]), _percent(regret(found)), holds,
             *ends]
        )  # fmt: skip
    return table(head, body, markdown=True) if body else "None has been run yet."


def _aims(looked: Stored, ran: Stored) -> str:
    """Of runs on a quiet machine; the others are shown above, and decide nothing."""
    quiet = [found for _, found in ran if found.get("load_before", BUSY) < BUSY]
    measured = [found for found in quiet if "by_hand" in found]
    off = sorted(abs(e) for found in measured if (e := errors(found)["rps"]) is not None)
    lost = sorted(r for found in measured if (r := regret(found)) is not None)
    said = [verdict for found in measured for _, verdict, _ in judged(found)]
    took = [found for found in quiet if "took_s" in found]
    full = [f for _, f in looked if "problem" not in f]
    rows: list[list[Any]] = [
        ["the right pages", "in all", f"{sum(not f['missed'] for f in full)} of {len(full)}"],
        [
            "pages found",
            "all",
            f"{sum(f['found'] for f in full)} of {sum(f['there'] for f in full)}",
        ],
        ["load astray, most", "0%", f"{max((f['astray_share'] for f in full), default=0):.0%}"],
    ]
    if off:
        p90 = off[min(len(off) - 1, int(0.9 * len(off)))]
        rows += [
            ["throughput, median error", "5%", f"{statistics.median(off):.1%}"],
            ["throughput, p90", "10%", f"{p90:.1%}"],
            ["regret, median", "1%", f"{statistics.median(lost):.1%}"],
            ["regret, worst", "5%", f"{lost[-1]:.1%}"],
        ]
    if said:
        told = f"{said.count(claims.FALSE)} of {len(said)}, {said.count(claims.OPEN)} open"
        rows.append(["sentences that measuring contradicts", "0", told])
    if took:
        over = sum(f["took_s"] > f["time_budget_s"] for f in took)
        rows.append(["runs beyond their time budget", "0", f"{over} of {len(took)}"])
    text = "### Aims\n\n" + table(("what", "aim", "measured"), rows, markdown=True)
    if not measured:
        text += "\n\nNo answer has been held against runs by hand on a quiet machine yet."
    return text


def _sentences(ran: Stored) -> str:
    rows = [
        [a.name, text, shown, verdict]
        for a, found in ran
        if "by_hand" in found
        for text, verdict, shown in judged(found)
    ]
    if not rows:
        return ""
    head = ("application", "sentence", "measured, of the answer's requests/s", "it was")
    return "### What the sentences state\n\n" + table(head, rows, markdown=True)


def _conditions(looked: Stored, ran: Stored) -> str:
    commits = sorted({f["commit"] for _, f in (*looked, *ran) if f.get("commit")})
    dates = sorted(f["created"][:16] for _, f in (*looked, *ran) if f.get("created"))
    if not dates:
        return ""
    machines = {
        f"{f['machine']['cores']} cores, {f['machine']['cpu']}" for _, f in ran if "machine" in f
    }
    busy = [a.name for a, f in ran if f.get("load_before", 0) > BUSY]
    text = f"Measured {dates[0]} to {dates[-1]}, tool at {', '.join(commits)}"
    text += f", {'; '.join(sorted(machines))}." if machines else "."
    if busy:
        text += (
            f" \\* The machine was not idle before {len(busy)} of {len(ran)} runs: their figures "
            "are those of a busy machine, and no part of the aims."
        )
    return text
