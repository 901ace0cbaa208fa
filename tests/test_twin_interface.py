"""What a user of a twin in Python may hand it and gets back: nothing wrong in silence, nothing left changed."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from specs import data_spec
from visioncore.checkpoint import load_twin, save_twin
from visioncore.config import build_config
from visioncore.errors import ConfigError, DataError
from visioncore.model import InputClips, Twin, TwinConfig
from visioncore.model.arguments import PixelScale, checked_behaviour
from visioncore.model.cores.vivit import ViViT
from visioncore.provenance import Provenance
from visioncore.spec import DataSpec, Normalisation, SessionSpec

HEIGHT, WIDTH, N_BINS = 6, 8, 60
MODEL: dict[str, Any] = {
    "sampling_rate": 60,
    "convnet": {
        "type": "vivit",
        "params": {
            "embedding_dim": 8,
            "num_spatial_blocks": 1,
            "num_temporal_blocks": 1,
            "num_heads": 1,
            "head_dim": 8,
            "patch_size": [2, 2, 2],
            "ff_dropout": 0.5,
        },
    },
    "modulator": {"type": "convgru", "params": {"behaviour_dim": 2, "hidden_dim": 4}},
}
CONSTANTS = Normalisation(
    video_mean=(127.0,), video_std=(74.0,), behaviour_mean=(0.0, 5.0), behaviour_std=(1.0, 2.0)
)


def spec(rate_hz: float = 60.0, kind: Any = "counts") -> DataSpec:
    return data_spec(
        channels=1,
        height=HEIGHT,
        width=WIDTH,
        sampling_rate_hz=rate_hz,
        response_kind=kind,
        behaviour_names=("speed", "pupil"),
        sessions=(SessionSpec(id="a", subject="m", unit_ids=("1", "2")),),
    )


@pytest.fixture
def twin() -> Twin:
    torch.manual_seed(0)
    return build_config(TwinConfig, MODEL, "m").build(spec().with_constants(CONSTANTS))


def video(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (N_BINS, HEIGHT, WIDTH), dtype=np.uint8)


BEHAVIOUR = np.zeros((N_BINS, 2), np.float32)


def modes(twin: Twin) -> dict[str, bool]:
    return {name: module.training for name, module in twin.named_modules()}


def test_predict_leaves_every_part_in_the_mode_it_was_in(twin: Twin) -> None:
    twin.train()
    assert twin.trunk.core is not None
    twin.trunk.core.eval()  # frozen, as in transfer
    before = modes(twin)
    assert len(set(before.values())) == 2
    one = twin.predict(video(), BEHAVIOUR, session="a")
    assert modes(twin) == before
    np.testing.assert_array_equal(twin.predict(video(), BEHAVIOUR, session="a"), one)


def test_predict_leaves_every_part_in_its_mode_after_an_error_midway(
    twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visioncore.model.arguments.FRAMES_AT_ONCE", 10)
    twin.train()
    before = modes(twin)
    broken = video().astype(np.float32)
    broken[35] = np.nan
    with pytest.raises(DataError, match="frame 35 of the video"):
        twin.predict(broken, BEHAVIOUR, session="a")
    assert modes(twin) == before


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_behaviour_that_is_not_finite_is_refused_with_its_place(value: float, twin: Twin) -> None:
    blink = BEHAVIOUR.copy()
    blink[50, 1] = value
    with pytest.raises(DataError, match=r"behaviour 'pupil' is -?(nan|inf) at bin 50, one of 1 samples"):
        twin.predict(video(), blink, session="a")


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (None, "does not predict without it"),
        ("median", "expected an array"),
        ([[0.0, 0.0]] * N_BINS, "behaviour is list; expected a NumPy array"),
        (np.full((N_BINS, 2), "fast"), "behaviour is <U4; expected a NumPy array of numbers"),
        (BEHAVIOUR[:-1], r"behaviour has shape \(59, 2\), expected \(60, 2\)"),
        (BEHAVIOUR[:, 0], r"behaviour has shape \(60,\)"),
    ],
    ids=str,
)
def test_behaviour_of_another_kind_is_refused(behaviour: Any, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        checked_behaviour(behaviour, N_BINS, spec().with_constants(CONSTANTS).sessions[0])


@pytest.mark.parametrize(
    "other",
    [
        video().astype(np.float32) / 255,
        (video().astype(np.float32) - 127) / 74,
        video().astype(np.float32) * 256,
        video().astype(np.float32) + 1000,
    ],
    ids=["0 to 1", "z-scored", "16 bits", "shifted"],
)
def test_a_video_on_another_scale_is_said(other: np.ndarray, twin: Twin) -> None:
    with pytest.warns(
        UserWarning, match=r"the video has a mean of .* training data 127 and 74: give raw pixels"
    ):
        twin.predict(other, BEHAVIOUR, session="a")


@pytest.mark.parametrize(
    "usual",
    [
        video(),
        video().astype(np.int16),
        video()[:1],
        video()[:0],
        np.zeros_like(video()),
        np.full_like(video(), 255),
        np.full_like(video(), 127),
        (video() // 8 + 110).astype(np.uint8),
        (video() // 3).astype(np.uint8),
        (video() // 64 + 49).astype(np.uint8),
        np.where(video() == 255, video(), 0),
    ],
    ids=[
        *("as trained", "int16", "a frame", "nothing", "black", "white", "grey", "low contrast", "dark"),
        *("dark and low contrast", "few bright spots on black"),
    ],
)
def test_a_video_that_may_be_is_not_warned_of(usual: np.ndarray, twin: Twin) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twin.predict(usual, BEHAVIOUR[: len(usual)], session="a")


SPARSE, UNIT = ((128.0, 8.0), (0.5, 0.29))


@pytest.mark.parametrize(
    ("constants", "shown", "warns"),
    [
        (SPARSE, video(), False),
        (SPARSE, np.where(video() > 250, video(), 0), False),
        (SPARSE, np.zeros_like(video()), False),
        ((5.0, 10.0), np.full_like(video(), 255), False),
        (UNIT, video(), True),
        (UNIT, np.full_like(video(), 128), True),
        ((0.0, 1.0), video(), True),
        ((32768.0, 18900.0), video().astype(np.float32) / 255, True),
        ((127.0, 74.0), (video() > 127).astype(np.uint8), True),
    ],
    ids=[
        *("a movie after sparse noise", "spots on black after sparse noise", "black after sparse noise"),
        *(
            "white after dark scenes",
            "bytes after 0 to 1",
            "grey in bytes after 0 to 1",
            "bytes after z-scores",
        ),
        *("0 to 1 after 16 bits", "0 and 1 after bytes"),
    ],
)
def test_a_scale_is_told_from_contrast(
    constants: tuple[float, float], shown: np.ndarray, warns: bool, twin: Twin
) -> None:
    scale = PixelScale(Normalisation(video_mean=constants[:1], video_std=constants[1:]))
    scale.add(shown[:30, None])
    scale.add(shown[30:, None])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scale.warn(stacklevel=1)
    assert len(caught) == warns


def test_the_channel_on_another_scale_is_found() -> None:
    scale = PixelScale(Normalisation(video_mean=(127.0, 0.5), video_std=(74.0, 0.29)))
    scale.add(np.stack([video(), video()], axis=1))
    with pytest.warns(UserWarning, match=r"training data 0\.5 and 0\.29"):
        scale.warn(stacklevel=1)


@pytest.mark.slow
def test_the_warning_names_the_line_that_called_predict(saved: Path) -> None:
    # In a process of its own: the hook that checks shapes in tests puts frames of its own between the two.
    lines = [
        "import numpy, visioncore",
        f"twin = visioncore.load_twin({str(saved)!r})",
        f"video = numpy.random.default_rng(0).random(({N_BINS}, {HEIGHT}, {WIDTH}))",
        "twin.predict(video, 'mean', session='a')",
    ]
    script = saved.with_name("mine.py")
    script.write_text("\n".join(lines))
    told = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stderr
    assert "mine.py:4: UserWarning: the video has a mean of 0." in told


def test_the_scale_is_that_of_the_whole_video(twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dark beginning is no other scale."""
    monkeypatch.setattr("visioncore.model.arguments.FRAMES_AT_ONCE", 10)
    dark = video()
    dark[:10] //= 128
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twin.predict(dark, BEHAVIOUR, session="a")


