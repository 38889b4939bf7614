"""What is saved of the truth beside a run."""

from __future__ import annotations

import numpy as np
import pytest
from sparks_kind import Sparks, SparksBiology

from smartscope.core import NS_PER_S
from smartscope.runs._truth import TruthLog
from smartscope.specimen import LivingSpecimen


def test_measures_scalars_and_events_are_saved():
    specimen = LivingSpecimen(SparksBiology(2, Sparks(cells=6, every_s=4.0)))
    specimen.start(0)
    log = TruthLog(specimen, duration_s=30.0)
    assert log.tables() == {}
    for t_s in range(0, 31, 5):
        log.sample(t_s * NS_PER_S)
    tables = log.tables()
    truth, sample, events = (
        tables[name] for name in ("truth", "true_sample", "true_events")
    )
    assert len(truth["calcium"]) == len(truth["t_s"]) == 7 * 6
    assert min(truth["calcium"]) >= 0.1
    assert sample["t_s"] == [float(t) for t in range(0, 31, 5)]
    assert sample["cells"] == [6.0] * 7
    assert sample["drift_x_um"][-1] == pytest.approx(0.002 * 30)
    assert len(events["onset_s"]) > 6
    assert set(events["kind"]) == {"transient"}
    assert events["peak_s"] == events["onset_s"]
    finite = [e for e in events["end_s"] if np.isfinite(e)]
    assert max(finite) <= 30.0
    assert {len(column) for column in events.values()} == {len(events["kind"])}
    assert tables["divisions"]["parent_id"] == []
