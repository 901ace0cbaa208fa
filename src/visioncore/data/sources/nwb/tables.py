"""Interval tables with a row for each frame that was shown, as the Allen Institute and OpenScope write them."""

from dataclasses import dataclass
from itertools import pairwise

import h5py
import numpy as np
from jaxtyping import Bool, Float64, Int64

from visioncore.data.align import Pictures, Shown
from visioncore.data.align.times import checked_times
from visioncore.data.sources.nwb.file import NwbFile, is_table
from visioncore.data.sources.nwb.pictures import Film, JoinedPictures, UniformPictures
from visioncore.data.sources.nwb.runs import is_film, runs
from visioncore.data.sources.nwb.settings import Axes, NwbTable, NwbTemplate
from visioncore.data.sources.nwb.showing import Showing
from visioncore.data.sources.nwb.templates import Templates
from visioncore.errors import DataError

SUFFIX = "_presentations"
NAMING = ("stimulus_name", "image_name")
"""Columns that may say which template a row is of; the second may name a single picture instead."""
PARAMETERS = (
    "orientation",
    "spatial_frequency",
    "temporal_frequency",
    "contrast",
    "phase",
    "color",
    "x_position",
)


@dataclass(frozen=True)
class _Rows:
    """A table's rows: which picture (−1: none), of which film, in which block."""

    start_s: Float64[np.ndarray, " rows"]
    stop_s: Float64[np.ndarray, " rows"]
    picture: Int64[np.ndarray, " rows"]
    """Numbered within its film."""
    name: np.ndarray
    block: np.ndarray
    where: str


def find_table(file: NwbFile, name: str) -> h5py.Group:
    """An interval table, with or without `_presentations`.

    Raises:
        DataError: there is none, or more than one.
    """
    tables = [f"/{path}" for path, group in file.groups.items() if is_table(group)]
    wanted = f"/{name.strip('/')}"
    whole = f"{wanted}{SUFFIX}"
    if not any(path.endswith(wanted) for path in tables) and any(path.endswith(whole) for path in tables):
        return file.find(whole[1:], "interval table", is_table)
    return file.find(name, "interval table", is_table)


def shown_by_table(
    file: NwbFile, config: NwbTable, templates: Templates, template: NwbTemplate | None, axes: Axes | None
) -> Showing:
    """What a table showed.

    Raises:
        DataError: it has no pictures, its times cannot be, or a picture is not there.
    """
    table = find_table(file, config.name)
    where = file.field(table)
    rows, films = _read(file, table, config, templates, template, axes)
    joined = JoinedPictures([(film.pictures, film.n, film.where) for film in films.values()])
    offset = dict(zip(films, joined.starts.tolist(), strict=False))
    numbers = np.array(
        [p + offset[n] if p >= 0 else -1 for p, n in zip(rows.picture.tolist(), rows.name, strict=True)],
        np.int64,
    )
    pictures: Pictures = joined
    if len(films) == 1:
        pictures = next(iter(films.values())).pictures
    n_pictures = int(joined.starts[-1])
    trials = _trials(rows, config)
    if config.blank is None:
        return Showing(rows.start_s, rows.stop_s, numbers, pictures, n_pictures, trials, where)
    grey = UniformPictures(joined.shape, joined.dtype, config.blank)
    all_pictures = JoinedPictures([(pictures, n_pictures, where), (grey, 1, where)])
    return _with_blanks(rows, numbers, all_pictures, n_pictures, trials)


