"""A cortical population of another make than the default, to see whether recipes generalise: config and session."""

from functools import cache
from typing import ClassVar, Literal

import numpy as np
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from visioncore.behaviour import eye_feature_names, eye_features
from visioncore.recording import ArrayRecording, Trial
from visioncore.simulation.base import PresetConfig, SimulatedSession, Simulator, Subjects, numbered
from visioncore.simulation.cascade_cells import CascadeCellsConfig, draw_cascade_population
from visioncore.simulation.drawn import unit_names
from visioncore.simulation.gaze import GazeConfig, simulate_gaze
from visioncore.simulation.hidden_gain import hidden_gain
from visioncore.simulation.moving_textures import KINDS, LeavesLibrary, MovingScreen
from visioncore.simulation.plan import plan_trials
from visioncore.simulation.randomness import stream
from visioncore.spec import Geometry, SessionSpec
from visioncore.stimuli import GREY, to_uint8


class SubunitCascadeConfig(PresetConfig):
    """`type: subunit_cascade`; docs/simulator.md describes what it yields."""

    VERSION: ClassVar[int] = 1

    type: Literal["subunit_cascade"] = "subunit_cascade"
    subjects: Subjects = ("C", "D", "D")
    seed: NonNegativeInt = 20
    sampling_rate_hz: PositiveFloat = 120.0
    height: PositiveInt = 36
    width: PositiveInt = 64
    degrees_per_pixel: PositiveFloat = 0.05
    minutes_per_session: PositiveFloat = 15.0
    units_per_session: PositiveInt = 28
    trial_s: PositiveFloat = 4.0
    grey_s: NonNegativeFloat = 0.1
    """Grey screen at the start of a trial."""
    repeated_stimuli: NonNegativeInt = 5
    repeats: PositiveInt = 6
    test_fraction: NonNegativeFloat = 0.1
    """Share of the trials that are unrepeated test trials, on top of the repeated ones."""
    validation_fraction: NonNegativeFloat = 0.1
    hidden_gain_sd: NonNegativeFloat = 0.25
    hidden_gain_time_constant_s: PositiveFloat = 20.0
    gaze: GazeConfig = GazeConfig()
    cells: CascadeCellsConfig = CascadeCellsConfig()

    def sessions(self) -> tuple[SimulatedSession, ...]:
        """One per entry of `subjects`."""
        return numbered(self.subjects)

    def simulator(self) -> Simulator:
        """All sessions show the same pictures."""
        library = cache(lambda: LeavesLibrary(self.seed))
        return lambda session: simulate_cascade_session(self, *session, library())


def simulate_cascade_session(
    config: SubunitCascadeConfig, session_id: str, subject: str, index: int, library: LeavesLibrary
) -> ArrayRecording:
    """The session with this index; a pure function of the arguments. Repeats replay the gaze.

    Raises:
        DataError: the session is too short for its repeated trials and at least one training trial.
    """
    rate, n_units = config.sampling_rate_hz, config.units_per_session
    plans = plan_trials(
        session_id,
        KINDS,
        round(config.minutes_per_session * 60 / config.trial_s),
        repeated_stimuli=config.repeated_stimuli,
        repeats=config.repeats,
        test_fraction=config.test_fraction,
        validation_fraction=config.validation_fraction,
        generator=stream(config.seed, "cascade trial order", index),
    )
    n_frames = round(config.trial_s * rate)
    screen = MovingScreen(config.height, config.width, rate)
    video = np.empty((len(plans), n_frames, config.height, config.width), np.uint8)
    eye_deg = np.empty((len(plans), n_frames, 2))
    shown: dict[int, int] = {}
    trials: list[Trial] = []
    for position, plan in enumerate(plans):
        first = shown.setdefault(plan.stimulus, position)
        if first == position:
            generator = stream(config.seed, "cascade stimulus", index, plan.stimulus)
            eye_deg[position] = simulate_gaze(config.gaze, n_frames, rate, generator)
            # Degrees are rightwards and upwards, pixels downwards and rightwards.
            gaze_px = eye_deg[position][:, ::-1] * (-1, 1) / config.degrees_per_pixel
            contrast, picture = screen.show(plan.kind, plan.split, gaze_px, library, generator)
            video[position] = to_uint8(contrast)
            video[position, : round(config.grey_s * rate)] = GREY
            group = picture or f"{plan.kind}/{index}-{plan.stimulus}"
        else:
            video[position], eye_deg[position] = video[first], eye_deg[first]
            group = str(trials[first].group)
        start = position * n_frames
        stimulus_id = f"{session_id}/{plan.kind}-{plan.stimulus:03d}"
        trials.append(Trial(start, start + n_frames, plan.split, stimulus_id, group, plan.kind))

    population = draw_cascade_population(
        config.cells, n_units, config.height, config.width, rate, stream(config.seed, "cascade cells", index)
    )
    in_training = np.array([plan.split == "train" for plan in plans])
    population, trial_rates = population.calibrated(video, eye_deg, in_training)
    rates = trial_rates.reshape(-1, n_units)
    gain = hidden_gain(
        len(rates),
        rate,
        log_sd=config.hidden_gain_sd,
        time_constant_s=config.hidden_gain_time_constant_s,
        n_units=n_units,
        generator=stream(config.seed, "cascade hidden gain", index),
    )
    truth = population.truth() | {"mean_rate_hz": (rates.mean(0, dtype=np.float64) * rate).tolist()}
    return ArrayRecording(
        spec=SessionSpec(
            id=session_id,
            subject=subject,
            unit_ids=unit_names(session_id, n_units),
            behaviour_names=eye_feature_names(),
            geometry=Geometry(degrees_per_pixel=config.degrees_per_pixel, centre_deg=(0.0, 0.0)),
        ),
        trials=tuple(trials),
        frames=video.reshape(-1, 1, config.height, config.width),
        responses=stream(config.seed, "cascade spikes", index).poisson(rates * gain),
        valid=np.ones((len(rates), 1), bool),
        behaviour=eye_features(eye_deg, rate).reshape(len(rates), -1),
        rates=rates,
        unit_truth=truth,
    )
