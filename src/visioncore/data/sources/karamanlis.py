"""Fixation movies of Karamanlis et al. 2024: pictures moved over the screen as gaze moves, and counts frame by frame.

Source of the layout: the files of doi.org/10.12751/g-node.ejk8kx, and the code by which their authors and open-retina
read them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Shaped

from visioncore.data.align import ClockedSession, Events, Frames, Shown
from visioncore.data.sources.matlab import MatlabFile
from visioncore.data.sources.retina_config import Place, RetinaSessionConfig, RetinaSettings
from visioncore.data.sources.retina_parts import BREAK_S, Film, events_of
from visioncore.errors import DataError
from visioncore.spec import SessionSpec

_SCREEN = (600, 800)
"""Rows and columns of the screen, in all of these recordings."""
_PARTS = {"train": "running", "test": "frozen"}


class KaramanlisFile:
    """One session: the blocks of running movie, which train, then every showing of the frozen one, which is the test.

    Nothing says when they were shown, so each follows after a break of its own.
    """

    @staticmethod
    def fits(keys: Sequence[str]) -> bool:
        """Whether a file with these datasets is one."""
        return {"runningbin", "runningfixations", "runningImages"} <= set(keys)

    def __init__(self, place: Place, session: RetinaSessionConfig, config: RetinaSettings) -> None:
        self._path, self._arrays, self._session, self._config = place.path, place.arrays, session, config
        for key in ("stimuli", "unit_ids", "train_blocks", "responses", "missing"):
            if getattr(session, key) is not None:
                raise DataError(f"{self._where()}: is a fixation movie, which has no {key}; leave it out")
        if config.response_kind != "counts":
            raise DataError(f"{self._where('runningbin')}: holds counts; set response_kind: counts")

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
        interval_s, start_s = 1 / self._config.sampling_rate_hz, 0.0
        counted: list[tuple[Film, Shaped[np.ndarray, "time units"]]] = []
        numbers, images, fixations = [], [], []
        n_pictures = n_images = 0
        for split in ("train", "test"):
            part = _PARTS[split]
            if f"{part}bin" not in self._arrays.names():
                continue
            counts, moved = self._counts(part), self._fixations(part)
            own = self._images(part)
            self._require_fitting(part, counts, moved, len(own))
            moved[..., 0] += n_images - 1
            images.append(own)
            n_images += len(own)
            shown = np.broadcast_to(moved, (len(counts), *moved.shape[1:]))
            for k, showing in enumerate(counts):
                times_s = start_s + np.arange(len(showing)) * interval_s
                start_s = float(times_s[-1]) + interval_s + BREAK_S
                name = f"{self._path.stem} frozen" if split == "test" else None
                counted.append((Film(part, times_s, interval_s, "test" if name else "train", name), showing))
                # The frozen movie is the same pictures each time.
                if k < len(moved):
                    fixations.append(shown[k])
                    first, n_pictures = n_pictures, n_pictures + len(showing)
                numbers.append(np.arange(first, first + len(showing)))
        films = [film for film, _ in counted]
        if len({film.split for film in films}) == 1:
            films = [Film(f.name, f.times_s, f.interval_s, None, None) for f in films]
        times, unit = events_of(counted, self._where("runningbin", "frozenbin"))
        edges = np.cumsum([0, *(len(film.times_s) for film in films)]).tolist()
        n_units = counted[0][1].shape[1]
        if counted[-1][1].shape[1] != n_units:
            raise DataError(
                f"{self._where('frozenbin')}: has {counted[-1][1].shape[1]} units, and runningbin has {n_units}"
            )
        return ClockedSession(
            spec=SessionSpec(
                id=self._session.id,
                subject=self._session.subject,
                unit_ids=tuple(f"cell{unit}" for unit in range(n_units)),
                response_kind="counts",
                geometry=self._session.geometry,
            ),
            frames=Frames(
                times_s=np.concatenate([film.times_s for film in films]),
                picture=np.concatenate(numbers),
                pictures=MovedImages(tuple(images), np.concatenate(fixations)),
                where=self._where("runningImages", "frozenImages"),
            ),
            shown=tuple(
                Shown(start, stop, film.split, film.stimulus_id, kind="fixations")
                for start, stop, film in zip(edges[:-1], edges[1:], films, strict=True)
            ),
            responses=Events(times, unit, self._where("runningbin", "frozenbin")),
        )

    def _read(self, key: str, n_axes: int) -> Shaped[np.ndarray, "..."]:
        """An array with its axes as HDF5 has them: MATLAB shows them in reverse, and drops a last one of length 1."""
        array = self._arrays.read(key)
        array = array.T if isinstance(self._arrays, MatlabFile) else array
        array = array[None] if array.ndim == n_axes - 1 else array
        if array.ndim != n_axes or not array.size:
            raise DataError(f"{self._where(key)}: has shape {array.shape}; expected {n_axes} axes")
        return array

    def _counts(self, part: str) -> Shaped[np.ndarray, "showings time units"]:
        return self._read(f"{part}bin", 3)

    def _images(self, part: str) -> Shaped[np.ndarray, "images rows columns"]:
        return self._read(f"{part}Images", 3).transpose(0, 2, 1)

    def _fixations(self, part: str) -> Int64[np.ndarray, "showings time image_column_row"]:
        key = f"{part}fixations"
        read = self._read(key, 3).astype(np.float64)
        if read.shape[-1] != 3 or not np.isfinite(read).all() or (read != np.round(read)).any():
            raise DataError(
                f"{self._where(key)}: has shape {read.shape}; expected whole numbers, per frame (image, x, y)"
            )
        return read.astype(np.int64)

    def _require_fitting(
        self,
        part: str,
        counts: Shaped[np.ndarray, "showings time units"],
        moved: Int64[np.ndarray, "showings time image_column_row"],
        n_images: int,
    ) -> None:
        key = f"{part}fixations"
        showings = 1 if part == "frozen" else len(counts)
        if moved.shape[:2] != (showings, counts.shape[1]):
            raise DataError(
                f"{self._where(key)}: has shape {moved.shape}; expected ({showings}, {counts.shape[1]}, 3), a row for "
                f"each bin of {part}bin, which has shape {counts.shape}"
            )
        wrong = (moved[..., 0] < 1) | (moved[..., 0] > n_images)
        if wrong.any():
            block, frame = (int(axis[0]) for axis in np.nonzero(wrong))
            raise DataError(
                f"{self._where(key)}: frame {frame} of block {block} shows image {moved[block, frame, 0]}; "
                f"{part}Images holds {n_images}, counted from 1"
            )

    def _where(self, *keys: str) -> str:
        return ", ".join([self._arrays.where, " and ".join(keys)] if keys else [self._arrays.where])


@dataclass(frozen=True)
class MovedImages:
    """`Pictures` of a screen, whose middle each image has its point (x, y) at.

    Counted from 1, pixel x - 400 + k of the image stands in column k of the screen, and so for rows.

    Beside the picture the screen is 0, as in the authors' own reconstruction.
    """

    images: tuple[Shaped[np.ndarray, "images rows columns"], ...]
    """One after the other; each array may have a size of its own."""
    fixations: Int64[np.ndarray, "pictures image_column_row"]
    """The image, counted from 0, and x and y."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return 1, *_SCREEN

    @property
    def dtype(self) -> np.dtype:
        """Of the images."""
        return np.result_type(*(own.dtype for own in self.images))

    def read(self, numbers: Int64[np.ndarray, " some"]) -> Shaped[np.ndarray, "some channels height width"]:
        """Pictures by number."""
        read = np.zeros((len(numbers), *self.shape), self.dtype)
        for screen, (image, x, y) in zip(read[:, 0], self.fixations[numbers], strict=True):
            shown = self._image(int(image))
            (rows, of_rows), (columns, of_columns) = (
                _overlap(at - size // 2, size, there)
                for at, size, there in zip((y, x), _SCREEN, shown.shape, strict=True)
            )
            screen[rows, columns] = shown[of_rows, of_columns]
        return read

    def _image(self, number: int) -> Shaped[np.ndarray, "rows columns"]:
        for own in self.images:
            if number < len(own):
                return own[number]
            number -= len(own)
        raise IndexError(number)


def _overlap(first: int, size: int, there: int) -> tuple[slice, slice]:
    """What of a screen is covered, and by what of an image of `there` pixels; the screen begins with its `first`."""
    start, stop = max(-first, 0), max(min(there - first, size), max(-first, 0))
    return slice(start, stop), slice(start + first, stop + first)
