"""What noise experiments share: running noise that never comes again, and a frozen stretch that is shown repeatedly."""

from abc import abstractmethod
from itertools import pairwise
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
from jaxtyping import Float32, UInt8
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from visioncore.errors import DataError
from visioncore.recording import ArrayRecording, Trial
from visioncore.simulation.base import PresetConfig, SimulatedSession, Simulator
from visioncore.simulation.drawn import unit_names
from visioncore.simulation.randomness import stream
from visioncore.spec import SessionSpec
from visioncore.stimuli import to_uint8


class NoiseConfig(PresetConfig):
    """The noise on the screen, and how many cells are under it. Must provide `VERSION`, `ONLY` and `population`."""

    ONLY: ClassVar[SimulatedSession]
    """The one session."""

    seed: NonNegativeInt = 0
    n_units: PositiveInt = 1
    minutes: PositiveFloat = 10.2
    sampling_rate_hz: PositiveFloat = 60.0
    """Of the screen's refresh, and of the bins."""
    height: PositiveInt = 16
    width: PositiveInt = 16
    noise: Literal["binary", "gaussian"] = "binary"
    stixel_px: PositiveInt = 1
    """Side of a square of the checkerboard; squares are cut at the right and lower edges where they do not fit."""
    refreshes_per_frame: PositiveInt = 1
    """How many bins a checkerboard stays."""
    contrast: PositiveFloat = 0.4
    """Distance from grey of binary noise, or standard deviation of Gaussian noise, which the screen clips."""
    frozen_s: PositiveFloat = 6.0
    repeats: NonNegativeInt = 10
    """Showings of the frozen noise, in equal distances; each is a test trial."""

    @model_validator(mode="after")
    def _binary_noise_fits_the_screen(self) -> Self:
        if self.noise == "binary" and self.contrast > 1:
            raise ValueError(f"contrast is {self.contrast:g}; a screen shows binary noise up to 1")
        return self

    @abstractmethod
    def population(self, generator: np.random.Generator) -> "NoisePopulation":
        """The cells under the screen, not calibrated yet."""

    def sessions(self) -> tuple[SimulatedSession, ...]:
        """The one session."""
        return (self.ONLY,)

    def simulator(self) -> Simulator:
        """Nothing is kept between sessions."""
        return lambda session: simulate_noise(self, session.id, session.subject)


class NoisePopulation(Protocol):
    """Cells that see the noise."""

    def calibrated(self, videos: list[UInt8[np.ndarray, "time height width"]]) -> "NoisePopulation":
        """The same cells with mean rates over these videos as they are to be."""
        ...

    def rates(self, video: UInt8[np.ndarray, "time height width"]) -> Float32[np.ndarray, "time units"]:
        """Expected counts per bin, the video starting from rest."""
        ...

    def truth(self) -> dict[str, list[Any]]:
        """Each unit's parameters as JSON values."""
        ...


def simulate_noise(config: NoiseConfig, session_id: str, subject: str) -> ArrayRecording:
    """The session; a pure function of the arguments.

    Running and frozen noise alternate. Running trials have no split of their own: time blocks with gaps between
    them are for the split settings to choose. Each trial follows a grey screen that is not recorded.

    Raises:
        DataError: the frozen noise leaves no time for running noise.
    """
    n_frozen = round(config.frozen_s * config.sampling_rate_hz)
    n_running = round(config.minutes * 60 * config.sampling_rate_hz) - config.repeats * n_frozen
    n_stretches = max(config.repeats, 1)
    if n_running < n_stretches:
        raise DataError(
            f"session '{session_id}': {config.repeats} times {config.frozen_s:g} s of frozen noise leave nothing of "
            f"{config.minutes:g} minutes; raise minutes or lower repeats or frozen_s"
        )
    edges = [n_running * k // n_stretches for k in range(n_stretches + 1)]
    running = [
        _noise(config, stop - start, stream(config.seed, "running noise", k))
        for k, (start, stop) in enumerate(pairwise(edges))
    ]
    population = config.population(stream(config.seed, "noise cells")).calibrated(running)
    frozen = _noise(config, n_frozen, stream(config.seed, "frozen noise"))
    frozen_rates = population.rates(frozen)

    videos, rates, trials = [], [], []
    end = 0
    for video in running:
        videos.append(video)
        rates.append(population.rates(video))
        trials.append(Trial(end, end + len(video), kind="running"))
        end += len(video)
        if config.repeats:
            videos.append(frozen)
            rates.append(frozen_rates)
            trials.append(Trial(end, end + n_frozen, "test", f"{session_id}/frozen", kind="frozen"))
            end += n_frozen
    expected = np.concatenate(rates)
    mean_hz = expected.mean(0, dtype=np.float64) * config.sampling_rate_hz
    return ArrayRecording(
        spec=SessionSpec(id=session_id, subject=subject, unit_ids=unit_names(session_id, config.n_units)),
        trials=tuple(trials),
        frames=np.concatenate(videos)[:, None],
        responses=stream(config.seed, "noise spikes").poisson(expected),
        valid=np.ones((end, 1), bool),
        rates=expected,
        unit_truth=population.truth() | {"mean_rate_hz": mean_hz.tolist()},
    )


def _noise(
    config: NoiseConfig, n_bins: int, generator: np.random.Generator
) -> UInt8[np.ndarray, "time height width"]:
    """Independent squares, redrawn every `refreshes_per_frame` bins."""
    n_frames = -(-n_bins // config.refreshes_per_frame)
    shape = (n_frames, -(-config.height // config.stixel_px), -(-config.width // config.stixel_px))
    if config.noise == "binary":
        contrast = np.where(generator.random(shape, np.float32) < 0.5, -config.contrast, config.contrast)
    else:
        contrast = config.contrast * generator.standard_normal(shape, np.float32)
    levels = to_uint8(contrast)
    levels = levels.repeat(config.refreshes_per_frame, 0)[:n_bins]
    return levels.repeat(config.stixel_px, 1).repeat(config.stixel_px, 2)[:, : config.height, : config.width]
