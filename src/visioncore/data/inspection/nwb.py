"""What an NWB file holds, and the data YAML that would read it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from visioncore.data.inspection.inspection import Inspection, Listed, Picture
from visioncore.data.sources.nwb.behaviour import is_series
from visioncore.data.sources.nwb.file import NwbFile, is_table, text, type_of
from visioncore.data.sources.nwb.pictures import as_pictures
from visioncore.data.sources.nwb.runs import is_film
from visioncore.data.sources.nwb.tables import NAMING, PARAMETERS, SUFFIX
from visioncore.data.sources.nwb.templates import is_external, shows_numbers, shows_pictures
from visioncore.data.sources.nwb.traces import is_roi_series
from visioncore.errors import DataError

_SUFFIXES = (".nwb", ".h5", ".hdf5")
_BEHAVIOUR = ("running", "speed", "eye", "pupil", "gaze", "behavior", "behaviour", "treadmill", "wheel")
_NO_BEHAVIOUR = ("lfp", "ecephys", "ophys", "stimulus", "fluorescence", "dfoverf", "likely_blink", "corneal")
_NO_STIMULI = ("intervals/trials", "intervals/epochs", "intervals/invalid_times")
_MOST_COLUMNS = 4
_MANY_STIMULI = 3
_CLIPS, _SHORTEST_CLIP_S, _LONGEST_CLIP_S = 5, 4, 20


def inspect_nwb(path: Path) -> Inspection | None:
    """What is in an NWB file; None where it is none.

    Raises:
        DataError: it is NWB 1, or damaged.
    """
    if not path.is_file() or not _is_nwb(path):
        return None
    return _Found(NwbFile(str(path), "inspect"), path).inspection()


def _is_nwb(path: Path) -> bool:
    """By its name; or by what it says, where the name says HDF5 only."""
    if path.suffix.lower() == ".nwb":
        return True
    if path.suffix.lower() not in _SUFFIXES or not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r", locking=False) as h5:
        return "nwb_version" in h5.attrs or "nwb_version" in h5


@dataclass
class _Found:
    """An inspection on its way."""

    file: NwbFile
    path: Path
    listed: list[Listed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    comments: dict[str, str] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    stimuli: set[str] = field(default_factory=set)
    films_s: list[float] = field(default_factory=list)
    rate_hz: float | None = None
    needs_axes: bool = False

    def inspection(self) -> Inspection:
        session: dict[str, Any] = {"id": self.path.stem, "subject": self._subject(), "path": self.path.name}
        here = "params.sessions.0"
        if session["subject"] is None:
            self.comments[f"{here}.subject"] = "which animal; the file does not say"
        session.update(self._tables(here))
        series = self._series()
        if series:
            session["stimulus"] = series
        if not session.get("tables") and not series:
            session["stimulus"] = None
            self.comments[f"{here}.stimulus"] = "what was shown; nothing in the file looks like it"
        if self.needs_axes:
            session["axes"] = None
            self.comments[f"{here}.axes"] = (
                "tyx or txy: look at the two pictures of a frame; the file does not say which way round it lies"
            )
        session["display_delay_s"] = 0.0
        self.comments[f"{here}.display_delay_s"] = (
            "from the file's times to light on the screen, if they lack it"
        )
        if series and "intervals/trials" in self.file.groups and not session.get("tables"):
            session["trials"] = self._trials(here)
        session.update(self._responses(here))
        behaviour = self._behaviour()
        if behaviour:
            session["behaviour"] = behaviour
        session.update(self._invalid(here))
        params: dict[str, Any] = {"sampling_rate_hz": self.rate_hz, "sessions": [session]}
        self.comments["params.sampling_rate_hz"] = (
            "what the display ran at"
            if self.rate_hz is None
            else "frames of the film per second; or what the display ran at, if that is a multiple"
        )
        proposal: dict[str, Any] = {"type": "nwb", "params": params}
        if len(self.stimuli) < _MANY_STIMULI and self.stimuli:
            proposal["split"] = {"cut_stimuli": True}
            if self.films_s:
                clip_s = round(min(self.films_s) / _CLIPS)
                proposal["split"]["block_s"] = float(min(max(clip_s, _SHORTEST_CLIP_S), _LONGEST_CLIP_S))
            self.comments["split.cut_stimuli"] = (
                "fewer films than splits: long ones are cut into clips, alike in each repeat"
            )
        return Inspection(
            "nwb",
            self.path,
            tuple(self.listed),
            proposal,
            self.comments,
            tuple(self.notes),
            tuple(self.pictures),
        )

    def _name(self, path: str) -> str:
        """The last part of a path, where no other has it."""
        last = path.rpartition("/")[2]
        return (
            last if sum(other.rpartition("/")[2] == last for other in self.file.groups) == 1 else f"/{path}"
        )

    def _subject(self) -> str | None:
        stored = self.file.h5.get("general/subject/subject_id")
        return text(stored[()]) if isinstance(stored, h5py.Dataset) and stored.shape == () else None

    def _tables(self, here: str) -> dict[str, Any]:
        """Tables that show pictures, and where these lie."""
        names: list[Any] = []
        files: list[str | None] = []
        for path, group in self.file.groups.items():
            if not is_table(group) or path in _NO_STIMULI or not self._has_pictures(path, group):
                continue
            short = path.rpartition("/")[2].removesuffix(SUFFIX)
            found, where = self._template(group, short)
            if not found:
                self.notes.append(
                    f"/{path}: the pictures of {short} are in no file here; give template: {{file: ..., path: ...}}"
                )
            files.append(where if found else "")
            names.append(self._table(group, short, f"{here}.tables.{len(names)}"))
            self.needs_axes = True
        if not any(own is not None for own in files):
            return {"tables": names} if names else {}
        if len(set(files)) == 1:
            if not files[0]:
                self.comments[f"{here}.template.file"] = "the file with the pictures"
            return {"tables": names, "template": {"file": files[0] or None}}
        for k, (name, own) in enumerate(zip(names, files, strict=True)):
            if own is not None:
                table = {"name": name} if isinstance(name, str) else name
                names[k] = {**table, "template": {"file": own or None}}
        return {"tables": names}

    def _has_pictures(self, path: str, group: h5py.Group) -> bool:
        """Whether a table's rows show pictures; listed either way."""
        n = group["start_time"].shape[0]
        if "image_name" in group or (
            "frame" in group and np.isfinite(group["frame"][()].astype(float)).any()
        ):
            columns = sorted(set(group) - {"id", "start_time", "stop_time"})
            self.listed.append(Listed(f"/{path}", (n,), "table", f"a row per frame; {', '.join(columns)}"))
            return True
        drawn = [name for name in PARAMETERS if name in group]
        note = f"no pictures: left out ({', '.join(drawn)})" if drawn else "no pictures: left out"
        self.listed.append(Listed(f"/{path}", (n,), "table", note))
        if drawn:
            self.notes.append(f"/{path} is drawn from numbers ({', '.join(drawn)}), and is left out")
        return False

    def _table(self, group: h5py.Group, short: str, at: str) -> Any:
        start = group["start_time"][()]
        for name in _names(group) or (short,):
            self.stimuli.add(name)
        if "frame" not in group or is_film(_whole(group["frame"][()])):
            steps = np.diff(start)
            usual = float(np.median(steps)) if len(steps) else np.nan
            self._offer_rate(usual)
            if "frame" in group and np.isfinite(usual):
                self.films_s.append(usual * (float(_whole(group["frame"][()]).max()) + 1))
            if "frame" in group:
                return short
        self.notes.append(
            f"{group.name}: pictures come in no order; say whether each row is a trial, or each block"
        )
        self.comments[f"{at}.trial"] = "row: each showing is a trial; block: the stimulus runs on"
        return {"name": short, "trial": None}

    def _template(self, group: h5py.Group, short: str) -> tuple[bool, str | None]:
        """Whether its pictures were found, and in which file beside this one (None: in this one)."""
        wanted = {*_names(group), short, f"{short}{SUFFIX}"}
        for name, file in self._files_beside():
            for path, found in file.groups.items():
                if shows_pictures(found) and path.rpartition("/")[2] in wanted:
                    self._show(file, found)
                    return True, name
            if "image_name" in group and "frame" not in group:
                named = [g for g in file.groups.values() if shows_pictures(g) and "control_description" in g]
                if named:
                    self._show(file, named[0])
                    return True, name
        return False, None

    def _files_beside(self) -> Iterator[tuple[str | None, NwbFile]]:
        yield None, self.file
        for path in sorted(self.path.parent.glob("*.nwb")):
            if path != self.path:
                try:
                    yield path.name, NwbFile(str(path), "inspect")
                except DataError:
                    continue

    def _series(self) -> list[str]:
        """Series that show something: under /stimulus/presentation; or video files of a stimulus, wherever."""
        found = []
        for path, group in self.file.groups.items():
            if not (shows_numbers(group) or shows_pictures(group)):
                continue
            shape, dtype, note = _what(group)
            presented = path.startswith("stimulus/presentation/")
            elsewhere = is_external(group) and "stim" in path.lower()
            if presented or elsewhere:
                found.append(self._name(path))
                self._offer_rate(_interval(group))
                self._look_at(group)
                note = f"shown; {note}"
            self.listed.append(Listed(f"/{path}", shape, dtype, note))
        return found

    def _look_at(self, group: h5py.Group) -> None:
        shown: Any = group
        if shows_numbers(group):
            self.needs_axes = True
            self.stimuli.add(group.name.rpartition("/")[2])
            for link in ("indexed_images", "indexed_timeseries"):
                try:
                    shown = group[link]
                    break
                except (KeyError, OSError):
                    continue
        if is_external(shown):
            return
        self.needs_axes = True
        if "field_of_view" in shown and "data" in shown:
            field_m = np.ravel(shown["field_of_view"][()]).astype(float)
            one, other = shown["data"].shape[1:3]
            if len(field_m) > 1 and field_m[1] > 0:
                wide = field_m[0] / field_m[1]
                fit = "txy" if abs(one / other - wide) < abs(other / one - wide) else "tyx"
                self.notes.append(
                    f"{shown.name}: the field of view is {field_m[0]:g} x {field_m[1]:g} m and pictures are {one} x "
                    f"{other}: that would fit axes: {fit}"
                )
        self._show(self.file, shown)

    def _show(self, file: NwbFile, group: h5py.Group) -> None:
        """A frame from the middle, both ways round."""
        if "order_of_images" in group:
            array: Any = file.h5[np.ravel(group["order_of_images"][()])[0]][()][None]
        elif (
            isinstance(group.get("data"), h5py.Dataset)
            and group["data"].ndim in (3, 4)
            and group["data"].size
        ):
            middle = group["data"].shape[0] // 2
            with file.reading(group["data"]):
                array = group["data"][middle : middle + 1]
        else:
            return
        for axes in ("tyx", "txy"):
            one = as_pictures(array, axes)[0]
            title = f"{group.name}, axes: {axes}"
            if all(picture.title != title for picture in self.pictures):
                self.pictures.append(Picture(title, one[0] if len(one) == 1 else np.moveaxis(one[:3], 0, -1)))

    def _offer_rate(self, interval_s: float) -> None:
        if np.isfinite(interval_s) and interval_s > 0 and self.rate_hz is None:
            rate = 1 / interval_s
            self.rate_hz = (
                float(round(rate)) if abs(rate - round(rate)) < 2e-3 * rate else float(f"{rate:.6g}")
            )

    def _trials(self, here: str) -> Any:
        group = self.file.groups["intervals/trials"]
        columns = sorted(set(group) - {"id", "start_time", "stop_time"})
        self.listed.append(
            Listed("/intervals/trials", (group["start_time"].shape[0],), "table", ", ".join(columns))
        )
        if columns:
            self.comments[f"{here}.trials"] = (
                "if a column says what is shown: {table: trials, stimulus_id: COLUMN}; there are "
                f"{', '.join(columns)}"
            )
        return "trials"

    def _responses(self, here: str) -> dict[str, Any]:
        units = self.file.h5.get("units")
        traces = [path for path, group in self.file.groups.items() if is_roi_series(group)]
        for path in traces:
            data = self.file.groups[path]["data"]
            self.listed.append(Listed(f"/{path}", data.shape, str(data.dtype), "traces"))
        if isinstance(units, h5py.Group) and "spike_times" in units:
            columns = sorted(c for c in units if not c.endswith("_index") and c not in ("id", "spike_times"))
            note = f"{units['spike_times'].shape[0]} spikes; {', '.join(columns)}"
            self.listed.append(Listed("/units", (units["id"].shape[0],), "units", note))
            self.comments[f"{here}.unit_filter"] = (
                "none, allen (the AllenSDK's default), or {columns: {quality: good}, ids: [...]}"
            )
            if traces:
                self.notes.append(f"there are traces too, left out: {', '.join(f'/{p}' for p in traces)}")
            return {"unit_filter": "none"}
        if not traces:
            self.notes.append("there are neither /units with spike_times nor traces of regions of interest")
            return {}
        kinds: dict[str, list[str]] = {}
        for path in traces:
            kinds.setdefault(_container(path), []).append(path)
        chosen = next((k for k in ("DfOverF", "l0_events", "Fluorescence") if k in kinds), next(iter(kinds)))
        if len(kinds) > 1:
            self.comments[f"{here}.traces"] = f"one of {', '.join(kinds)}"
        return {"traces": [f"/{path}" for path in kinds[chosen]]}

    def _behaviour(self) -> list[str]:
        found = []
        for path, group in self.file.groups.items():
            if not is_series(group) or is_roi_series(group) or shows_numbers(group) or shows_pictures(group):
                continue
            data, low = group["data"], path.lower()
            if low.startswith("stimulus"):
                continue
            known = any(word in low for word in _BEHAVIOUR) and not any(word in low for word in _NO_BEHAVIOUR)
            few = data.ndim == 1 or (data.ndim == 2 and min(data.shape) <= _MOST_COLUMNS)
            unit = text(data.attrs.get("unit", ""))
            if known and few and data.dtype.kind in "iuf" and data.size:
                found.append(self._name(path))
                self.listed.append(
                    Listed(f"/{path}", data.shape, str(data.dtype), f"behaviour, in {unit or 'no unit'}")
                )
            else:
                self.listed.append(Listed(f"/{path}", data.shape, str(data.dtype), type_of(group)))
        return found

    def _invalid(self, here: str) -> dict[str, Any]:
        found = [path for path in self.file.groups if path.endswith("likely_blink")]
        if "intervals/invalid_times" in self.file.groups:
            self.notes.append("/intervals/invalid_times marks what does not count: it is always taken")
        if not found:
            return {}
        self.comments[f"{here}.invalid"] = "no response counts while the eye is shut; [] to keep these times"
        return {"invalid": ["likely_blink"] if len(found) == 1 else [f"/{path}" for path in found]}


