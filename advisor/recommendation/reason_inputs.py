"""The values that every reason may quote."""

from __future__ import annotations

from dataclasses import dataclass

from pretune.advisor.demand.values import Demand
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.question import Question
from pretune.advisor.recommendation import evidence
from pretune.advisor.recommendation.evidence import InForce, Seen
from pretune.advisor.recommendation.tail import Tail
from pretune.advisor.recommendation.values import Candidate
from pretune.server.adapters.catalogue import find
from pretune.server.adapters.server import FieldServer, Meaning, Server, WorkerClass
from pretune.server.settings import Settings


@dataclass(frozen=True)
class ReasonInputs:
    """``settings``: the winner's; ``tail`` None: too few requests for one."""

    question: Question
    settings: Settings
    prediction: Prediction
    candidates: tuple[Candidate, ...]
    tail: Tail | None

    @property
    def demand(self) -> Demand:
        return self.question.demand

    @property
    def fds(self) -> int:
        """Descriptors that a process may have."""
        return self.question.budget.fds

    @property
    def server(self) -> Server:
        return find(self.question.conditions.server)

    @property
    def kind(self) -> WorkerClass:
        return self.server.classes[self.settings.worker_class]

    @property
    def leaks(self) -> bool:
        return self.demand.worker.leak_class == "leak"

    def meaning(self, name: str) -> Meaning | None:
        """The setting on a server that has it by another name; None where it is gunicorn's."""
        return self.server.settings.get(name) if isinstance(self.server, FieldServer) else None

    @property
    def carried(self) -> float:
        return self.prediction.throughput_rps.value

    @property
    def seen(self) -> Seen:
        """The traffic that was measured."""
        demand = self.demand
        return evidence.see(len(demand.tuples), self.question.routes, demand.by_endpoint)

    def in_force(self, name: str) -> InForce:
        """Today's value of a setting, else the server's default."""
        return evidence.in_force(name, self.server.name, self.question.deployed)
