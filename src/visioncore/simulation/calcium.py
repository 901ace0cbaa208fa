"""Calcium imaging: the V1 population's spikes seen through an indicator, in a running animal.

Cells are simulated on a clock that is several times faster than the imaging, because their kernels are; frames stay
on the screen as long as an imaging bin. The expected trace given stimulus and behaviour is known exactly: everything
after the rates is linear.
"""

from collections.abc import Mapping
from functools import cache
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64, UInt8
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from scipy.signal import lfilter

from visioncore.recording import ArrayRecording, Trial
from visioncore.simulation.base import PresetConfig, SimulatedSession, Simulator, Subjects, numbered
from visioncore.simulation.cells import CellsConfig, draw_population
from visioncore.simulation.drawn import DrawnConfig, unit_names
from visioncore.simulation.gaze import wander
from visioncore.simulation.hidden_gain import hidden_gain
from visioncore.simulation.images import PictureLibrary, photographs_digest
from visioncore.simulation.locomotion import (
    BEHAVIOUR_NAMES,
    LocomotionConfig,
    behavioural_gain,
    simulate_locomotion,
)
from visioncore.simulation.plan import PlannedTrial, plan_trials
from visioncore.simulation.randomness import stream
from visioncore.simulation.screen import KINDS, Screen
from visioncore.simulation.temporal import low_pass
from visioncore.spec import SessionSpec
from visioncore.stimuli import GREY, to_uint8

_LEAD_IN_DECAYS = 6
"""Grey before each trial that is not recorded, in decay times: the trace starts at its level at rest."""


class ImagedCellsConfig(CellsConfig):
    """The V1 population at the lower rates of superficial layers."""

    mean_rate_hz: tuple[PositiveFloat, PositiveFloat] = (1.0, 6.0)


class IndicatorConfig(DrawnConfig):
    """From spikes to fluorescence; each unit draws its values uniformly."""

    decay_s: PositiveFloat = 0.5
    rise_s: NonNegativeFloat = 0.05
    amplitude: tuple[PositiveFloat, PositiveFloat] = (0.1, 0.3)
    """Of one spike, in dF/F, if there were no rise time."""
    noise_sd: tuple[NonNegativeFloat, NonNegativeFloat] = (0.1, 0.4)
    """Of each sample, in dF/F."""


class CalciumConfig(PresetConfig):
    """`type: calcium`; docs/simulator.md describes what it yields."""

    VERSION: ClassVar[int] = 1

    type: Literal["calcium"] = "calcium"
    subjects: Subjects = ("A", "B")
    seed: NonNegativeInt = 0
    sampling_rate_hz: PositiveFloat = 30.0
    """Of imaging, frames and behaviour alike."""
    oversampling: PositiveInt = 2
    """Steps of the cells' clock per imaging bin."""
    height: PositiveInt = 36
    width: PositiveInt = 64
    minutes_per_session: PositiveFloat = 15.0
    units_per_session: PositiveInt = 200
    trial_s: PositiveFloat = 10.0
    grey_s: NonNegativeFloat = 0.5
    """Grey screen at the start of a trial."""
    repeated_stimuli: NonNegativeInt = 3
    repeats: PositiveInt = 5
    test_fraction: NonNegativeFloat = 0.1
    """Share of the trials that are unrepeated test trials, on top of the repeated ones."""
    validation_fraction: NonNegativeFloat = 0.1
    image_speed_px_s: NonNegativeFloat = 30.0
    """R.m.s. speed at which pictures wander over the screen."""
    noise_refresh_s: PositiveFloat = 0.2
    hidden_gain_sd: NonNegativeFloat = 0.2
    hidden_gain_time_constant_s: PositiveFloat = 15.0
    locomotion: LocomotionConfig = LocomotionConfig()
    indicator: IndicatorConfig = IndicatorConfig()
    cells: ImagedCellsConfig = ImagedCellsConfig()

    def sessions(self) -> tuple[SimulatedSession, ...]:
        """One per entry of `subjects`."""
        return numbered(self.subjects)

    def simulator(self) -> Simulator:
        """All sessions show the same pictures."""
        library = cache(lambda: PictureLibrary(self.seed))
        return lambda session: simulate_calcium_session(self, *session, library())

    def pictures(self) -> Mapping[str, str]:
        """The photographs come with other packages."""
        return {"photographs": photographs_digest()}


