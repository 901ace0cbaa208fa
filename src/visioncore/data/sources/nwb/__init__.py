"""Neurodata Without Borders files (NWB 2), local or remote, in the layouts that laboratories really write."""

from visioncore.data.sources.nwb.source import NwbConfig

__all__ = ["NwbConfig"]
