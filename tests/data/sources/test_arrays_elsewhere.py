"""Arrays in HDF5, MATLAB 7.3, Zarr and folders of .npy: the same recording from each, and what is refused."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from array_writers import (
    WRITERS,
    N,
    recorded,
    save_in_matlab,
    session_of,
    write_hdf5,
    write_matlab,
    write_npy,
    write_zarr,
    yaml_of,
)
from shared_cases import CASES, needs_cases
from visioncore.data import build_data_config, prepare
from visioncore.data.inspection.arrays import inspect_arrays
from visioncore.data.sources import lazy_file
from visioncore.data.sources.hdf5 import Hdf5File
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.errors import ConfigError, DataError

CASE = CASES / "arrays_elsewhere"
ERRORS = CASE.parent / "errors"


def store_of(folder: Path, path: str, **changes: Any) -> RecordingStore:
    return prepare(build_data_config(yaml_of(session_of(path, **changes)), "test"), folder)


def opened(folder: Path, path: str, **changes: Any) -> SessionStore:
    return store_of(folder, path, **changes).sessions["one"]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_recording_is_the_same_from_every_kind_of_file(
    writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy_file, "_BLOCK_BYTES", 5 * 7 * 333)  # blocks that fit neither chunks nor pieces
    arrays = recorded()
    if writer == "matlab":
        arrays["starts"] = arrays["starts"] + 1
    path, changes = WRITERS[writer](tmp_path, arrays)
    session = opened(tmp_path, path, **changes)
    ok = arrays["ok"][:, None] & (arrays["dfs"] > 0)
    assert session.unit_ids == ("rgc é", "b", "c")
    np.testing.assert_array_equal(session.video(0, N)[:, 0], arrays["stim"])
    np.testing.assert_array_equal(session.valid(0, N), ok)
    np.testing.assert_array_equal(session.responses(0, N), np.where(ok, arrays["spikes"], 0))
    np.testing.assert_array_equal(session.behaviour(0, N), arrays["eye"])
    assert [block.start for block in session.blocks] == list(range(0, N, 240))
    assert [block.split for block in session.blocks] == recorded()["part"].tolist()


@pytest.mark.parametrize("writer", WRITERS)
def test_another_content_is_another_store_and_another_place_is_not(writer: str, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    fingerprints = []
    for folder, seed in zip(folders, (0, 0, 1), strict=True):
        folder.mkdir()
        path, _ = WRITERS[writer](folder, recorded(0) | {"stim": recorded(seed)["stim"]})
        if folder.name == "b":
            path = Path(shutil.move(folder / path, folder / f"moved{Path(path).suffix}")).name
        config = build_data_config(yaml_of(session_of(path)), "test")
        fingerprints.append(config.recordings[0].build(folder).fingerprint("one"))
    assert fingerprints[0] != fingerprints[2]
    if writer in ("npy", "zarr 2", "zarr 3"):  # HDF5 keeps the time of writing
        assert fingerprints[0] == fingerprints[1]


@pytest.mark.parametrize("writer", WRITERS)
def test_axes_may_stand_in_any_order(writer: str, tmp_path: Path) -> None:
    arrays = recorded() | {"starts": recorded()["starts"] + (writer == "matlab")}
    turned = arrays | {
        "stim": arrays["stim"].transpose(1, 2, 0),
        "spikes": arrays["spikes"].T,
        "dfs": arrays["dfs"].T,
    }
    path, _ = WRITERS[writer](tmp_path, turned)
    axes = {"video": "yxt", "responses": "nt", "valid": "nt"}
    session = opened(tmp_path, path, axes=axes)
    ok = arrays["ok"][:, None] & (arrays["dfs"] > 0)
    np.testing.assert_array_equal(session.video(0, N)[:, 0], arrays["stim"])
    np.testing.assert_array_equal(session.responses(0, N), np.where(ok, arrays["spikes"], 0))
    np.testing.assert_array_equal(session.valid(0, N), ok)


def test_axes_of_an_npz_too_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    arrays = recorded()
    np.savez(tmp_path / "one.npz", **arrays | {"stim": arrays["stim"].transpose(1, 2, 0)})
    session = opened(tmp_path, "one.npz", axes={"video": "yxt"})
    np.testing.assert_array_equal(session.video(0, N)[:, 0], arrays["stim"])
    with pytest.raises(
        ConfigError, match=r"'params.sessions.0.axes': video has axes 'hwt'; expected the letters of tyx"
    ):
        opened(tmp_path, "one.npz", axes={"video": "hwt"})
    with pytest.raises(
        DataError, match=r"'stim': has shape \(5, 7, 2400\), 3 axes, and axes.video names 4: tcyx"
    ):
        opened(tmp_path, "one.npz", axes={"video": "tcyx"})


@pytest.mark.parametrize("subtracted", [False, True])
def test_trial_starts_of_matlab_count_from_1_unless_one_is_0(subtracted: bool, tmp_path: Path) -> None:
    arrays = recorded()
    path, _ = write_matlab(tmp_path, arrays | {"starts": arrays["starts"] + (not subtracted)})
    assert [block.start for block in opened(tmp_path, path).blocks] == list(range(0, N, 240))


def test_what_matlab_has_beside_numbers(tmp_path: Path) -> None:
    arrays = recorded()
    path, _ = write_matlab(
        tmp_path, {name: a for name, a in arrays.items() if name not in ("ids", "starts", "part")}
    )
    with h5py.File(tmp_path / path, "r+") as file:
        rows = np.array(["first ", "second", "third "])  # a char matrix, padded with blanks
        letters = np.array([[ord(c) for c in row] for row in rows], np.uint16)
        file.create_dataset("d/names", data=letters.T).attrs["MATLAB_class"] = np.bytes_("char")
        file.create_dataset("d/starts", data=np.arange(1.0, N, 240)[:, None]).attrs["MATLAB_class"] = (
            np.bytes_("double")
        )
        save_in_matlab(file, "d/part", arrays["part"])
        opaque = file.create_dataset("d/strings", data=np.zeros((1, 6), np.uint32))
        opaque.attrs["MATLAB_class"] = np.bytes_("string")
        empty = file.create_dataset("d/nothing", data=np.zeros(2, np.uint64))
        empty.attrs["MATLAB_class"] = np.bytes_("double")
        empty.attrs["MATLAB_empty"] = np.uint8(1)
    assert opened(tmp_path, path, unit_ids="names").unit_ids == ("first", "second", "third")
    assert opened(tmp_path, path, unit_ids="d.names").unit_ids == ("first", "second", "third")
    with pytest.raises(DataError, match=r"'d/strings': is a MATLAB string, which is not read.*cellstr"):
        opened(tmp_path, path, unit_ids="d/strings")
    with pytest.raises(DataError, match="'d/nothing': is empty in MATLAB"):
        opened(tmp_path, path, unit_ids="nothing")


def test_nan_of_a_lost_tracker_counts_for_no_unit_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arrays = recorded()
    arrays["eye"][100:130, 1] = np.nan
    path, _ = write_hdf5(tmp_path, arrays)
    session = opened(tmp_path, path)
    assert not session.valid(100, 130).any()
    assert (
        session.valid(0, N).sum()
        == (arrays["ok"][:, None] & (arrays["dfs"] > 0))[~np.isnan(arrays["eye"]).any(axis=1)].sum()
    )
    lost = int((arrays["ok"] & (arrays["dfs"] > 0).any(axis=1))[100:130].sum())
    assert f"is NaN in {lost} of 2400 bins that count" in caplog.text
    with pytest.raises(DataError, match=r"'eye', behaviour: .* NaN .*bin"):
        opened(tmp_path, path, missing=[])


@pytest.mark.parametrize(
    ("mask", "told"),
    [(np.full(N, 0.5), "holds 0.5"), (np.full(N, np.nan), "holds nan"), (np.full(N, 2, np.int8), "holds 2")],
)
def test_a_mask_of_other_numbers_than_0_and_1_is_refused(mask: np.ndarray, told: str, tmp_path: Path) -> None:
    path, _ = write_npy(tmp_path, recorded() | {"dfs": mask})
    with pytest.raises(
        DataError, match=rf"session 'one' \(one\), key 'dfs', valid: valid is .* {told}; expected bool"
    ):
        opened(tmp_path, path)


def test_a_key_may_be_the_end_of_a_path_where_one_array_has_it(tmp_path: Path) -> None:
    path, _ = write_hdf5(tmp_path, recorded())
    with h5py.File(tmp_path / path, "r+") as file:
        file["sets/two/spikes"] = np.zeros(3)
    with pytest.raises(
        DataError, match="'spikes' stands for 2 arrays: sets/one/spikes, sets/two/spikes; name one"
    ):
        opened(tmp_path, path)
    assert opened(tmp_path, path, responses="one/spikes").n_bins == N
    with pytest.raises(DataError, match="has no key 'stimm'; did you mean 'sets/one/stim'"):
        opened(tmp_path, path, responses="one/spikes", video="stimm")


class Boom:
    """Does something when it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("executed"),))


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    objects = np.array([Boom(), None], dtype=object)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Boom()))
    np.save(tmp_path / "b.npy", objects, allow_pickle=True)
    write_npy(tmp_path, recorded())
    np.save(tmp_path / "one" / "spikes.npy", objects, allow_pickle=True)
    write_zarr(2)(tmp_path, recorded())
    shutil.rmtree(tmp_path / "one.zarr" / "spikes")
    (tmp_path / "one.zarr" / "spikes").mkdir()
    (tmp_path / "one.zarr" / "spikes" / ".zarray").write_text(
        '{"shape": [2], "chunks": [2], "dtype": "|O", "fill_value": null, "order": "C", "zarr_format": 2, '
        '"filters": [{"id": "pickle", "protocol": 5}], "compressor": null}'
    )
    (tmp_path / "one.zarr" / "spikes" / "0").write_bytes(pickle.dumps(objects))
    for path, told in {
        "a.pkl": r"\(a.pkl\): is a pickle, which could run any code when it is loaded, and is never read.*savez",
        "b.npy": r"\(b.npy\): holds Python objects \(a pickle\)",
        "one": r"\(one\), spikes.npy: holds Python objects",
        "one.zarr": r"\(one.zarr\), key 'spikes': is stored as pickles \(codec 'pickle'\)",
    }.items():
        with pytest.raises(DataError, match=f"session 'one' {told}"):
            opened(tmp_path, path)
    assert not (tmp_path / "executed").exists()


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def _remove_chunk(path: Path) -> None:
    chunk = next(
        p
        for p in (path / "stim").rglob("*")
        if p.is_file() and not p.name.endswith(("json", "zarray", "zattrs"))
    )
    chunk.write_bytes(chunk.read_bytes()[:20])


