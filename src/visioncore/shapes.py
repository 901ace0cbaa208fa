"""The vocabulary of shapes.

Axis names used in jaxtyping signatures throughout the package:

    batch      clips that are processed together
    channels   channels of the video or of a feature map
    time       video frames = response bins = behaviour samples, oldest first
    height, width      pixels of the stimulus, row 0 at the top
    tokens     time tokens, one per tubelet
    rows, columns      the spatial grid of tokens or features
    places     rows * columns (plus register tokens inside the spatial stage)
    dim        width of a token
    heads, head_dim    attention heads and their width
    units      neurons of one session
    behaviours behavioural signals of a session; `all_behaviours` are those of all sessions of a twin
    pixels     height * width, or height * width * channels
    lags       frames back, newest first or last as the function says
    filters    filters of a first layer
    knots      points between which a bend is straight
    positions  tokens between which attention looks, with its `queries` and `keys`
    sequences  clips times places, or clips times tokens: what attention treats apart from each other
    signals    columns of one kind, such as drive and gain, or behaviours on their way to the disk
    draws      bootstrap draws
    repeats    trials with one stimulus id
    *rows      in scores: what is resampled as one, any number of axes
    kept, waiting, recent      time that a state holds: frames, samples or steps that are still needed

A name that ends in `_out` is the same axis behind a layer. Other names are explained where they stand.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class VideoShape:
    """One frame of the video."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class FeatureShape:
    """What a core returns: (batch, channels, tokens, rows, columns), one token per `stride` frames.

    `row_edges_px` and `column_edges_px` are the stimulus coordinates, in pixels of the unpadded stimulus, of the
    outer edges of the feature grid (start, stop): a readout uses them to keep its positions in stimulus coordinates.
    """

    channels: int
    rows: int
    columns: int
    stride: int
    row_edges_px: tuple[float, float]
    column_edges_px: tuple[float, float]
