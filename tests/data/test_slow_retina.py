"""The simulated slow retina: what lasts how long, what drives which cell, and that time runs one way."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from specs import fingerprints_of, sessions_of
from visioncore.config import build_config
from visioncore.data import load_data_config
from visioncore.errors import ConfigError
from visioncore.recording import ArrayRecording
from visioncore.simulation.randomness import stream
from visioncore.simulation.retinal_cells import (
    RetinalCellClass,
    RetinalCellsConfig,
    RetinalPopulation,
    draw_retinal_population,
)
from visioncore.simulation.slow_retina import SlowRetinaConfig
from visioncore.stimuli import GREY

CLASSES: tuple[RetinalCellClass, ...] = get_args(RetinalCellClass)
DATA_CONFIGS = Path(__file__).parents[2] / "experiments" / "data_configs"


def noise(n_bins: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([76, 178], np.uint8), (n_bins, 16, 18))


def population(classes: tuple[RetinalCellClass, ...] = CLASSES, **changes: Any) -> RetinalPopulation:
    config = RetinalCellsConfig(classes=classes, **changes)
    drawn = draw_retinal_population(config, len(classes), 16, 18, 60.0, stream(2, "cells"))
    return drawn.calibrated([noise(3000)])


def session_of(**changes: Any) -> ArrayRecording:
    small = {"minutes": 1.0, "height": 14, "width": 16, "frozen_s": 2.0, "repeats": 4}
    (session,) = sessions_of(SlowRetinaConfig(**(small | changes)).build(Path()))
    assert isinstance(session, ArrayRecording)
    return session


def test_the_same_seed_gives_the_same_recording_and_another_seed_another() -> None:
    first, again, other = session_of(), session_of(), session_of(seed=1)
    assert np.array_equal(first.frames, again.frames)
    assert np.array_equal(first.responses, again.responses)
    assert first.unit_truth == again.unit_truth
    assert not np.array_equal(first.responses, other.responses)


@pytest.mark.parametrize("changed", [0, 1, 50, 119])
def test_a_later_frame_never_changes_an_earlier_rate(changed: int) -> None:
    cells, video = population(), noise(120, seed=3)
    before = cells.rates(video)
    video[changed] = 254 - video[changed]
    after = cells.rates(video)
    assert np.array_equal(before[:changed], after[:changed])
    assert (before[changed:] != after[changed:]).any(0).all()


def test_kernels_last_a_quarter_to_two_fifths_of_a_second_and_are_biphasic() -> None:
    config = RetinalCellsConfig()
    cells = draw_retinal_population(config, 60, 36, 64, 60.0, stream(0, "cells"))
    lasts = np.array(cells.truth()["kernel_s"])
    assert lasts.min() > 0.22
    assert lasts.max() < 0.42
    for unit in range(60):
        kernel = cells.kernel(unit, 60)
        assert kernel.max() > 0
        assert kernel.min() < -0.1 * kernel.max()
        assert 0.04 < kernel.argmax() / 60 < 0.12


def test_on_cells_like_light_off_cells_dark_and_on_off_cells_both() -> None:
    cells = population()
    for unit, name in enumerate(cells.cell_class):
        row, column = (round(cells.drawn[key][unit]) for key in ("rf_row_px", "rf_column_px"))
        answers = []
        for level in (254, 0):
            video = np.full((60, 16, 18), GREY, np.uint8)
            video[5:15, row - 2 : row + 3, column - 2 : column + 3] = level
            rates = cells.rates(video)[:, unit]
            answers.append(rates[9:15].max() / rates[0])
        light, dark = answers
        if name.startswith("on_off"):
            assert min(light, dark) > 1.05, name
        elif name.startswith("on"):
            assert light > 1.5 * dark, name
        else:
            assert dark > 1.5 * light, name


def test_mean_rates_are_as_drawn_and_truth_names_every_unit() -> None:
    session = session_of(n_units=6, cells=RetinalCellsConfig(classes=CLASSES), minutes=3.0)
    rates = np.asarray(session.rates, np.float64)
    running = np.concatenate([np.arange(t.start, t.stop) for t in session.trials if t.kind == "running"])
    drawn = np.array(session.unit_truth["target_rate_hz"])
    np.testing.assert_allclose(rates[running].mean(0) * 60, drawn, rtol=0.05)
    assert session.unit_truth["cell_class"] == list(CLASSES)
    assert all(len(values) == 6 for values in session.unit_truth.values())


def test_the_shipped_recordings_are_both_ends_of_the_range() -> None:
    small, large = (
        load_data_config(DATA_CONFIGS / f"slow_retina_{size}.yaml").recordings[0].source
        for size in ("small", "large")
    )
    assert isinstance(small, SlowRetinaConfig)
    assert isinstance(large, SlowRetinaConfig)
    assert (small.n_units, small.minutes) == (1, 8.0)
    assert (large.n_units, large.minutes) == (20, 25.0)
    assert set(large.cells.classes) == set(CLASSES)
    assert fingerprints_of(small.build(Path())) != fingerprints_of(large.build(Path()))


def test_mistakes_in_the_config_are_named() -> None:
    for params, expected in (
        ({"cells": {"power": [2.0, 1.0]}}, "power must ascend"),
        ({"cells": {"classes": ["onn"]}}, "classes"),
    ):
        with pytest.raises(ConfigError, match=expected):
            build_config(SlowRetinaConfig, {"type": "slow_retina", **params}, "here")
