"""`suggest`: the shipped recipe in the frames, pixels and units of any data."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from mice import config, write_images
from specs import data_spec
from visioncore.checkpoint import load_twin
from visioncore.config import apply_overrides, build_config, load_config
from visioncore.data import build_data_config, prepare
from visioncore.data.inspection.written import as_yaml
from visioncore.errors import ConfigError
from visioncore.evaluation import evaluate
from visioncore.model import TwinConfig
from visioncore.model.cores.vivit import ViViTConfig
from visioncore.spec import Normalisation, SessionSpec
from visioncore.training.experiment import Experiment, TrainingConfig
from visioncore.training.run import train
from visioncore.training.suggestion import CORES, CoreName, Facts, model_for, suggest, training_for

CONFIGS = Path(__file__).parents[2] / "experiments"
DEFAULT = Facts(
    rate_hz=240.0,
    channels=1,
    height=36,
    width=64,
    kind="counts",
    has_behaviour=True,
    n_units=96,
    n_sessions=3,
    train_minutes=35.0,
    validation_minutes=4.0,
    block_s=20.0,
    burn_in_s=0.25,
)
OTHERS = (
    DEFAULT,
    replace(DEFAULT, rate_hz=29.97, kind="trace", burn_in_s=1.5),
    replace(DEFAULT, rate_hz=60.0, height=16, width=16, has_behaviour=False),
    replace(DEFAULT, rate_hz=500.0, height=51, width=51, channels=3),
    replace(DEFAULT, rate_hz=8.0, height=12, width=90, kind="trace", burn_in_s=0.0, block_s=4.0),
    replace(DEFAULT, rate_hz=75.0, height=3, width=5),
    replace(DEFAULT, rate_hz=None, kind="trace", burn_in_s=0.0, block_s=1.0),
    replace(DEFAULT, rate_hz=None, burn_in_s=0.0, block_s=1.0, has_behaviour=False),
)


def test_for_data_like_the_default_the_suggestion_is_the_shipped_recipe() -> None:
    shipped = load_config(TwinConfig, CONFIGS / "model_configs" / "vivit_best.yaml")
    suggested = build_config(TwinConfig, model_for(DEFAULT, "vivit").content, "suggested")
    assert suggested.model_copy(update={"linear": shipped.linear}) == shipped

    shipped_training = load_config(TrainingConfig, CONFIGS / "training_configs" / "best.yaml")
    training = build_config(TrainingConfig, training_for(DEFAULT, 8.0, "vivit").content, "suggested")
    assert training.model_copy(update={"length": shipped_training.length}) == shipped_training


def test_what_is_in_milliseconds_stays_so_at_any_rate() -> None:
    for rate_hz in (30.0, 59.94, 60.0, 75.0, 85.0, 120.0, 144.0, 240.0, 1000.0):
        config = build_config(
            TwinConfig, model_for(replace(DEFAULT, rate_hz=rate_hz), "vivit").content, "suggested"
        )
        assert isinstance(config.convnet, ViViTConfig)
        assert config.convnet.patch_size is not None
        assert config.convnet.stride is not None
        frames, stride = config.convnet.patch_size[0], config.convnet.stride[0]
        assert frames / rate_hz == pytest.approx(0.2, abs=0.02)
        assert stride / rate_hz == pytest.approx(1 / 30, rel=0.25)
        assert frames % config.convnet.frames_per_tap == 0


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("facts", OTHERS, ids=lambda f: f"{f.rate_hz}Hz-{f.height}x{f.width}-{f.kind}")
def test_a_suggestion_builds_and_its_rates_have_a_gradient(facts: Facts, core: CoreName) -> None:
    content = model_for(facts, core).content
    names = ("running",) if facts.has_behaviour else ()
    spec = data_spec(
        height=facts.height,
        width=facts.width,
        sampling_rate_hz=facts.rate_hz,
        channels=facts.channels,
        response_kind=facts.kind,
        behaviour_names=names,
        sessions=(SessionSpec(id="one", subject="a", unit_ids=("0", "1")),),
        constants=Normalisation(
            video_mean=(127.0,) * facts.channels,
            video_std=(50.0,) * facts.channels,
            behaviour_mean=(0.0,) * len(names),
            behaviour_std=(1.0,) * len(names),
        ),
    )
    twin = build_config(TwinConfig, content, "suggested").build(spec)
    frames = 1 if facts.rate_hz is None else 4 + 2 * max(1, round(facts.rate_hz / 30))
    video = torch.randint(0, 255, (1, facts.channels, frames, facts.height, facts.width), dtype=torch.uint8)
    behaviour = torch.zeros(1, frames, 1) if names else None
    rates = twin.rates(video, behaviour, session="one")
    assert rates.shape == (1, frames, 2)
    rates.sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in twin.parameters())
    build_config(TrainingConfig, training_for(facts, 8.0, core).content, "suggested")


def test_slow_units_get_long_tubelets() -> None:
    slow, fast = DEFAULT.tubelet(0.4), DEFAULT.tubelet(0.2)
    assert slow[0] == 2 * fast[0]
    assert slow[1:] == fast[1:]


def test_frames_of_a_pixel_or_two_have_no_tubelets_and_the_error_says_what_has_none() -> None:
    dots = replace(DEFAULT, height=1, width=2)
    with pytest.raises(ConfigError, match=r"1 x 2 pixels.*--model ln"):
        model_for(dots, "vivit")
    assert model_for(dots, "ln").content["convnet"] == {"type": "none"}


def test_a_written_suggestion_is_what_was_suggested_and_has_its_reasons(tmp_path: Path) -> None:
    suggested = model_for(DEFAULT, "vivit")
    path = tmp_path / "model.yaml"
    path.write_text(as_yaml(suggested.content, suggested.comments, "Suggested."))
    assert load_config(TwinConfig, path) == build_config(TwinConfig, suggested.content, "suggested")
    for reason in suggested.comments.values():
        assert reason in path.read_text()


@pytest.mark.parametrize("n_sessions", [1, 2, 3, 10])
@pytest.mark.parametrize("validation_minutes", [0.3, 1.4, 4.0, 12.0])
@pytest.mark.parametrize("kind", ["counts", "trace"])
def test_validation_takes_a_small_part_of_the_training(
    n_sessions: int, validation_minutes: float, kind: Literal["counts", "trace"]
) -> None:
    facts = replace(DEFAULT, kind=kind, n_sessions=n_sessions, validation_minutes=validation_minutes)
    training = build_config(TrainingConfig, training_for(facts, 8.0, "vivit").content, "suggested")
    validated = min(training.validation_minutes or validation_minutes, validation_minutes)
    assert validated >= min(0.5, validation_minutes)
    assert training.steps_per_epoch is not None
    trained = training.steps_per_epoch * training.clip_frames / facts.bins_per_s / 60
    assert n_sessions * validated < max(0.35 * trained, n_sessions * 0.5 + 1e-9)


def test_static_images_are_trained_on_as_suggested_and_counted_as_images(tmp_path: Path) -> None:
    raw = config(write_images(tmp_path))
    data = build_data_config(raw, "test", tmp_path)
    store = prepare(data, tmp_path)
    suggestion = suggest(store, data, tmp_path, 0.1, rehearse=False)
    assert suggestion.notes[0].startswith("26 images to train on, 3 units")
    made = {"model": suggestion.model.content, "data": raw, "training": suggestion.training.content}
    overrides = ["training.steps_per_epoch=2", "training.length={type: steps, params: {number: 4}}"]
    experiment = Experiment(apply_overrides(made, overrides), "t", tmp_path)
    twin = load_twin(train(experiment, tmp_path / "run"))
    assert evaluate(twin, store, progress=False).settings.bin_ms is None
