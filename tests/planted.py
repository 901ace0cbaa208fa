"""Simulated cells as a predictor: units whose tuning is known."""

import numpy as np

from predictors import Script, ScriptedPredictor
from specs import data_spec
from visioncore.lab import Display, Rig
from visioncore.simulation.cells import CellsConfig, Population, draw_population
from visioncore.spec import Geometry, Normalisation, ResponseKind, SessionSpec

HEIGHT, WIDTH, RATE_HZ, DEGREES_PER_PIXEL = 24, 32, 60.0, 0.1


def rig_of(script: Script, n_units: int, response_kind: ResponseKind = "counts") -> Rig:
    """A rig that shows stimuli to units that a script speaks for."""
    spec = data_spec(
        height=HEIGHT,
        width=WIDTH,
        sampling_rate_hz=RATE_HZ,
        response_kind=response_kind,
        geometry=Geometry(degrees_per_pixel=DEGREES_PER_PIXEL),
        sessions=(SessionSpec(id="planted", subject="m1", unit_ids=tuple(f"u{k}" for k in range(n_units))),),
        constants=Normalisation(video_mean=(127.0,), video_std=(50.0,)),
    )
    return Rig(ScriptedPredictor(spec, script), Display.of(spec), rest_s=0.5)


def planted_cells(n_units: int = 30, seed: int = 0) -> tuple[Rig, Population]:
    """A rig that shows stimuli to simulated V1 cells, and the cells; their gains are set by coarse noise."""
    drawn = draw_population(CellsConfig(), n_units, HEIGHT, WIDTH, RATE_HZ, np.random.default_rng(seed))
    noise = np.random.default_rng(seed + 1).uniform(-1, 1, (8, 12, HEIGHT // 4, WIDTH // 4))
    video = np.rint(127 + 127 * np.kron(noise, np.ones((1, 6, 4, 4)))).astype(np.uint8)
    cells, _ = drawn.calibrated(video, np.zeros((*video.shape[:2], 2)), np.ones(len(video), bool))

    def rates(session: str, shown: np.ndarray, behaviour: object) -> np.ndarray:
        return cells.rates(shown[None, :, 0], np.zeros((1, len(shown), 2)))[0]

    return rig_of(rates, n_units), cells
