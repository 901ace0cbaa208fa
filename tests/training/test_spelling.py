"""Training YAMLs, overrides and records of before are read as they were, or refused with what to say now."""

import json
from pathlib import Path
from typing import Any

import pytest

from visioncore.config import build_config, dump_config, read_yaml
from visioncore.errors import ConfigError
from visioncore.training.experiment import TrainingConfig, read_experiment
from visioncore.training.lengths import EpochsConfig, MinutesConfig, PassesConfig, StepsConfig
from visioncore.training.machine import MachineConfig
from visioncore.training.optimisers import AdamWConfig, MuonConfig
from visioncore.training.plan import RunPlan
from visioncore.training.spelling import LENGTHS, PLACES, SPELT_BEFORE

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
MODEL, DATA = EXPERIMENTS / "model_configs" / "vivit_tiny.yaml", EXPERIMENTS / "data_configs" / "tiny.yaml"
FLAT: dict[str, Any] = {
    "optimiser": "muon",
    "learning_rate": 2e-3,
    "muon_learning_rate": 3e-3,
    "session_learning_rate": 2.0,
    "weight_decay": 0.3,
    "session_weight_decay": 0.1,
    "max_passes": 4,
    "max_epochs": 7,
    "num_workers": 2,
    "accelerator": "cpu",
    "devices": 2,
    "num_nodes": 3,
    "precision": "bf16-mixed",
}
NOW = TrainingConfig(
    optimiser=MuonConfig(
        learning_rate=2e-3,
        muon_learning_rate=3e-3,
        session_learning_rate=2.0,
        weight_decay=0.3,
        session_weight_decay=0.1,
    ),
    length=PassesConfig(number=4.0),
    machine=MachineConfig(accelerator="cpu", devices=2, num_nodes=3, num_workers=2, precision="bf16-mixed"),
)


def read(raw: dict[str, Any]) -> TrainingConfig:
    return build_config(TrainingConfig, raw, "my.yaml")


def with_set(tmp_path: Path, raw: dict[str, Any], *overrides: str) -> TrainingConfig:
    file = tmp_path / "training.yaml"
    file.write_text(json.dumps(raw))
    return read_experiment(MODEL, DATA, file, overrides).training


def test_every_key_of_before_finds_its_place() -> None:
    assert {*FLAT, "max_steps"} - {"optimiser"} == SPELT_BEFORE == PLACES.keys() | LENGTHS.keys()
    assert read(FLAT) == NOW
    assert TrainingConfig.model_validate(FLAT) == NOW
    assert read(dump_config(NOW)) == NOW


def test_every_key_of_before_may_be_set(tmp_path: Path) -> None:
    last = {key: value for key, value in FLAT.items() if key != "max_epochs"}
    assert with_set(tmp_path, {}, *(f"training.{key}={value}" for key, value in last.items())) == NOW


def test_what_says_nothing_changes_nothing() -> None:
    assert read({"max_epochs": 7}).length == EpochsConfig(number=7)
    assert read({"max_epochs": 7, "max_passes": None}).length == EpochsConfig(number=7)
    assert read({"optimiser": "adamw", "muon_learning_rate": None}).optimiser == AdamWConfig()
    assert read({"optimiser": {"type": "muon", "params": {}}, "learning_rate": 0.5}).optimiser == MuonConfig(
        learning_rate=0.5
    )


def test_a_record_of_the_first_version_is_read() -> None:
    config = read(read_yaml(ROOT / "tests" / "format_1" / "experiment.yaml")["training"])
    assert config.optimiser == AdamWConfig(learning_rate=3e-3)
    assert config.length == EpochsConfig(number=2)


def test_an_optimiser_that_a_suite_changes_takes_its_settings_along(tmp_path: Path) -> None:
    """As the suites of `experiments/benchmarks` do, over a recipe in either spelling."""
    overrides = (
        "training.learning_rate=5.0e-4",
        "training.optimiser=adamw",
        "training.muon_learning_rate=null",
    )
    flat = {"optimiser": "muon", "learning_rate": 2e-3, "muon_learning_rate": 2e-3, "weight_decay": 0.3}
    nested = {"optimiser": dump_config(read(flat).optimiser)}
    for raw in (flat, nested):
        found = with_set(tmp_path, raw, *overrides).optimiser
        assert found == AdamWConfig(learning_rate=5e-4, weight_decay=0.3)
        for order in (overrides[::-1], (overrides[2], overrides[0], overrides[1])):
            assert with_set(tmp_path, raw, *order).optimiser == found
        with pytest.raises(ConfigError, match="muon_learning_rate"):
            with_set(tmp_path, raw, "training.optimiser=adamw")


