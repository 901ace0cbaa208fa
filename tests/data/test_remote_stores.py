"""Stores behind URLs: what is prepared there is what a folder would hold, and is read there, whole or not at all."""

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from torch.utils.data import DataLoader

from conftest import tiny_arrays
from forked import quick_context
from visioncore.config import dump_config
from visioncore.data import (
    ClipDataset,
    DataConfig,
    RecordingStore,
    build_data_config,
    prepare,
    session_writer,
    stored_array,
    workers,
)
from visioncore.errors import ConfigError, DataError
from visioncore.remote import RemotePath, placed

Prepared = Callable[..., tuple[DataConfig, Path]]


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A URL with nothing behind it; arrays are in chunks of a few kilobytes."""
    monkeypatch.setattr(stored_array, "_CHUNK_BYTES", 8192)
    system = fsspec.filesystem("memory")
    yield f"memory://{tmp_path.name}/stores"
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The URL under which a server of this machine shows `tmp_path`; what is under /new may be written."""
    handler = functools.partial(_Shown, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Shown(http.server.SimpleHTTPRequestHandler):
    def do_PUT(self) -> None:
        path = Path(self.translate_path(self.path))
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.path.startswith("/new/"):
            self.send_error(405)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.send_response(201)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def _at(config: DataConfig, store: str) -> DataConfig:
    return config.model_copy(update={"store": store})


def _memory_files(url: str) -> dict[str, bytes]:
    system = fsspec.filesystem("memory")
    root = url.removeprefix("memory:/")
    return {path.removeprefix(f"{root}/"): system.cat_file(path) for path in system.find(root)}


def _local_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _clips(store: RecordingStore, workers: int) -> list[np.ndarray]:
    dataset = ClipDataset(store, 30, 4, 1, "session")
    loader = DataLoader(dataset, batch_size=None, sampler=range(4), num_workers=workers)
    return [clips.video.numpy() for batch in loader for clips in batch]


def test_a_url_holds_what_a_folder_would(memory: str, one_session: Prepared) -> None:
    config, folder = one_session()
    store = prepare(_at(config, memory), folder)
    here = prepare(config, folder)
    assert _memory_files(memory) == _local_files(folder / "stores")
    assert str(store.path).startswith(memory)
    assert not (folder / "memory:").exists()
    assert store.fingerprint == here.fingerprint
    mine, theirs = store.sessions["one"], here.sessions["one"]
    np.testing.assert_array_equal(mine.video(100, 700), theirs.video(100, 700))
    np.testing.assert_array_equal(mine.responses(0, 2400), theirs.responses(0, 2400))


@pytest.mark.parametrize("n_workers", [0, 2])
def test_clips_are_read_without_a_copy_also_by_workers(
    n_workers: int, memory: str, served: str, one_session: Prepared
) -> None:
    config, folder = one_session()
    here = prepare(config, folder)
    expected = _clips(here, 0)
    assert len(expected) >= 4
    remote = RecordingStore(RemotePath(f"{served}/stores/{here.path.name}"))
    # What this process has open, a forked one must not use.
    remote.sessions["one"].video(0, 30)
    for store in (prepare(_at(config, memory), folder), remote):
        for clips, others in zip(expected, _clips(store, n_workers), strict=True):
            np.testing.assert_array_equal(clips, others)


def test_what_was_interrupted_is_no_store_and_is_made_anew(
    memory: str, one_session: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = one_session()
    with monkeypatch.context() as patched:
        patched.setattr(session_writer, "write_manifest", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(_at(config, memory), folder)
    left = _memory_files(memory)
    assert any("/video/c.0" in name for name in left)
    assert not any(name.endswith(".json") and not name.endswith("zarr.json") for name in left)
    prepare(_at(config, memory), folder)
    prepare(config, folder)
    assert _memory_files(memory) == _local_files(folder / "stores")


def _interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_of_data_that_are_refused_nothing_is_left(memory: str, one_session: Prepared) -> None:
    config, folder = one_session({"truth": np.full((2400, 3), -1, np.float32)})
    with pytest.raises(DataError, match="session 'one'"):
        prepare(_at(config, memory), folder)
    assert _memory_files(memory) == {}


def test_what_is_lost_or_cut_is_never_read_as_zeros(memory: str, one_session: Prepared) -> None:
    config, folder = one_session()
    store = prepare(_at(config, memory), folder)
    system = fsspec.filesystem("memory")
    (lost,) = (path for path in system.find(memory) if path.endswith("/video/c.3.0.0.0"))
    whole = system.cat_file(lost)
    system.rm(lost)
    with pytest.raises(DataError, match=r"session 'one', video: bins 0 to 2400 .*prepare it again"):
        store.sessions["one"].video(0, 2400)
    with pytest.raises(DataError, match=r"video/c\.3\.0\.0\.0 is missing"):
        RecordingStore(store.path)
    system.pipe_file(lost, whole[:-1])
    with pytest.raises(DataError, match=r"video/c\.3\.0\.0\.0 has \d+ bytes instead of"):
        RecordingStore(store.path)
    with pytest.raises(DataError, match="are damaged"):
        store.sessions["one"].video(0, 2400)


def test_several_workers_write_to_a_url_what_one_does(
    served: str, one_session: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_CONTEXT", quick_context())
    config, folder = one_session()
    np.savez(folder / "two.npz", **tiny_arrays(2))
    raw = dump_config(config)
    raw["params"]["sessions"].append(raw["params"]["sessions"][0] | {"id": "two", "path": "two.npz"})
    two = build_data_config(raw, "two.yaml")
    prepare(_at(two, f"{served}/new"), folder, workers=2)
    prepare(two, folder)
    assert _local_files(folder / "new") == _local_files(folder / "stores")


def test_memory_is_of_one_process(memory: str, one_session: Prepared) -> None:
    config, folder = one_session()
    with pytest.raises(ConfigError, match="prepare with one worker"):
        prepare(_at(config, memory), folder, workers=2)


def test_a_file_url_is_a_folder(tmp_path: Path, one_session: Prepared) -> None:
    config, folder = one_session()
    store = prepare(_at(config, f"file://{tmp_path}/with%20space"), folder)
    assert store.path.parent == tmp_path / "with space"
    assert placed(tmp_path, "stores") == tmp_path / "stores"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "http://127.0.0.1:9/stores",
            "127.0.0.1:9/stores/.*: does not answer .*check the URL, the network",
        ),
        ("nowhere://stores", "nowhere://stores/.*: does not answer .*Protocol not known"),
        ("{served}/closed", "{served}/closed/.*: does not answer .*405"),
    ],
)
def test_a_place_that_is_not_there_is_one_clear_error(
    url: str, expected: str, served: str, one_session: Prepared
) -> None:
    config, folder = one_session()
    with pytest.raises(DataError, match=expected.format(served=served)):
        prepare(_at(config, url.format(served=served)), folder)
