"""From signals that each have a clock of their own to bins: the one place where time is decided."""

from visioncore.data.align.bins import Bins, make_bins
from visioncore.data.align.clocked import (
    ClockedSession,
    Events,
    Frames,
    Intervals,
    Pictures,
    PicturesInMemory,
    Shown,
    Signal,
)
from visioncore.data.align.recording import AlignedRecording, align
from visioncore.data.align.sync import ClockMap

__all__ = [
    "AlignedRecording",
    "Bins",
    "ClockMap",
    "ClockedSession",
    "Events",
    "Frames",
    "Intervals",
    "Pictures",
    "PicturesInMemory",
    "Shown",
    "Signal",
    "align",
    "make_bins",
]
