"""Fixation movies of Karamanlis et al.: the screen as the authors' formula has it, blocks, repeats, what is refused."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from array_writers import save_in_matlab
from visioncore.data import build_data_config, prepare
from visioncore.data.inspection.formats import inspect
from visioncore.data.store import SessionStore
from visioncore.errors import DataError

BLOCKS, TIME, FROZEN, TRIALS, UNITS = 3, 180, 40, 4, 5
ROWS, COLUMNS = 650, 700  # higher than the screen, and narrower


def contents(blocks: int = BLOCKS) -> dict[str, np.ndarray]:
    """With axes as MATLAB shows them."""
    rng = np.random.default_rng(0)

    def fixations(n: int, blocks: int, n_images: int) -> np.ndarray:
        image = rng.integers(1, n_images + 1, (blocks, n))
        return np.stack([image, rng.integers(150, 650, (blocks, n)), rng.integers(100, 500, (blocks, n))])

    return {
        "runningbin": rng.poisson(0.3, (UNITS, TIME // blocks, blocks)).astype(float),
        "frozenbin": rng.poisson(0.3, (UNITS, FROZEN, TRIALS)).astype(float),
        "runningImages": rng.integers(1, 255, (ROWS, COLUMNS, 2)).astype(np.uint8),
        "frozenImages": rng.integers(1, 255, (ROWS, COLUMNS, 3)).astype(np.uint8),
        "runningfixations": fixations(TIME // blocks, blocks, 2).transpose(0, 2, 1).astype(float),
        "frozenfixations": fixations(FROZEN, 1, 3)[:, 0].astype(float),
    }


def written(folder: Path, arrays: dict[str, np.ndarray], name: str = "m1_fixationmovie_data.mat") -> Path:
    """As MATLAB writes it, which has no axis of length 1 at the end; any other name is plain HDF5."""
    path = folder / name
    with h5py.File(path, "w", userblock_size=512 if path.suffix == ".mat" else 0) as file:
        for key, array in arrays.items():
            kept = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
            if path.suffix == ".mat":
                save_in_matlab(file, key, kept)
            else:
                file[key] = kept.T
    if path.suffix == ".mat":
        with path.open("r+b") as raw:
            raw.write(
                b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 12:00:00 2024 HDF5 schema"
            )
    return path


def screen(arrays: dict[str, np.ndarray], part: str, image: int, x: int, y: int) -> np.ndarray:
    """Pixel by pixel, counted from 1: xOr = x - 800 / 2 + (1 .. 800), and likewise y, where the image has it."""
    shown = np.zeros((600, 800), np.uint8)
    pictured = arrays[f"{part}Images"][:, :, image - 1]
    for row in range(1, 601):
        of_row = y - 300 + row
        if not 1 <= of_row <= ROWS:
            continue
        columns = np.arange(1, 801)
        of_columns = x - 400 + columns
        good = (of_columns >= 1) & (of_columns <= COLUMNS)
        shown[row - 1, columns[good] - 1] = pictured[of_row - 1, of_columns[good] - 1]
    return shown


def prepared(folder: Path, path: Path, **keys: Any) -> SessionStore:
    raw = {
        "type": "retina",
        "params": {
            "sampling_rate_hz": 75.0,
            "response_kind": "counts",
            "sessions": [{"id": "a", "subject": "m", "path": path.name, **keys}],
        },
        "split": {"block_s": 0.5, "split_gap_s": 0.1, "validation": 0.3},
        "burn_in_s": 0.05,
        "store": str(folder / "stores"),
    }
    return prepare(build_data_config(raw, "test"), folder).sessions["a"]


@pytest.mark.parametrize("name", ["m1_fixationmovie_data.mat", "plain.h5"])
@pytest.mark.parametrize("blocks", [1, BLOCKS])
def test_screens_counts_and_repeats_are_those_of_the_file(name: str, blocks: int, tmp_path: Path) -> None:
    arrays = contents(blocks)
    session = prepared(tmp_path, written(tmp_path, arrays, name))
    starts = [(block.start, block.stop) for block in session.blocks if block.split == "test"]
    assert len(starts) == TRIALS
    assert {stop - start for start, stop in starts} == {FROZEN}
    for trial, (start, stop) in enumerate(starts):
        np.testing.assert_array_equal(session.responses(start, stop), arrays["frozenbin"][:, :, trial].T)
        for frame in (0, FROZEN - 1):
            image, x, y = arrays["frozenfixations"][:, frame].astype(int)
            found = session.video(start + frame, start + frame + 1)[0, 0]
            np.testing.assert_array_equal(found, screen(arrays, "frozen", image, x, y))
    assert len({block.stimulus_id for block in session.blocks if block.split == "test"}) == 1

    # Blocks of the running movie come first, one after the other.
    found = session.responses(0, starts[0][0])[session.valid(0, starts[0][0])[:, 0]]
    expected = arrays["runningbin"].transpose(2, 1, 0).reshape(-1, UNITS)
    np.testing.assert_array_equal(found, expected)
    image, x, y = arrays["runningfixations"][:, 7, 0].astype(int)
    np.testing.assert_array_equal(session.video(7, 8)[0, 0], screen(arrays, "running", image, x, y))


def test_what_inspect_proposes_is_prepared_once_rate_and_subject_are_known(tmp_path: Path) -> None:
    path = written(tmp_path, contents())
    found = inspect(path)
    proposal = {**found.proposal, "split": {"block_s": 0.5, "split_gap_s": 0.1}, "burn_in_s": 0.05}
    proposal["params"]["sampling_rate_hz"] = 75.0
    proposal["params"]["sessions"][0]["subject"] = "m"
    (session,) = prepare(build_data_config(proposal, "test"), tmp_path).sessions.values()
    assert session.video(0, 1).shape == (1, 1, 60, 80)
    assert session.unit_ids == tuple(f"cell{k}" for k in range(UNITS))
    (picture,) = found.pictures
    arrays = contents()
    image, x, y = arrays["runningfixations"][:, 0, 0].astype(int)
    np.testing.assert_array_equal(picture.pixels, screen(arrays, "running", image, x, y))


def no_image(arrays: dict[str, np.ndarray]) -> None:
    arrays["runningfixations"][0, 5, 1] = 3


def short(arrays: dict[str, np.ndarray]) -> None:
    arrays["frozenfixations"] = arrays["frozenfixations"][:, :-1]


def halves(arrays: dict[str, np.ndarray]) -> None:
    arrays["runningbin"][2, 4, 1] = 0.5


def no_place(arrays: dict[str, np.ndarray]) -> None:
    arrays["frozenfixations"][1, 3] = np.nan


def one_unit_less(arrays: dict[str, np.ndarray]) -> None:
    arrays["frozenbin"] = arrays["frozenbin"][1:]


def no_frozen_pictures(arrays: dict[str, np.ndarray]) -> None:
    del arrays["frozenImages"]


def no_pictures(arrays: dict[str, np.ndarray]) -> None:
    del arrays["runningfixations"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_image, r"m1_fix.*runningfixations: frame 5 of block 1 shows image 3; runningImages holds 2"),
        (
            short,
            r"frozenfixations: has shape \(1, 39, 3\); expected \(1, 40, 3\), a row for each bin of frozenbin",
        ),
        (halves, r"runningbin and frozenbin: the count of unit 2 in frame 4 of 'running' is 0.5"),
        (no_place, r"frozenfixations: has shape \(1, 40, 3\); expected whole numbers"),
        (one_unit_less, r"frozenbin: has 4 units, and runningbin has 5"),
        (no_frozen_pictures, r"frozenImages"),
        (no_pictures, r"has counts \(runningbin\) and not the pictures that they answer"),
    ],
)
def test_what_does_not_fit_is_one_message_and_leaves_nothing_behind(
    spoil: Any, message: str, tmp_path: Path
) -> None:
    arrays = contents()
    spoil(arrays)
    with pytest.raises(DataError, match=message):
        prepared(tmp_path, written(tmp_path, arrays))
    assert not [*(tmp_path / "stores").glob("*")]


def test_what_other_layouts_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a fixation movie, which has no train_blocks; leave it out"):
        prepared(tmp_path, written(tmp_path, contents()), train_blocks=3)
