"""The app's names in the deployment's files, and bounds there that are not the run's. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pretune.advisor.deployed.value import Deployed
from pretune.advisor.quantity import format_bytes, parse_size
from pretune.advisor.resources.budget import Budget


def module_names(spec: str, callable_name: str, file: Path | None, chdir: Path) -> tuple[str, ...]:
    """Every name under which a deployment may know the target's module."""
    names = [callable_name.partition(":")[0]]
    if not spec.partition(":")[0].endswith(".py"):
        names.append(spec.partition(":")[0])
    if file is not None and file.is_relative_to(chdir):
        parts = file.relative_to(chdir).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return tuple(dict.fromkeys(name for name in names if name))


def note_bounds(deployed: Deployed, budget: Budget, sources: Sequence[str]) -> tuple[str, ...]:
    """A sentence for each bound in a file that differs from the run's budget.

    ``sources``: names of the options that the user gave; those bounds are meant as they are.
    """
    sentences = []
    for fact in deployed.facts:
        if fact.name == "memory limit" and "ram" not in sources:
            try:
                limit = parse_size(fact.value)
            except ValueError:
                continue
            if limit < budget.ram_bytes:
                sentences.append(
                    f"{fact.where} limits the memory to {format_bytes(limit)}, but the answer is "
                    f"for {format_bytes(budget.ram_bytes)}; give --ram {fact.value} to match"
                )
        elif (
            fact.name == "replicas"
            and "instances" not in sources
            and fact.value.isdigit()
            and int(fact.value) != budget.instances
        ):
            sentences.append(
                f"{fact.where} starts {fact.value} replicas, but the answer is for "
                f"{budget.instances}; give --instances {fact.value} for all of them"
            )
    return tuple(sentences)
