"""What retina files hold, and the data YAML that would read them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from visioncore.data.inspection.inspection import Inspection, Listed, Picture
from visioncore.data.sources.array_file import ArrayFile
from visioncore.data.sources.baccus import BaccusFile
from visioncore.data.sources.karamanlis import KaramanlisFile
from visioncore.data.sources.npy_files import load_npy
from visioncore.data.sources.open_array_file import open_array_file
from visioncore.data.sources.open_retina import OpenRetinaFile
from visioncore.data.sources.retina_config import Place, RetinaSessionConfig, RetinaSettings

_ENDINGS = (".h5", ".hdf5", ".mat")
_TEST = "test"


def inspect_retina(path: Path) -> Inspection | None:
    """What is in a retina file, or in a folder of them; None where there is none.

    Raises:
        DataError: a file is damaged.
    """
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix in _ENDINGS and h5py.is_hdf5(p))
    else:
        found = [path] if path.is_file() and h5py.is_hdf5(path) else []
    files = {file: open_array_file(file, file.stem) for file in found}
    open_retina = {file: arrays for file, arrays in files.items() if OpenRetinaFile.fits(arrays.names())}
    if open_retina:
        return _open_retina(path, open_retina)
    baccus = {file: arrays for file, arrays in files.items() if BaccusFile.fits(arrays.names())}
    if baccus:
        return _baccus(path, baccus)
    movies = {file: arrays for file, arrays in files.items() if KaramanlisFile.fits(arrays.names())}
    return _fixation_movies(path, movies) if movies else None


def _open_retina(path: Path, files: dict[Path, ArrayFile]) -> Inspection:
    names = sorted(
        {
            key.removeprefix("responses_")
            for arrays in files.values()
            for key in arrays.names()
            if key.startswith("responses_")
        }
    )
    test = [name for name in names if _TEST in name.lower()]
    sessions = [_session(path, file) for file in files]
    comments = _asked(len(sessions))
    comments["params.sampling_rate_hz"] = "frames per second; no file of this kind says it"
    comments["params.response_kind"] = "counts or trace; no file of this kind says it"
    comments["params.test_names"] = f"which stimuli are the test; there are {', '.join(names)}"
    folder = next(iter(files)).parent / "stimuli"
    shared = sorted(folder.glob("*.npy")) if folder.is_dir() else []
    pictures = []
    for file in shared[:2]:
        film = load_npy(file, str(file))
        if film.ndim == 4:
            frame = np.asarray(film[:, film.shape[1] // 2], np.float32)
            pictures += [Picture(f"{file.name}, channel {c}", channel) for c, channel in enumerate(frame)]
    notes = [
        "stimuli follow each other in sorted order, each a trial of its own; training stimuli that are the same in "
        "sessions are in one split"
    ]
    for file, arrays in files.items():
        own = [key.removeprefix("stimulus_") for key in arrays.names() if key.startswith("stimulus_")]
        if own:
            notes.append(
                f"{file.name}: has its own {', '.join(own)}, which is used instead of the shared one"
            )
        if absent := [name for name in names if f"responses_{name}" not in arrays.names()]:
            notes.append(f"{file.name}: has no responses to {', '.join(absent)}")
    if not shared:
        notes.append(
            f"there is no {folder.name}/*.npy beside the files; `stimuli` of a session says where it is"
        )
    listed = _listed(path, files)
    listed += [
        Listed(f"stimuli/{file.name}", *_shape(file), "(channels, time, rows, columns)") for file in shared
    ]
    return Inspection(
        format="retina",
        where=path,
        listed=tuple(listed),
        proposal={
            "type": "retina",
            "params": {
                "sampling_rate_hz": None,
                "response_kind": None,
                "test_names": test or None,
                "sessions": sessions,
            },
        },
        comments=comments,
        notes=tuple(notes),
        pictures=tuple(pictures),
    )


def _baccus(path: Path, files: dict[Path, ArrayFile]) -> Inspection:
    sessions, notes = [], []
    comments = _asked(len(files))
    rates = set()
    several = len({file.parent for file in files}) > 1
    for number, (file, arrays) in enumerate(files.items()):
        session = _session(path, file)
        if several:
            session["id"] = f"{file.parent.name}-{file.stem}"
        session["train_blocks"] = None
        here = f"params.sessions.{number}"
        n_frames = arrays.header("train/stimulus").shape[0]
        comments[f"{here}.train_blocks"] = (
            f"of how many equally long films the {n_frames} frames of training were joined; 1 if of one"
        )
        if "train/response/binned" not in arrays.names():
            session["responses"] = "spikes"
            comments[f"{here}.responses"] = (
                "there are no binned counts; firing_rate_* are smoothed and look ahead"
            )
            notes.append(f"{file.name}: has no binned counts: spikes are counted by frames")
        sessions.append(session)
        if "train/time" in arrays.names():
            steps = np.diff(arrays.read("train/time").reshape(-1))
            rates.add(float(f"{1 / np.median(steps):.6g}"))
    rate_hz = rates.pop() if len(rates) == 1 else None
    comments["params.sampling_rate_hz"] = "from train/time" if rate_hz else "frames per second"
    notes.append(
        "test: single repeats from test/repeats, each a trial; test/response is their mean, and not used"
    )
    if len(files) > 1:
        notes.append("files of one retina are sessions of their own: leave out those that you do not want")
    first = next(iter(files.values()))
    frame = first.stream("train/stimulus").read(0, 1)[0]
    return Inspection(
        format="retina",
        where=path,
        listed=tuple(_listed(path, files)),
        proposal={
            "type": "retina",
            "params": {"sampling_rate_hz": rate_hz, "response_kind": "counts", "sessions": sessions},
        },
        comments=comments,
        notes=tuple(notes),
        pictures=(Picture("train/stimulus, the first frame", frame),),
    )


def _fixation_movies(path: Path, files: dict[Path, ArrayFile]) -> Inspection:
    sessions = [_session(path, file) for file in files]
    file, arrays = next(iter(files.items()))
    session = RetinaSessionConfig(id=file.stem, subject="inspected", path=file.name)
    settings = RetinaSettings(sampling_rate_hz=1.0, response_kind="counts", sessions=(session,))
    pictures = KaramanlisFile(Place(file, path.parent, arrays), session, settings).open().frames.pictures
    return Inspection(
        format="retina",
        where=path,
        listed=tuple(_listed(path, files)),
        proposal={
            "type": "retina",
            "params": {"sampling_rate_hz": None, "response_kind": "counts", "sessions": sessions},
            "preparation": [{"type": "resize", "params": {"factor": 10}}],
        },
        comments={
            **_asked(len(files)),
            "params.sampling_rate_hz": "frames per second of the screen; a bin is a frame",
            "preparation": "the screen has 600 x 800 pixels, more than a model needs",
        },
        notes=("running movies train, frozen ones are the test: each of their showings is a repeat",),
        pictures=(Picture("the first frame", pictures.read(np.zeros(1, np.int64))[0, 0]),),
    )


def _session(path: Path, file: Path) -> dict[str, Any]:
    """Paths count from where the inspected thing lies."""
    return {"id": file.stem, "subject": None, "path": file.relative_to(path.parent).as_posix()}


def _asked(n_sessions: int) -> dict[str, str]:
    return {f"params.sessions.{k}.subject": "which animal" for k in range(n_sessions)}


def _listed(path: Path, files: dict[Path, ArrayFile]) -> list[Listed]:
    listed = []
    for file, arrays in files.items():
        inside = "" if file == path else f"{file.relative_to(path).as_posix()}: "
        for name in arrays.names():
            header = arrays.header(name)
            listed.append(Listed(f"{inside}{name}", header.shape, str(header.dtype)))
    return listed


def _shape(file: Path) -> tuple[tuple[int, ...], str]:
    array = load_npy(file, str(file))
    return array.shape, str(array.dtype)
