"""One recording written as the files of arrays that laboratories have, for the tests that read them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr

N = 2400
Written = tuple[str, Mapping[str, str]]


def write_hdf5(folder: Path, arrays: Mapping[str, Any]) -> Written:
    with h5py.File(folder / "one.h5", "w") as file:
        for name, array in arrays.items():
            chunks = (700, *(min(3, n) for n in array.shape[1:])) if array.ndim and len(array) == N else None
            kind = array.dtype if array.dtype.kind != "U" else h5py.string_dtype()
            file.create_dataset(
                f"sets/one/{name}", data=array.astype(kind), chunks=chunks, compression=chunks and "gzip"
            )
    return "one.h5", {}


def write_matlab(folder: Path, arrays: Mapping[str, Any]) -> Written:
    """As MATLAB's save -v7.3 leaves them: axes reversed, lists as rows, logicals as bytes, texts as UTF-16."""
    with h5py.File(folder / "one.mat", "w", userblock_size=512) as file:
        for name, array in arrays.items():
            save_in_matlab(file, f"d/{name}", array)
    with (folder / "one.mat").open("r+b") as raw:
        raw.write(
            b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 12:00:00 2024 HDF5 schema 1.00 ."
        )
    return "one.mat", {}


def save_in_matlab(file: h5py.File, name: str, array: Any) -> None:
    array = np.asarray(array)
    array = array[None] if array.ndim == 1 else array  # a list is a row
    if array.dtype.kind == "U":
        cell = np.empty(array.T.shape, h5py.ref_dtype)
        for place, text in np.ndenumerate(array.T):
            codes = np.frombuffer(str(text).encode("utf-16-le"), "<u2")[:, None]
            item = file.create_dataset(f"#refs#/{name.replace('/', '_')}{place[0]}", data=codes)
            item.attrs["MATLAB_class"] = np.bytes_("char")
            cell[place] = item.ref
        dataset, kind = file.create_dataset(name, data=cell), "cell"
    elif array.dtype == bool:
        dataset, kind = file.create_dataset(name, data=array.T.astype(np.uint8)), "logical"
        dataset.attrs["MATLAB_int_decode"] = np.int32(1)
    else:
        whole = array.astype(np.float64) if array.dtype.kind == "i" else array  # numbers are doubles
        dataset = file.create_dataset(name, data=whole.T, chunks=True, compression="gzip")
        kind = {"float64": "double", "float32": "single"}.get(whole.dtype.name, whole.dtype.name)
    dataset.attrs["MATLAB_class"] = np.bytes_(kind)


def write_zarr(version: Any) -> Callable[[Path, Mapping[str, Any]], Written]:
    def write(folder: Path, arrays: Mapping[str, Any]) -> Written:
        group = zarr.create_group(str(folder / "one.zarr"), zarr_format=version)
        for name, array in arrays.items():
            text = array.dtype.kind == "U"
            chunks = (500, *(3 for _ in array.shape[1:])) if array.ndim and len(array) == N else array.shape
            made = group.create_array(
                name, shape=array.shape, dtype=str if text else array.dtype, chunks=chunks
            )
            made[...] = array
        return "one.zarr", {}

    return write


def write_npy(folder: Path, arrays: Mapping[str, Any]) -> Written:
    (folder / "one").mkdir()
    for name, array in arrays.items():
        np.save(folder / "one" / f"{name}.npy", array)
    return "one", {}


WRITERS = {
    "hdf5": write_hdf5,
    "matlab": write_matlab,
    "zarr 2": write_zarr(2),
    "zarr 3": write_zarr(3),
    "npy": write_npy,
}


def recorded(seed: int = 0) -> dict[str, Any]:
    """Arrays, among them doubles where whole numbers are meant, texts, two masks, and starts of trials."""
    rng = np.random.default_rng(seed)
    return {
        "stim": rng.integers(0, 256, (N, 5, 7), dtype=np.uint8),
        "spikes": rng.poisson(0.3, (N, 3)).astype(np.float64),
        "eye": rng.normal(size=(N, 2)).astype(np.float32),
        "ok": rng.random(N) > 0.1,
        "dfs": (rng.random((N, 3)) > 0.1).astype(np.float32),
        "ids": np.array(["rgc é", "b", "c"]),
        "starts": np.arange(0, N, 240),
        "part": np.array((["train"] * 3 + ["test", "validation"]) * 2),
    }


def yaml_of(session: Mapping[str, Any]) -> dict[str, Any]:
    params = {"sampling_rate_hz": 60, "response_kind": "counts", "sessions": [session]}
    return {"type": "arrays", "params": params, "burn_in_s": 0.1}


def session_of(path: str, **changes: Any) -> dict[str, Any]:
    keys = {
        "id": "one",
        "subject": "m1",
        "path": path,
        "video": "stim",
        "responses": "spikes",
        "behaviour": "eye",
        "valid": ["ok", "dfs"],
        "unit_ids": "ids",
        "trial_start": "starts",
        "split": "part",
    }
    return keys | changes
