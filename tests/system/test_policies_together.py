"""Several policies on one run: arms, phases, positions, leases; all decided again."""

from __future__ import annotations

import numpy as np
import pytest
from small_runs import experiment, specimen_rig

from smartscope import check, replay, run
from smartscope.core import ConfigError
from smartscope.record._report import facts_of

FIELDS = [[0, 0, 0], [80, 0, 0], [0, 80, 0], [80, 80, 0], [-80, 0, 0], [0, -80, 0]]


def plan(loops: int = 6, interval: float = 2, fields: int = 1) -> dict:
    return {
        "channels": [{"config": "FITC", "exposure": 20}],
        "time_plan": {"interval": interval, "loops": loops},
        "stage_positions": FIELDS[:fields],
        "axis_order": "tpc",
    }


def done(tmp_path, **fields):
    result = run(
        experiment(**fields),
        rig=specimen_rig(),
        output=tmp_path / "runs",
    )
    assert result.outcome in ("completed", "stopped"), result.message
    again = replay(result.path)
    assert again.identical, again.message
    return result


def positions_by_policy(folder) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for decision in folder.decisions:
        found.setdefault(decision.policy, set()).add(decision.view.position)
    return found


# ---------------------------------------------------------------------- positions


def test_different_policies_on_different_positions(tmp_path, policy) -> None:
    body = "yield Mark(reason='seen')"
    named = [{"x": x, "y": y, "z": z, "name": f"well {k}"}
             for k, (x, y, z) in enumerate(FIELDS[:3])]  # fmt: skip
    result = done(
        tmp_path,
        acquisition={**plan(2, fields=3), "stage_positions": named},
        policies=[
            policy(body, "first", positions=[0]),
            policy(body, "others", positions=["well 2", 1]),
            policy(body, "all"),
        ],
    )
    assert positions_by_policy(result.folder) == {
        "first": {0},
        "others": {1, 2},
        "all": {0, 1, 2},
    }


@pytest.mark.parametrize(
    ("positions", "said"),
    [
        ([3], "there is no position 3; the plan has 0 to 2"),
        (["p9"], "there is no position 'p9'; known are: p0, p1, p2"),
    ],
)
def test_a_position_that_is_not_there_is_refused(policy, positions, said) -> None:
    entry = policy("return []", positions=positions)
    with pytest.raises(ConfigError, match=said) as caught:
        check(experiment(acquisition=plan(fields=3), policies=[entry]),
              rig=specimen_rig())  # fmt: skip
    assert caught.value.field == "policies[0].positions[0]"


# --------------------------------------------------------------------------- arms


def arms(fields: int, seed: int = 0, **more) -> dict:
    return {
        "acquisition": plan(4, 4, fields),
        "seed": seed,
        "policies": [
            {"use": "rate_switch", "trigger": "mitosis", "arm": "smart"},
            {"use": "fixed_rate", "interval_s": 1, "arm": "fixed"},
            {
                "use": "random_trigger",
                "fast_interval_s": 1,
                "duty": 0.5,
                "lasts_s": 6,
                "arm": "random",
            },
        ],
        **more,
    }


@pytest.fixture(scope="module")
def armed(tmp_path_factory):
    """One run with three arms on six positions, and two phases."""
    two = [{"name": "only", "after_frames": 5}, {"name": "rest"}]
    return done(tmp_path_factory.mktemp("arms"), **arms(6, phases=two))


def test_arms_share_the_positions_out_and_differ_in_nothing_else(armed) -> None:
    result = armed
    drawn = result.folder.header["arms"]
    assert list(drawn) == ["smart", "fixed", "random"]
    assert sorted(p for fields in drawn.values() for p in fields) == list(range(6))
    assert [len(fields) for fields in drawn.values()] == [2, 2, 2]
    seen = positions_by_policy(result.folder)
    assert seen["rate_switch"] == set(drawn["smart"])
    assert seen["fixed_rate"] == set(drawn["fixed"])
    assert seen["random_trigger"] == set(drawn["random"])
    planned = np.zeros(6, int)
    reactions = np.zeros(6, int)
    for frame in result.folder.frames:
        (planned, reactions)[frame.role == "reaction"][frame.view.position] += 1
        assert result.folder.arm_of(frame.view.position) in drawn
    # The baseline is the same everywhere; only what the arm asks for comes on top.
    assert set(planned) == {4}
    assert reactions[drawn["fixed"]].min() > reactions[drawn["smart"]].max()


