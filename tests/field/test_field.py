"""What other servers get wrong, this one gets right; ``python -m bench.field`` asks the others."""

from __future__ import annotations

import pytest
from field.scenarios import SCENARIOS, Scenario
from field.servers import PRETUNE, Field


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_server_survives(scenario: Scenario, tmp_path):
    field = Field(PRETUNE, tmp_path)
    try:
        scenario.run(field)
    finally:
        left = field.close()
    assert left == [], "processes had to be killed"
