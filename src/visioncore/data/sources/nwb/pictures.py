"""Pictures of NWB files, read a few at a time: one array, an array per picture, video files, and several of these."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import h5py
import numpy as np
from jaxtyping import Int64, Shaped

from visioncore.data.align import Pictures
from visioncore.data.sources.nwb.file import NwbFile, text
from visioncore.data.sources.nwb.settings import Axes
from visioncore.data.sources.video_file import VideoFile
from visioncore.errors import DataError

_SKIPPED = 4
"""So many pictures between two that are wanted are read along: one reading is cheaper than two."""
_NUMBERS = "uint8, or floats"
COLOURS = (1, 3, 4)


@dataclass(frozen=True)
class Film:
    """Pictures in the order of their numbers."""

    pictures: Pictures
    n: int
    names: tuple[str, ...]
    """What they are called, where they have names."""
    where: str


@dataclass(frozen=True)
class ArrayPictures:
    """Of one array (pictures, height, width) or (pictures, width, height), with or without colour at its end."""

    array: Any
    """A dataset, or a memory-mapped array."""
    axes: Axes
    where: str
    factor: float = 1.0
    offset: float = 0.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        _, one, other, *colour = self.array.shape
        channels = 3 if colour and colour[0] == 4 else colour[0] if colour else 1
        return (channels, one, other) if self.axes == "tyx" else (channels, other, one)

    @property
    def dtype(self) -> np.dtype:
        """uint8 or float32."""
        plain = self.array.dtype in (np.uint8, np.bool_) and (self.factor, self.offset) == (1.0, 0.0)
        return np.dtype(np.uint8 if plain else np.float32)

    def read(self, numbers: Int64[np.ndarray, " some"]) -> Shaped[np.ndarray, "some channels height width"]:
        """Pictures by number."""
        wanted, at = np.unique(np.asarray(numbers), return_inverse=True)
        if not len(wanted):
            return np.zeros((0, *self.shape), self.dtype)
        edges = [0, *(np.flatnonzero(np.diff(wanted) > _SKIPPED) + 1).tolist(), len(wanted)]
        parts = []
        try:
            for first, stop in pairwise(edges):
                low, high = int(wanted[first]), int(wanted[stop - 1]) + 1
                parts.append(np.asarray(self.array[low:high])[wanted[first:stop] - low])
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise DataError(f"{self.where}: cannot be read ({error}); copy the file again") from None
        return as_pictures(np.concatenate(parts), self.axes, self.factor, self.offset).astype(self.dtype)[at]


@dataclass(frozen=True)
class SinglePictures:
    """Of an array for each picture, all of one size."""

    arrays: tuple[h5py.Dataset, ...]
    axes: Axes
    where: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self._one(0).shape

    @property
    def dtype(self) -> np.dtype:
        """uint8, if all are; else float32."""
        alike = all(array.dtype == np.uint8 for array in self.arrays)
        return np.dtype(np.uint8 if alike else np.float32)

    def read(self, numbers: Int64[np.ndarray, " some"]) -> Shaped[np.ndarray, "some channels height width"]:
        """Pictures by number."""
        read = np.empty((len(numbers), *self.shape), self.dtype)
        for row, number in enumerate(np.asarray(numbers).tolist()):
            read[row] = self._one(number).read(np.zeros(1, np.int64))[0]
        return read

    def _one(self, number: int) -> ArrayPictures:
        array = self.arrays[number]
        return ArrayPictures(_Unsqueezed(array), self.axes, f"{self.where}/{array.name.rpartition('/')[2]}")


@dataclass(frozen=True)
class _Unsqueezed:
    """One picture as an array of one."""

    array: h5py.Dataset

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, *self.array.shape)

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.array[()][None][rows]


@dataclass(frozen=True)
class UniformPictures:
    """One picture, of one grey."""

    shape: tuple[int, int, int]
    dtype: np.dtype
    grey: float

    def read(self, numbers: Int64[np.ndarray, " some"]) -> Shaped[np.ndarray, "some channels height width"]:
        """The picture, as often as it is asked for."""
        return np.full((len(numbers), *self.shape), self.grey, self.dtype)


class JoinedPictures:
    """Several, whose pictures are numbered on.

    Raises:
        DataError: they have not one size.
    """

    def __init__(self, parts: Sequence[tuple[Pictures, int, str]]) -> None:
        self._parts = tuple(pictures for pictures, _, _ in parts)
        self.starts = np.concatenate([[0], np.cumsum([n for _, n, _ in parts])]).astype(np.int64)
        first, _, first_where = parts[0]
        for pictures, _, where in parts[1:]:
            if pictures.shape != first.shape:
                raise DataError(
                    f"{where}: pictures are {_size(pictures)}, and those of {first_where} {_size(first)}; all of a "
                    "session have one size: take one of the two"
                )
        self.shape: tuple[int, int, int] = first.shape
        alike = all(pictures.dtype == first.dtype for pictures in self._parts)
        self.dtype: np.dtype = first.dtype if alike else np.dtype(np.float32)

    def read(self, numbers: Int64[np.ndarray, " some"]) -> Shaped[np.ndarray, "some channels height width"]:
        """Pictures by number."""
        numbers = np.asarray(numbers)
        part = np.searchsorted(self.starts, numbers, side="right") - 1
        read = np.empty((len(numbers), *self.shape), self.dtype)
        for which in np.unique(part):
            rows = part == which
            read[rows] = self._parts[which].read(numbers[rows] - self.starts[which])
        return read


def as_pictures(
    array: Shaped[np.ndarray, "some ..."], axes: Axes, factor: float = 1.0, offset: float = 0.0
) -> Shaped[np.ndarray, "some channels height width"]:
    """Pictures of a file, as they are on the screen; transparency is left out."""
    colours = array[..., None] if array.ndim == 3 else array
    array = np.moveaxis(colours[..., :3] if colours.shape[-1] == 4 else colours, -1, 1)
    if axes == "txy":
        array = array.swapaxes(-1, -2)
    return array if (factor, offset) == (1.0, 0.0) else array.astype(np.float32) * factor + offset


def array_film(
    file: NwbFile | None, array: Any, axes: Axes | None, where: str, names: tuple[str, ...] = ()
) -> Film:
    """A film of one array.

    Raises:
        DataError: it holds no pictures, or nobody says how they lie.
    """
    shape = tuple(int(length) for length in array.shape)
    if len(shape) not in (3, 4) or 0 in shape or (len(shape) == 4 and shape[3] not in COLOURS):
        raise DataError(
            f"{where}: has shape {shape}; expected (frames, rows, columns) or (frames, rows, columns, colours), in "
            "either order of rows and columns"
        )
    if array.dtype.kind not in "uifb":
        raise DataError(f"{where}: is {array.dtype}; expected {_NUMBERS}")
    attributes = array.attrs if isinstance(array, h5py.Dataset) else {}
    factor = float(attributes.get("conversion", 1.0))
    offset = float(attributes.get("offset", 0.0))
    pictures = ArrayPictures(array, require_axes(axes, shape[1:3], where), where, factor, offset)
    return Film(pictures, shape[0], names, where)


def images_film(file: NwbFile, images: h5py.Group, axes: Axes | None) -> Film:
    """A film of an `Images` container, in the order that it says.

    Raises:
        DataError: it says none, or pictures differ in size.
    """
    where = file.field(images)
    if "order_of_images" not in images:
        raise DataError(
            f"{where}: has no order_of_images, so it is not known which picture a number means; write the file with "
            "order_of_images"
        )
    with file.reading(images["order_of_images"]):
        arrays = tuple(file.h5[reference] for reference in np.ravel(images["order_of_images"][()]))
    names = tuple(array.name.rpartition("/")[2] for array in arrays)
    if not arrays:
        raise DataError(f"{where}/order_of_images: is empty")
    for name, array in zip(names, arrays, strict=True):
        if array.ndim not in (2, 3) or array.dtype.kind not in "uif":
            raise DataError(f"{where}/{name}: has shape {array.shape} of {array.dtype}; expected a picture")
        if array.shape != arrays[0].shape:
            raise DataError(
                f"{where}/{name}: has shape {array.shape}, and {names[0]} {arrays[0].shape}; all pictures of a session "
                "have one size: scale or pad them to one"
            )
    return Film(
        SinglePictures(arrays, require_axes(axes, arrays[0].shape, where), where), len(arrays), names, where
    )


def external_film(file: NwbFile, series: h5py.Group) -> Film:
    """A film of video files beside the NWB file.

    Raises:
        DataError: a file is missing, or has not as many frames as the series says.
    """
    where = f"{file.field(series)}/external_file"
    with file.reading(series["external_file"]):
        paths = [text(path) for path in np.ravel(series["external_file"][()])]
        starts = np.ravel(series["external_file"].attrs.get("starting_frame", np.zeros(0, np.int64)))
    if file.folder is None:
        raise DataError(f"{where}: {', '.join(paths)} lie beside a file on a server; download all of them")
    if not paths:
        raise DataError(f"{where}: names no file")
    parts, n = [], 0
    for number, path in enumerate(paths):
        place = file.folder / path.replace("\\", "/")
        if not place.is_file():
            raise DataError(
                f"{where}: there is no file {path} (looked for at {place}); video files lie where the NWB file says, "
                "counted from its own folder"
            )
        video = VideoFile(place, where)
        if len(starts) == len(paths) and int(starts[number]) != n:
            raise DataError(
                f"{where}: {path} starts at frame {int(starts[number])} by starting_frame, and the files before it "
                f"have {n} frames; a file is cut short, or is another one"
            )
        parts.append((video, video.n_pictures, f"{where}, {path}"))
        n += video.n_pictures
    return Film(JoinedPictures(parts), n, (), where)


def require_axes(axes: Axes | None, sides: tuple[int, ...], where: str) -> Axes:
    """How pictures lie, as the YAML says.

    Raises:
        DataError: it does not.
    """
    if axes is None:
        one, other = sides[:2]
        raise DataError(
            f"{where}: pictures are {one} x {other} in the file, and no file says which comes first: are they {one} "
            f"high and {other} wide on the screen (axes: tyx) or {other} high and {one} wide (axes: txy)? Look at a "
            "frame with `visioncore inspect`, and give axes"
        )
    return axes


def _size(pictures: Pictures) -> str:
    channels, height, width = pictures.shape
    return f"{height} x {width}" + ("" if channels == 1 else f" in {channels} colours")
