"""Video files, written by PyAV."""

from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

av = import_module("av")


def write(
    path: Path,
    frames: np.ndarray,
    codec: str,
    pixels: str,
    options: dict[str, str] | None = None,
    at: Any = None,
) -> Path:
    """A film by PyAV; `at` gives times in milliseconds, else 30 frames per second."""
    clock = Fraction(1, 30) if at is None else Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        stream.options = options or {}
        stream.codec_context.time_base = clock
        stream.codec_context.thread_count = 1  # its threads would not survive the fork of a later test
        for number, pixels_of in enumerate(frames):
            layout = "gray" if pixels_of.ndim == 2 else "rgb24"
            frame = av.VideoFrame.from_ndarray(pixels_of, format=layout).reformat(format=pixels, threads=1)
            frame.pts, frame.time_base = number if at is None else int(at[number]), clock
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