@pytest.mark.parametrize(
    ("raw", "overrides", "expected"),
    [
        ({}, ["training.length={type: steps, params: {number: 9}}"], StepsConfig(number=9)),
        ({}, ["training.length={type: minutes, params: {number: 1.5}}"], MinutesConfig(number=1.5)),
        ({}, ["training.length.params.number=9"], EpochsConfig(number=9)),
        ({"max_epochs": 3}, ["training.max_epochs=9"], EpochsConfig(number=9)),
        ({"max_epochs": 3}, ["training.max_passes=2"], PassesConfig(number=2.0)),
        ({"max_epochs": 3}, ["training.max_passes=null"], EpochsConfig(number=3)),
        ({"max_epochs": 3, "max_steps": 9}, [], StepsConfig(number=9)),
        ({"max_passes": 2}, ["training.max_steps=7"], StepsConfig(number=7)),
        ({"length": {"type": "steps", "params": {"number": 3}}}, ["training.max_passes=2"], PassesConfig(number=2)),
    ],
)  # fmt: skip
def test_the_length_may_be_set_in_either_spelling(
    raw: dict[str, Any], overrides: list[str], expected: Any, tmp_path: Path
) -> None:
    assert with_set(tmp_path, raw, *overrides).length == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            {"learning_rate": 1e-3, "optimiser": {"type": "adamw", "params": {"learning_rate": 2e-3}}},
            "my.yaml: 'learning_rate' and 'optimiser.params.learning_rate' both stand here; keep "
            "'optimiser.params.learning_rate'",
        ),
        (
            {"weight_decay": 0.1, "optimiser": {"type": "adamw", "learning_rate": 2e-3}},
            "my.yaml: 'weight_decay' and 'optimiser' both stand here; keep 'optimiser.params.weight_decay'",
        ),
        (
            {"num_workers": 1, "machine": {"num_workers": 2}},
            "my.yaml: 'num_workers' and 'machine.num_workers' both stand here; keep 'machine.num_workers'",
        ),
        (
            {"max_epochs": 3, "length": {"type": "passes", "params": {"number": 2}}},
            "my.yaml: 'max_epochs' and 'length' both stand here; keep length={type: epochs, params: {number: 3}}",
        ),
        (
            {"muon_learning_rate": 0.1},
            "my.yaml: muon_learning_rate is set and optimiser is not 'muon'; choose it (optimiser.type: muon), or "
            "leave the rate out",
        ),
        (
            {"optimiser": "sgd"},
            "my.yaml: 'optimiser.type' is 'sgd'; expected adamw | muon",
        ),
        (
            {"learning_rate": "fast"},
            "my.yaml: 'optimiser.params.learning_rate': input should be a valid number (got 'fast')",
        ),
        ({"learning_rat": 1e-3}, "my.yaml: unknown key 'learning_rat'; did you mean 'learning_rate'?"),
        ({"loggers": [{"type": "lines"}]}, "my.yaml: 'loggers.0.type' is 'lines'; expected tensorboard | csv | wandb"),
        ({"length": {"type": "passes"}}, "my.yaml: missing key 'length.number'"),
    ],
)  # fmt: skip
def test_what_may_mean_two_things_is_refused_with_the_new_spelling(
    raw: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(raw)
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.max_epochs=5", "training.length={type: epochs, params: {number: 5}}"),
        ("training.max_passes=null", "training.length={type: epochs, params: {number: N}}"),
    ],
)
def test_epochs_are_not_set_beside_passes(override: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="length of this training is in passes") as caught:
        with_set(tmp_path, {"max_passes": 2}, override)
    assert expected in str(caught.value)


def test_a_length_in_steps_is_that_many() -> None:
    plan = RunPlan(epochs=1, steps_per_epoch=20, batches_per_step=1, data_fingerprint="")
    for steps in (1, 19, 20, 21, 40, 45):
        planned = StepsConfig(number=steps).planned(plan, steps_per_pass=3.0)
        assert planned.max_steps == steps
        assert planned.steps_per_epoch == 20


@pytest.mark.parametrize("file", sorted((EXPERIMENTS / "benchmarks").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_suite_is_still_read(file: Path, tmp_path: Path) -> None:
    from visioncore.benchmark import planned_runs, read_suite

    for run in planned_runs(read_suite(file), file.parent, tmp_path):
        assert run.experiment.training.clips_per_step > 0


def test_two_lengths_in_one_yaml_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_passes is 2 and max_steps 7; give one of them"):
        read({"max_passes": 2, "max_steps": 7})