def simulate_calcium_session(
    config: CalciumConfig, session_id: str, subject: str, index: int, library: PictureLibrary
) -> ArrayRecording:
    """The session with this index; a pure function of the arguments.

    Behaviour goes on through the trials and differs between the repeats of a stimulus.

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
        generator=stream(config.seed, "calcium trial order", index),
    )
    n_frames = round(config.trial_s * config.sampling_rate_hz)
    video, trials = _shown(config, plans, n_frames, session_id, index, library)
    generator = stream(config.seed, "locomotion", index)
    n_bins, n_units = len(plans) * n_frames, config.units_per_session
    behaviour = simulate_locomotion(config.locomotion, n_bins, config.sampling_rate_hz, generator)
    loadings = [
        generator.uniform(*r, n_units) for r in (config.locomotion.running_gain, config.locomotion.pupil_gain)
    ]
    known_gain = behavioural_gain(behaviour, *loadings)
    unknown_gain = hidden_gain(
        n_bins,
        config.sampling_rate_hz,
        log_sd=config.hidden_gain_sd,
        time_constant_s=config.hidden_gain_time_constant_s,
        n_units=n_units,
        generator=stream(config.seed, "calcium hidden gain", index),
    )

    fast_hz = config.sampling_rate_hz * config.oversampling
    population = draw_population(
        config.cells,
        n_units,
        config.height,
        config.width,
        fast_hz,
        stream(config.seed, "calcium cells", index),
    )
    fast_video = video.repeat(config.oversampling, 1)
    # The field does not follow the eyes of a head-fixed animal, and no saccade is simulated.
    still = np.zeros((*fast_video.shape[:2], 2))
    in_training = np.array([plan.split == "train" for plan in plans])
    population, visual = population.calibrated(fast_video, still, in_training)
    del fast_video, still

    indicator = _Indicator(config, stream(config.seed, "indicator", index))
    at_rest = config.cells.spontaneous_fraction * population.target_rate_hz / fast_hz
    expected = np.empty((n_bins, n_units), np.float32)
    trace = np.empty_like(expected)
    mean_hz = np.zeros(n_units)
    for number in range(len(plans)):
        bins = slice(number * n_frames, (number + 1) * n_frames)
        rates = indicator.with_lead_in(visual[number], at_rest, known_gain[bins])
        mean_hz += rates[-len(visual[number]) :].sum(0) * fast_hz / (len(plans) * len(visual[number]))
        counts = indicator.generator.poisson(rates * indicator.gain_of_each_step(unknown_gain[bins]))
        expected[bins] = indicator.fluorescence(rates, n_frames)
        trace[bins] = indicator.with_noise(indicator.fluorescence(counts, n_frames))
    truth = population.truth() | {
        "mean_rate_hz": mean_hz.tolist(),
        "running_gain": loadings[0].tolist(),
        "pupil_gain": loadings[1].tolist(),
        "amplitude": indicator.amplitude.tolist(),
        "noise_sd": indicator.noise_sd.tolist(),
    }
    return ArrayRecording(
        spec=SessionSpec(
            id=session_id,
            subject=subject,
            unit_ids=unit_names(session_id, n_units),
            response_kind="trace",
            behaviour_names=BEHAVIOUR_NAMES,
        ),
        trials=trials,
        frames=video.reshape(-1, 1, config.height, config.width),
        responses=trace,
        valid=np.ones((n_bins, 1), bool),
        behaviour=behaviour,
        rates=expected,
        unit_truth=truth,
    )


class _Indicator:
    """Each unit's fluorescence, linear in its spikes, and the random numbers of one session."""

    def __init__(self, config: CalciumConfig, generator: np.random.Generator) -> None:
        self._config = config
        self._fast_hz = config.sampling_rate_hz * config.oversampling
        self._n_lead_in = round(_LEAD_IN_DECAYS * config.indicator.decay_s * self._fast_hz)
        self.generator = generator
        self.amplitude = generator.uniform(*config.indicator.amplitude, config.units_per_session)
        self.noise_sd = generator.uniform(*config.indicator.noise_sd, config.units_per_session)

    def with_lead_in(
        self,
        visual: Float64[np.ndarray, "steps units"],
        at_rest: Float64[np.ndarray, " units"],
        gain: Float64[np.ndarray, "time units"],
    ) -> Float64[np.ndarray, "all_steps units"]:
        """Expected spikes per step of the cells' clock, from the grey before the trial on."""
        before = np.broadcast_to(at_rest, (self._n_lead_in, len(at_rest)))
        return np.concatenate([before, visual.astype(np.float64)]) * self.gain_of_each_step(gain)

    def gain_of_each_step(
        self, gain: Float64[np.ndarray, "time units"]
    ) -> Float64[np.ndarray, "all_steps units"]:
        """A gain per bin, held for the steps of the bin; its first value before the trial."""
        before = np.broadcast_to(gain[0], (self._n_lead_in, gain.shape[1]))
        return np.concatenate([before, gain.repeat(self._config.oversampling, 0)])

    def fluorescence(self, spikes: np.ndarray, n_frames: int) -> Float64[np.ndarray, "time units"]:
        """dF/F averaged over each imaging bin; a bin knows the spikes up to its own end."""
        keep = np.exp(-1 / (self._config.indicator.decay_s * self._fast_hz))
        calcium = lfilter([1.0], [1.0, -keep], spikes.T.astype(np.float64))
        risen = low_pass(calcium, self._config.indicator.rise_s * self._fast_hz)[:, self._n_lead_in :]
        binned = risen.reshape(len(risen), n_frames, self._config.oversampling).mean(2)
        return binned.T * self.amplitude

    def with_noise(self, trace: Float64[np.ndarray, "time units"]) -> Float64[np.ndarray, "time units"]:
        return trace + self.generator.normal(0, 1, trace.shape) * self.noise_sd


