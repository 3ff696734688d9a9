"""One trial: the server runs the app, the driver drives it, the profiler samples it.

This is the only place where settings meet the world; what comes back is a Measurement.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.failure import AppFailed, LoadFailed, MeasurementInvalid, Refused
from pretune.advisor.preflight import booting
from pretune.advisor.preflight.preflight import Preflight, refuse_postgres
from pretune.advisor.preflight.servers import EMBEDDED, START
from pretune.advisor.profiler import causes, reclaimable
from pretune.advisor.profiler.database import DatabaseObserver
from pretune.advisor.profiler.measurement import Conditions, Measurement, Role
from pretune.advisor.profiler.peers import watch_peers
from pretune.advisor.profiler.reduce import measure
from pretune.advisor.profiler.sampler import Profiler
from pretune.advisor.profiler.samples import Samples
from pretune.advisor.progress import Progress
from pretune.advisor.resources import cgroups
from pretune.advisor.resources.trial_cgroup import MEMORY_FRACTION, TrialCgroup, bound_memory
from pretune.advisor.time_budget import LEAST_WAIT_S
from pretune.advisor.trials import routing
from pretune.advisor.trials.routing import Routing
from pretune.advisor.workspace import cores
from pretune.advisor.workspace.directory import Workspace
from pretune.advisor.workspace.logs import log_tail
from pretune.loadtests import records
from pretune.loadtests.session import Driver, DriverFailed, LoadResult
from pretune.loadtests.workload import Load, Workload
from pretune.server.adapters import nginx
from pretune.server.adapters.launch import BOOT_SECONDS, Launch, RunningServer
from pretune.server.adapters.nginx import FrontFailed, FrontLaunch, RunningFront
from pretune.server.adapters.nginx_conf import Front
from pretune.server.adapters.process import address as written
from pretune.server.adapters.process import session_pids
from pretune.server.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Called with the pids of the workers, the directory of their telemetry, and the part of the load
# that is over (1.0 at least once, when it has ended).
Watch = Callable[[Sequence[int], Path, float], None]

PEERS_EVERY_S = 2.0  # what the app is connected to
START_SECONDS = 30.0  # for the generator to begin
STOP_SECONDS, STOP_PART = 15.0, 0.125  # at most, and of the time budget
STOP_AGAIN_SECONDS = 1.0  # for a server of an app that had to be killed before
FRONT_STOP_SECONDS = 3.0  # nobody asks it for anything any more
BEFORE_STOP_SECONDS = 0.5  # of load, before a stop under load
STOP_TAIL_SECONDS = 5.0  # the users go on for so much longer than a stop may take
STRAGGLE_SECONDS = 65.0  # the driver's own network timeout and a little
GRACE_SECONDS = 5.0  # the driver's, which who waits at the end has waited, too
ENDS_SECONDS = 8.0  # for the driver to end by itself, whatever the time budget: its grace is five
# An app hangs that has been silent for such a part of the load, and for so many usual answers.
SILENT_PART, SILENT_TIMES = 0.5, 20.0
# No trial of an app that fits has more workers that are each as large as the whole budget.
TIMES_RAM, LEAST_LIMIT = 4, 2 << 30


@dataclass(frozen=True)
class Sent:
    """The requests as clients saw them: ``records`` as ``loadtests.records.dtype()``."""

    records: NDArray[np.void]
    result: LoadResult


@dataclass(frozen=True)
class Stage:
    """A server whose trial has been measured and that still runs, and the same traffic for it."""

    server: RunningServer
    _bench: Bench
    _address: tuple[str, int]

    @property
    def think_s(self) -> float:
        """Seconds that a locustfile's users wait, for each request."""
        return self._bench.think_s

    def send(self, load: Load, meanwhile: Callable[[], None] | None = None) -> Sent:
        """The whole load, or until ``meanwhile``, which begins with it, returns.

        Raises MeasurementInvalid.
        """
        bench = self._bench
        path = bench.workspace.temporary / f"{bench._count}.stage"
        run = bench.driver.run(self._address, bench.workload, load, records=path)
        try:
            run.wait_started(START_SECONDS)
            if meanwhile is not None:
                meanwhile()
                run.stop()
            result = run.wait(load.duration_s + STRAGGLE_SECONDS)
        except (DriverFailed, TimeoutError) as error:
            raise MeasurementInvalid(f"the load generator failed: {error}") from error
        return Sent(records.read(path), result)