def test_the_seed_draws_the_arms(tmp_path) -> None:
    from smartscope.policies import draw_arms

    names, fields = ["a", "b"], range(9)
    drawn = [draw_arms(names, fields, seed) for seed in range(20)]
    assert drawn[3] == draw_arms(names, fields, 3)
    assert len({d["a"] for d in drawn}) > 10
    assert all(sorted(d["a"] + d["b"]) == list(fields) for d in drawn)
    # No position is in one arm more often than chance has it.
    often = [sum(p in d["a"] for d in drawn) for p in fields]
    assert max(often) < 20
    assert min(often) > 0


def test_the_check_says_how_the_arms_are_drawn() -> None:
    report = check(experiment(**arms(6, seed=3)), rig=specimen_rig())
    told = [line for line in report.lines if line.startswith("arm ")]
    assert [line.split(":")[0] for line in told] == [
        "arm smart",
        "arm fixed",
        "arm random",
    ]
    numbers = [n for line in told for n in line.split("position ")[1].split(", ")]
    assert sorted(map(int, numbers)) == list(range(6))


def test_more_arms_than_positions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"2 position\(s\) for 3 arms"):
        check(experiment(**arms(2)), rig=specimen_rig())


def test_an_arm_may_not_change_the_others(tmp_path, policy) -> None:
    body = """
if seen.number == 0:
    yield SetPower(line="488", power_percent=40, reason="more light for all")
    yield SetInterval(interval_s=1, reason="its own field")
"""
    entries = [policy(body, "greedy", arm="a"), {"use": "fixed_rate", "arm": "b"}]
    fields = {"acquisition": plan(4, 4, 2), "policies": entries}
    seeds = [s for s in range(9) if _first_arm(s) == "a"]
    result = done(tmp_path, seed=seeds[0], **fields)
    first, second = [o for o in result.folder.outcomes if o.policy == "greedy"]
    assert (first.status, second.status) == ("rejected", "scheduled")
    assert "the other arms than 'a'" in first.message
    powers = {f.state.power_percent["488"] for f in result.folder.frames}
    assert powers == {10.0}


def _first_arm(seed: int) -> str:
    from smartscope.policies import draw_arms

    drawn = draw_arms(["a", "b"], [0, 1], seed)
    return "a" if 0 in drawn["a"] else "b"


# ------------------------------------------------------------------------- phases


def test_phases_follow_each_other_and_each_has_its_policies(tmp_path, policy) -> None:
    fast = "yield SetInterval(interval_s=0.5, reason='fast')"
    result = done(
        tmp_path,
        acquisition=plan(20, 2),
        phases=[
            {"name": "look", "after_frames": 3},
            {"name": "film", "after_s": 4},
            {"name": "rest"},
        ],
        policies=[
            policy("yield Mark(reason='looking')", "looker", phase="look"),
            policy(fast, "filmer", phase="film"),
            policy("yield Mark(reason='always')", "always"),
        ],
    )
    folder = result.folder
    changes = list(folder.entries("phase"))
    assert [(c["ended"], c["begins"], c["reason"]) for c in changes] == [
        ("look", "film", "after 3 frames"),
        ("film", "rest", "after 4 s"),
    ]
    by = {name: [d for d in folder.decisions if d.policy == name]
          for name in ("looker", "filmer", "always")}  # fmt: skip
    first, second = (c["observation"] for c in changes)
    assert [d.observation for d in by["looker"]] == [0, 1, 2] == list(range(first))
    *filmed, gave_back = by["filmer"]
    assert [d.observation for d in filmed] == list(range(first, second))
    # What it had asked for ends with its phase, in its name.
    assert gave_back.observation == second
    assert [r.action.interval_s for r in gave_back.requests] == [None]
    assert len(by["always"]) == len(list(folder.observations()))
    # The films are fast in the phase that asks for it, and in no other.
    times = [f.planned_s for f in folder.frames if f.role == "reaction"]
    assert times
    assert min(times) > changes[0]["t_s"]
    assert max(times) <= changes[1]["t_s"]


