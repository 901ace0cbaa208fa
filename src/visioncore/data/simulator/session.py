"""One simulated session: which trials it has, what the eye saw in them, how the units answered."""

from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from visioncore.config import Config
from visioncore.data.behaviour import eye_features
from visioncore.data.recording import ArrayRecording, Split, Trial
from visioncore.data.simulator.cells import CellsConfig, draw_population
from visioncore.data.simulator.gaze import GazeConfig, simulate_gaze, wander
from visioncore.data.simulator.images import PictureLibrary
from visioncore.data.simulator.randomness import stream
from visioncore.errors import DataError
from visioncore.stimuli import GREY, drifting_grating, gabor_texture, to_uint8

_KINDS = (
    *("photograph", "dead_leaves", "gabor_noise", "dead_leaves", "photograph", "grating", "dead_leaves"),
    *("photograph", "gabor_noise", "dead_leaves"),
)
"""Dealt out in turn within each split, so that any number of trials is at least half natural images."""


class SessionConfig(Config):
    """What one session looks like; the part of the simulation that all sessions share."""

    seed: NonNegativeInt = 0
    sampling_rate_hz: PositiveFloat = 240.0
    height: PositiveInt = 36
    width: PositiveInt = 64
    degrees_per_pixel: PositiveFloat = 0.05
    minutes_per_session: PositiveFloat = 18.0
    units_per_session: PositiveInt = 32
    trial_s: PositiveFloat = 4.0
    grey_s: NonNegativeFloat = 0.15
    """Grey screen at the start of a trial."""
    repeated_stimuli: NonNegativeInt = 6
    repeats: PositiveInt = 6
    test_fraction: NonNegativeFloat = 0.12
    """Share of the trials that are unrepeated test trials, on top of the repeated ones."""
    validation_fraction: NonNegativeFloat = 0.1
    image_speed_deg_s: NonNegativeFloat = 2.0
    """R.m.s. speed at which pictures wander over the screen, by themselves."""
    noise_refresh_s: PositiveFloat = 0.1
    """Gabor noise is redrawn this often."""
    hidden_gain_sd: NonNegativeFloat = 0.25
    hidden_gain_time_constant_s: PositiveFloat = 15.0
    gaze: GazeConfig = GazeConfig()
    cells: CellsConfig = CellsConfig()


@dataclass(frozen=True)
class _Stimulus:
    """What is replayed when a trial is repeated."""

    video: UInt8[np.ndarray, "time height width"]
    eye_deg: Float64[np.ndarray, "time 2"]
    group: str


@dataclass(frozen=True)
class _Plan:
    split: Split
    kind: str
    stimulus: int


def simulate_session(
    config: SessionConfig, session_id: str, subject: str, index: int, library: PictureLibrary
) -> ArrayRecording:
    """The session with this index; a pure function of the arguments.

    Raises:
        DataError: the session is too short for its repeated trials and at least one training trial.
    """
    plans = _plan_trials(config, session_id, index)
    n_frames = round(config.trial_s * config.sampling_rate_hz)
    video = np.empty((len(plans), n_frames, config.height, config.width), np.uint8)
    eye_deg = np.empty((len(plans), n_frames, 2))
    shown: dict[int, int] = {}
    trials: list[Trial] = []
    for position, plan in enumerate(plans):
        first = shown.setdefault(plan.stimulus, position)
        if first == position:
            stimulus = _render(config, plan, index, n_frames, library)
            video[position], eye_deg[position], group = stimulus.video, stimulus.eye_deg, stimulus.group
        else:
            video[position], eye_deg[position] = video[first], eye_deg[first]
            group = str(trials[first].group)
        start = position * n_frames
        stimulus_id = f"{session_id}/{plan.kind}-{plan.stimulus:03d}"
        trials.append(Trial(start, start + n_frames, plan.split, stimulus_id, group, plan.kind))

    population = draw_population(
        config.cells,
        config.units_per_session,
        config.height,
        config.width,
        config.sampling_rate_hz,
        stream(config.seed, "cells", index),
    )
    in_training = np.array([plan.split == "train" for plan in plans])
    population, trial_rates = population.calibrated(video, eye_deg, in_training)
    rates = trial_rates.reshape(-1, config.units_per_session)
    gain = _hidden_gain(config, len(rates), index)
    counts = stream(config.seed, "spikes", index).poisson(rates * gain).astype(np.uint8)
    truth = population.truth() | {
        "mean_rate_hz": (rates.mean(0, dtype=np.float64) * config.sampling_rate_hz).tolist()
    }
    return ArrayRecording(
        id=session_id,
        subject=subject,
        unit_ids=tuple(f"{session_id}-{unit:03d}" for unit in range(config.units_per_session)),
        trials=tuple(trials),
        frames=video.reshape(-1, 1, config.height, config.width),
        responses=counts,
        valid=np.ones((len(rates), 1), bool),
        behaviour=eye_features(eye_deg, config.sampling_rate_hz).reshape(len(rates), -1),
        rates=rates,
        unit_truth=truth,
    )


def _plan_trials(config: SessionConfig, session_id: str, index: int) -> list[_Plan]:
    n_trials = round(config.minutes_per_session * 60 / config.trial_s)
    n_repeated = config.repeated_stimuli * config.repeats
    n_test = round(config.test_fraction * n_trials)
    n_validation = round(config.validation_fraction * n_trials)
    n_train = n_trials - n_repeated - n_test - n_validation
    if n_train < 1:
        raise DataError(
            f"session '{session_id}': {n_trials} trials do not hold {n_repeated} repeated, {n_test} test and "
            f"{n_validation} validation trials and one for training; raise minutes_per_session or lower "
            "repeats"
        )
    plans: list[_Plan] = []
    stimulus = 0
    stimuli_of: tuple[tuple[Split, int, int], ...] = (
        ("test", config.repeated_stimuli, config.repeats),
        ("test", n_test, 1),
        ("validation", n_validation, 1),
        ("train", n_train, 1),
    )
    for split, n_stimuli, n_shown in stimuli_of:
        for kind in islice(cycle(_KINDS), n_stimuli):
            plans += [_Plan(split, kind, stimulus)] * n_shown
            stimulus += 1
    order = stream(config.seed, "trial order", index).permutation(len(plans))
    return [plans[position] for position in order]


