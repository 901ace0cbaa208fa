"""Prepared recordings that the tests of audits plant their faults in."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from audited import Arrays, Build
    from visioncore.data import RecordingStore


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> "Build":
    """Prepares the recording after `change` was made to its arrays."""
    from audited import RATE_HZ, noise_recording
    from visioncore.data import build_data_config, prepare

    def prepared(
        change: "Callable[[Arrays], None]" = lambda arrays: None, sessions: int = 1
    ) -> "RecordingStore":
        folder = tmp_path_factory.mktemp("audited")
        arrays = noise_recording()
        change(arrays)
        named = []
        for i in range(sessions):
            np.savez(folder / f"{i}.npz", **(arrays | {"stimulus": np.char.add(f"{i}", arrays["stimulus"])}))
            keys = {
                "video": "video",
                "responses": "counts",
                "behaviour": "eye",
                "behaviour_names": ["x", "y"],
            }
            keys |= {"trial": "trial", "split": "split", "stimulus_id": "stimulus"}
            named.append({"id": f"day{i}", "subject": "m", "path": f"{i}.npz", **keys})
        params = {"sampling_rate_hz": RATE_HZ, "response_kind": "counts", "sessions": named}
        return prepare(
            build_data_config({"type": "arrays", "params": params, "burn_in_s": 0.1}, "test"), folder
        )

    return prepared


@pytest.fixture(scope="module")
def clean(build: "Build") -> "RecordingStore":
    return build()