def test_a_policy_ends_a_phase_and_the_last_one_ends_the_run(tmp_path, policy) -> None:
    body = """
if seen.number == 2:
    yield NextPhase(reason="seen enough")
elif seen.number == 4:
    yield NextPhase(phase="nowhere", reason="lost")
elif seen.number == 6:
    yield NextPhase(reason="done")
"""
    result = done(
        tmp_path,
        acquisition=plan(20, 2),
        phases=[{"name": "one"}, {"name": "two"}],
        policies=[policy(body)],
    )
    changes = list(result.folder.entries("phase"))
    assert [(c["observation"], c["begins"]) for c in changes] == [(3, "two"), (7, "")]
    assert result.outcome == "completed"
    assert "the last phase, two, is over" in result.message
    assert "seen enough" in changes[0]["reason"]
    assert len(result.folder.frames) < 12
    (lost,) = [o for o in result.folder.outcomes if o.status == "rejected"]
    assert "there is no phase 'nowhere' (one, two)" in lost.message


def test_a_phase_in_shadow_changes_too(tmp_path, policy) -> None:
    body = "yield NextPhase(reason='on') if seen.number == 1 else Nothing(reason='')"
    result = run(
        experiment(phases=[{"name": "a"}, {"name": "b"}], policies=[policy(body)]),
        rig=specimen_rig(),
        output=tmp_path,
        shadow=True,
    )
    assert [c["begins"] for c in result.folder.entries("phase")] == ["b"]
    assert replay(result.path).identical


# --------------------------------------------------------------- who won, and why


def test_a_lease_keeps_others_away_and_the_trace_says_so(tmp_path, policy) -> None:
    fast = "yield SetInterval(interval_s={}, reason='mine')"
    result = done(
        tmp_path,
        acquisition=plan(8, 4),
        policies=[
            policy("if seen.number == 0:\n    " + fast.format(1), "first", lease_s=9),
            policy("if seen.number in (2, 14):\n    " + fast.format(2), "second"),
        ],
    )
    folder = result.folder
    became = {
        (o.policy, d.observation): o
        for o in folder.outcomes
        for d in folder.decisions
        if o.action_id.startswith(f"{d.number}.")
    }
    held = became["second", 2]
    assert held.status == "outbid"
    assert "first holds schedule:0: leased for 6.96 s" in held.message
    assert became["second", 14].status == "scheduled"
    (entry,) = folder.entries("arbitration")
    (ruling,) = entry["rulings"]
    assert (ruling["winner"], ruling["loser"]) == ("first", "second")
    assert ruling["claim"] == "schedule:0"
    # Who won is settled again from the journal too, and a difference is named.
    file = folder.path / "experiment.yaml"
    file.write_text(file.read_text().replace("lease_s: 9", "lease_s: 1"))
    other = replay(folder.path)
    assert not other.identical
    assert "of second was outbid, is now granted" in other.differences[0]
    fact = facts_of(folder).together.rulings[0]
    assert (fact.winner, fact.loser, fact.times) == ("first", "second", 1)


def test_the_report_tells_arms_phases_and_who_won(armed) -> None:
    from smartscope.record import write_report

    facts = facts_of(armed.folder).together
    assert [arm.name for arm in facts.arms] == ["smart", "fixed", "random"]
    assert sum(arm.frames for arm in facts.arms) == len(armed.folder.frames)
    assert [p.ended for p in facts.phases] == ["only"]
    text = write_report(armed.folder).read_text(encoding="utf-8")
    assert "Arms" in text
    assert "fixed_rate" in text
    assert "only" in text