def _read(
    file: NwbFile,
    table: h5py.Group,
    config: NwbTable,
    templates: Templates,
    template: NwbTemplate | None,
    axes: Axes | None,
) -> tuple[_Rows, dict[str, Film]]:
    where = file.field(table)
    start_s, stop_s = file.seconds(table, "start_time"), file.seconds(table, "stop_time")
    checked_times(start_s, f"{where}/start_time", len(start_s), "rows")
    if len(stop_s) != len(start_s):
        raise DataError(f"{where}/stop_time: {len(stop_s)} ends for {len(start_s)} starts")
    naming = next((name for name in NAMING if name in table), None)
    names = file.column(table, naming) if naming else np.full(len(start_s), "")
    own_name = table.name.rpartition("/")[2]
    short = own_name.removesuffix(SUFFIX)
    if config.frame in table and not ("image_name" in table and _is_empty(file.column(table, config.frame))):
        picture = _frames(file, table, config)
        known = sorted({str(name) for name, p in zip(names, picture, strict=True) if p >= 0})
        if not known:
            raise DataError(f"{where}/{config.frame}: no row has the number of a picture")
        films = {
            name: templates.film(template, tuple(dict.fromkeys(filter(None, (name, own_name, short)))), axes)
            for name in known
        }
    elif "image_name" in table:
        names = np.full(len(start_s), short)
        picture, film = _by_name(file, table, templates, template, axes)
        films = {short: film}
    else:
        there = [name for name in PARAMETERS if name in table]
        raise DataError(
            f"{where}: has no column '{config.frame}', so no pictures"
            + (
                f" (it has {', '.join(there)}: gratings and the like are not drawn; leave the table out)"
                if there
                else ""
            )
            + "; it has: "
            + ", ".join(sorted(table))
        )
    for name, film in films.items():
        _require_pictures(picture[names == name], film, f"{where}/{config.frame}", config)
    blocks = table.get("stimulus_block")
    block = file.column(table, "stimulus_block") if blocks is not None else np.zeros(len(start_s))
    return _Rows(start_s, _known_stops(start_s, stop_s), picture, names, block, where), films


def _is_empty(values: np.ndarray) -> bool:
    return values.dtype.kind == "f" and bool(np.isnan(values).all())


def _frames(file: NwbFile, table: h5py.Group, config: NwbTable) -> Int64[np.ndarray, " rows"]:
    values = file.column(table, config.frame)
    where = f"{file.field(table)}/{config.frame}"
    if values.dtype.kind not in "iuf":
        raise DataError(f"{where}: is {values.dtype}; expected numbers of pictures")
    known = np.isfinite(values) & (values >= 0)
    whole = values[known]
    if (whole != np.round(whole)).any():
        raise DataError(f"{where}: holds numbers that are not whole; expected numbers of pictures")
    picture = np.full(len(values), -1, np.int64)
    picture[known] = whole.astype(np.int64) - config.first_frame
    if (picture[known] < 0).any():
        raise DataError(f"{where}: holds numbers below first_frame, which is {config.first_frame}")
    return picture


def _by_name(
    file: NwbFile, table: h5py.Group, templates: Templates, template: NwbTemplate | None, axes: Axes | None
) -> tuple[Int64[np.ndarray, " rows"], Film]:
    """Rows that name a single picture; a name that no picture has ('omitted') shows none."""
    shown = [str(name) for name in file.column(table, "image_name")]
    where = f"{file.field(table)}/image_name"
    none = {"", "nan", "omitted", "blank", "gray", "grey", "spontaneous"}
    wanted = tuple(sorted({name for name in shown if name.lower() not in none}))
    film = templates.named(template, wanted, axes)
    if film is None:
        film = templates.film(template, (table.name.rpartition("/")[2].removesuffix(SUFFIX),), axes)
    number = {name: k for k, name in enumerate(film.names)}
    missing = [name for name in wanted if name not in number]
    if missing:
        raise DataError(
            f"{where}: names pictures that {film.where} does not have: {', '.join(missing[:5])}; it has: "
            f"{', '.join(film.names[:8]) or 'none with a name'}"
        )
    return np.array([number.get(name, -1) for name in shown], np.int64), film


def _require_pictures(picture: Int64[np.ndarray, " rows"], film: Film, where: str, config: NwbTable) -> None:
    largest = int(picture.max(initial=-1))
    if largest >= film.n:
        ask = (
            "; are they counted from 1? Give first_frame: 1"
            if largest == film.n and not config.first_frame
            else ""
        )
        raise DataError(
            f"{where}: shows picture {largest + config.first_frame}, and {film.where} has {film.n} "
            f"({config.first_frame} to {film.n - 1 + config.first_frame}){ask}"
        )