def _shown(
    config: CalciumConfig,
    plans: list[PlannedTrial],
    n_frames: int,
    session_id: str,
    index: int,
    library: PictureLibrary,
) -> tuple[UInt8[np.ndarray, "trials time height width"], tuple[Trial, ...]]:
    screen = Screen(config.height, config.width, config.sampling_rate_hz, config.noise_refresh_s)
    video = np.empty((len(plans), n_frames, config.height, config.width), np.uint8)
    trials: list[Trial] = []
    shown: dict[int, int] = {}
    for position, plan in enumerate(plans):
        first = shown.setdefault(plan.stimulus, position)
        if first == position:
            generator = stream(config.seed, "calcium stimulus", index, plan.stimulus)
            path_px = wander(config.image_speed_px_s, 0.5, n_frames, config.sampling_rate_hz, generator)
            seen = screen.show(plan.kind, plan.split, path_px[:, 0], path_px[:, 1], library, generator)
            video[position] = to_uint8(seen.frames)
            video[position, : round(config.grey_s * config.sampling_rate_hz)] = GREY
            group = seen.picture or f"{plan.kind}/{index}-{plan.stimulus}"
        else:
            video[position], group = video[first], str(trials[first].group)
        start = position * n_frames
        stimulus_id = f"{session_id}/{plan.kind}-{plan.stimulus:03d}"
        trials.append(Trial(start, start + n_frames, plan.split, stimulus_id, group, plan.kind))
    return video, tuple(trials)
