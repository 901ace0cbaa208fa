"""The shared cases of retina files, by the data YAML that inspect proposes and what only the user knows."""

from pathlib import Path
from typing import Any

import numpy as np

from shared_cases import CASES, needs_cases
from visioncore.data import build_data_config, prepare
from visioncore.data.inspection.retina import inspect_retina

SPLIT = {"block_s": 1.0, "split_gap_s": 0.1}
pytestmark = needs_cases


def test_the_open_retina_case_by_what_inspect_proposes_and_the_user_knows(tmp_path: Path) -> None:
    found = inspect_retina(CASES / "open_retina")
    assert found is not None
    params = dict(found.proposal["params"])
    assert [key for key, value in params.items() if value is None] == ["sampling_rate_hz", "response_kind"]
    sessions = [{**s, "subject": "m", "path": str(CASES / s["path"])} for s in params["sessions"]]
    params |= {"sampling_rate_hz": 30, "response_kind": "trace", "sessions": sessions}
    raw = {**found.proposal, "params": params}
    store, truth = (
        prepare(build_data_config(raw, "test"), tmp_path),
        np.load(CASES / "open_retina" / "truth.npz"),
    )
    for number, name in enumerate(("retina1", "retina 2")):
        session = store.sessions[name]
        n = len(truth[f"{number}_video"])
        valid = truth[f"{number}_valid"]
        np.testing.assert_array_equal(session.video(0, n), truth[f"{number}_video"])
        np.testing.assert_array_equal(session.valid(0, n), valid)
        np.testing.assert_allclose(session.responses(0, n)[valid], truth[f"{number}_trace"][valid], rtol=1e-6)
        assert session.unit_ids == tuple(truth[f"{number}_unit_ids"])
        assert session._signals.spec.units["celltypes"] == tuple(truth[f"{number}_celltypes"].tolist())
        trials = session._signals.manifest.trials
        assert [trial.start for trial in trials] == truth[f"{number}_trial_start"].tolist()
        assert [trial.split for trial in trials] == truth[f"{number}_trial_split"].tolist()
        assert [trial.stimulus_id for trial in trials] == truth[f"{number}_trial_stimulus"].tolist()


def test_the_baccus_case_by_what_inspect_proposes_and_the_user_knows(tmp_path: Path) -> None:
    folder = CASES / "baccus" / "ganglion_cell_data" / "15-10-07"
    found = inspect_retina(folder / "naturalscene.h5")
    assert found is not None
    raw: dict[str, Any] = {**found.proposal, "split": SPLIT}
    (session,) = raw["params"]["sessions"]
    assert [key for key, value in session.items() if value is None] == ["subject", "train_blocks"]
    session |= {"subject": "salamander", "train_blocks": 6, "path": str(folder / "naturalscene.h5")}
    own = prepare(build_data_config(raw, "test"), tmp_path).sessions["naturalscene"]
    truth = np.load(CASES / "baccus" / "truth.npz")
    n = len(truth["train_video"])
    np.testing.assert_array_equal(own.video(0, n)[:, 0], truth["train_video"])
    np.testing.assert_array_equal(own.responses(0, n), truth["train_counts"])
    assert own.unit_ids == tuple(truth["unit_ids"])
    assert [t.start for t in own._signals.manifest.trials[:6]] == truth["trial_start"].tolist()
    repeats, length, _ = truth["test_counts"].shape
    for repeat in range(repeats):
        start = n + repeat * length
        np.testing.assert_array_equal(own.video(start, start + length)[:, 0], truth["test_video"])
        np.testing.assert_array_equal(own.responses(start, start + length), truth["test_counts"][repeat])
