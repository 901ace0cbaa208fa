"""Receptive fields of planted cells are found: in the recording, and in a twin that is made of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from known_cells import (
    CENTRES,
    LAGS,
    RATE_HZ,
    SIGMA,
    Cells,
    correlation,
    kernel,
    linear_twin,
    pair,
    record,
    vivit_twin,
)
from visioncore.data.store import SessionStore
from visioncore.lab import Rig
from visioncore.lab.receptive_fields import Kernels, ReceptiveFields, measure, receptive_fields
from visioncore.lab.receptive_fields.covariance import triggered_covariance
from visioncore.lab.receptive_fields.find import gradients_of
from visioncore.lab.receptive_fields.triggered import decorrelated, significance, triggered_average
from visioncore.lab.receptive_fields.watched import Watched
from visioncore.lab.receptive_fields.white_noise import effective_average, without_noise
from visioncore.model import Ensemble

LINEAR, ENERGY, NONE = range(3)


@pytest.fixture(scope="module")
def white(tmp_path_factory: pytest.TempPathFactory) -> Cells:
    return record(tmp_path_factory.mktemp("white"), "white")


@pytest.fixture(scope="module")
def natural(tmp_path_factory: pytest.TempPathFactory) -> Cells:
    return record(tmp_path_factory.mktemp("natural"), "natural")


def watched_of(cells: Cells, responses: str = "recorded") -> Watched:
    session: SessionStore = cells.store.sessions["one"]
    found = Watched.of(
        session,
        session.blocks_in("train"),
        RATE_HZ,
        lambda block: (
            session.responses(block.start, block.stop)
            if responses == "recorded"
            else cells.rates[block.start : block.stop].astype(np.float32)
        ),
        burn_in_bins=15,
        window_s=LAGS / RATE_HZ,
    )
    assert found is not None
    return found


def test_the_triggered_average_of_white_noise_is_the_linear_cells_kernel(white: Cells) -> None:
    found = triggered_average(watched_of(white))
    assert correlation(found.values[LINEAR], kernel()) > 0.6
    assert abs(correlation(found.values[ENERGY], kernel())) < 0.1
    fields = measure(found)
    assert fields.found.tolist() == [True, False, False]
    assert np.linalg.norm(fields.centre_px[LINEAR] - CENTRES[LINEAR]) < 0.5
    assert fields.latency_ms[LINEAR] == pytest.approx(50, abs=9)


def test_only_an_average_that_shuffled_spikes_do_not_give_is_significant(white: Cells) -> None:
    p = significance(watched_of(white), np.random.default_rng(0))
    assert p[LINEAR] == 1 / 40
    assert min(p[ENERGY], p[NONE]) > 0.05


def test_the_stimulus_own_correlations_are_taken_out(natural: Cells) -> None:
    watched = watched_of(natural)
    blurred, kernels = triggered_average(watched), decorrelated(watched)
    assert kernels is not None
    assert correlation(kernels.values[LINEAR], kernel()) > correlation(blurred.values[LINEAR], kernel()) + 0.1
    # Beside other responses to the same frames it is the same; those without spiking noise are nearer to the kernel.
    rates = watched_of(natural, "rates")
    both = replace(
        watched,
        responses=np.concatenate((watched.responses, rates.responses), axis=1),
        weight=np.concatenate((watched.weight, rates.weight), axis=1),
    )
    together = decorrelated(both, kinds=2)
    assert together is not None
    recorded, predicted = np.split(together.values, 2)
    np.testing.assert_allclose(recorded, kernels.values, atol=1e-5)
    assert correlation(predicted[LINEAR], kernel()) > correlation(kernels.values[LINEAR], kernel())
    # Its ridge is the recorded one's, larger than what would be best for rates alone.
    alone = decorrelated(rates)
    assert alone is not None
    assert np.square(predicted[LINEAR]).sum() < np.square(alone.values[LINEAR]).sum()


@pytest.mark.parametrize("frames", ["white", "natural"])
def test_covariance_finds_the_two_axes_of_an_energy_cell(frames: str, request: pytest.FixtureRequest) -> None:
    watched = watched_of(request.getfixturevalue(frames))
    axes = [
        triggered_covariance(watched, [unit], np.array(CENTRES[unit]), SIGMA, np.random.default_rng(0))[0]
        for unit in (ENERGY, NONE)
    ]
    energy, none = axes
    assert energy is not None
    assert none is not None
    assert (energy.excitatory, none.excitatory, none.suppressive) == (2, 0, 0)
    # Each is a mixture of the two Gabors, whichever.
    top, left = energy.corner
    rows, columns = energy.kernels.shape[2:]
    gabors = pair(ENERGY)[:, top : top + rows, left : left + columns].reshape(2, -1)
    basis, _ = np.linalg.qr(gabors.T)
    for own in energy.kernels[:2]:
        strongest = own[int(np.square(own).sum((1, 2)).argmax())].ravel()
        assert np.linalg.norm(basis.T @ strongest) / np.linalg.norm(strongest) > 0.75


def test_a_linear_cell_has_its_average_and_no_axis_beside_it(white: Cells) -> None:
    (found,) = triggered_covariance(
        watched_of(white), [LINEAR], np.array(CENTRES[LINEAR]), SIGMA, np.random.default_rng(0)
    )
    assert found is not None
    assert found.excitatory == 0


def test_bins_that_do_not_count_change_nothing(white: Cells) -> None:
    watched = watched_of(white)
    spoilt = watched.responses.copy()
    spoilt[watched.weight[:, 0] == 0] = 1000
    assert (watched.weight == 0).any()
    np.testing.assert_allclose(
        triggered_average(replace(watched, responses=spoilt)).values,
        triggered_average(watched).values,
        atol=1e-6,
    )


def test_a_twins_average_under_white_noise_is_its_filter(white: Cells) -> None:
    rig = Rig.of(linear_twin(white.store), white.store)
    found = effective_average(rig, np.random.default_rng(0), minutes=12.0)
    assert (found.raw.px, found.raw.lag_s) == (1, 1 / 60)
    raw, clean = (correlation(each.values[LINEAR, :LAGS], kernel()) for each in (found.raw, found.clean))
    assert clean > raw
    assert clean > 0.92
    fields = measure(found.raw)
    assert fields.found.tolist() == [True, False, False]
    assert np.linalg.norm(fields.centre_px[LINEAR] - CENTRES[LINEAR]) < 0.5
    # A rate that nothing moves has no kernel at all, and no noise.
    assert np.abs(found.raw.values[NONE]).max() < 1e-3 * np.abs(found.raw.values[LINEAR]).max()


def test_noise_that_is_slow_is_left_out_of_an_average_and_what_two_profiles_make_stays() -> None:
    rng = np.random.default_rng(0)
    smoothing = 0.9 ** np.abs(np.arange(15)[:, None] - np.arange(15))
    noise = np.linalg.cholesky(smoothing) @ rng.standard_normal((15, 18 * 32))
    signal = np.zeros((15, 18, 32))
    signal[2:5, 8:11, 10:14], signal[5:9, 8:11, 14:18] = 8.0, -6.0
    clean = without_noise((noise.reshape(signal.shape) + signal).astype(np.float32), smoothing[0])
    assert np.linalg.matrix_rank(clean.reshape(15, -1), tol=1e-2) == 2
    assert correlation(clean, signal) > 0.9
    assert (
        np.linalg.matrix_rank(
            without_noise(noise.reshape(15, 18, 32).astype(np.float32), smoothing[0]).reshape(15, -1),
            tol=1e-2,
        )
        == 1
    )


@pytest.fixture(scope="module")
def everything(natural: Cells) -> ReceptiveFields:
    return receptive_fields(Rig.of(linear_twin(natural.store), natural.store), natural.store)


def test_all_kernels_stand_side_by_side(everything: ReceptiveFields) -> None:
    found = everything
    assert set(found.kinds) == {"recorded_sta", "recorded", "twin_sta", "twin", "gradient", "white_noise"}
    gradient = found.kinds["gradient"].kernels
    assert correlation(gradient.values[LINEAR, :LAGS], kernel()) > 0.99
    assert found.similarity("recorded_sta", "twin_sta")[LINEAR] > 0.9
    row = found.rows()[LINEAR]
    # (row 6, column 8) of 16 x 24 pixels of 0.1 degrees, y upwards.
    assert row["gradient_x_deg"] == pytest.approx(-0.4, abs=0.03)
    assert row["gradient_y_deg"] == pytest.approx(0.2, abs=0.03)
    assert row["gradient_latency_ms"] == pytest.approx(50, abs=9)
    assert row["gradient_separability"] > 0.97
    assert row["recorded_p"] == 1 / 40
    assert found.rows()[NONE]["gradient_x_deg"] is None
    assert (
        found.rows()[ENERGY]["recorded_excitatory_axes"] is None
    )  # the twin has no field there to look around


def test_it_is_kept_with_its_figures_and_says_what_was_assumed(
    everything: ReceptiveFields, tmp_path: Path
) -> None:
    path = everything.write(tmp_path)
    assert "under white noise, no behaviour: this twin does not use any" in path.read_text()
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".npz", ".csv", ".png"}
    with np.load(tmp_path / "receptive_fields.npz") as kept:
        np.testing.assert_array_equal(kept["gradient"], everything.kinds["gradient"].kernels.values)
        assert kept["units"].tolist() == ["one:linear", "one:energy", "one:none"]
    assert "of 3 units have a recorded triggered average" in " ".join(everything.sentences())


def test_without_a_recording_there_is_white_noise_alone(white: Cells) -> None:
    found = receptive_fields(Rig.of(linear_twin(white.store), white.store, ["linear"]))
    assert set(found.kinds) == {"white_noise"}
    assert found.axes == {}
    assert np.isnan(found.p).all()


def test_an_ensembles_gradient_is_its_members_mean(white: Cells) -> None:
    one, other = (vivit_twin(white.store, seed) for seed in (0, 1))
    session = white.store.sessions["one"]
    alone, alone_too, together = (
        gradients_of(Rig.of(twin, white.store), session, ["linear"], np.random.default_rng(0), moments=6)
        for twin in (one, other, Ensemble([one, other]))
    )
    assert alone is not None
    assert alone_too is not None
    assert together is not None
    assert correlation(together.values, alone.values) > 0.3
    assert np.abs(together.values).max() < np.abs(alone.values).max() + np.abs(alone_too.values).max()


@pytest.mark.parametrize(("row", "column", "sigma"), [(8.3, 12.1, 1.4), (5.0, 18.5, 2.5)])
def test_a_gaussian_is_measured_where_it_is(row: float, column: float, sigma: float) -> None:
    r, c = np.mgrid[:20, :30] + 0.5
    shape = np.exp(-((r - row) ** 2 + (c - column) ** 2) / (2 * sigma**2))
    noise = 0.01 * np.random.default_rng(0).standard_normal((2, 8, 20, 30))
    course = np.array([0, 0.2, 1, 0.2, 0, 0, 0, 0])[:, None, None]
    found = measure(Kernels((course * shape + noise).astype(np.float32), 0.01, 2))
    np.testing.assert_allclose(found.centre_px[0], (2 * row, 2 * column), atol=0.2)
    assert found.sigma_px[0] == pytest.approx(2 * sigma, rel=0.08)
    assert found.latency_ms[0] == pytest.approx(20, abs=1)
    assert found.separability[0] > 0.95


def test_noise_has_no_field_and_two_courses_are_not_separable() -> None:
    rng = np.random.default_rng(0)
    noise = Kernels(rng.standard_normal((20, 10, 16, 24)).astype(np.float32), 0.01, 1)
    assert measure(noise).found.sum() == 0
    r, c = np.mgrid[:16, :24] + 0.5
    blob = np.exp(-((r - 8) ** 2 + (c - 12) ** 2) / 8)
    moving = np.stack([blob * np.cos(c + 0.8 * lag) for lag in range(8)])[None]
    assert measure(Kernels(moving.astype(np.float32), 0.01, 1)).separability[0] < 0.7
