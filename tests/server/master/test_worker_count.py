"""How many workers, and which: the decision by itself, then in a small world it must not ruin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretune.server.master.worker_count import GONE_SOON, Plan, Post, plan

BOOTS = {"ready": False}
OLD = {"current": False}


@pytest.mark.parametrize(
    ("posts", "wanted", "proven", "expected"),
    [
        pytest.param([], 3, False, Plan(spawn=3), id="the start: all at once"),
        pytest.param([Post(1, **BOOTS)], 3, False, Plan(spawn=2), id="some boot already"),
        pytest.param([Post(1), Post(2)], 2, True, Plan(complete=True), id="all is well"),
        pytest.param([Post(1)], 2, True, Plan(spawn=1), id="one has died"),
        pytest.param([Post(1), Post(2, **BOOTS)], 2, True, Plan(), id="not ready yet"),
        pytest.param([Post(1), Post(2), Post(3)], 2, True, Plan(surplus=(1,), complete=True),
                     id="one too many: the oldest"),
        pytest.param([Post(1), Post(2), Post(3, **BOOTS)], 2, True,
                     Plan(surplus=(3,), complete=True), id="one that serves nobody yet goes first"),
        pytest.param([Post(1), Post(2)], 0, True, Plan(surplus=(1, 2)), id="all shall rest"),
        # recycling
        pytest.param([Post(1, asks=5.0), Post(2, asks=4.0)], 2, True, Plan(spawn=1, complete=True),
                     id="a successor first"),
        pytest.param([Post(1, asks=5.0), Post(2, asks=4.0), Post(3, **BOOTS)], 2, True,
                     Plan(complete=True), id="it boots"),
        pytest.param([Post(1, asks=5.0), Post(2, asks=4.0), Post(3)], 2, True,
                     Plan(replaced=2, complete=True), id="it is ready: the first that asked goes"),
        pytest.param([Post(1, asks=5.0), Post(2, leaving=20.0), Post(3)], 2, True,
                     Plan(complete=True), id="never two at once, however long it takes"),
        pytest.param([Post(1, asks=5.0)], 2, True, Plan(spawn=2), id="one missing and one due"),
        # reload
        pytest.param([Post(1, **OLD), Post(2, **OLD)], 2, False, Plan(spawn=1), id="one scout"),
        pytest.param([Post(1, **OLD), Post(2, **OLD), Post(3, **BOOTS)], 2, False, Plan(),
                     id="nothing before it is ready"),
        pytest.param([Post(1, **OLD), Post(3, **BOOTS)], 3, False, Plan(),
                     id="not even when old ones die"),
        pytest.param([Post(1, **OLD), Post(2, **OLD), Post(3)], 2, True, Plan(replaced=1),
                     id="then the oldest goes"),
        pytest.param([Post(1, current=False, leaving=1.0), Post(2, **OLD), Post(3)], 2, True,
                     Plan(), id="the next waits until it has gone"),
        pytest.param([Post(1, current=False, leaving=GONE_SOON), Post(2, **OLD), Post(3)], 2, True,
                     Plan(spawn=1), id="but not for ever"),
        pytest.param([Post(1, **OLD), Post(2, current=False, ready=False), Post(3)], 2, True,
                     Plan(spawn=1, surplus=(2,)), id="old code need not boot any more"),
        pytest.param([Post(1, **OLD), Post(2, **OLD), Post(3, **BOOTS)], 1, False,
                     Plan(surplus=(1,)), id="fewer wanted: the scout stays"),
    ],
)  # fmt: skip
def test_decisions(posts, wanted, proven, expected):
    assert plan(posts, wanted, proven=proven) == expected


EVENTS = st.lists(st.sampled_from(["boot", "gone", "kill", "ask", "hup", "more", "less", "late"]))


@given(EVENTS, st.integers(1, 4))
def test_whatever_happens_service_is_kept_and_memory_bounded(events, wanted):
    """A world of workers under arbitrary events; ready ones only ever leave for ready ones."""
    world: list[dict] = []
    state = {"ticket": 0, "generation": 0, "proven": False, "wanted": wanted}

    def posts() -> list[Post]:
        return [
            Post(w["ticket"], w["generation"] == state["generation"], w["ready"],
                 w["leaving"], w["asks"])
            for w in world
        ]  # fmt: skip

    def settle() -> None:
        for _ in range(20):
            made = plan(posts(), state["wanted"], proven=state["proven"])
            serving = sum(w["ready"] and w["leaving"] is None for w in world)
            ordered = {*made.surplus, *([] if made.replaced is None else [made.replaced])}
            for w in world:
                if w["ticket"] in ordered:
                    w["leaving"] = 0.0
            after = sum(w["ready"] and w["leaving"] is None for w in world)
            assert after >= min(serving, state["wanted"])
            for _ in range(made.spawn):
                state["ticket"] += 1
                world.append({"ticket": state["ticket"], "generation": state["generation"],
                              "ready": False, "leaving": None, "asks": None})  # fmt: skip
            live = sum(w["leaving"] is None for w in world)
            assert live <= state["wanted"] + 1
            if made == Plan(complete=made.complete):
                return
        raise AssertionError("it never comes to rest")

    settle()
    for event in [*events, *["late", "gone", "boot"] * 20]:
        live = [w for w in world if w["leaving"] is None]
        booting = [w for w in live if not w["ready"]]
        leaving = [w for w in world if w["leaving"] is not None]
        if event == "boot" and booting:
            booting[0]["ready"] = True
            if booting[0]["generation"] == state["generation"]:
                state["proven"] = True
        elif event == "gone" and leaving:
            world.remove(leaving[0])
        elif event == "kill" and live:
            world.remove(live[-1])
        elif event == "ask" and live:
            live[0]["asks"] = float(state["ticket"])
        elif event == "hup" and state["proven"]:
            state["generation"] += 1
            state["proven"] = False
        elif event in ("more", "less"):
            state["wanted"] = min(5, max(1, state["wanted"] + (1 if event == "more" else -1)))
        elif event == "late":
            for w in leaving:
                w["leaving"] = GONE_SOON
        settle()
    made = plan(posts(), state["wanted"], proven=state["proven"])
    assert made.complete
    assert all(w["generation"] == state["generation"] for w in world if w["leaving"] is None)