def test_a_video_of_truth_values_is_refused(twin: Twin) -> None:
    with pytest.raises(DataError, match="video is bool; expected numbers"):
        twin.predict(video() > 127, BEHAVIOUR, session="a")


@pytest.mark.parametrize("sessions", [["b"], ["a", "b"], ["b", "a"]])
def test_an_unknown_session_is_one_error_alone_and_in_company(sessions: list[str], twin: Twin) -> None:
    clips = [
        InputClips(name, torch.zeros(1, 1, 4, HEIGHT, WIDTH, dtype=torch.uint8), torch.zeros(1, 4, 2))
        for name in sessions
    ]
    with pytest.raises(DataError, match="no session 'b' in this twin; it has a"):
        twin(clips)


# --- Rates that are not round -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [60000 / 1001, 30000 / 1001, 119.88012, 100.3])
def test_the_remedy_for_another_sampling_rate_works(rate_hz: float) -> None:
    config = build_config(TwinConfig, MODEL, "m")
    with pytest.raises(ConfigError, match=r"set model\.sampling_rate=") as caught:
        config.build(spec(rate_hz).with_constants(CONSTANTS))
    remedy = float(str(caught.value).partition("model.sampling_rate=")[2].split(" ")[0])
    build_config(TwinConfig, {**MODEL, "sampling_rate": remedy}, "m").build(
        spec(rate_hz).with_constants(CONSTANTS)
    )


