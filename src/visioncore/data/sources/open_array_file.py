"""What a file of arrays is, told by the file itself and not by its name."""

import difflib
from collections.abc import Callable
from pathlib import Path

import h5py

from visioncore.data.sources.array_file import ArrayFile
from visioncore.data.sources.hdf5 import Hdf5File
from visioncore.data.sources.matlab import MatlabFile
from visioncore.data.sources.npy_files import NpyFiles, load_npy
from visioncore.data.sources.npz import NpzFile
from visioncore.data.sources.zarr_folder import ZarrFolder, is_zarr
from visioncore.errors import DataError

_PICKLES = (".pkl", ".pickle", ".p", ".pt", ".joblib")


def open_array_file(path: Path, session_id: str) -> ArrayFile:
    """NPZ, HDF5, MATLAB 7.3, a Zarr group, or a folder of .npy files.

    Raises:
        DataError: it is none of them, or damaged.
    """
    kind = kind_of(path)
    if kind is None:
        where = f"session '{session_id}' ({path.name})"
        raise DataError(f"{where}: {_refusal(path, where)}")
    return kind(path, session_id)


def kind_of(path: Path) -> Callable[[Path, str], ArrayFile] | None:
    """What reads a file, or None. What looks like nothing else is left to NPZ, which says what is wrong with it."""
    if path.is_dir():
        if is_zarr(path):
            return ZarrFolder
        return NpyFiles if any(path.glob("*.npy")) else None
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(128)
    if h5py.is_hdf5(path):
        return MatlabFile if start.startswith(b"MATLAB 7.3") or _written_by_matlab(path) else Hdf5File
    if is_pickle(path) or start.startswith((b"\x93NUMPY", b"MATLAB 5", b"\x89HDF")):
        return None
    return NpzFile


def is_pickle(path: Path) -> bool:
    """Whether a file is a pickle, by its first bytes or its name."""
    with path.open("rb") as file:
        start = file.read(2)
    return (len(start) == 2 and start[0] == 0x80 and start[1] <= 5) or path.suffix in _PICKLES


def pickle_refused() -> str:
    """Why, and what to do."""
    return (
        "is a pickle, which could run any code when it is loaded, and is never read; load it where you trust it, and "
        "save its arrays with numpy.savez"
    )


def _written_by_matlab(path: Path) -> bool:
    try:
        with h5py.File(path, "r", locking=False) as file:
            return any("MATLAB_class" in item.attrs for item in file.values() if item is not None)
    except (OSError, RuntimeError, KeyError):
        return False


def _refusal(path: Path, where: str) -> str:
    if path.is_dir():
        return (
            f"is a folder with no .npy file and no Zarr group in it: {path}; expected NPZ, HDF5, MATLAB 7.3, a Zarr "
            "group or a folder of .npy files"
        )
    if not path.is_file():
        beside = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, 1)
        hint = f"; did you mean '{near[0]}'?" if near else "; paths are relative to the YAML"
        return f"no such file: {path}{hint}"
    if is_pickle(path):
        return pickle_refused()
    with path.open("rb") as file:
        start = file.read(128)
    if start.startswith(b"MATLAB 5"):
        return "is a MATLAB file of the older kind; save it with save('name.mat', '-v7.3', ...)"
    if start.startswith(b"\x89HDF"):
        return "is a damaged HDF5 file; copy it again, or write it again"
    load_npy(path, where)
    return (
        "is a single array; put the arrays of a session into one NPZ (numpy.savez), or name the folder that holds "
        "their .npy files"
    )
