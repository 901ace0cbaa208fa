"""Contracts C2, N5: a twin is given the data that it was built for, behaviour too."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from twins import HEIGHT, NORMALISATION, SPEC, WIDTH, make_inputs, make_twin
from visioncore.errors import ConfigError, DataError
from visioncore.model.modulators import (
    ConvGRUConfig,
    NoModulatorConfig,
)
from visioncore.spec import DataSpec


def with_sampling(spec: DataSpec, **changes: Any) -> DataSpec:
    return spec.model_copy(update={"sampling": spec.sampling.model_copy(update=changes)})


def without_behaviour(spec: DataSpec) -> DataSpec:
    sessions = tuple(session.model_copy(update={"behaviour_names": ()}) for session in spec.sessions)
    return spec.model_copy(update={"sessions": sessions})


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda spec: with_sampling(spec, rate_hz=30.0), "model.sampling_rate=30"),
        (lambda spec: with_sampling(spec, channels=2), "model.initial_input_channels=2"),
        (without_behaviour, r"model\.modulator=\{type: none\}"),
    ],
)
def test_a_config_that_disagrees_with_the_data_is_refused_with_the_remedy(
    change: Callable[[DataSpec], DataSpec], remedy: str
) -> None:
    twin = make_twin()
    with pytest.raises(ConfigError, match=remedy):
        twin.config.build(change(SPEC).with_constants(NORMALISATION))


def test_a_twin_built_with_behaviour_does_not_predict_without_it() -> None:
    twin = make_twin(modulator=ConvGRUConfig.tiny())
    video = make_inputs(batch=1)[0][0, 0].numpy()
    with pytest.raises(DataError, match="behaviour='mean'"):
        twin.predict(video, session="one")
    with pytest.raises(DataError, match="behaviour"):
        twin.rates(torch.from_numpy(video)[None, None], session="one")
    mean = np.tile(np.array([1.0, 0.0, 2.0], np.float32), (len(video), 1))
    np.testing.assert_array_equal(
        twin.predict(video, "mean", session="one"), twin.predict(video, mean, session="one")
    )


def test_predict_walks_through_a_long_video_in_bounded_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = make_twin(modulator=NoModulatorConfig())
    video = make_inputs(50, batch=1)[0][0, 0].numpy()
    whole = twin.predict(video, session="two/β")
    monkeypatch.setattr("visioncore.model.arguments.FRAMES_AT_ONCE", 7)
    np.testing.assert_allclose(twin.predict(video, session="two/β"), whole, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        twin.predict(video, session="two/β", rate="hz"), whole * 120, rtol=1e-4, atol=1e-4
    )
    assert np.isnan(whole[: twin.stride - 1]).all()


def test_a_video_that_is_not_finite_is_refused_and_a_read_only_one_is_fine() -> None:
    twin = make_twin(modulator=NoModulatorConfig())
    video = make_inputs(6, batch=1)[0][0, 0].numpy().copy()
    video.flags.writeable = False
    assert np.isfinite(twin.predict(video, session="one")[twin.stride :]).all()
    broken = video.astype(np.float64)
    broken[4, 0, 0] = np.nan
    with pytest.raises(DataError, match="frame 4 of the video"):
        twin.predict(broken, session="one")


@pytest.mark.parametrize("shape", [(5, WIDTH, HEIGHT), (5, 2, HEIGHT, WIDTH), (HEIGHT, WIDTH)])
def test_a_video_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    twin = make_twin(modulator=NoModulatorConfig())
    with pytest.raises(DataError, match="video has shape"):
        twin.predict(np.zeros(shape, np.uint8), session="one")
    with pytest.raises(DataError, match="no session 'three'"):
        twin.predict(np.zeros((5, HEIGHT, WIDTH), np.uint8), session="three")