@pytest.mark.parametrize(
    ("writer", "damage", "told"),
    [
        ("hdf5", _cut, r"session 'one' \(one.h5\): is not an intact HDF5 file"),
        ("matlab", _cut, r"session 'one' \(one.mat\): is not an intact HDF5 file"),
        ("zarr 2", _remove_chunk, r"session 'one' \(one.zarr\), key 'stim': is damaged"),
        ("zarr 3", _remove_chunk, r"session 'one' \(one.zarr\), key 'stim': is damaged"),
        ("npy", lambda path: _cut(path / "stim.npy"), r"session 'one' \(one\), stim.npy: is damaged"),
        ("npy", lambda path: (path / "stim.npy").unlink(), r"\(one\): has no key 'stim'"),
        (
            "zarr 3",
            lambda path: (path / "zarr.json").write_text("{"),
            r"\(one.zarr\): is not an intact Zarr group",
        ),
    ],
)
def test_a_damaged_file_is_one_message(
    writer: str, damage: Callable[[Path], object], told: str, tmp_path: Path
) -> None:
    path, _ = WRITERS[writer](tmp_path, recorded())
    damage(tmp_path / path)
    with pytest.raises(DataError, match=told) as caught:
        opened(tmp_path, path)
    assert "\n" not in str(caught.value)
    left = (
        [p for p in (tmp_path / "stores").rglob("*") if p.is_file()] if (tmp_path / "stores").exists() else []
    )
    assert not left