def _known_stops(
    start_s: Float64[np.ndarray, " rows"], stop_s: Float64[np.ndarray, " rows"]
) -> Float64[np.ndarray, " rows"]:
    """Ends, where a row has none those of a usual row."""
    unknown = np.isnan(stop_s)
    if not unknown.any() or unknown.all():
        return stop_s
    usual = float(np.median((stop_s - start_s)[~unknown]))
    following = np.append(start_s[1:], np.inf)
    return np.where(unknown, np.minimum(following, start_s + usual), stop_s)


def _trials(rows: _Rows, config: NwbTable) -> tuple[Shown, ...]:
    found: list[Shown] = []
    for start, stop in _blocks(rows):
        picture = rows.picture[start:stop]
        own = rows.name[start + int(np.argmax(picture >= 0))]
        name = str(own) or rows.where.rpartition("/")[2].removesuffix(SUFFIX)
        rule = config.trial or ("run" if is_film(picture) else None)
        known = rows.picture[(rows.name == own) & (rows.picture >= 0)]
        if rule is None:
            seconds = float(np.median(rows.stop_s[start:stop] - rows.start_s[start:stop]))
            raise DataError(
                f"{rows.where}: {len(np.unique(known))} pictures of '{name}' come in no order, so a trial is no run of "
                f"frames. Give the table trial: row (each of {seconds:.3g} s is a trial, pictures never lie in two "
                "splits, and burn_in_s must be shorter) or trial: block (the stimulus runs on, and a picture is in "
                "training and test)"
            )
        if rule == "run":
            found += runs(picture, start, name, int(known.min()), int(known.max()))
        elif rule == "block":
            found.append(Shown(start, stop, None, None, None, name))
        else:
            found += [
                Shown(row, row + 1, None, f"{name} {rows.picture[row] + config.first_frame}", None, name)
                for row in range(start, stop)
                if rows.picture[row] >= 0
            ]
    if not found:
        raise DataError(f"{rows.where}: no row shows a picture")
    return tuple(found)


def _blocks(rows: _Rows) -> list[tuple[int, int]]:
    """Rows in a row of one name and one block; NaN is a block as another."""
    block = rows.block
    other_block = block[1:] != block[:-1]
    if block.dtype.kind == "f":
        other_block &= ~(np.isnan(block[1:]) & np.isnan(block[:-1]))
    change: Bool[np.ndarray, " steps"] = other_block | (
        (rows.name[1:] != rows.name[:-1]) & (rows.picture[1:] >= 0)
    )
    edges = [0, *(np.flatnonzero(change) + 1).tolist(), len(rows.picture)]
    return [(a, b) for a, b in pairwise(edges) if (rows.picture[a:b] >= 0).any()]


def _with_blanks(
    rows: _Rows,
    numbers: Int64[np.ndarray, " rows"],
    pictures: JoinedPictures,
    blank: int,
    trials: tuple[Shown, ...],
) -> Showing:
    """Rows without a picture show the blank, and so does the screen between the rows of a trial."""
    times: list[float] = []
    stops: list[float] = []
    shows: list[int] = []
    shown: list[Shown] = []
    for trial in trials:
        first = len(times)
        for row in range(trial.start, trial.stop):
            times.append(rows.start_s[row])
            stops.append(rows.stop_s[row])
            shows.append(numbers[row] if numbers[row] >= 0 else blank)
            length = rows.stop_s[row] - rows.start_s[row]
            if row + 1 < trial.stop and rows.start_s[row + 1] - rows.stop_s[row] > 0.1 * length:
                times.append(rows.stop_s[row])
                stops.append(rows.start_s[row + 1])
                shows.append(blank)
        shown.append(Shown(first, len(times), trial.split, trial.stimulus_id, trial.group, trial.kind))
    return Showing(
        np.array(times),
        np.array(stops),
        np.array(shows, np.int64),
        pictures,
        blank + 1,
        tuple(shown),
        rows.where,
    )