@dataclass(frozen=True)
class _How:
    """All of one trial but its requests."""

    name: str
    settings: Settings
    load: Load
    further: Sequence[Load]
    role: Role | None
    server: str
    probes: bool
    stop_under_load: bool
    environ: Mapping[str, str]
    watch: Watch
    then: Callable[[Stage], None] | None
    front: Front | None
    until: float

    def within(self, seconds: float) -> float:
        """So many seconds, or as many as are left."""
        return max(LEAST_WAIT_S, min(seconds, self.until - time.monotonic()))


@dataclass
class Bench:
    """Runs trials of one target with one driver process; ``close`` ends the driver."""

    workspace: Workspace
    preflight: Preflight
    progress: Progress
    workload: Workload = field(init=False)
    driver: Driver = field(init=False)
    pinned: bool = field(init=False, default=True)
    # what a locustfile's users are told to wait, for each request, once one has run
    think_s: float = field(init=False, default=0.0)
    # of the app or the load, seen in several trials: what about -> a sentence for the notes
    problems: dict[str, str] = field(init=False, default_factory=dict)
    boots_s: list[float] = field(init=False, default_factory=list)  # of each server
    _stop_s: float = field(init=False)
    _count: int = field(init=False, default=0)
    _routing: Routing = field(init=False, default_factory=Routing)

    def __post_init__(self) -> None:
        self.workload = self.preflight.workload
        self._stop_s = min(STOP_SECONDS, STOP_PART * self.preflight.time_budget_s)
        try:
            self.driver = Driver.start(
                cores=self.preflight.core_plan.generator,
                on_spawn=self.workspace.spawned,
                env=self.workspace.marked(os.environ),
            )
        except DriverFailed as error:
            raise MeasurementInvalid(f"the load generator did not start: {error}") from error
        self.pinned = self.driver.pinned
        cores.move_sessions(self.workspace.services, self.preflight.core_plan.generator)

    def close(self) -> None:
        self.driver.close()
        self.workspace.forget_if_empty(self.driver.pid)

    def conditions(self, server: str = EMBEDDED, front: Front | None = None) -> Conditions:
        """Return the conditions of every trial of that server, behind that front, on this bench."""
        plan = self.preflight.core_plan
        database = self.preflight.database
        return Conditions(
            server_cores=float(len(plan.server)),
            shared_cores=float(plan.shared),
            pinned=self.pinned,
            database_local=bool(database and database.local),
            server=server,
            front=self.preflight.front.name if front and self.preflight.front else "",
            front_keeps=front is None or front.idle > 0,
        )

    def run(
        self,
        name: str,
        settings: Settings,
        load: Load,
        *,
        further: Sequence[Load] = (),
        role: Role | None = None,
        server: str = EMBEDDED,
        probes: bool = False,
        stop_under_load: bool = False,
        environ: Mapping[str, str] | None = None,
        watch: Watch | None = None,
        then: Callable[[Stage], None] | None = None,
        front: Front | None = None,
        workload: Workload | None = None,
        until: float = math.inf,
    ) -> Measurement:
        """Raises AppFailed, MeasurementInvalid, OutOfTime.

        ``further``: loads for the same server, each measured by itself after the first.
        ``stop_under_load``: when all is measured the users come again, and the server is told to
        stop while they send, as a deploy does. A user's own locustfile is spared it: it may act
        on the errors. ``environ`` is added to the app's; ``watch`` is called again and again;
        ``then`` gets the server when all is measured, and may end it.
        ``front``: through one that is told so, but for its addresses; None: directly.
        ``workload``: in place of the run's, for this trial. ``until`` (``time.monotonic``) it is
        over: what does not end by itself is ended.
        """
        usual, self.workload = self.workload, workload or self.workload
        try:
            return self._confined(
                _How(
                    name, settings, load, further, role, server, probes,
                    stop_under_load and not self.workload.locustfile,
                    environ or {}, watch or _no_watch, then, front, until,
                )
            )  # fmt: skip
        finally:
            if workload is not None:
                self.workload = usual

    def _confined(self, how: _How) -> Measurement:
        with cores.confined(self.preflight.core_plan.generator) as confined:
            self.pinned = self.pinned and confined
            return self._run(how)

    def _run(self, how: _How) -> Measurement:
        name, settings, load = how.name, how.settings, how.load
        preflight, workspace = self.preflight, self.workspace
        # a trial may be repeated: nothing of the run before may be read as its own
        self._count += 1
        telemetry = workspace.directory(f"telemetry-{self._count}")
        log = workspace.log(name)
        logged_before = log.stat().st_size if log.exists() else 0
        cgroup = TrialCgroup.create(
            f"pretune-{workspace.run_id}-{self._count}",
            limit_bytes=memory_limit(cgroups.available_ram(), preflight.budget.ram_bytes),
            before_making=workspace.minder.cgroup,
        )

        def on_spawn(pid: int) -> None:
            workspace.spawned(pid)
            if cgroup is None or not cgroup.add(pid):
                bound_memory(pid, settings.workers)

        server = START[how.server](
            Launch(
                target=preflight.target.spec,
                settings=settings,
                python=preflight.target.python,
                chdir=preflight.target.chdir,
                env=workspace.marked({**preflight.environ, **how.environ}),
                log=log,
                telemetry=telemetry,
                probes=how.probes,
                cores=preflight.core_plan.server,
                on_spawn=on_spawn,
            )
        )
        before = None
        stopped_under_load = how.stop_under_load and "stop" not in self.problems
        try:
            address = self._ready(server, how)
            self.pinned = self.pinned and server.pinned
            if how.front is not None:
                before = self._front(how.front, how.name, address, on_spawn)
                address = before.address
            observed = []
            for number, each in enumerate((load, *how.further)):
                client, sent, samples = self._observe(
                    how, each, server, address, telemetry, cgroup, before
                )
                if not number:
                    workers = reclaimable.ask(
                        server.worker_pids(), telemetry, how.within(reclaimable.PATIENCE_S)
                    )
                    samples = replace(samples, settled=workers)
                if self.workload.locustfile:
                    client, samples = self._by_route(name, client, samples, sent)
                suffix = f"-{number + 1}" if number else ""
                samples.save(workspace.out / "samples" / f"{name}{suffix}.npz")
                self._check_alive(server, name)
                observed.append((each, client, sent, samples))
            stopped_under_load = stopped_under_load and how.within(STOP_SECONDS) > STOP_TAIL_SECONDS
            if stopped_under_load:
                self._stop_under_load(server, how, address)
            if how.then is not None:
                how.then(Stage(server, self, address))
        finally:
            self._stop(server, how)
            workspace.forget_if_empty(server.master_pid)
            if before:
                before.stop(FRONT_STOP_SECONDS)
                workspace.forget_if_empty(before.pid)
            if cgroup:
                cgroup.remove()
        logged = causes.read_since(log, logged_before)
        measured, *further = (
            measure(
                name,
                settings,
                replace(each, think_s=self.think_s if each.think_s else 0.0),
                self.conditions(how.server, how.front),
                self.workload,
                samples,
                client,
                server.events(),
                role=how.role,
                stopped_under_load=stopped_under_load,
                unanswered=sent.abandoned if each.rps is None else 0,
                causes=causes.find_causes([*sent.error_bodies, logged]),
            )
            for each, client, sent, samples in observed
        )
        return replace(measured, further=tuple(further))

    def _observe(
        self,
        how: _How,
        load: Load,
        server: RunningServer,
        address: tuple[str, int],
        telemetry: Path,
        cgroup: TrialCgroup | None,
        before: RunningFront | None,
    ) -> tuple[NDArray[np.void], LoadResult, Samples]:
        """Send one load and sample the server meanwhile."""
        preflight = self.preflight
        database = preflight.database_url
        observer = DatabaseObserver(database) if database else None
        profiler = Profiler(
            server.master_pid,
            worker_pids=server.worker_pids,
            telemetry=telemetry,
            database=observer,
            generator_pid=self.driver.pid,
            cgroup=cgroup,
            front_pid=before.pid if before else None,
        )
        profiler.start()
        try:
            with watch_peers(
                lambda: session_pids(server.master_pid), PEERS_EVERY_S, 0.02
            ) as reached:

                def watch(part: float) -> None:
                    refuse_postgres(reached, preflight.postgres_ports)
                    how.watch(server.worker_pids(), telemetry, part)

                client, sent = self._drive(address, how, load, watch)
            refuse_postgres(reached, preflight.postgres_ports)
        finally:
            samples = profiler.stop()
        if (
            observer is not None and observer.problem
        ):  # what Postgres says to us, it says to the app
            sent = replace(sent, error_bodies=(*sent.error_bodies, observer.problem))
        return client, sent, samples

    def _front(
        self,
        configured: Front,
        name: str,
        upstream: tuple[str, int],
        on_spawn: Callable[[int], None],
    ) -> RunningFront:
        installed, workspace = self.preflight.front, self.workspace
        assert installed is not None
        try:
            return nginx.start(
                FrontLaunch(
                    front=replace(configured, upstream=written(upstream)),
                    binary=installed.binary,
                    directory=workspace.directory(f"front-{self._count}"),
                    env=workspace.marked(os.environ),
                    log=workspace.log(f"{name}-{installed.name}"),
                    cores=self.preflight.core_plan.server,
                    on_spawn=on_spawn,
                )
            )
        except FrontFailed as error:
            raise MeasurementInvalid(str(error)) from error

    def _ready(self, server: RunningServer, how: _How) -> tuple[str, int]:
        began = time.monotonic()
        address = booting.wait_ready(
            server,
            how.within(BOOT_SECONDS),
            self.preflight.inspected_s,
            f"the server of the trial {how.name}",
            self.workspace.log(how.name),
        )
        self.boots_s.append(time.monotonic() - began)
        return address

    def _stop(self, server: RunningServer, how: _How) -> None:
        """End the server; an app that does not let it end is waited for once, not in each trial."""
        patience_s = how.within(self._stop_s)
        took_s = server.stop(patience_s)
        if took_s >= patience_s > STOP_AGAIN_SECONDS and "stop" not in self.problems:
            self._stop_s = STOP_AGAIN_SECONDS
            self.problems["stop"] = (
                f"{took_s:.0f} s after TERM the server of the trial {how.name} had not ended, and "
                "was killed"
            )

    def _stop_under_load(self, server: RunningServer, how: _How, address: tuple[str, int]) -> None:
        """Once all is measured: the same users again, and the stop in the middle of their work."""
        asked = replace(how.load, duration_s=STOP_SECONDS + STOP_TAIL_SECONDS, ramp_s=0.0)

        def stop() -> None:
            time.sleep(BEFORE_STOP_SECONDS)
            self._stop(server, how)

        Stage(server, self, address).send(asked, stop)

    def _drive(
        self,
        address: tuple[str, int],
        how: _How,
        load: Load,
        watch: Callable[[float], None],
    ) -> tuple[NDArray[np.void], LoadResult]:
        path = self.workspace.temporary / f"{self._count}.records"
        run = self.driver.run(address, self.workload, load, records=path)
        try:
            started = run.wait_started(how.within(START_SECONDS))
            while not run.finished and time.monotonic() < started + load.duration_s:
                time.sleep(0.25)
                left = max(0.0, started + load.duration_s - time.monotonic())
                sent, failed = run.progress
                self.progress.update(
                    (f"{load.rps:.3g} a second" if load.rps else f"{load.users} users")
                    + f", {sent} requests"
                    + (f", {failed} failed" if failed else "")
                    + f", {left:.0f} s left"
                )
                watch(1 - left / load.duration_s)
                if fails(sent, failed, time.monotonic() - started):
                    run.stop()
                    self.problems["fails"] = (
                        f"{failed} of {sent} requests of a trial had failed when it was ended early"
                    )
                    break
            result = run.wait(max(ENDS_SECONDS, how.within(STRAGGLE_SECONDS)))
            watch(1.0)
        except (DriverFailed, TimeoutError) as error:
            if self.workload.locustfile and not run.progress[0]:
                raise Refused(str(error)) from error
            raise MeasurementInvalid(f"the load generator failed: {error}") from error
        self._check_load(result)
        if how.server == EMBEDDED and (silence := describe_silence(load, result)):
            tail = log_tail(self.workspace.log(how.name))
            raise AppFailed("hangs", f"in the trial {how.name} {silence}", log_tail=tail)
        return records.read(path), result

    def _check_load(self, result: LoadResult) -> None:
        """Raise LoadFailed where no task of a locustfile comes to its end; note where some do."""
        said, elsewhere = result.elsewhere
        if elsewhere and 2 * elsewhere >= result.requests:
            raise LoadFailed(f"{elsewhere} of {result.requests} requests were refused: {said}", "")
        if elsewhere:
            self.problems["elsewhere"] = f"{elsewhere} requests of the load were refused: {said}"
        error = result.user_error
        if error is None:
            return
        if error.always:
            what = f"none of {error.raised} tasks came to its end"
            if error.unstarted:
                what = f"no user of the class {error.unstarted} can begin"
            raise LoadFailed(
                f"the load's own code fails, not the app: {error.said}; {what}", error.traceback
            )
        total = error.raised + error.completed
        self.problems["load"] = (
            f"{error.raised} of {total} tasks of the locustfile did not come to their end: "
            f"{error.said}; what they would have sent after that is not in the load"
        )

    def _by_route(
        self, name: str, client: NDArray[np.void], samples: Samples, sent: LoadResult
    ) -> tuple[NDArray[np.void], Samples]:
        """Sort a locustfile's requests by the app's own routes; the workload is known by now.

        Shares and waits are those of the first trial, or of the one with probes.
        """
        if samples.notes is not None or not self.workload.endpoints:
            self._routing = routing.learn(sent.names, sent.raw, samples)
            self.workload = replace(self.workload, endpoints=())
            self.think_s = sent.think_s
        names, numbers = self._routing.numbers(sent.names, sent.raw)
        client = routing.numbered(client, numbers)
        self.workload = routing.name_endpoints(self.workload, names, client["endpoint"])
        if other := routing.describe_other_mix(name, self.workload, client["endpoint"]):
            self.problems["mix"] = other
        return client, routing.samples_numbered(samples, numbers)

    def _check_alive(self, server: RunningServer, name: str) -> None:
        if not server.worker_pids():
            tail = log_tail(self.workspace.log(name))
            raise AppFailed("died", "every worker died under load", log_tail=tail)


