"""A tiny recording as arrays, the raw material of most tests."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Tensors here are tiny: threads only wait for each other. Before torch is imported, and for every child process.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from jaxtyping import install_import_hook

# Shapes and dtypes of these packages are checked at run time, in tests only.
install_import_hook(
    [
        "visioncore.model",
        "visioncore.metrics",
        "visioncore.evaluation",
        "visioncore.audit",
        "visioncore.losses",
        "visioncore.stimuli",
        "visioncore.training.cutmix",
        "visioncore.training.initialise",
        "visioncore.data.clips",
        "visioncore.data.validation",
    ],
    "beartype.beartype",
)

# The process that only hands tests to workers imports this file too: what is slow to import is imported where used.
if TYPE_CHECKING:
    from visioncore.data import DataConfig, RecordingStore

pytest_plugins = ["audit_fixtures"]
Arrays = dict[str, Any]
N_BINS = 2400
RATE_HZ = 60.0


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, then those with many: no worker is left alone with a long one in the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (-slow[item.path], -tests[item.path]))


def tiny_arrays(seed: int = 0, n_bins: int = N_BINS, n_units: int = 3) -> Arrays:
    """A continuous session at 60 Hz, 5x7 pixels; the second unit follows a pixel, the others nothing."""
    rng = np.random.default_rng(seed)
    video = rng.integers(0, 256, (n_bins, 5, 7), dtype=np.uint8)
    rates = np.full((n_bins, n_units), 0.1, np.float32)
    rates[1:, 1] = 0.3 * (video[:-1, 2, 3] > 127)
    return {
        "stim": video,
        "spikes": rng.poisson(rates),
        "ids": np.arange(10, 10 + n_units),
        "eye": rng.normal(size=(n_bins, 2)).astype(np.float32),
        "ok": rng.random(n_bins) > 0.1,
        "truth": rates,
    }


def tiny_session(**changes: Any) -> dict[str, Any]:
    """The YAML of a session that names all of `tiny_arrays`; a change to None leaves a key out."""
    keys = {
        "subject": "m1",
        "video": "stim",
        "responses": "spikes",
        "unit_ids": "ids",
        "behaviour": "eye",
        "behaviour_names": ["x", "y"],
        "valid": "ok",
        "rates": "truth",
    }
    return {key: value for key, value in (keys | changes).items() if value is not None}


def tiny_data_yaml(*sessions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A data YAML over arrays, with time blocks short enough for 40 s."""
    return {
        "type": "arrays",
        "params": {"sampling_rate_hz": RATE_HZ, "response_kind": "counts", "sessions": list(sessions)},
        "split": {"block_s": 2.0, "split_gap_s": 0.25, "test": 0.2, "validation": 0.15},
        "burn_in_s": 0.1,
        **changes,
    }


@pytest.fixture
def one_session(tmp_path: Path) -> "Callable[..., tuple[DataConfig, Path]]":
    """Writes `tiny_arrays` with changes to a file and gives the config over it, ready for `prepare`."""
    from visioncore.data import build_data_config

    def write(
        arrays: Arrays | None = None, session: dict[str, Any] | None = None, **changes: Any
    ) -> "tuple[DataConfig, Path]":
        np.savez(tmp_path / "one.npz", **(tiny_arrays() | (arrays or {})))
        raw = tiny_data_yaml(tiny_session(**({"id": "one", "path": "one.npz"} | (session or {}))), **changes)
        return build_data_config(raw, "test.yaml"), tmp_path

    return write


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> "tuple[DataConfig, Path]":
    """Three sessions of two subjects with 3, 3 and 2 units, the last one half as long."""
    from visioncore.data import build_data_config

    folder = tmp_path_factory.mktemp("recording")
    np.savez(folder / "a.npz", **tiny_arrays(seed=1))
    np.savez(folder / "b.npz", **tiny_arrays(seed=2))
    np.savez(folder / "c.npz", **tiny_arrays(seed=3, n_bins=N_BINS // 2, n_units=2))
    raw = tiny_data_yaml(
        tiny_session(id="a", path="a.npz"),
        tiny_session(id="b", path="b.npz"),
        tiny_session(id="c", path="c.npz", subject="m2"),
    )
    return build_data_config(raw, "tiny.yaml"), folder


@pytest.fixture(scope="session")
def tiny_store(tiny_config: "tuple[DataConfig, Path]") -> "RecordingStore":
    """The prepared recording of `tiny_config`; read-only, shared by all tests."""
    from visioncore.data import prepare

    return prepare(*tiny_config)
