"""A session of the stimulus alone is a recording, for what needs video alone; what needs responses passes over it."""

from pathlib import Path

import pytest

from flawed import N_UNITS, VIVIT, prepared, recording, started
from visioncore.data import ClipDataset, ValidationBlocks
from visioncore.errors import DataError
from visioncore.evaluation import evaluate


def test_a_session_without_units_is_passed_over(tmp_path: Path) -> None:
    alone = {key: signal for key, signal in recording(seed=1).items() if key in ("stim", "speed")}
    store = prepared(tmp_path, recording(), alone)
    assert store.sessions["s1"].unit_ids == ()
    twin = started(store, VIVIT)
    assert twin.unit_ids("s1") == ()
    clips = ClipDataset(store, 60, 4, seed=0, balance="session")
    assert {clip.session for index in range(5) for clip in clips[index]} == {"s0"}
    blocks = ValidationBlocks(store, 2)
    assert {blocks[index].session for index in range(len(blocks))} == {"s0"}
    assert evaluate(twin, store, progress=False).overall.n_units == N_UNITS
    with pytest.raises(DataError, match="no session has units"):
        ClipDataset(store.only(["s1"]), 60, 4, seed=0, balance="session")
