"""Series that show pictures: of their own, of video files, or by their numbers in a template."""

import logging
from typing import Any, get_args

import h5py
import numpy as np
from jaxtyping import Float64, Int64

from visioncore.data.align import Intervals, Shown
from visioncore.data.align.times import checked_times
from visioncore.data.sources.nwb.file import NwbFile, is_reference
from visioncore.data.sources.nwb.pictures import Film
from visioncore.data.sources.nwb.runs import is_film, runs
from visioncore.data.sources.nwb.settings import NwbSessionConfig, NwbTrials
from visioncore.data.sources.nwb.showing import Showing
from visioncore.data.sources.nwb.tables import find_table
from visioncore.data.sources.nwb.templates import (
    Templates,
    film_of,
    is_external,
    shows_numbers,
    shows_pictures,
)
from visioncore.errors import DataError
from visioncore.recording import Split
from visioncore.spec import Columns

_SPLITS = get_args(Split)
_EARLY = 0.25
"""Share of a frame by which a trial may start after its first frame."""

_logger = logging.getLogger(__name__)


def shown_by_series(file: NwbFile, name: str, templates: Templates, config: NwbSessionConfig) -> Showing:
    """What a series showed.

    Raises:
        DataError: naming the series, its field, and what is wrong with it.
    """
    series = file.find(name, "series of pictures", lambda g: shows_numbers(g) or shows_pictures(g))
    where = file.field(series)
    by_number = shows_numbers(series)
    times_s: Float64[np.ndarray, " frames"] | None = None
    if by_number:
        film, picture = _numbered(file, series, templates, config)
    else:
        times_s = _times(file, series, series["data"].shape[0]) if not is_external(series) else None
        film = film_of(file, series, config.axes)
        picture = np.arange(film.n)
    if times_s is None:
        times_s = _times(file, series, len(picture))
    own = series.name.rpartition("/")[2]
    columns: Columns = {}
    if config.trials is not None:
        trials = NwbTrials(table=config.trials) if isinstance(config.trials, str) else config.trials
        shown, columns = _of_trials(file, trials, times_s, own)
    elif by_number:
        shown = _of_numbers(picture, where, own)
    else:
        shown = (Shown(0, len(picture), kind=own),)
    return Showing(times_s, None, picture, film.pictures, film.n, shown, where, columns)


def _times(file: NwbFile, series: h5py.Group, n: int) -> Float64[np.ndarray, " frames"]:
    times_s = file.times(series, n, "frames")
    checked_times(times_s, f"{file.field(series)}/timestamps", n, "frames")
    return times_s


def _numbered(
    file: NwbFile, series: h5py.Group, templates: Templates, config: NwbSessionConfig
) -> tuple[Film, Int64[np.ndarray, " frames"]]:
    where = file.field(series)
    with file.reading(series):
        values = series["data"][()]
    if values.ndim != 1 or values.dtype.kind not in "iuf" or (values != np.round(values)).any():
        raise DataError(
            f"{where}/data: is {values.dtype} of shape {values.shape}; expected a number per frame"
        )
    picture = values.astype(np.int64)
    film = _template(file, series, templates, config)
    if int(picture.max(initial=-1)) >= film.n:
        raise DataError(
            f"{where}/data: shows picture {picture.max()}, and {film.where} has {film.n} (0 to {film.n - 1})"
        )
    return film, np.maximum(picture, -1)


def _template(file: NwbFile, series: h5py.Group, templates: Templates, config: NwbSessionConfig) -> Film:
    own = series.name.rpartition("/")[2]
    if config.template is not None:
        return templates.film(config.template, (own, own.removesuffix("_stimulus")), config.axes)
    for link in ("indexed_images", "indexed_timeseries"):
        if series.get(link, getlink=True) is None:
            continue
        try:
            return film_of(file, series[link], config.axes)
        except (KeyError, OSError) as error:
            raise DataError(
                f"{file.field(series)}/{link}: leads to pictures that are not there ({error}); say where they are: "
                "template: {file: ..., path: ...}"
            ) from None
    return templates.film(None, (own, own.removesuffix("_stimulus")), config.axes)


