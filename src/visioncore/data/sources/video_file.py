"""Video files read frame by frame, by exact number: frame n is the n-th that is shown, whatever the rate.

Containers are listed once (`_Index`): when each frame is shown, and which can be decoded without others. A frame is
then found by its time from the last such frame before it. Where a container's times cannot be trusted (raw streams,
some AVI files; seen by decoding its first and last stretch), the film is decoded in order and counted instead: as
exact, and slow only where frames are asked for backwards.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Shaped, UInt8

from visioncore.errors import ConfigError, DataError

_CACHE_BYTES = 2**25
_HIDES_FRAMES = frozenset({"vp8"})
"""Codecs of which a packet need not give a picture."""
_GREY_WITHIN = 2
_LOOKED_AT = 8
_CUT_S, _CUT = 0.5, 0.02
"""A film that ends earlier than its header says, by more than these seconds and this share, is cut."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Index:
    """When frames are shown, in units of the stream, in their order."""

    at: Int64[np.ndarray, " frames"] | None
    """None: times cannot be trusted, frames are counted from the start."""
    key: Int64[np.ndarray, " keys"]
    """Numbers of frames from which decoding can start."""
    key_at: tuple[int, ...]
    """Where to seek for each of these."""
    n: int
    times_s: Float64[np.ndarray, " frames"] | None
    grey: bool


