"""What is in a folder of a sorter's output, frame times and a film, and the `events` YAML that would read it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from visioncore.data.inspection.inspection import Inspection, Listed, Picture
from visioncore.data.sources.array_pictures import ArrayPictures
from visioncore.data.sources.loose_files import read_loose, read_table
from visioncore.data.sources.phy import read_phy
from visioncore.data.sources.video_file import VideoFile
from visioncore.errors import VisionCoreError

_ARRAYS = (".npy", ".csv", ".txt", ".mat")
_VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".mpg", ".mpeg", ".webm", ".m4v", ".wmv")
_FOLDERS_DEEP = 3
_MOST_FILES = 2000
_WORDS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    # what a file is taken for: words of which its name holds all of one group
    "spike clusters": (
        ("spike", "cluster"),
        ("spike", "cell"),
        ("spike", "unit"),
        ("spike", "id"),
        ("clusters",),
    ),
    "spike times": (("spike", "time"), ("spikes",)),
    "pulses of the spikes' clock": (("ttl", "ephys"), ("sync", "ephys"), ("pulse", "ephys")),
    "pulses of the display's clock": (("ttl", "display"), ("sync", "display"), ("pulse", "display")),
    "triggers": (("trig",),),
    "frame index": (("frame", "id"), ("frame", "index"), ("frame_no",)),
    "frame times": (("flip",), ("frame", "time"), ("vsync",), ("photodiode",), ("onset",), ("ttl",)),
    "gaze valid": (("eye", "valid"), ("eye", "ok"), ("gaze", "valid"), ("dpi_valid",)),
    "gaze times": (("eye_t",), ("eye", "time"), ("gaze", "time"), ("gaze_t",)),
    "gaze": (("eye",), ("gaze",)),
    "trials": (("trial",),),
    "film": (("stim",), ("film",), ("movie",), ("video",), ("frames",)),
}
_TO_FILL_IN = {
    "params.sampling_rate_hz": "bins per second: frames of the film (refreshes per second / refreshes_per_frame), or "
    "refreshes; as exact as you know it (59.94, not 60)",
    "params.sessions.0.subject": "the animal",
}


def inspect_events(path: Path) -> Inspection | None:
    """Of a folder that holds spikes as a sorter or a lab leaves them; None: it holds none.

    Raises:
        DataError: a sorter's folder is there, and broken.
    """
    if not path.is_dir():
        return None
    files = _files(path)
    sorter = _sorter(path, files)
    roles = _roles(path, files, sorter)
    if sorter is None and not {"spike times", "spike clusters"} <= set(roles):
        return None
    listed = [
        Listed(str(f.relative_to(path)), *_shape(f), note=_told(f, roles)) for f in files if _is_data(f)
    ]
    session: dict[str, Any] = {"id": path.resolve().name, "subject": None}
    comments: dict[str, str] = dict(_TO_FILL_IN)
    notes: list[str] = []
    session["spikes"] = _spikes(path, sorter, roles, comments, notes)
    session["frames"] = _frames(path, roles, comments, notes)
    film, pictures = _film(path, roles, comments, notes)
    session["video"] = film
    session |= _others(path, roles, notes)
    proposal = {"type": "events", "params": {"sampling_rate_hz": None, "sessions": [session]}}
    return Inspection("events", path, tuple(listed), proposal, comments, tuple(notes), pictures, inside=True)


def _files(path: Path) -> list[Path]:
    """Files of the folder and some way down, Zarr stores as one."""
    found: list[Path] = []
    for folder, inside, names in os.walk(path):
        here = Path(folder)
        found += [here / name for name in names]
        found += [here / name for name in inside if name.endswith(".zarr")]
        deep = len(here.relative_to(path).parts) >= _FOLDERS_DEEP
        inside[:] = (
            [] if deep else sorted(n for n in inside if not n.endswith(".zarr") and not n.startswith("."))
        )
        if len(found) > _MOST_FILES:
            break
    return sorted(found)


def _sorter(path: Path, files: list[Path]) -> Path | None:
    folders = [f.parent for f in files if f.name == "spike_times.npy" or f.name.startswith("spikes.times.")]
    return folders[0].relative_to(path) if folders else None


def _roles(path: Path, files: list[Path], sorter: Path | None) -> dict[str, Path]:
    """What each file is taken for, by its name; the first of several."""
    roles: dict[str, Path] = {}
    for file in files:
        inside = sorter is not None and sorter != Path() and (path / sorter) in file.parents
        if (
            inside
            or not _is_data(file)
            or (sorter is not None and file.name.startswith(("spike", "cluster")))
        ):
            continue
        role = _role(file)
        if role is not None:
            roles.setdefault(role, file)
    return roles


def _role(file: Path) -> str | None:
    if file.suffix.lower() in _VIDEOS:
        return "film"
    name = file.stem.lower()
    for role, groups in _WORDS.items():
        if any(all(word in name for word in group) for group in groups):
            many_axes = len(_shape(file)[0] or ()) >= 3
            if (
                (role == "film") == many_axes
                or file.suffix == ".zarr"
                or (role == "trials" and file.suffix == ".csv")
            ):
                return role
    return "film" if len(_shape(file)[0] or ()) in (3, 4) else None


def _is_data(file: Path) -> bool:
    return file.suffix.lower() in (
        *_ARRAYS,
        *_VIDEOS,
        ".zarr",
        ".tsv",
        ".py",
        ".h5",
        ".hdf5",
        ".pkl",
        ".pickle",
    )


def _shape(file: Path) -> tuple[tuple[int, ...] | None, str]:
    try:
        if file.suffix == ".npy":
            array = np.load(file, mmap_mode="r", allow_pickle=False)
            return array.shape, str(array.dtype)
        if file.suffix == ".zarr":
            pictures = ArrayPictures(file.parent, file.name, "")
            return (pictures.n_pictures, *pictures.shape), str(pictures.dtype)
    except (VisionCoreError, ValueError, OSError, EOFError):
        return None, ""
    return None, ""


def _told(file: Path, roles: Mapping[str, Path]) -> str:
    if file.suffix in (".pkl", ".pickle"):
        return "a pickle: never loaded; save its arrays as .npy"
    if file.suffix == ".npy" and _shape(file)[0] is None:
        return "cannot be read without running code of it (pickled objects), or is damaged"
    taken = [role for role, known in roles.items() if known == file]
    return f"taken for {taken[0]}" if taken else ""


def _name(path: Path, file: Path) -> str:
    return file.relative_to(path).as_posix()


def _spikes(
    path: Path, sorter: Path | None, roles: Mapping[str, Path], comments: dict[str, str], notes: list[str]
) -> dict[str, Any]:
    at = "params.sessions.0.spikes"
    if sorter is None:
        comments[at] = "times in seconds; else `times_unit: ms`, or `samples` with `sample_rate_hz`"
        return {"times": _name(path, roles["spike times"]), "clusters": _name(path, roles["spike clusters"])}
    found = read_phy(path / sorter, "inspect")
    clusters, columns = found.units()
    groups: dict[str, int] = {}
    for group in columns.get("group", ()):
        groups[str(group)] = groups.get(str(group), 0) + 1
    counted = ", ".join(f"{n} {group}" for group, n in sorted(groups.items()))
    notes.append(
        f"{len(found.times_s)} spikes of {len(clusters)} clusters ({counted or 'no groups'}), from "
        f"{found.times_s.min():.3f} to {found.times_s.max():.3f} s"
    )
    proposed: dict[str, Any] = {"phy": f"{sorter.as_posix()}/"}
    if "good" in groups:
        proposed["groups"] = ["good"]
        comments[f"{at}.groups"] = f"clusters that are kept, of {counted}"
    proposed["t0_s"] = 0.0
    comments[f"{at}.t0_s"] = (
        "what the clock of frames (or of the pulses) showed at the recording's first sample"
    )
    return proposed


def _frames(
    path: Path, roles: Mapping[str, Path], comments: dict[str, str], notes: list[str]
) -> dict[str, Any]:
    at = "params.sessions.0.frames"
    file = roles.get("triggers") or roles.get("frame times")
    if file is None:
        comments[f"{at}.times_s"] = "the file of the times of frames, or of triggers: none was recognised"
        return {"times_s": None}
    proposed: dict[str, Any] = {"times_s": _name(path, file)}
    try:
        times_s = np.sort(read_loose(path, _name(path, file), "inspect").reshape(-1).astype(np.float64))
    except VisionCoreError as error:
        notes.append(str(error))
        times_s = np.zeros(0)
    usual_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    if usual_s > 0:
        off = int((np.abs(np.diff(times_s) / usual_s - 1) > 0.25).sum())
        notes.append(
            f"{file.name}: {len(times_s)} times, every {usual_s:.6g} s ({1 / usual_s:.6g} in a second), of which {off} "
            "intervals are more than a quarter off"
        )
    if "triggers" in roles or usual_s > 0.1:
        proposed["frames_per_trigger"] = None
        comments[f"{at}.frames_per_trigger"] = (
            f"one trigger every n frames: with n, frames come n / {usual_s:.6g} in a second (1: a time for each frame)"
        )
    if "frame index" in roles:
        proposed["index"] = _name(path, roles["frame index"])
        comments[f"{at}.index"] = "which picture each time is of, from 0 (`index_starts_at: 1`, if from 1)"
    proposed["display_delay_s"] = 0.0
    comments[f"{at}.display_delay_s"] = "from these times to light on the screen; 0 of a photodiode's"
    return proposed


def _film(
    path: Path, roles: Mapping[str, Path], comments: dict[str, str], notes: list[str]
) -> tuple[dict[str, Any], tuple[Picture, ...]]:
    at = "params.sessions.0.video"
    file = roles.get("film")
    if file is None:
        notes.append("no film was found; if the stimulus was drawn from a seed, say by which generator")
        comments[f"{at}.generator"] = "or `path:` of a film (video file, .npy, .zarr, .h5) in its place"
        comments[f"{at}.generator.name"] = (
            "ran1 (Numerical Recipes), mt19937 (MATLAB's twister) or pcg64 (NumPy)"
        )
        comments[f"{at}.generator.rows"] = "of stixels; `columns` too"
        comments[f"{at}.generator.order"] = (
            "how a frame is filled: rows, or columns (MATLAB's rand(rows, columns))"
        )
        comments[f"{at}.generator.stixel_px"] = "pixels of the display along a stixel's side"
        comments[f"{at}.generator.refreshes_per_frame"] = "refreshes of the display for which a frame stays"
        generator = dict.fromkeys(("name", "seed", "rows", "columns"))
        return {
            "generator": {**generator, "order": "rows", "stixel_px": None, "refreshes_per_frame": None}
        }, ()
    name = _name(path, file)
    try:
        video = file.suffix.lower() in _VIDEOS
        film = VideoFile(file, name) if video else ArrayPictures(path, name, "inspect")
        middle = film.read(np.array([film.n_pictures // 2]))[0]
        notes.append(f"{name}: {film.n_pictures} pictures of {film.shape[1]} x {film.shape[2]} pixels")
    except VisionCoreError as error:
        notes.append(str(error))
        return {"path": name}, ()
    pixels = np.moveaxis(middle, 0, -1).squeeze()
    pictures = [Picture(f"{name}: picture {film.n_pictures // 2}", pixels)]
    if video:
        return {"path": name}, tuple(pictures)
    assert isinstance(film, ArrayPictures)
    turned = film.axes.translate(str.maketrans("yx", "xy"))
    pictures.append(Picture(f"{name}, axes: {turned}", pixels.swapaxes(0, 1)))
    comments[f"{at}.axes"] = f"{film.axes}, or {turned} if the second picture is the right way round"
    return {"path": name, "axes": film.axes}, tuple(pictures)


def _others(path: Path, roles: Mapping[str, Path], notes: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pulses = [roles.get("pulses of the spikes' clock"), roles.get("pulses of the display's clock")]
    if pulses[0] is not None and pulses[1] is not None:
        found["sync"] = {"ephys_s": _name(path, pulses[0]), "display_s": _name(path, pulses[1])}
    if "gaze" in roles and "gaze times" in roles:
        found["gaze"] = {"times_s": _name(path, roles["gaze times"]), "xy_deg": _name(path, roles["gaze"])}
        if "gaze valid" in roles:
            found["gaze"]["valid"] = _name(path, roles["gaze valid"])
    if "trials" in roles and roles["trials"].suffix == ".csv":
        try:
            columns = list(read_table(roles["trials"], "inspect"))
        except VisionCoreError as error:
            notes.append(str(error))
            return found
        if {"start_s", "stop_s"} <= set(columns):
            found["trials"] = _name(path, roles["trials"])
        else:
            notes.append(
                f"{roles['trials'].name} has {', '.join(columns)}; as `trials` it needs start_s and stop_s"
            )
    return found
