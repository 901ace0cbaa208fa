"""Files and YAMLs as labs write them: read where they can be, and else told what to change."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flawed import N_BINS, N_UNITS, TRIAL_BINS, prepared, recording
from visioncore.data import build_data_config, prepare
from visioncore.data.sources.npz import NpzFile
from visioncore.errors import DataError


@pytest.fixture(scope="module")
def clean() -> dict[str, Any]:
    return recording()


def written_by_python_2(source: Path, target: Path, key: str, header: bytes) -> None:
    """The same file, with one header as NumPy of Python 2 wrote it."""
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(target, "w") as old:
        for name in whole.namelist():
            content = whole.read(name)
            if name == f"{key}.npy":
                length = int.from_bytes(content[8:10], "little")
                content = (
                    content[:8]
                    + (118).to_bytes(2, "little")
                    + header.ljust(117)
                    + b"\n"
                    + content[10 + length :]
                )
            old.writestr(name, content)


@pytest.mark.parametrize("key", ["spikes", "stim"])
def test_a_file_written_by_python_2_is_read_as_any_other(
    key: str, clean: dict[str, Any], tmp_path: Path
) -> None:
    np.savez(tmp_path / "new.npz", stim=clean["stim"], spikes=clean["spikes"].astype(np.int64))
    shape, descr = {
        "spikes": (f"({N_BINS}L, {N_UNITS}L)", "<i8"),
        "stim": (f"({N_BINS}L, 9L, 12L)", "|u1"),
    }[key]
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    written_by_python_2(tmp_path / "new.npz", tmp_path / "old.npz", key, header)
    new, old = (NpzFile(tmp_path / name, "s") for name in ("new.npz", "old.npz"))
    assert old.header(key) == new.header(key)
    np.testing.assert_array_equal(old.read(key), new.read(key))
    np.testing.assert_array_equal(old.stream(key).read(3, 9), new.stream(key).read(3, 9))


def test_trial_starts_that_are_counted_from_one_are_refused(clean: dict[str, Any], tmp_path: Path) -> None:
    starts = np.arange(0, N_BINS, TRIAL_BINS)
    with pytest.raises(DataError, match=r"starts at bin 1, as if bins were counted from 1.*subtract 1"):
        prepared(tmp_path, {**clean, "starts": starts + 1})
    late = np.array([0, *starts[1:-1], N_BINS])
    with pytest.raises(DataError, match=rf"trial start {N_BINS} is outside.*counted from 1\? Subtract 1"):
        prepared(tmp_path, {**clean, "starts": late})


def test_a_bin_before_all_trials_can_be_said_with_labels(clean: dict[str, Any], tmp_path: Path) -> None:
    labels = np.repeat(np.arange(12), TRIAL_BINS).astype(float)
    labels[0] = np.nan
    store = prepared(tmp_path, {**clean, "labels": labels}, trial="labels", trial_start=None)
    assert store.sessions["s0"].blocks[0].start == 1


def test_trials_of_one_group_never_straddle_two_splits(clean: dict[str, Any], tmp_path: Path) -> None:
    pictures = np.array(["cat", "dog", "cat", "sea", "dog", "sky", "sky", "sea", "cat", "elm", "elm", "ash"])
    store = prepared(tmp_path, {**clean, "pictures": pictures}, group="pictures", split=None)
    blocks = store.sessions["s0"].blocks
    assert [block.group for block in blocks] == pictures.tolist()
    for picture in set(pictures.tolist()):
        assert len({block.split for block in blocks if block.group == picture}) == 1


def test_a_recording_under_two_ids_is_refused_naming_both(
    clean: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DataError, match=r"session 's1' \(1\.npz\).*same responses as session 's0' \(0\.npz"):
        prepared(tmp_path, clean, clean)
    # With another stimulus it may be something else; that is for the user to say.
    prepared(tmp_path, clean, {**clean, "stim": 255 - clean["stim"]})
    assert "session 's1' (1.npz), key 'spikes': holds the same responses as session 's0'" in caplog.text


def test_a_session_has_the_fingerprint_that_twins_of_version_1_know_it_by(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (2400, 4, 5), dtype=np.uint8)
    np.savez(tmp_path / "0.npz", stim=video, spikes=rng.integers(0, 3, (2400, 2)))
    session = {"id": "s", "subject": "m", "path": "0.npz", "video": "stim", "responses": "spikes"}
    params = {"sampling_rate_hz": 60, "response_kind": "counts", "sessions": [session]}
    raw = {"type": "arrays", "params": params, "split": {"block_s": 4.0, "split_gap_s": 0.5}}
    store = prepare(build_data_config(raw, "d"), tmp_path)
    # What commit 4b0d4c8 gave it.
    expected = "f2b669240bf54ea903cd5a6e33b27a3dfa768439c64f37829b30fb6877696ae4"
    assert store.sessions["s"].fingerprint == expected