def _of_numbers(picture: Int64[np.ndarray, " frames"], where: str, name: str) -> tuple[Shown, ...]:
    """Runs of a film; pictures in no order are one trial."""
    if is_film(picture):
        known = picture[picture >= 0]
        return tuple(runs(picture, 0, name, int(known.min()), int(known.max())))
    _logger.warning(
        "%s: pictures come in no order, and are read as one trial: a picture is in training and test; a table of "
        "trials (`trials`) says what a showing is",
        where,
    )
    return (Shown(0, len(picture), kind=name),)


def _of_trials(
    file: NwbFile, config: NwbTrials, times_s: Float64[np.ndarray, " frames"], kind: str
) -> tuple[tuple[Shown, ...], Columns]:
    table = find_table(file, config.table)
    where = file.field(table)
    start_s, stop_s = file.seconds(table, "start_time"), file.seconds(table, "stop_time")
    checked_times(start_s, f"{where}/start_time", len(start_s), "trials")
    Intervals(start_s, stop_s, where)
    ids, splits, groups = (_labels(file, table, c) for c in (config.stimulus_id, config.split, config.group))
    for split in splits or ():
        if split not in (*_SPLITS, None):
            raise DataError(f"{where}/{config.split}: is {split!r}; expected {', '.join(_SPLITS)}")
    early = _EARLY * float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    first = np.searchsorted(times_s, start_s - early)
    last = np.searchsorted(times_s, stop_s - early)
    overlap = np.flatnonzero(first[1:] < last[:-1])
    if len(overlap):
        raise DataError(
            f"{where}: trial {overlap[0]} ends at {stop_s[overlap[0]]:.3f} s, after the next has started "
            f"({start_s[overlap[0] + 1]:.3f} s); expected trials one after the other"
        )
    kept = np.flatnonzero(last > first).tolist()
    outside = len(times_s) - int((last - first).sum())
    if len(kept) < len(start_s) or outside:
        _logger.warning(
            "%s: %d of %d trials have no frame, and %d of %d frames lie in no trial; both are left out",
            where,
            len(start_s) - len(kept),
            len(start_s),
            outside,
            len(times_s),
        )
    if not kept:
        raise DataError(
            f"{where}: no trial has a frame: trials run from {start_s[0]:.3f} to {stop_s[-1]:.3f} s, and frames from "
            f"{times_s[0]:.3f} to {times_s[-1]:.3f} s; are both on one clock?"
        )
    shown = tuple(
        Shown(
            int(first[k]),
            int(last[k]),
            splits[k] if splits else None,  # type: ignore[arg-type]
            ids[k] if ids else None,
            groups[k] if groups else None,
            kind,
        )
        for k in kept
    )
    return shown, trial_columns(file, table, kept, (config.stimulus_id, config.split, config.group))


def trial_columns(file: NwbFile, table: h5py.Group, kept: list[int], used: tuple[str | None, ...]) -> Columns:
    """What else a table says of its trials: columns of one number or text per row."""
    columns: Columns = {}
    for name, stored in table.items():
        if (
            name in ("id", "start_time", "stop_time", *used)
            or name.endswith("_index")
            or f"{name}_index" in table
        ):
            continue
        if isinstance(stored, h5py.Dataset) and stored.ndim == 1 and not is_reference(stored):
            plain = file.column(table, name)
            if plain.dtype.kind in "iufbU":
                columns[name] = tuple(none_for_nan(plain[k].item()) for k in kept)
    return columns


def none_for_nan(value: Any) -> Any:
    """NaN and infinity as None, which JSON has."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _labels(file: NwbFile, table: h5py.Group, column: str | None) -> list[str | None] | None:
    if column is None:
        return None
    values = file.column(table, column)
    if values.dtype.kind == "f":
        return [
            str(int(v)) if np.isfinite(v) and v == int(v) else None if np.isnan(v) else str(v) for v in values
        ]
    return [str(value) or None for value in values.tolist()]