def _render(
    config: SessionConfig, plan: _Plan, index: int, n_frames: int, library: PictureLibrary
) -> _Stimulus:
    generator = stream(config.seed, "stimulus", index, plan.stimulus)
    rate = config.sampling_rate_hz
    eye_deg = simulate_gaze(config.gaze, n_frames, rate, generator)
    image_deg = wander(config.image_speed_deg_s, 0.5, n_frames, rate, generator)
    group = f"{plan.kind}/{index}-{plan.stimulus}"
    # The field is centred on the gaze: a gaze to the right moves the picture left, a gaze up moves it down.
    right_px = (image_deg[:, 0] - eye_deg[:, 0]) / config.degrees_per_pixel
    down_px = (eye_deg[:, 1] - image_deg[:, 1]) / config.degrees_per_pixel
    size = (config.height, config.width)
    if plan.kind in ("photograph", "dead_leaves"):
        picture = library.draw(plan.kind, plan.split, generator)
        group = picture.name
        contrast = _window(picture.contrast, down_px, right_px, *size) * generator.uniform(0.6, 1.0)
    elif plan.kind == "gabor_noise":
        contrast = _gabor_noise(config, down_px, right_px, generator)
    else:
        cycles_hz = generator.uniform(2.0, 8.0)
        contrast = drifting_grating(
            down_px,
            right_px,
            *size,
            orientation_deg=generator.uniform(0, 360),
            period_px=generator.uniform(5, 12),
            phase=2 * np.pi * cycles_hz * np.arange(n_frames) / rate,
            contrast=generator.uniform(0.2, 0.6),
        )
    video = to_uint8(contrast)
    video[: round(config.grey_s * rate)] = GREY
    return _Stimulus(video, eye_deg, group)


def _gabor_noise(
    config: SessionConfig,
    down_px: Float64[np.ndarray, " time"],
    right_px: Float64[np.ndarray, " time"],
    generator: np.random.Generator,
) -> Float32[np.ndarray, "time height width"]:
    """A texture of Gabors on the screen, another one every `noise_refresh_s`."""
    gabors_per_px = generator.uniform(0.008, 0.018)
    contrast = generator.uniform(0.25, 0.5)
    refresh = max(1, round(config.noise_refresh_s * config.sampling_rate_hz))
    frames = []
    for start in range(0, len(down_px), refresh):
        down, right = down_px[start : start + refresh], right_px[start : start + refresh]
        texture = gabor_texture(
            config.height + int(np.ceil(np.ptp(down))) + 2,
            config.width + int(np.ceil(np.ptp(right))) + 2,
            gabors_per_px=gabors_per_px,
            contrast=contrast,
            generator=generator,
        )
        # Only what the gaze crosses before the next redraw is drawn, centred on the middle of that range.
        down = down - (down.max() + down.min()) / 2
        right = right - (right.max() + right.min()) / 2
        frames.append(_window(texture, down, right, config.height, config.width))
    return np.concatenate(frames)


def _window(
    picture: Float32[np.ndarray, "picture_height picture_width"],
    down_px: Float64[np.ndarray, " time"],
    right_px: Float64[np.ndarray, " time"],
    height: int,
    width: int,
) -> Float32[np.ndarray, "time height width"]:
    """The part of the picture under the field in each frame, bilinear, mirrored beyond its edges."""
    rows_in, columns_in = picture.shape
    rows = np.arange(height)[None, :] + (0.5 - height / 2) - down_px[:, None]
    columns = np.arange(width)[None, :] + (0.5 - width / 2) - right_px[:, None]
    shape = (len(down_px), height, width)
    grid = np.stack(
        [
            np.broadcast_to((columns * 2 / columns_in)[:, None, :], shape),
            np.broadcast_to((rows * 2 / rows_in)[:, :, None], shape),
        ],
        -1,
    ).reshape(1, len(down_px) * height, width, 2)
    sampled = torch.nn.functional.grid_sample(
        torch.from_numpy(picture)[None, None],
        torch.from_numpy(grid.astype(np.float32)),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    )
    return sampled.numpy().reshape(shape)


def _hidden_gain(config: SessionConfig, n_bins: int, index: int) -> Float64[np.ndarray, "time units"]:
    """A slow gain, shared to different degrees, of expectation 1; no signal in the data shows it."""
    generator = stream(config.seed, "hidden gain", index)
    step_s = 0.25
    n_steps = int(n_bins / config.sampling_rate_hz / step_s) + 2
    keep = np.exp(-step_s / config.hidden_gain_time_constant_s)
    walk = np.empty(n_steps)
    walk[0] = generator.normal()
    for step, innovation in enumerate(generator.normal(0, np.sqrt(1 - keep**2), n_steps - 1), 1):
        walk[step] = keep * walk[step - 1] + innovation
    # Held for each step: interpolation would shrink the variance between steps, and E[gain] with it.
    held = walk[(np.arange(n_bins) / config.sampling_rate_hz / step_s).astype(int)]
    loading = config.hidden_gain_sd * generator.uniform(0.5, 1.5, config.units_per_session)
    return np.exp(held[:, None] * loading - loading**2 / 2)
