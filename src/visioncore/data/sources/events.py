"""The `events` format: spikes of a sorter, times of frames, a film, and clocks that pulses join."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from visioncore.config import dump_config
from visioncore.data.align import (
    ClockedSession,
    ClockMap,
    Events,
    Frames,
    Intervals,
    Pictures,
    Shown,
    Signal,
)
from visioncore.data.sources.array_pictures import ArrayPictures
from visioncore.data.sources.clocked import ClockedSource
from visioncore.data.sources.events_config import (
    BehaviourConfig,
    Clock,
    EventsConfig,
    EventsSessionConfig,
    SpikesConfig,
)
from visioncore.data.sources.loose_files import read_loose, read_times, split_name
from visioncore.data.sources.phy import (
    SortedSpikes,
    clusters_of_table,
    one_label_each,
    phy_files,
    read_phy,
    samples,
)
from visioncore.data.sources.trial_table import trials_of_table
from visioncore.data.sources.triggers import doubled, frames_of_triggers
from visioncore.data.sources.video_file import VideoFile
from visioncore.errors import DataError
from visioncore.spec import Geometry, SessionSpec

_ARRAYS = (".npy", ".zarr", ".h5", ".hdf5", ".mat")
_REFRESH_S = 1 / 45
"""Times that come faster are those of a display: none refreshes more slowly."""
_RESIDUAL_S = 2e-3
_FILES = {
    "phy",
    "times",
    "clusters",
    "units",
    "ephys_s",
    "display_s",
    "times_s",
    "index",
    "path",
    "xy_deg",
    "values",
}
_FILES |= {"valid", "trials"}
"""Settings that name files."""

_logger = logging.getLogger(__name__)
_Mapped = Callable[[Float64[np.ndarray, " times"], Clock], Float64[np.ndarray, " times"]]


class EventsSource(ClockedSource):
    """A `ClockedSource` over files of events."""

    def __init__(self, config: EventsConfig, base_dir: Path) -> None:
        self._config = config
        self.sessions, self.base_dir, self.rate_hz = config.sessions, base_dir, config.sampling_rate_hz

    def open(self, session: EventsSessionConfig) -> ClockedSession:
        """The session, each signal on the clock of the spikes.

        Raises:
            DataError: naming session, file and field, what was found and what to do.
        """
        where = f"session '{session.id}'"
        clocks = self._clocks(session, where)

        def mapped(times_s: Float64[np.ndarray, " times"], clock: Clock) -> Float64[np.ndarray, " times"]:
            return clocks[0](times_s) if clocks and clock == "display" else times_s

        spikes = self._spikes(session.spikes, f"{where}, spikes")
        clusters, units = spikes.units()
        frames, invalid = self._frames(session, mapped, where)
        shown, columns = self._shown(session, frames, mapped, where)
        behaviour = tuple(self._behaviour(session, mapped, where))
        at = "phy" if session.spikes.phy is not None else "times"
        return ClockedSession(
            spec=SessionSpec(
                id=session.id,
                subject=session.subject,
                unit_ids=tuple(map(str, clusters)),
                units=units,
                behaviour_names=tuple(name for signal in behaviour for name in signal.names),
                geometry=_geometry(session),
            ),
            frames=frames,
            shown=shown,
            responses=Events(
                spikes.times_s + session.spikes.t0_s,
                np.searchsorted(clusters, spikes.cluster),
                f"spikes.{at} ({getattr(session.spikes, at)})",
            ),
            behaviour=behaviour,
            invalid=(invalid,) if len(invalid.start_s) else (),
            trial_columns=columns,
            missing=session.missing,
            clocks=clocks,
        )

    def files(self, session: EventsSessionConfig) -> Iterator[Path]:
        """Every file that a session is read from."""
        for name in _names_of_files(dump_config(session)):
            path = self.path(split_name(name)[0])
            if name == session.spikes.phy:
                yield from phy_files(path)
            elif path.is_dir():
                yield from sorted(p for p in path.rglob("*") if p.is_file())
            else:
                yield path

    def settings(self, session: EventsSessionConfig) -> Any:
        """Every setting but the places of files; names of arrays in them stay."""
        shared, own = dump_config(self._config)["params"], dump_config(session)
        del shared["sessions"]
        return [shared, _without_places(own)]

    def _clocks(self, session: EventsSessionConfig, where: str) -> tuple[ClockMap, ...]:
        if session.sync is None:
            return ()
        place = f"{where}, sync"
        clock = ClockMap.of_pulses(
            read_times(self.base_dir, session.sync.display_s, f"{place}.display_s"),
            read_times(self.base_dir, session.sync.ephys_s, f"{place}.ephys_s"),
            f"{place} (display_s: {session.sync.display_s}, ephys_s: {session.sync.ephys_s})",
        )
        off = np.abs(clock.residuals_s)
        _logger.log(
            logging.WARNING if off.max() > _RESIDUAL_S else logging.INFO,
            "%s: %d pulses of both clocks; they are off one straight line by up to %.3g ms (median %.3g ms)",
            place,
            len(off),
            1e3 * off.max(),
            1e3 * np.median(off),
        )
        return (clock,)

    def _spikes(self, spikes: SpikesConfig, where: str) -> SortedSpikes:
        if spikes.phy is not None:
            found = read_phy(self.path(spikes.phy), f"{where}.phy", spikes.sample_rate_hz)
        else:
            assert spikes.times is not None
            assert spikes.clusters is not None
            times_at, clusters_at = f"{where}.times ({spikes.times})", f"{where}.clusters ({spikes.clusters})"
            times, cluster = one_label_each(
                read_loose(self.base_dir, spikes.times, f"{where}.times"),
                read_loose(self.base_dir, spikes.clusters, f"{where}.clusters"),
                times_at,
                clusters_at,
            )
            if spikes.times_unit == "samples":
                assert spikes.sample_rate_hz is not None
                times_s = samples(times, times_at) / spikes.sample_rate_hz
            else:
                times_s = times.astype(np.float64) / (1e3 if spikes.times_unit == "ms" else 1.0)
            found = SortedSpikes(times_s, cluster, {})
        if spikes.units is not None:
            known = clusters_of_table(self.path(spikes.units), f"{where}.units")
            both = {c: {**found.table.get(c, {}), **known.get(c, {})} for c in {*found.table, *known}}
            found = SortedSpikes(found.times_s, found.cluster, both)
        return found.of_groups(spikes.groups, f"{where}.groups")

    def _pictures(self, session: EventsSessionConfig, where: str) -> tuple[Pictures, int | None]:
        """The film, and how many pictures it has; None: no end."""
        film = session.video
        if film.generator is not None:
            return film.generator.build(), None
        assert film.path is not None
        place = f"{where}, video.path"
        path = self.path(split_name(film.path)[0])
        if path.suffix.lower() in _ARRAYS or path.is_dir():
            pictures: ArrayPictures | VideoFile = ArrayPictures(self.base_dir, film.path, place, film.axes)
        else:
            if film.axes is not None:
                raise DataError(f"{place} ({film.path}): a video file has its axes; leave `axes` out")
            pictures = VideoFile(path, f"{place} ({film.path})", colour=film.colour)
        return pictures, pictures.n_pictures

    def _frames(self, session: EventsSessionConfig, mapped: _Mapped, where: str) -> tuple[Frames, Intervals]:
        config, film = session.frames, session.video
        pictures, n_pictures = self._pictures(session, where)
        place = f"{where}, frames.times_s ({config.times_s})"
        times_s = read_times(self.base_dir, config.times_s, f"{where}, frames.times_s")
        if len(times_s) and np.isfinite(times_s).all():
            times_s = mapped(times_s, "display")
        index = self._index(session, n_pictures, where)
        stop_s: Float64[np.ndarray, " frames"] | None = None
        unclear = Intervals(np.zeros(0), np.zeros(0), place)
        if config.frames_per_trigger is not None and config.frames_per_trigger > 1:
            n_frames = n_pictures if index is None else len(index)
            found = frames_of_triggers(times_s, config.frames_per_trigger, place, n_frames)
            start_s, stop_s, number, unclear = found.start_s, found.stop_s, found.number, found.unclear
            picture = number if index is None else index[number]
        else:
            start_s = times_s
            picture = _in_order(session, times_s, index, place)
            _require_pictures(picture, n_pictures, film.refreshes, place)
        delay_s = config.display_delay_s
        late = Intervals(unclear.start_s + delay_s, unclear.stop_s + delay_s, unclear.where)
        ends_s = None if stop_s is None else stop_s + delay_s
        told = place.removeprefix(f"{where}, ")
        return Frames(start_s + delay_s, picture, pictures, told, ends_s), late

    def _index(
        self, session: EventsSessionConfig, n_pictures: int | None, where: str
    ) -> Int64[np.ndarray, " frames"] | None:
        config = session.frames
        if config.index is None:
            return None
        index = np.atleast_1d(read_loose(self.base_dir, config.index, f"{where}, frames.index"))
        place = f"{where}, frames.index ({config.index})"
        if index.ndim != 1:
            raise DataError(f"{place}: has shape {index.shape}; expected the picture of each frame")
        numbers = (
            np.where(np.isfinite(index), index, -1) if index.dtype.kind == "f" else index.astype(np.int64)
        )
        if (numbers != np.floor(numbers)).any():
            raise DataError(f"{place}: holds numbers that are not whole; expected the picture of each frame")
        numbers = numbers.astype(np.int64) - config.index_starts_at
        refreshes = session.video.refreshes if session.frames.times_are == "refreshes" else 1
        if n_pictures is not None and len(numbers) and numbers.max() >= n_pictures * refreshes:
            told = (
                "; does it count from 1? Then `index_starts_at: 1`"
                if numbers.max() == n_pictures * refreshes
                else ""
            )
            raise DataError(
                f"{place}: names picture {numbers.max()} (from 0), and the film has {n_pictures}{told}"
            )
        return numbers

    def _shown(
        self, session: EventsSessionConfig, frames: Frames, mapped: _Mapped, where: str
    ) -> tuple[tuple[Shown, ...], dict[str, tuple[Any, ...]]]:
        if session.trials is None:
            return (Shown(0, len(frames.times_s)),), {}

        def on_screen(times_s: Float64[np.ndarray, " times"]) -> Float64[np.ndarray, " times"]:
            return mapped(times_s, session.trials_clock) + session.frames.display_delay_s

        return trials_of_table(self.path(session.trials), frames.times_s, on_screen, f"{where}, trials")

    def _behaviour(self, session: EventsSessionConfig, mapped: _Mapped, where: str) -> Iterator[Signal]:
        if (gaze := session.gaze) is not None:
            taken = BehaviourConfig(
                names=("gaze_x", "gaze_y"),
                times_s=gaze.times_s,
                values=gaze.xy_deg,
                valid=gaze.valid,
                clock=gaze.clock,
            )
            yield self._signal(taken, mapped, f"{where}, gaze", "xy_deg")
        for number, taken in enumerate(session.behaviour):
            yield self._signal(taken, mapped, f"{where}, behaviour.{number}", "values")

    def _signal(self, taken: BehaviourConfig, mapped: _Mapped, where: str, field: str) -> Signal:
        values = read_loose(self.base_dir, taken.values, f"{where}.{field}").astype(np.float64)
        place = f"{where}.{field} ({taken.values})"
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or values.shape[1] != len(taken.names):
            raise DataError(
                f"{place}: has shape {values.shape}; expected (samples, {len(taken.names)}): {', '.join(taken.names)}"
            )
        times_s = read_times(self.base_dir, taken.times_s, f"{where}.times_s")
        if taken.valid is not None:
            valid = np.atleast_1d(read_loose(self.base_dir, taken.valid, f"{where}.valid"))
            if valid.shape != (len(values),) or not np.isin(valid, (0, 1)).all():
                raise DataError(
                    f"{where}.valid ({taken.valid}): has shape {valid.shape} and {valid.dtype}; expected a truth value "
                    f"for each of {len(values)} samples"
                )
            values[valid == 0] = np.nan
        signal = Signal(times_s, values, taken.names, f"{where}.times_s ({taken.times_s})")
        return Signal(mapped(signal.times_s, taken.clock), values, taken.names, place.split(", ", 1)[1])


def _in_order(
    session: EventsSessionConfig,
    times_s: Float64[np.ndarray, " frames"],
    index: Int64[np.ndarray, " frames"] | None,
    place: str,
) -> Int64[np.ndarray, " frames"]:
    """Which picture each time is of."""
    refreshes = session.video.refreshes
    steps = np.diff(times_s)
    usual_s = float(np.median(steps)) if len(steps) else np.inf
    if index is not None:
        if len(index) != len(times_s):
            raise DataError(
                f"{place}: {len(times_s)} times, and frames.index ({session.frames.index}) has {len(index)} numbers; "
                "expected one for each"
            )
        return (
            np.where(index >= 0, index // refreshes, -1) if session.frames.times_are == "refreshes" else index
        )
    if (twice := np.flatnonzero(doubled(times_s))).size:
        raise DataError(
            f"{place}: {len(twice)} times come too soon after the one before, while the next is in time, the first is "
            f"number {twice[0]} ({times_s[twice[0]]:.6f} s): which picture is which cannot be told. Leave these times "
            "out, or give `index`"
        )
    numbers = np.arange(len(times_s), dtype=np.int64)
    if refreshes == 1:
        return numbers
    are = session.frames.times_are or ("refreshes" if usual_s < _REFRESH_S else "frames")
    if session.frames.times_are is None:
        _logger.warning(
            "%s: times come every %.6g s and are taken for those of %s (a picture stays for %d refreshes); say "
            "`times_are` if they are not",
            place,
            usual_s,
            are,
            refreshes,
        )
    return numbers // refreshes if are == "refreshes" else numbers


def _require_pictures(
    picture: Int64[np.ndarray, " frames"], n_pictures: int | None, refreshes: int, place: str
) -> None:
    """One time for each picture of a film that is shown in order."""
    if n_pictures is None or not len(picture):
        return
    in_order = bool((np.diff(picture) >= 0).all() and picture[0] == 0)
    if int(picture.max()) >= n_pictures or (in_order and int(picture[-1]) != n_pictures - 1):
        stays = f", which stay for {refreshes} refreshes" if refreshes > 1 else ""
        raise DataError(
            f"{place}: {len(picture)} times of frames, and the film has {n_pictures} pictures{stays}; expected one for "
            "each. Was one missed, or is there one too many? Say which picture each time is of: `index`"
        )


def _geometry(session: EventsSessionConfig) -> Geometry:
    """Of a frame's pixels, which are stixels of a generator."""
    geometry = session.geometry
    if (
        session.gaze is not None
        and session.gaze.pixels_per_degree is not None
        and geometry.degrees_per_pixel is None
    ):
        geometry = geometry.model_copy(update={"degrees_per_pixel": 1 / session.gaze.pixels_per_degree})
    generator = session.video.generator
    if generator is None or generator.stixel_px == 1:
        return geometry
    sizes = {"degrees_per_pixel": geometry.degrees_per_pixel, "um_per_pixel": geometry.um_per_pixel}
    larger = {name: size * generator.stixel_px for name, size in sizes.items() if size is not None}
    return geometry.model_copy(update=larger)


def _names_of_files(settings: Any) -> Iterator[str]:
    """Every entry of a session's settings that names a file."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            if key in _FILES and isinstance(value, str):
                yield value
            elif key != "geometry":
                yield from _names_of_files(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from _names_of_files(value)


def _without_places(settings: Any) -> Any:
    if isinstance(settings, dict):
        return {
            key: split_name(value)[1] or ""
            if key in _FILES and isinstance(value, str)
            else _without_places(value)
            for key, value in settings.items()
        }
    return [_without_places(value) for value in settings] if isinstance(settings, list) else settings
