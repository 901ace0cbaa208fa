"""Recordings in, session stores on disk, clips out. Training knows only what is exported here."""

from visioncore.data.balance import Balance, Mixing
from visioncore.data.clips import Batch, ClipDataset, SessionClips, StepSampler, clip_length
from visioncore.data.config import DataConfig, build_data_config, load_data_config
from visioncore.data.prepare import prepare
from visioncore.data.splits import Block, SplitConfig
from visioncore.data.store import RecordingStore, SessionStore, blocks_of
from visioncore.data.validation import ValidationBlocks

__all__ = [
    "Balance",
    "Batch",
    "Block",
    "ClipDataset",
    "DataConfig",
    "Mixing",
    "RecordingStore",
    "SessionClips",
    "SessionStore",
    "SplitConfig",
    "StepSampler",
    "ValidationBlocks",
    "blocks_of",
    "build_data_config",
    "clip_length",
    "load_data_config",
    "prepare",
]
