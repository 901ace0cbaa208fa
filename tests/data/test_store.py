"""The session store: what was written is what is read, and nothing changed goes unnoticed."""

import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr

from visioncore.data import DataConfig, RecordingStore, prepare, stored_array
from visioncore.data.signals import SessionSignals
from visioncore.errors import DataError

Prepared = Callable[..., tuple[DataConfig, Path]]
N_BINS = 2400


@pytest.fixture
def chunked_store(one_session: Prepared, monkeypatch: pytest.MonkeyPatch) -> RecordingStore:
    """One session in chunks of a few kilobytes, as many as a long recording has."""
    monkeypatch.setattr(stored_array, "_CHUNK_BYTES", 8192)
    return prepare(*one_session())


def _signals(store: RecordingStore) -> Iterator[np.ndarray]:
    for session in store.sessions.values():
        yield session.video(0, session.n_bins)
        yield session.responses(0, session.n_bins)
        yield session.valid(0, session.n_bins)
        yield session.train_mean
        yield session.frame_moments(0, session.n_bins)
        for signal in (session.behaviour(0, session.n_bins), session.rates(0, session.n_bins)):
            assert signal is not None
            yield signal


def _facts(store: RecordingStore) -> list[object]:
    blocks = [session.blocks for session in store.sessions.values()]
    return [store.spec, store.fingerprint, store.burn_in_bins, store.settings, blocks]


def _files(store: RecordingStore) -> list[Path]:
    assert isinstance(store.path, Path)
    return [store.path, *sorted(path for path in _session(store).rglob("*") if path.is_file())]


def _session(store: RecordingStore) -> Path:
    """The folder of the only session store."""
    assert isinstance(store.path, Path)
    (folder,) = (store.path.parent / "sessions").iterdir()
    return folder


def test_a_window_reads_the_same_as_the_whole(chunked_store: RecordingStore) -> None:
    session = chunked_store.sessions["one"]
    whole = session.video(0, N_BINS)
    for start, stop in [(0, 1), (100, 400), (233, 235), (N_BINS - 1, N_BINS), (7, 7)]:
        np.testing.assert_array_equal(session.video(start, stop), whole[start:stop])


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 4), (0, N_BINS + 1)])
def test_bins_outside_the_session_are_refused(start: int, stop: int, chunked_store: RecordingStore) -> None:
    with pytest.raises(IndexError, match="session 'one', video"):
        chunked_store.sessions["one"].video(start, stop)


def test_a_changed_byte_in_any_file_is_refused_or_changes_nothing(chunked_store: RecordingStore) -> None:
    intact, facts = list(_signals(chunked_store)), _facts(chunked_store)
    rng = np.random.default_rng(0)
    messages: list[str] = []
    tried = 0
    for path in _files(chunked_store):
        content = path.read_bytes()
        for position in {0, 1, len(content) - 1, *rng.integers(len(content), size=3).tolist()}:
            damaged = bytearray(content)
            damaged[position] ^= int(rng.integers(1, 256))
            path.write_bytes(damaged)
            tried += 1
            try:
                store = RecordingStore(chunked_store.path)
                found, found_facts = list(_signals(store)), _facts(store)
            except DataError as error:
                messages.append(str(error))
                continue
            same = all(np.array_equal(a, b) for a, b in zip(found, intact, strict=True))
            assert same, f"{path.name} byte {position} changed the data unnoticed"
            assert found_facts == facts
        path.write_bytes(content)
    # What is not refused is white space and the like in the manifest.
    assert len(messages) > 0.95 * tried
    assert all("session 'one'" in m or "arrays-" in m for m in messages)
    assert all(np.array_equal(a, b) for a, b in zip(_signals(chunked_store), intact, strict=True))


def test_a_file_cut_short_is_refused_when_opened(chunked_store: RecordingStore) -> None:
    for path in _files(chunked_store):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError, match=r"prepare (it )?again"):
            RecordingStore(chunked_store.path)
        path.write_bytes(content)


def test_a_lost_file_is_refused_when_opened(chunked_store: RecordingStore) -> None:
    for path in _files(chunked_store):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(DataError):
            RecordingStore(chunked_store.path)
        path.write_bytes(content)


