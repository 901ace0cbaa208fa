"""From an experiment and its recording to a plan: how long an epoch is, and what the run begins on."""

from visioncore.data import RecordingStore, clip_length
from visioncore.model import TwinConfig
from visioncore.model.linear import LowRankLinearConfig
from visioncore.training.experiment import Experiment, TrainingConfig
from visioncore.training.plan import PLAN_VERSION, RunPlan


def first_plan(experiment: Experiment, store: RecordingStore, model: TwinConfig) -> RunPlan:
    """Of one epoch; the experiment's length, or the minutes that a user gives, then say how many there are.

    Args:
        model: the experiment's, with its linear path's window found.
    """
    config = experiment.training
    window_s = model.linear.window_s if isinstance(model.linear, LowRankLinearConfig) else "auto"
    return RunPlan(
        version=PLAN_VERSION,
        epochs=1,
        steps_per_epoch=config.steps_per_epoch or max(int(steps_per_pass(config, store)), 1),
        batches_per_step=config.accumulate_grad_batches,
        data_fingerprint=store.fingerprint,
        window_s=window_s if model != experiment.model and window_s != "auto" else None,
    )


def steps_per_pass(config: TrainingConfig, store: RecordingStore) -> float:
    """Optimiser steps of one pass over the training bins."""
    return train_bins(store) / (clip_length(store, config.clip_frames) * config.clips_per_step)


def train_bins(store: RecordingStore) -> int:
    """Bins of all training blocks of all sessions."""
    return sum(b.stop - b.start for s in store.sessions.values() for b in s.blocks_in("train"))


def length_in_words(n_bins: int, rate_hz: float | None) -> str:
    """How much recording there is; static images are counted."""
    return f"{n_bins} images" if rate_hz is None else f"{n_bins / rate_hz / 60:.3g} minutes of recording"
