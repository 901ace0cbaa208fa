"""Files of the Baccus laboratory: /train and /test with stimulus, time and responses, single repeats, and /spikes."""

import logging
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Shaped

from visioncore.data.align import ClockedSession, Events, Frames, Shown, Signal
from visioncore.data.sources.retina_config import Place, RetinaSessionConfig, RetinaSettings
from visioncore.data.sources.retina_parts import (
    BREAK_S,
    Film,
    Films,
    InMemory,
    Joined,
    RowsOf,
    events_of,
    in_natural_order,
)
from visioncore.errors import DataError
from visioncore.spec import Columns, SessionSpec

_RATES = ("firing_rate_5ms", "firing_rate_10ms", "firing_rate_20ms")
_SPIKES, _REPEATS = "spikes/", "test/repeats/"

_logger = logging.getLogger(__name__)


class BaccusFile:
    """One session: training films, then every repeat of the test, on the clock of training.

    Of the repeats only the counts are known and not the times, so they follow after breaks of their own.
    """

    @staticmethod
    def fits(keys: Sequence[str]) -> bool:
        """Whether a file with these datasets is one."""
        return "train/stimulus" in keys

    def __init__(self, place: Place, session: RetinaSessionConfig, config: RetinaSettings) -> None:
        self._path, self._arrays, self._session, self._config = place.path, place.arrays, session, config
        for key, given in (("stimuli", session.stimuli), ("unit_ids", session.unit_ids)):
            if given is not None:
                raise DataError(f"{self._where()}: is a Baccus file, which has no {key}; leave it out")
        if session.missing is not None:
            raise DataError(
                f"{self._where()}: is a Baccus file, whose values have no codes; leave missing out"
            )

    def stimuli(self) -> tuple[str, ...]:
        """Nothing in it has a name."""
        return ()

    def files(self) -> Iterable[Path]:
        """The session's file."""
        return [self._path]

    def open(self) -> ClockedSession:
        """The session.

        Raises:
            DataError: naming file and dataset.
        """
        train, interval_s = self._train_films()
        kind = self._responses
        traces = kind in _RATES
        repeats = self._repeats
        spike_times, spike_unit = self._spikes() if kind == "spikes" else (np.zeros(0), np.zeros(0, np.int64))
        start_s = (
            max(float(train[-1].times_s[-1]), float(spike_times.max(initial=0.0))) + interval_s + BREAK_S
        )
        name = f"{self._path.stem} test"
        test: list[Film] = []
        for _ in repeats:
            times_s = start_s + np.arange(self._n_frames("test")) * interval_s
            test.append(Film("test", times_s, interval_s, "test", name))
            start_s = float(times_s[-1]) + interval_s + BREAK_S
        films = [*train, *test]
        edges = np.cumsum([0, *(len(film.times_s) for film in films)]).tolist()
        counted = list(zip(test, repeats, strict=True))
        responses: Events | tuple[Signal, ...]
        if traces:
            responses = (self._traces(kind, films, repeats),)
        else:
            if kind != "spikes":
                counted = [*self._binned(kind, train), *counted]
            where = self._where("spikes" if kind == "spikes" else f"train/response/{kind}", "test/repeats")
            times, unit = events_of(counted, where) if counted else (np.zeros(0), np.zeros(0, np.int64))
            responses = Events(
                np.concatenate([spike_times, times]), np.concatenate([spike_unit, unit]), where
            )
        return ClockedSession(
            spec=SessionSpec(
                id=self._session.id,
                subject=self._session.subject,
                unit_ids=self._unit_ids,
                units=self._columns(kind),
                response_kind=self._config.response_kind,
                geometry=self._session.geometry,
            ),
            frames=Frames(
                times_s=np.concatenate([film.times_s for film in films]),
                picture=np.concatenate(
                    [np.arange(edges[len(train)])]
                    + [edges[len(train)] + np.arange(self._n_frames("test")) for _ in test]
                ),
                pictures=self._pictures(bool(test)),
                where=self._where("train/stimulus", "test/stimulus"),
            ),
            shown=tuple(
                Shown(start, stop, film.split, film.stimulus_id, kind=self._path.stem)
                for (start, stop), film in zip(pairwise(edges), films, strict=True)
            ),
            responses=responses,
        )

    def _train_films(self) -> tuple[list[Film], float]:
        n, blocks = self._n_frames("train"), self._session.train_blocks or 1
        if n % blocks:
            raise DataError(
                f"{self._where('train/stimulus')}: has {n} frames, which {blocks} equally long films (train_blocks) "
                "cannot have; give the number of films that training was joined of"
            )
        times_s = self._times("train")
        interval_s = float(np.median(np.diff(times_s)))
        has_test = bool(self._repeats)
        edges = range(0, n + 1, n // blocks)
        return [
            Film("train", times_s[start:stop], interval_s, "train" if has_test else None, None)
            for start, stop in pairwise(edges)
        ], interval_s

    def _times(self, part: str) -> Float64[np.ndarray, " frames"]:
        n, key = self._n_frames(part), f"{part}/time"
        if key not in self._arrays.names():
            return np.arange(n) / self._config.sampling_rate_hz
        times_s = self._arrays.read(key).reshape(-1).astype(np.float64)
        if len(times_s) != n:
            raise DataError(f"{self._where(key)}: {len(times_s)} times for {n} frames of {part}/stimulus")
        return times_s

    @cached_property
    def _responses(self) -> str:
        """Which of the file's responses are read."""
        keys, counts = self._arrays.names(), self._config.response_kind == "counts"
        there = [name for name in ("binned", *_RATES) if f"train/response/{name}" in keys]
        there += ["spikes"] if any(key.startswith(_SPIKES) for key in keys) else []
        asked = self._session.responses
        fitting = [name for name in there if (name not in _RATES) == counts]
        told = f"it has {', '.join(there) or 'no responses'}"
        if asked is None and counts and fitting:
            if fitting[0] == "spikes":
                _logger.warning("%s: has no binned counts: spikes are counted by frames", self._where())
            return "binned" if "binned" in fitting else "spikes"
        if asked is None:
            raise DataError(
                f"{self._where('train/response')}: no response for response_kind: {self._config.response_kind} can be "
                f"chosen; {told}. Name one (responses: {fitting[0] if fitting else 'binned'}); firing_rate_* are traces"
            )
        if asked not in there:
            raise DataError(f"{self._where('train/response')}: has no '{asked}'; {told}")
        if asked not in fitting:
            raise DataError(
                f"{self._where(f'train/response/{asked}')}: is "
                f"{'a smoothed rate, which is a trace' if counts else 'counts'}; set response_kind: "
                f"{'trace' if counts else 'counts'}"
            )
        if asked in _RATES:
            _logger.warning(
                "%s: %s is smoothed over time and looks ahead: a model of it can seem to answer before the stimulus, "
                "and its scores are not those of spikes",
                self._where(),
                asked,
            )
        return asked

    @cached_property
    def _unit_ids(self) -> tuple[str, ...]:
        shape = None
        for name in ("binned", *_RATES):
            if f"train/response/{name}" in self._arrays.names():
                shape = self._arrays.header(f"train/response/{name}").shape
                break
        lists = {"spikes": self._cells(_SPIKES), "test/repeats": self._cells(_REPEATS)}
        names = next((cells for cells in lists.values() if cells), None)
        if names is None:
            if shape is None:
                raise DataError(f"{self._where()}: has neither train/response nor spikes")
            return tuple(f"cell{unit}" for unit in range(shape[0]))
        for place, cells in lists.items():
            if cells and len(cells) != len(names):
                raise DataError(f"{self._where(place)}: has {len(cells)} cells, and {len(names)} have spikes")
        if shape is not None and shape[0] != len(names):
            raise DataError(
                f"{self._where('train/response')}: has shape {shape}; expected (units, time) for the {len(names)} "
                f"cells {names[0]} to {names[-1]}"
            )
        return tuple(names)

    def _cells(self, above: str) -> list[str]:
        """Names of cells in the order of the rows of responses: cell2 before cell10."""
        names = [key.removeprefix(above) for key in self._arrays.names() if key.startswith(above)]
        known = {"binned", *_RATES}
        return in_natural_order([name for name in names if name not in known and "/" not in name])

    @cached_property
    def _repeats(self) -> list[Shaped[np.ndarray, "time units"]]:
        """Responses to each showing of the test film."""
        kind, keys = self._responses, self._arrays.names()
        counted = kind not in _RATES
        n, n_units = self._n_frames("test"), len(self._unit_ids)
        if not n:
            return []
        joined = next(
            (k for k in (f"{_REPEATS}{kind}", f"{_REPEATS}binned" if counted else "") if k in keys), None
        )
        if joined is not None:
            array = self._require(joined, self._arrays.read(joined), (None, n_units, n))
            return [one.T for one in array]
        cells = self._cells(_REPEATS)
        if cells and counted:
            own = [
                self._require(f"{_REPEATS}{c}", self._arrays.read(f"{_REPEATS}{c}"), (None, n)) for c in cells
            ]
            if len({len(one) for one in own}) > 1:
                told = ", ".join(f"{c}: {len(one)}" for c, one in zip(cells, own, strict=True))
                raise DataError(
                    f"{self._where('test/repeats')}: cells have other numbers of repeats ({told})"
                )
            return list(np.stack(own, axis=2))
        mean = f"test/response/{'binned' if counted else kind}"
        if mean not in keys:
            _logger.warning(
                "%s: has no responses to the test film: test is drawn from training", self._where()
            )
            return []
        response = self._require(mean, self._arrays.read(mean), (n_units, n)).T
        if counted and not (response == np.floor(response)).all():
            _logger.warning(
                "%s: is a mean over repeats and not counts: left out, and test is drawn from training",
                self._where(mean),
            )
            return []
        if not counted:
            _logger.warning("%s: is a mean over repeats: there are no single trials", self._where(mean))
        return [response]

    def _require(
        self, key: str, array: Shaped[np.ndarray, "..."], shape: tuple[int | None, ...]
    ) -> Shaped[np.ndarray, "..."]:
        if len(array.shape) != len(shape) or any(
            want not in (None, n) for want, n in zip(shape, array.shape, strict=True)
        ):
            told = ", ".join("repeats" if n is None else str(n) for n in shape)
            raise DataError(f"{self._where(key)}: has shape {array.shape}; expected ({told})")
        return array

    def _binned(
        self, kind: str, train: Sequence[Film]
    ) -> list[tuple[Film, Shaped[np.ndarray, "time units"]]]:
        key = f"train/response/{kind}"
        shape = (len(self._unit_ids), self._n_frames("train"))
        counts = self._require(key, self._arrays.read(key), shape).T
        edges = np.cumsum([0, *(len(film.times_s) for film in train)]).tolist()
        return [(film, counts[a:b]) for film, (a, b) in zip(train, pairwise(edges), strict=True)]

    def _spikes(self) -> tuple[Float64[np.ndarray, " spikes"], np.ndarray]:
        times = [
            self._arrays.read(f"{_SPIKES}{cell}").reshape(-1).astype(np.float64) for cell in self._unit_ids
        ]
        unit = np.repeat(np.arange(len(times)), [len(own) for own in times])
        return np.concatenate(times), unit

    def _traces(self, kind: str, films: Sequence[Film], repeats: Sequence[np.ndarray]) -> Signal:
        key, n = f"train/response/{kind}", self._n_frames("train")
        n_units = len(self._unit_ids)
        if self._arrays.header(key).shape != (n_units, n):
            raise DataError(
                f"{self._where(key)}: has shape {self._arrays.header(key).shape}; expected ({n_units}, {n})"
            )
        parts: list[tuple[RowsOf, int]] = [(self._arrays.stream(key, (1, 0)), n)]
        parts += [(InMemory(one), len(one)) for one in repeats]
        samples = Joined(parts, (n_units,), np.dtype(np.float64))
        times_s = np.concatenate([film.samples_s for film in films])
        return Signal(times_s, samples, self._unit_ids, self._where(key, f"test/response/{kind}"))

    def _columns(self, kind: str) -> Columns:
        if kind not in _RATES:
            return {}
        return {"response": (f"{kind}, smoothed, looks ahead",) * len(self._unit_ids)}

    def _pictures(self, has_test: bool) -> Films:
        parts = ["train", "test"] if has_test else ["train"]
        streams = [self._arrays.stream(f"{part}/stimulus") for part in parts]
        shapes = [stream.header.shape[1:] for stream in streams]
        if len(set(shapes)) > 1 or len(shapes[0]) != 2:
            told = " and ".join(str(stream.header.shape) for stream in streams)
            raise DataError(
                f"{self._where('train/stimulus', 'test/stimulus')}: have shapes {told}; expected (time, height, width) "
                "of one size"
            )
        dtype = np.result_type(*(stream.header.dtype for stream in streams))
        parts_of = [(_WithChannel(stream), stream.header.shape[0]) for stream in streams]
        return Films(Joined(parts_of, (1, *shapes[0]), dtype))

    def _n_frames(self, part: str) -> int:
        key = f"{part}/stimulus"
        return self._arrays.header(key).shape[0] if key in self._arrays.names() else 0

    def _where(self, *keys: str) -> str:
        return ", ".join([self._arrays.where, " and ".join(keys)] if keys else [self._arrays.where])


class _WithChannel:
    """Frames (time, height, width) with one channel."""

    def __init__(self, rows: RowsOf) -> None:
        self._rows = rows

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "time one height width"]:
        """Rows [start, stop)."""
        return self._rows.read(start, stop)[:, None]