class VideoFile:
    """`Pictures` over a video file: grey (1 channel) or RGB (3), 8 bits.

    Args:
        path: the file.
        where: what messages call it, with the field that names it.
        colour: None: 3 channels if any of the frames that are looked at has colour.

    Raises:
        DataError: there is no such file, it is no video, or it is damaged.
        ConfigError: PyAV is not installed.
    """

    def __init__(self, path: Path, where: str, *, colour: bool | None = None) -> None:
        self.path, self.where, self._colour = path, where, colour
        if not path.is_file():
            raise DataError(f"{where}: there is no file {path}; give the path of the video")
        _av()
        self._container: Any = None
        self._stream: Any = None
        self._frames: Iterator[Any] = iter(())
        self._next: int | None = None
        """Number of the frame that comes next out of the decoder; None: nothing is open."""
        self._cache: OrderedDict[int, UInt8[np.ndarray, "channels height width"]] = OrderedDict()

    @property
    def n_pictures(self) -> int:
        """How many frames are shown."""
        return self._index.n

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return (1 if self._index.grey else 3, *self._size)

    @property
    def dtype(self) -> np.dtype:
        """uint8."""
        return np.dtype(np.uint8)

    @property
    def times_s(self) -> Float64[np.ndarray, " frames"]:
        """When each frame is shown by the file's own clock, the first at 0.

        Raises:
            DataError: the file has no times.
        """
        times_s = self._index.times_s
        if times_s is None:
            raise DataError(f"{self.where}: {self.path.name} does not say when its frames are shown")
        return times_s

    def read(self, numbers: Int64[np.ndarray, " some"]) -> Shaped[np.ndarray, "some channels height width"]:
        """Frames by number.

        Raises:
            DataError: the file has no such frame, or is damaged.
        """
        wanted, at = np.unique(np.asarray(numbers, np.int64), return_inverse=True)
        outside = wanted[(wanted < 0) | (wanted >= self.n_pictures)]
        if len(outside):
            raise DataError(
                f"{self.where}: frame {outside[0]} is asked for, and {self.path.name} has {self.n_pictures} frames, "
                f"0 to {self.n_pictures - 1}"
            )
        pictures = np.empty((len(wanted), *self.shape), np.uint8)
        for row, number in enumerate(wanted.tolist()):
            pictures[row] = self._picture(number)
        return pictures[at]

    def close(self) -> None:
        """Let go of the file; `read` opens it again."""
        if self._container is not None:
            self._container.close()
        self._container, self._next, self._frames = None, None, iter(())

    @cached_property
    def _size(self) -> tuple[int, int]:
        with self._opened() as (_, stream):
            return int(stream.codec_context.height), int(stream.codec_context.width)

    @cached_property
    def _index(self) -> _Index:
        with self._opened() as (container, stream):
            _say_what_is_odd(stream, self.where)
            told_s = container.duration / _av().time_base if container.duration else None
            index = self._listed(container, stream)
        if index is None:
            with self._opened() as (container, stream):
                index = self._counted(container, stream)
        if not index.n:
            raise DataError(f"{self.where}: {self.path.name} holds no frame")
        if told_s is not None and index.times_s is not None and index.n > 1:
            self._say_if_cut(told_s, index.times_s)
        return index

    def _say_if_cut(self, told_s: float, times_s: Float64[np.ndarray, " frames"]) -> None:
        ends_s = float(times_s[-1] + np.diff(times_s).max())
        if told_s - ends_s > max(_CUT_S, _CUT * told_s):
            _logger.warning(
                "%s: %s lasts %.3g s by its header, and its frames end at %.3g s; is the file cut?",
                self.where,
                self.path.name,
                told_s,
                ends_s,
            )

    def _listed(self, container: Any, stream: Any) -> _Index | None:
        """From the packets alone; None where their times do not say which frame is which."""
        packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
        if stream.codec_context.name in _HIDES_FRAMES or any(p.pts is None or p.dts is None for p in packets):
            return None
        at = np.array(sorted(p.pts for p in packets), np.int64)
        keys = sorted((p.pts, p.dts) for p in packets if p.is_keyframe)
        if not keys or keys[0][0] != at[0] or (np.diff(at) <= 0).any():
            return None
        times_s = (at - at[0]) * float(stream.time_base)
        key = np.searchsorted(at, [pts for pts, _ in keys])
        index = _Index(at, key, tuple(dts for _, dts in keys), len(at), times_s, grey=False)
        grey = True
        looked_at = np.unique(np.linspace(0, len(keys) - 1, _LOOKED_AT).round().astype(int))
        for k in looked_at.tolist():
            whole = k in (0, len(keys) - 1)
            found = self._stretch(container, stream, index, k, whole=whole)
            if found is None:
                return None
            grey &= found
        return _Index(at, index.key, index.key_at, index.n, times_s, self._is_grey_film(grey))

    def _stretch(self, container: Any, stream: Any, index: _Index, k: int, *, whole: bool) -> bool | None:
        """Whether frames from key frame k on (up to the next, or one alone) are grey; None: they are not as listed."""
        assert index.at is not None
        stop = int(index.key[k + 1]) if k + 1 < len(index.key) else index.n
        expected = index.at[index.key[k] : stop if whole else index.key[k] + 1].tolist()
        grey, got = True, []
        container.seek(index.key_at[k], stream=stream)
        for frame in container.decode(stream):
            if frame.pts is None:
                return None
            if frame.pts < expected[0]:
                continue
            got.append(frame.pts)
            grey &= _is_grey(frame)
            # The last stretch is decoded to its end: no frame may follow.
            if len(got) == len(expected) and not (whole and stop == index.n):
                break
        return grey if got == expected else None

    def _counted(self, container: Any, stream: Any) -> _Index:
        """From decoding all frames."""
        at, grey, n = [], True, 0
        for frame in container.decode(stream):
            at.append(frame.time)
            grey &= _is_grey(frame)
            n += 1
        known = n and None not in at
        times_s = np.array(at, np.float64) - at[0] if known else None
        if times_s is not None and (np.diff(times_s) <= 0).any():
            times_s = None
        return _Index(None, np.zeros(1, np.int64), (0,), n, times_s, self._is_grey_film(grey))

    def _is_grey_film(self, looks_grey: bool) -> bool:
        return looks_grey if self._colour is None else not self._colour

    def _picture(self, number: int) -> UInt8[np.ndarray, "channels height width"]:
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        with self._errors(f"on the way to frame {number}: "):
            self._go_to(number)
            while True:
                found = self._decode_next()
                if found == number:
                    return self._cache[number]

    def _go_to(self, number: int) -> None:
        """So that the next frames out of the decoder lead to `number`."""
        index = self._index
        k = int(np.searchsorted(index.key, number, side="right")) - 1
        if self._next is not None and index.key[k] <= self._next <= number:
            return
        if index.at is None:
            if self._next is None or self._next > number:
                self._start()
                self._next = 0
            return
        if self._container is None:
            self._start()
        self._container.seek(index.key_at[k], stream=self._stream)
        self._frames, self._next = self._container.decode(self._stream), int(index.key[k])

    def _decode_next(self) -> int:
        """Decode a frame and keep it; returns its number."""
        index, number = self._index, self._next
        assert number is not None
        for frame in self._frames:
            if index.at is not None and frame.pts is not None and frame.pts < index.at[number]:
                continue  # of the stretch before, not to be decoded from here
            if index.at is not None and frame.pts != index.at[number]:
                raise self._damaged(f"frame {number} cannot be decoded")
            if frame.is_corrupt:
                raise self._damaged(f"frame {number} is damaged")
            self._keep(number, self._as_picture(frame, number))
            self._next = number + 1
            return number
        raise self._damaged(f"it ends before frame {number} of {index.n}")

    def _keep(self, number: int, picture: UInt8[np.ndarray, "channels height width"]) -> None:
        self._cache[number] = picture
        while len(self._cache) > max(2, _CACHE_BYTES // picture.nbytes):
            self._cache.popitem(last=False)

    def _as_picture(self, frame: Any, number: int) -> UInt8[np.ndarray, "channels height width"]:
        if (frame.height, frame.width) != self._size:
            raise DataError(
                f"{self.where}: frame {number} of {self.path.name} has {frame.height} x {frame.width} pixels, those "
                f"before it {self._size[0]} x {self._size[1]}; write it with one size"
            )
        if not self._index.grey:
            return np.moveaxis(_pixels(frame, "rgb24"), -1, 0)
        if self._colour is None and not _is_grey(frame):
            raise DataError(
                f"{self.where}: frame {number} of {self.path.name} has colour, and those that were looked at have "
                "none; say whether the film is read in colour: `colour: true` or `colour: false`"
            )
        return _pixels(frame, "gray")[None]

    def _start(self) -> None:
        self.close()
        self._container = _av().open(str(self.path))
        self._stream = _video_stream(self._container)
        self._frames = self._container.decode(self._stream)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        with self._errors(), _av().open(str(self.path)) as container:
            stream = _video_stream(container)
            if stream is None:
                raise DataError(f"{self.where}: {self.path.name} has no video stream")
            yield container, stream

    @contextmanager
    def _errors(self, doing: str = "") -> Iterator[None]:
        try:
            yield
        except (_av().error.FFmpegError, EOFError) as error:
            raise self._damaged(f"{doing}{error}") from None

    def _damaged(self, what: str) -> DataError:
        self.close()
        return DataError(
            f"{self.where}: {self.path.name} cannot be read as a video ({what}); copy it again, or write it anew "
            "(ffmpeg -i IN -c:v ffv1 OUT.mkv)"
        )


def _av() -> Any:
    """PyAV.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise ConfigError("video files are read by PyAV: pip install 'visioncore[video]'") from None
    return av


# Decoding and scaling stay in the thread that asks. Threads of theirs do not survive a fork (a DataLoader's workers):
# the collector of the child would free the decoder and wait for them without end.


def _video_stream(container: Any) -> Any:
    """The film of a container; None: it has none."""
    stream = container.streams.best("video")
    if stream is not None:
        stream.codec_context.thread_count = 1
    return stream


def _pixels(frame: Any, layout: str) -> UInt8[np.ndarray, "..."]:
    return frame.to_ndarray(format=layout, threads=1)


def _is_grey(frame: Any) -> bool:
    """Whether red, green and blue are one, up to rounding."""
    name = frame.format.name
    if name.startswith(("gray", "mono")):
        return True
    eight_bits = all(component.bits == 8 for component in frame.format.components)
    if name.startswith(("yuv4", "yuvj4")) and eight_bits:
        return all(_is_flat(plane) for plane in frame.planes[1:])
    rgb = _pixels(frame, "rgb24").astype(np.int16)
    return bool((rgb.max(axis=-1) - rgb.min(axis=-1)).max() <= _GREY_WITHIN)


def _is_flat(plane: Any) -> bool:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height]
    used = rows[:, : plane.width].astype(np.int16)  # what pads a line may be anything
    return bool(np.abs(used - 128).max() <= _GREY_WITHIN)


def _say_what_is_odd(stream: Any, where: str) -> None:
    pixels = stream.codec_context.format
    if pixels is not None and any(component.bits > 8 for component in pixels.components):
        _logger.warning("%s: pixels have more than 8 bits (%s) and are read with 8", where, pixels.name)
    aspect = stream.sample_aspect_ratio
    if aspect and aspect != 1:
        _logger.warning("%s: the file's pixels are not square (%s); they are read as they are", where, aspect)