# A trial in which so large a part of so many requests fails for so long tells nothing more.
FAILING, FAILING_REQUESTS, FAILING_S = 0.9, 50, 2.0


def fails(sent: int, failed: int, seconds: float) -> bool:
    """True of a load that is clearly failing."""
    return seconds >= FAILING_S and sent >= FAILING_REQUESTS and failed >= FAILING * sent


def _no_watch(pids: Sequence[int], telemetry: Path, part: float) -> None: ...


def describe_silence(load: Load, result: LoadResult) -> str:
    """Say that the app stopped answering, "" where it did not: every user was still waiting at the
    end and the driver's grace, for most of the load and for many times what an answer had taken."""
    if load.rps is not None or result.time_last is None or result.abandoned < load.users:
        return ""
    answering_s = result.time_last - result.time_started
    in_load_s = result.duration_s - answering_s
    silent_s = in_load_s + GRACE_SECONDS
    usual_s = answering_s * load.users / max(1, result.requests)
    if in_load_s < SILENT_PART * result.duration_s or silent_s < SILENT_TIMES * usual_s:
        return ""
    return (
        f"the app stopped answering: {result.requests} requests in {answering_s:.1f} s, then none "
        f"for {silent_s:.1f} s, while {load.users} of {load.users} users waited; a call does not "
        "return, or takes longer than that (then give a longer --time-budget)"
    )


def memory_limit(free_bytes: int, ram_bytes: int) -> int:
    """The most that all processes of a trial may use: never what the machine needs itself, and no
    more than shows that an app does not fit."""
    return min(int(free_bytes * MEMORY_FRACTION), max(LEAST_LIMIT, TIMES_RAM * ram_bytes))
