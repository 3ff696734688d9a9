"""One application: what ``tune`` says of it, and the same asked by hand in interleaved rounds."""

from __future__ import annotations

import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from bench.servers import machine
from bench.wild import claims, hand, pages
from bench.wild.pages import Record
from bench.wild.stage import DATABASE, Stage
from pretune.advisor import saved
from pretune.advisor.conclusion import budget_conditions, estimate, pose_question
from pretune.advisor.model.predict import predict
from pretune.advisor.workspace import cores
from pretune.advisor.workspace.output import MEASUREMENTS
from pretune.server.settings import Settings

ROUNDS, ROUND_S, WARM_S = 3, 3.0, 1.0
LONGEST = 5  # times the budget; then a run has failed


def measure(stage: Stage, time_budget_s: int, rounds: int = ROUNDS) -> Record:
    """Run ``tune``, then by hand its answer and six others, at the headline's load and half of it.

    Postgres then shares the server's core, as it does in what the headline promises.
    """
    with tempfile.TemporaryDirectory(prefix="wild-out-") as directory:
        out = Path(directory) / "capacity"
        began, before = time.monotonic(), os.getloadavg()[0]
        words = ["--time-budget", f"{time_budget_s}s", "--seed", "1", "--out", str(out)]
        try:
            done = pages.run(stage, words, LONGEST * time_budget_s)
        except subprocess.TimeoutExpired:
            return {"exit": None, "said": f"not ended after {LONGEST * time_budget_s} s"}
        found: Record = {
            "exit": done.returncode,
            "took_s": round(time.monotonic() - began, 1),
            "time_budget_s": time_budget_s,
            "load_before": before,
            "machine": machine.description(),
            "said": (done.stdout + done.stderr)[-6000:],
        }
        if not (out / "report.json").exists():
            return found
        document = json.loads((out / "report.json").read_text())
        found |= _summary(document)
        workload = document["workload"]
        if workload:
            coverage = workload["coverage"]
            found["pages"] = pages.judge(stage.application, pages.asked(workload), coverage)
        if document["recommendation"]:
            _half(found, out)
            _by_hand(stage, document, found, rounds)
    return found


def _summary(document: Record) -> Record:
    recommendation, verification = document["recommendation"], document["verification"]
    found: Record = {"verdict": document["verdict"], "failure": document["failure"]}
    if recommendation is not None:
        found |= {
            "server": recommendation.get("server"),
            "settings": recommendation["settings"],
            "predicted": {
                key: recommendation["predicted"][key]
                for key in ("users", "throughput_rps", "latency_ms", "pss_bytes", "ram_bytes")
            },
            "reasons": recommendation["reasons"],
            "slo_p95_ms": document["slo"]["p95_ms"],
            "today": document["today"] and document["today"]["settings"],
        }
    if verification is not None:
        found["verification"] = {
            key: verification.get(key) for key in ("holds", "misses", "not_shown", "rows", "note")
        }
    return found


def _half(found: Record, out: Path) -> None:
    """What the model says of half the headline's users, under the headline's own conditions."""
    kept = saved.read(out / MEASUREMENTS)
    conditions = budget_conditions(kept.facts, front_keeps=kept.front_keeps)
    estimated = estimate(kept.facts, kept.observations, seed=kept.run.seed)
    question = pose_question(
        kept.facts, estimated, conditions, seed=kept.run.seed, think_s=kept.think_s
    )
    users = max(1, found["predicted"]["users"] // 2)
    half = predict(question, Settings(**found["settings"]), users)
    found["predicted_half"] = {
        "users": users,
        "rps": half.throughput_rps.value,
        "p95_ms": half.latency.p95.value * 1e3,
    }


def _by_hand(stage: Stage, document: Record, found: Record, rounds: int) -> None:
    answer = Settings(**found["settings"])
    today = Settings(**found["today"]) if found["today"] else None
    said = claims.read(found["reasons"], answer)
    others = hand.neighbours(answer, today, [claim.other for claim in said])
    mix = hand.mix_of(document["workload"])
    target = document["target"]["callable_name"]
    users = max(1, found["predicted"]["users"])
    _move_database(stage)
    measured: list[Record] = [
        {"settings": each.to_json(), "rounds": [], "problem": ""} for each in (answer, *others)
    ]
    order = list(range(len(measured)))
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for place in order:
            one = measured[place]
            if one["problem"]:
                continue
            loads = (users, max(1, users // 2)) if place == 0 else (users,)
            settings = Settings(**one["settings"])
            try:
                one["rounds"].append(_round(stage, found["server"], target, settings, mix, loads))
            except (hand.NotServing, subprocess.SubprocessError) as error:
                one["problem"] = str(error)[-800:]
    found["by_hand"] = measured
    found["claims"] = [claim.to_json() for claim in said]
    found["load_after"] = os.getloadavg()[0]


def _round(
    stage: Stage,
    server: str,
    target: str,
    settings: Settings,
    mix: hand.Mix,
    loads: Sequence[int],
) -> Record:
    with hand.served(stage, server, target, settings, mix.paths[0]) as running:
        hand.drive(running.port, mix, loads[0], WARM_S)
        found: Record = {"users": hand.drive(running.port, mix, loads[0], ROUND_S)}
        found["pss_bytes"] = running.pss()
        if len(loads) > 1:
            found["half"] = hand.drive(running.port, mix, loads[1], ROUND_S)
    return found


def _move_database(stage: Stage) -> None:
    """Put the application's Postgres on the server's core: its new processes inherit that."""
    if not stage.application.postgres:
        return
    port = urlsplit(stage.environ[DATABASE]).port
    core = cores.plan(frozenset(os.sched_getaffinity(0)), 1.0).server
    for each in psutil.net_connections("tcp4"):
        if each.status == psutil.CONN_LISTEN and each.laddr.port == port and each.pid:
            process = psutil.Process(each.pid)
            for one in (process, *process.children(recursive=True)):
                os.sched_setaffinity(one.pid, core)
