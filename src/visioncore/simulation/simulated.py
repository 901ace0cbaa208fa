"""The embedded default, a V1 population that watches pictures through moving eyes: config and session."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64, UInt8
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from visioncore.behaviour import eye_feature_names, eye_features
from visioncore.recording import ArrayRecording, Trial
from visioncore.simulation.base import PresetConfig, SimulatedSession, Simulator, Subjects, numbered
from visioncore.simulation.cells import CellsConfig, draw_population
from visioncore.simulation.drawn import unit_names
from visioncore.simulation.gaze import GazeConfig, simulate_gaze, wander
from visioncore.simulation.hidden_gain import hidden_gain
from visioncore.simulation.images import PictureLibrary, photographs_digest
from visioncore.simulation.plan import PlannedTrial, plan_trials
from visioncore.simulation.randomness import stream
from visioncore.simulation.screen import KINDS, Screen
from visioncore.spec import Geometry, SessionSpec
from visioncore.stimuli import GREY, to_uint8


class SimulatedConfig(PresetConfig):
    """`type: simulated`; docs/simulator.md describes what it yields."""

    VERSION: ClassVar[int] = 2

    type: Literal["simulated"] = "simulated"
    subjects: Subjects = ("A", "A", "B")
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

    def sessions(self) -> tuple[SimulatedSession, ...]:
        """One per entry of `subjects`."""
        return numbered(self.subjects)

    def simulator(self) -> Simulator:
        """All sessions show the same pictures."""
        library = cache(lambda: PictureLibrary(self.seed))
        return lambda session: simulate_session(self, *session, library())

    def pictures(self) -> Mapping[str, str]:
        """The photographs come with other packages."""
        return {"photographs": photographs_digest()}


@dataclass(frozen=True)
class _Stimulus:
    """What is replayed when a trial is repeated."""

    video: UInt8[np.ndarray, "time height width"]
    eye_deg: Float64[np.ndarray, "time 2"]
    group: str
    facts: Mapping[str, float]


def simulate_session(
    config: SimulatedConfig, session_id: str, subject: str, index: int, library: PictureLibrary
) -> ArrayRecording:
    """The session with this index; a pure function of the arguments.

    Raises:
        DataError: the session is too short for its repeated trials and at least one training trial.
    """
    plans = plan_trials(
        session_id,
        KINDS,
        round(config.minutes_per_session * 60 / config.trial_s),
        repeated_stimuli=config.repeated_stimuli,
        repeats=config.repeats,
        test_fraction=config.test_fraction,
        validation_fraction=config.validation_fraction,
        generator=stream(config.seed, "trial order", index),
    )
    n_frames = round(config.trial_s * config.sampling_rate_hz)
    video = np.empty((len(plans), n_frames, config.height, config.width), np.uint8)
    eye_deg = np.empty((len(plans), n_frames, 2))
    shown: dict[int, int] = {}
    trials: list[Trial] = []
    facts: list[Mapping[str, float]] = []
    for position, plan in enumerate(plans):
        first = shown.setdefault(plan.stimulus, position)
        if first == position:
            stimulus = _render(config, plan, index, n_frames, library)
            video[position], eye_deg[position], group = stimulus.video, stimulus.eye_deg, stimulus.group
            facts.append(stimulus.facts)
        else:
            video[position], eye_deg[position] = video[first], eye_deg[first]
            group = str(trials[first].group)
            facts.append(facts[first])
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
    gain = hidden_gain(
        len(rates),
        config.sampling_rate_hz,
        log_sd=config.hidden_gain_sd,
        time_constant_s=config.hidden_gain_time_constant_s,
        n_units=config.units_per_session,
        generator=stream(config.seed, "hidden gain", index),
    )
    counts = stream(config.seed, "spikes", index).poisson(rates * gain).astype(np.uint8)
    truth = population.truth() | {
        "mean_rate_hz": (rates.mean(0, dtype=np.float64) * config.sampling_rate_hz).tolist()
    }
    return ArrayRecording(
        spec=SessionSpec(
            id=session_id,
            subject=subject,
            unit_ids=unit_names(session_id, config.units_per_session),
            behaviour_names=eye_feature_names(),
            geometry=Geometry(degrees_per_pixel=config.degrees_per_pixel, centre_deg=(0.0, 0.0)),
        ),
        trials=tuple(trials),
        frames=video.reshape(-1, 1, config.height, config.width),
        responses=counts,
        valid=np.ones((len(rates), 1), bool),
        behaviour=eye_features(eye_deg, config.sampling_rate_hz).reshape(len(rates), -1),
        rates=rates,
        unit_truth=truth,
        trial_columns={
            name: tuple(own.get(name) for own in facts)
            for name in sorted({key for own in facts for key in own})
        },
    )


def _render(
    config: SimulatedConfig, plan: PlannedTrial, index: int, n_frames: int, library: PictureLibrary
) -> _Stimulus:
    generator = stream(config.seed, "stimulus", index, plan.stimulus)
    rate = config.sampling_rate_hz
    eye_deg = simulate_gaze(config.gaze, n_frames, rate, generator)
    image_deg = wander(config.image_speed_deg_s, 0.5, n_frames, rate, generator)
    # The field is centred on the gaze: a gaze to the right moves the picture left, a gaze up moves it down.
    right_px = (image_deg[:, 0] - eye_deg[:, 0]) / config.degrees_per_pixel
    down_px = (eye_deg[:, 1] - image_deg[:, 1]) / config.degrees_per_pixel
    screen = Screen(config.height, config.width, rate, config.noise_refresh_s)
    seen = screen.show(plan.kind, plan.split, down_px, right_px, library, generator)
    video = to_uint8(seen.frames)
    video[: round(config.grey_s * rate)] = GREY
    return _Stimulus(video, eye_deg, seen.picture or f"{plan.kind}/{index}-{plan.stimulus}", seen.facts)