def test_a_chunk_lost_after_opening_never_reads_as_zeros(chunked_store: RecordingStore) -> None:
    video = _session(chunked_store) / "video"
    next(video.glob("c.3.*")).unlink()
    session = chunked_store.sessions["one"]
    session.video(0, 100)
    with pytest.raises(DataError, match=r"session 'one', video: chunk .*c\.3\.0\.0\.0 is missing"):
        session.video(0, N_BINS)


def test_a_clip_touches_only_its_own_chunks(chunked_store: RecordingStore) -> None:
    session = chunked_store.sessions["one"]
    expected = session.video(500, 800)
    chunk_rows = zarr.open_array(str(_session(chunked_store) / "video"), mode="r").chunks[0]
    needed = range(500 // chunk_rows, 799 // chunk_rows + 1)
    for path in (_session(chunked_store) / "video").glob("c.*"):
        if int(path.name.split(".")[1]) not in needed:
            path.unlink()
    np.testing.assert_array_equal(session.video(500, 800), expected)


def test_other_tools_can_read_the_store(chunked_store: RecordingStore) -> None:
    group = zarr.open_group(str(_session(chunked_store)), mode="r")
    video = group["video"]
    assert isinstance(video, zarr.Array)
    np.testing.assert_array_equal(video[:], chunked_store.sessions["one"].video(0, N_BINS))
    assert video.metadata.dimension_names == ("time", "channels", "height", "width")  # type: ignore[union-attr]


def test_counts_and_masks_take_a_byte_each(chunked_store: RecordingStore) -> None:
    group = zarr.open_group(str(_session(chunked_store)), mode="r")
    assert {name: str(group[name].dtype) for name in ("video", "responses", "valid")} == {  # type: ignore[union-attr]
        "video": "uint8",
        "responses": "uint8",
        "valid": "bool",
    }
    assert group["valid"].shape == (N_BINS, 1)  # type: ignore[union-attr]


def test_what_is_read_may_be_changed_without_changing_the_store(tiny_store: RecordingStore) -> None:
    cached = RecordingStore(tiny_store.path, cache="memory")
    cached.load_into_memory()
    for store in (tiny_store, cached):
        session = store.sessions["a"]
        before = session.video(0, 10).copy()
        session.video(0, 10)[:] = 0
        session.valid(0, 10)[:] = False
        np.testing.assert_array_equal(session.video(0, 10), before)
        assert session.valid(0, 10).any()


def test_the_memory_cache_reads_the_disk_once_and_gives_the_same(
    chunked_store: RecordingStore, tmp_path: Path
) -> None:
    expected = list(_signals(chunked_store))
    cached = RecordingStore(chunked_store.path, cache="memory")
    cached.load_into_memory()
    shutil.rmtree(_session(chunked_store))
    assert all(np.array_equal(a, b) for a, b in zip(_signals(cached), expected, strict=True))


def test_a_recording_too_large_for_memory_stays_on_disk(
    chunked_store: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visioncore.data.store._physical_memory_bytes", lambda: 4 * chunked_store.nbytes - 4)
    cached = RecordingStore(chunked_store.path, cache="memory")
    cached.load_into_memory()
    shutil.rmtree(_session(chunked_store))
    with pytest.raises(DataError, match="missing"):
        cached.sessions["one"].video(0, 1)


def test_a_store_can_be_sent_to_another_process(chunked_store: RecordingStore) -> None:
    copy = pickle.loads(pickle.dumps(chunked_store))
    assert all(np.array_equal(a, b) for a, b in zip(_signals(copy), _signals(chunked_store), strict=True))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "damaged"),
        ("[]", "no manifest"),
        ('{"version": 2, "sha256": "0", "manifest": {}}', "changed after"),
        ('{"version": 7, "sha256": "0", "manifest": {}}', "store version 7, this VisionCore reads version 2"),
        ("[" * 5000, "damaged"),
    ],
)
def test_a_manifest_that_is_none_is_refused(content: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(DataError, match=expected):
        RecordingStore(path)


def test_what_is_not_there_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no finished recording plan"):
        RecordingStore(tmp_path / "plan.json")
    with pytest.raises(DataError, match="no finished session store"):
        SessionSignals(tmp_path)