@pytest.mark.parametrize(("written", "good"), [(59.94, True), (59.9401, True), (60, False), (59.9, False)])
def test_a_rate_written_with_a_few_digits_is_the_rate(written: float, good: bool) -> None:
    config = build_config(TwinConfig, {**MODEL, "sampling_rate": written}, "m")
    if good:
        config.build(spec(60000 / 1001).with_constants(CONSTANTS))
    else:
        with pytest.raises(ConfigError, match="made for sampling_rate"):
            config.build(spec(60000 / 1001).with_constants(CONSTANTS))


def test_the_remedy_for_a_nonlinearity_on_traces_works() -> None:
    output = {"type": "softplus", "params": {"sharpness": 10.0}}
    config = build_config(TwinConfig, {**MODEL, "output": output}, "m")
    with pytest.raises(ConfigError, match=r"set 'model\.output=\{type: softplus\}'"):
        config.build(spec(kind="trace").with_constants(CONSTANTS))
    build_config(TwinConfig, {**MODEL, "output": {"type": "softplus"}}, "m").build(
        spec(kind="trace").with_constants(CONSTANTS)
    )


# --- Overrides of a loaded twin -----------------------------------------------------------------------------------


@pytest.fixture
def saved(twin: Twin, tmp_path: Path) -> Path:
    save_twin(twin, tmp_path / "twin.safetensors", Provenance())
    return tmp_path / "twin.safetensors"


def test_attention_can_be_looked_at_as_the_message_says(saved: Path) -> None:
    fused = load_twin(saved)
    assert isinstance(fused.trunk.core, ViViT)
    frames = fused.trunk.adapter.look(torch.from_numpy(video())[None, None].float(), None, fused.sessions[0])
    with pytest.raises(ConfigError) as caught:
        fused.trunk.core.attention_weights(frames)
    assert "load_twin(path, overrides=['model.convnet.params.flash_attention=false'])" in str(caught.value)
    plain = load_twin(saved, overrides=["model.convnet.params.flash_attention=false"])
    assert isinstance(plain.trunk.core, ViViT)
    spatial, temporal = plain.trunk.core.attention_weights(frames)
    assert len(spatial) == len(temporal) == 1
    one, other = (t.predict(video(), BEHAVIOUR, session="a")[4:] for t in (fused, plain))
    np.testing.assert_allclose(other, one, rtol=1e-5)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.convnet.params.flash_atention=false", "did you mean 'flash_attention'"),
        ("model.convnet.params.flash_attention=maybe", "flash_attention"),
        ("model.convnet.params.temporal_window=2", "temporal_window.*would give other rates.*flash_attention"),
        ("model.convnet.params.embedding_dim=16", "embedding_dim"),
        ("training.seed=3", "override of 'training': expected a setting of the model"),
        ("flash_attention", "expected dotted.key=value"),
    ],
)  # fmt: skip
def test_an_override_that_would_change_a_rate_or_means_nothing_is_refused(
    override: str, expected: str, saved: Path
) -> None:
    with pytest.raises(ConfigError, match=expected):
        load_twin(saved, overrides=[override])


def test_overrides_that_are_no_list_are_refused(saved: Path) -> None:
    with pytest.raises(ConfigError, match=r"is the string .*expected a list"):
        load_twin(saved, overrides="model.convnet.params.flash_attention=false")


def test_no_clips_have_no_rates(twin: Twin) -> None:
    assert twin([]) == []


def test_behaviour_too_large_for_the_model_is_refused_without_a_warning(twin: Twin) -> None:
    behaviour = BEHAVIOUR.astype(np.float64)
    behaviour[3] = 1e300
    with pytest.raises(DataError, match=r"is 1e\+300 at bin 3.*not finite"):
        twin.predict(video(), behaviour, session="a")


def test_what_a_core_does_not_have_cannot_be_overridden(tmp_path: Path) -> None:
    model = {"sampling_rate": 60, "convnet": {"type": "none"}, "linear": {"type": "low_rank"}}
    plain = build_config(TwinConfig, model, "m").build(spec().with_constants(CONSTANTS))
    save_twin(plain, tmp_path / "twin.safetensors", Provenance())
    with pytest.raises(ConfigError, match=r"unknown key 'convnet\..*flash_attention'"):
        load_twin(tmp_path, overrides=["model.convnet.params.flash_attention=false"])