def _names(group: h5py.Group) -> tuple[str, ...]:
    """Which stimuli a table is of, by its rows that show a picture."""
    column = next((name for name in NAMING if name in group), None)
    if column is None or "frame" not in group:
        return ()
    known = _whole(group["frame"][()]) >= 0
    values = [text(value) for value in group[column][()]]
    return tuple(dict.fromkeys(name for name, k in zip(values, known, strict=True) if k))


def _whole(frames: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(frames.astype(float)) & (frames >= 0), frames, -1).astype(np.int64)


def _interval(group: h5py.Group) -> float:
    if "timestamps" in group:
        steps = np.diff(np.ravel(group["timestamps"][()]))
        return float(np.nanmedian(steps)) if len(steps) else float("nan")
    if "starting_time" in group:
        return 1 / float(group["starting_time"].attrs.get("rate", np.nan))
    return float("nan")


def _what(group: h5py.Group) -> tuple[tuple[int, ...] | None, str, str]:
    if is_external(group):
        paths = [text(path) for path in np.ravel(group["external_file"][()])]
        return None, "video", f"files: {', '.join(paths[:4])}"
    if "data" in group:
        return group["data"].shape, str(group["data"].dtype), type_of(group)
    return None, "", type_of(group)


def _container(path: str) -> str:
    """What kind of traces: the group that holds the series, or the series where it stands alone."""
    parts = path.split("/")
    return parts[-2] if len(parts) > 3 else parts[-1]
