"""Files of open-retina: `responses_<stimulus>` (N,T) per session, stimuli (C,T,H,W) shared in a folder or its own."""

import logging
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from visioncore.data.align import ClockedSession, Frames, Shown, Signal
from visioncore.data.sources.array_file import ArrayHeader, ArrayStream
from visioncore.data.sources.npy_files import NpyFiles
from visioncore.data.sources.retina_config import Place, RetinaSessionConfig, RetinaSettings
from visioncore.data.sources.retina_parts import BREAK_S, Film, Films, Joined, plain
from visioncore.errors import DataError
from visioncore.spec import Columns, SessionSpec

_RESPONSES, _STIMULUS, _INFO = "responses_", "stimulus_", "session_info/"
_IDS = ("unit_ids", "roi_ids", "cell_ids", "neuron_ids")

_logger = logging.getLogger(__name__)


class OpenRetinaFile:
    """One session."""

    @staticmethod
    def fits(keys: Sequence[str]) -> bool:
        """Whether a file with these datasets is one."""
        return any(key.startswith(_RESPONSES) for key in keys)

    def __init__(self, place: Place, session: RetinaSessionConfig, config: RetinaSettings) -> None:
        self._path, self._arrays, self._session, self._config = place.path, place.arrays, session, config
        shared = session.stimuli
        self._folder = place.path.parent / "stimuli" if shared is None else place.base_dir / shared
        for key in ("train_blocks", "responses"):
            if getattr(session, key) is not None:
                raise DataError(
                    f"{place.arrays.where}: is an open-retina file, which has no {key}; leave it out"
                )

    def stimuli(self) -> tuple[str, ...]:
        """Names of all that was shown, in sorted order: mov_10 before mov_2, as open-retina reads them."""
        return tuple(
            sorted(k.removeprefix(_RESPONSES) for k in self._arrays.names() if k.startswith(_RESPONSES))
        )

    def files(self) -> Iterable[Path]:
        """The session's file, and the shared stimuli that it was shown."""
        shared = [name for name in self.stimuli() if f"{_STIMULUS}{name}" not in self._arrays.names()]
        return [self._path, *(self._folder / f"{name}.npy" for name in shared)]

    def open(self) -> ClockedSession:
        """The session on a clock of its own: films are shown one after the other, with breaks, as order is unknown.

        Raises:
            DataError: naming file and dataset.
        """
        test = [name for name in self._config.test_names if name in self.stimuli()]
        names = [*(name for name in self.stimuli() if name not in test), *test]
        self._say_what_is_left_out(test)
        films, pictures, responses = [], [], []
        start_s, rate_hz = 0.0, self._config.sampling_rate_hz
        for name in names:
            stream, n_frames = self._stimulus(name)
            times_s = start_s + np.arange(n_frames) / rate_hz
            split = None if not self._config.test_names else "test" if name in test else "train"
            films.append(Film(name, times_s, 1 / rate_hz, split, name))  # type: ignore[arg-type]
            pictures.append((stream, n_frames))
            responses.append((self._arrays.stream(f"{_RESPONSES}{name}", (1, 0)), n_frames))
            start_s = float(times_s[-1]) + 1 / rate_hz + BREAK_S
        edges = np.concatenate([[0], np.cumsum([len(film.times_s) for film in films])]).tolist()
        first = pictures[0][0].header
        rows = Joined(pictures, first.shape[1:], first.dtype)
        traces = Joined(responses, (len(self._unit_ids),), np.dtype(np.float64), self._session.missing or ())
        where = f"{self._arrays.where}, responses_*"
        return ClockedSession(
            spec=self._spec(),
            frames=Frames(
                times_s=np.concatenate([film.times_s for film in films]),
                picture=np.arange(edges[-1]),
                pictures=Films(rows),
                where=f"{self._arrays.where}, stimuli",
            ),
            shown=tuple(
                Shown(edges[k], edges[k + 1], film.split, film.stimulus_id) for k, film in enumerate(films)
            ),
            responses=(
                Signal(np.concatenate([film.samples_s for film in films]), traces, self._unit_ids, where),
            ),
            missing=self._session.missing,
        )

    def _spec(self) -> SessionSpec:
        return SessionSpec(
            id=self._session.id,
            subject=self._session.subject,
            unit_ids=self._unit_ids,
            units=self._columns(),
            response_kind=self._config.response_kind,
            geometry=self._session.geometry,
        )

    def _stimulus(self, name: str) -> tuple[ArrayStream, int]:
        """The film of a stimulus (time, channels, height, width), and its number of frames."""
        key = f"{_STIMULUS}{name}"
        if key in self._arrays.names():
            file, where = self._arrays, f"{self._arrays.where}, {key}"
        else:
            path = self._folder / f"{name}.npy"
            where = f"session '{self._session.id}', {path.parent.name}/{path.name}"
            if not path.is_file():
                raise DataError(
                    f"{self._arrays.where}: has {_RESPONSES}{name}, but no {key}, and there is no {path}; add the "
                    "stimulus, or say where its folder is: `stimuli`"
                )
            file, key = NpyFiles(self._folder, self._session.id), name
        header = file.header(key)
        n_frames = self._n_frames(name)
        if len(header.shape) != 4 or 0 in header.shape:
            raise DataError(f"{where}: has shape {header.shape}; expected (channels, time, height, width)")
        if header.shape[1] != n_frames:
            raise DataError(
                f"{where}: has shape {header.shape}, so {header.shape[1]} frames, and {_RESPONSES}{name} has "
                f"{n_frames} bins; expected (channels, time, height, width) and (units, time), one bin per frame"
            )
        if header.dtype != np.uint8 and header.dtype.kind != "f":
            raise DataError(f"{where}: is {header.dtype}; expected float, or uint8 (0 to 255)")
        stream = file.stream(key, (1, 0, 2, 3))
        self._require_like_the_first(stream.header, where)
        return stream, n_frames

    def _require_like_the_first(self, header: ArrayHeader, where: str) -> None:
        first = self.__dict__.setdefault("_first", (header, where))
        for mine, other, what in (
            (header.shape[1:], first[0].shape[1:], "frames of (channels, height, width)"),
            (_scale(header.dtype), _scale(first[0].dtype), "values that are"),
        ):
            if mine != other:
                raise DataError(
                    f"{where}: has {what} {mine}, and {first[1]} {other}; all stimuli must be alike"
                )

    def _n_frames(self, name: str) -> int:
        shape = self._arrays.header(f"{_RESPONSES}{name}").shape
        if len(shape) != 2 or shape[0] != len(self._unit_ids):
            raise DataError(
                f"{self._arrays.where}, {_RESPONSES}{name}: has shape {shape}; expected (units, time), with "
                f"{len(self._unit_ids)} units as {_RESPONSES}{self.stimuli()[0]} has"
            )
        return shape[1]

    @cached_property
    def _unit_ids(self) -> tuple[str, ...]:
        key = f"{_RESPONSES}{self.stimuli()[0]}"
        shape = self._arrays.header(key).shape
        if len(shape) != 2 or 0 in shape:
            raise DataError(f"{self._arrays.where}, {key}: has shape {shape}; expected (units, time)")
        named = self._session.unit_ids
        if named is not None and named not in self._info:
            raise DataError(
                f"{self._arrays.where}: session_info has no '{named}'; it has {', '.join(self._info) or 'nothing'}"
            )
        for name in (named,) if named is not None else _IDS:
            if name not in self._info:
                continue
            ids = [str(plain(value)) for value in self._info[name].reshape(-1)]
            if len(ids) == shape[0] and len(set(ids)) == len(ids):
                return tuple(ids)
            raise DataError(
                f"{self._arrays.where}, session_info/{name}: has {len(ids)} ids, {len(set(ids))} of them different, "
                f"for {shape[0]} units; expected an id of its own for each"
            )
        return tuple(str(unit) for unit in range(shape[0]))

    @cached_property
    def _info(self) -> dict[str, Shaped[np.ndarray, "..."]]:
        keys = [key for key in self._arrays.names() if key.startswith(_INFO)]
        return {key.removeprefix(_INFO): self._arrays.read(key) for key in keys}

    def _columns(self) -> Columns:
        """What `session_info` says of each unit, or of all."""
        n, table, left_out = len(self._unit_ids), {}, []
        for name, values in self._info.items():
            if values.shape == (n,):
                table[name] = tuple(plain(value) for value in values)
            elif values.size == 1:
                table[name] = (plain(values.reshape(-1)[0]),) * n
            else:
                left_out.append(f"{name} {values.shape}")
        if left_out:
            _logger.warning(
                "%s, session_info: %s left out: not one value for each of %d units",
                self._arrays.where,
                ", ".join(left_out),
                n,
            )
        return table

    def _say_what_is_left_out(self, test: Sequence[Any]) -> None:
        shared = {path.stem for path in self._folder.glob("*.npy")}
        if absent := sorted(shared - set(self.stimuli())):
            _logger.warning("%s: has no responses to %s", self._arrays.where, ", ".join(absent))
        if self._config.test_names and not test:
            _logger.warning(
                "%s: has none of the test stimuli (%s): all of it trains",
                self._arrays.where,
                ", ".join(self._config.test_names),
            )


def _scale(dtype: np.dtype) -> str:
    return "bytes" if dtype == np.uint8 else "floats"