def test_chunks_that_zarr_does_not_have_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, _ = write_zarr(3)(tmp_path, recorded())
    chunk = next(p for p in (tmp_path / path / "stim").rglob("*") if p.is_file() and p.name != "zarr.json")
    chunk.unlink()
    opened(tmp_path, path)
    assert "key 'stim': 1 of 30 chunks are not there; Zarr takes them for 0" in caplog.text


def test_other_files_are_told_by_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "old.mat").write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(256))
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "alone.npy", np.zeros(3))
    for path, told in {
        "old.mat": "is a MATLAB file of the older kind; save it with .*-v7.3",
        "empty": "is a folder with no .npy file and no Zarr group in it",
        "alone.npy": "is a single array; put the arrays of a session into one NPZ",
        "alone.np": "no such file.*did you mean 'alone.npy'",
    }.items():
        with pytest.raises(DataError, match=rf"session 'one' \({path}\): {told}"):
            opened(tmp_path, path)


def test_long_chunks_are_not_read_whole_for_every_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk that spans all of time is decompressed as often as blocks need, and no block is larger than allowed."""
    monkeypatch.setattr(lazy_file, "_BLOCK_BYTES", 1000)
    monkeypatch.setattr(lazy_file, "_MOST_BYTES", 8 * 3 * 1200)
    counts = recorded()["spikes"]
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file.create_dataset("spikes", data=counts.T, chunks=(1, N), compression="gzip")
    stream = Hdf5File(tmp_path / "one.h5", "one").stream("spikes", (1, 0))
    blocks = []
    inner = lazy_file.LazyStream._read_block

    def counted(self: Any, at: int) -> Any:
        block = inner(self, at)
        blocks.append(block.nbytes)
        return block

    monkeypatch.setattr(lazy_file.LazyStream, "_read_block", counted)
    read = np.concatenate([stream.read(start, start + 100) for start in range(0, N, 100)])
    stream.close()
    np.testing.assert_array_equal(read, counts)
    assert blocks == [8 * 3 * 1200] * 2


@pytest.mark.parametrize("writer", WRITERS)
def test_inspect_proposes_what_prepares(writer: str, tmp_path: Path) -> None:
    arrays = recorded()
    if writer == "matlab":
        arrays |= {"stim": arrays["stim"].transpose(1, 2, 0), "starts": arrays["starts"] + 1}
    path, _ = WRITERS[writer](tmp_path, arrays | {"t_bins": np.arange(N) / 60})
    found = inspect_arrays(tmp_path / path)
    assert found is not None
    params = dict(found.proposal["params"])
    assert (params["sampling_rate_hz"], params["response_kind"]) == (60.0, "counts")
    (session,) = params["sessions"]
    assert sorted(session["valid"]) == sorted(n for n in session["valid"] if n.endswith(("dfs", "ok")))
    assert [key for key, value in session.items() if value is None] == ["subject"]
    assert all(picture.pixels.shape in ((5, 7), (7, 5)) for picture in found.pictures)
    raw = {**found.proposal, "params": {**params, "sessions": [{**session, "subject": "m1"}]}}
    stored = prepare(
        build_data_config({**raw, "burn_in_s": 0.1, "split": {"block_s": 2.0, "split_gap_s": 0.25}}, "test"),
        tmp_path,
    )
    own = stored.sessions["one"]
    np.testing.assert_array_equal(own.video(0, N)[:, 0], recorded()["stim"])
    np.testing.assert_array_equal(own.valid(0, N), arrays["ok"][:, None] & (arrays["dfs"] > 0))


def test_inspect_knows_what_is_not_arrays(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("video")
    np.savez(tmp_path / "b.npz", rates=np.zeros((3, 2)))
    assert inspect_arrays(tmp_path / "a.txt") is None
    assert inspect_arrays(tmp_path / "b.npz") is None
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(1))
    with pytest.raises(DataError, match=r"c.pkl\): is a pickle"):
        inspect_arrays(tmp_path / "c.pkl")


@needs_cases
@pytest.mark.parametrize("path", ["luke.h5", "luke.zarr"])
def test_the_case_is_prepared_to_its_truth_by_what_inspect_proposes(path: str, tmp_path: Path) -> None:
    found = inspect_arrays(CASE / path)
    assert found is not None
    raw: dict[str, Any] = dict(found.proposal)
    (session,) = raw["params"]["sessions"]
    session |= {"subject": "luke", "path": str(CASE / path)}
    own = prepare(build_data_config(raw, "test"), tmp_path).sessions["luke"]
    truth = np.load(CASE / "truth.npz")
    n = len(truth["video"])
    np.testing.assert_array_equal(own.video(0, n)[:, 0], truth["video"])
    np.testing.assert_array_equal(own.valid(0, n), truth["valid"])
    np.testing.assert_array_equal(own.responses(0, n)[truth["valid"]], truth["counts"][truth["valid"]])
    behaviour = own.behaviour(0, n)
    assert behaviour is not None
    known = truth["behaviour_known"]
    np.testing.assert_allclose(behaviour[known], truth["behaviour"][known], atol=truth["behaviour_tolerance"])
    between = truth["trial_labels"] < 0
    assert not any(between[block.start : block.stop].any() for block in own.blocks)
    assert sum(block.n_bins for block in own.blocks) == (~between).sum()


@needs_cases
@pytest.mark.parametrize("name", ["ragged.npy", "responses.pkl"])
def test_the_pickles_of_the_cases_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"\({name}\): .*never read"):
        opened(tmp_path, str(ERRORS / name))
