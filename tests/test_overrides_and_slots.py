"""YAML as it is read, `--set`, and slots."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, PositiveInt

from config_files import (
    DATA,
    MODEL,
    TRAINING,
    build_text,
    message,
)
from visioncore.config import (
    ComponentConfig,
    Config,
    apply_overrides,
    build_config,
    dump_config,
    dump_yaml,
    parse_yaml,
)
from visioncore.training.experiment import TrainingConfig, read_experiment

# --- YAML 1.2 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("5E3", 5000.0), ("no", "no"), ("on", "on"), ("y", "y"), ("true", True), ("~", None)],
)
def test_scalars_are_read_as_yaml_1_2(text: str, value: object) -> None:
    found = parse_yaml(f"key: {text}", "my.yaml")["key"]
    assert found == value
    assert type(found) is type(value)


def test_a_learning_rate_may_be_written_as_1e_4() -> None:
    config = build_text("learning_rate: 1e-4", "training_configs")
    assert isinstance(config, TrainingConfig)
    assert config.optimiser.learning_rate == 1e-4


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="ascii", exclude_categories=["Cc"]))
    | st.sampled_from(["no", "1e-4", "null", "0o7", "2020-01-01", "<<", "=", "a: b", "- a", "#", "é", "a\nb"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abno1~", max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.dictionaries(st.text("abc", min_size=1), plain_values, max_size=3))
def test_what_is_written_as_yaml_reads_back_the_same(values: dict[str, Any]) -> None:
    again = parse_yaml(dump_yaml(values), "written")
    assert again == values
    assert json.dumps(again, sort_keys=True) == json.dumps(values, sort_keys=True)


# --- Overrides ----------------------------------------------------------------------------------------------------


def test_an_override_sets_a_dotted_key_and_leaves_the_original_alone() -> None:
    raw = {"model": {"sampling_rate": 240}}
    changed = apply_overrides(raw, ["model.sampling_rate=120", "training.learning_rate=1e-4"])
    assert changed == {"model": {"sampling_rate": 120}, "training": {"learning_rate": 1e-4}}
    assert raw == {"model": {"sampling_rate": 240}}


def test_the_last_override_of_a_key_counts() -> None:
    assert apply_overrides({}, ["a=1", "a=2"]) == {"a": 2}


def test_a_whole_slot_can_be_replaced() -> None:
    experiment = read_experiment(
        MODEL, DATA, TRAINING, ["model.modulator={type: none}", "model.convnet.params.num_heads=1"]
    )
    assert experiment.model.modulator.type == "none"
    assert dump_config(experiment.model)["convnet"]["params"]["num_heads"] == 1


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.samplin_rate=3", "with --set: unknown key 'model.samplin_rate'; did you mean 'sampling_rate'?"),
        ("training.max_epoch=3", "with --set: unknown key 'training.max_epoch'; did you mean 'max_epochs'?"),
        ("model.convnet.params.num_head=3", "'model.convnet.params.num_head'; did you mean 'num_heads'?"),
        ("training.max_epochs=yes", "'training.length.params.number': input should be a valid integer (got 'yes')"),
        ("training.precision=bf16", "'training.machine.precision' is 'bf16'; expected 32-true | bf16-mixed"),
        ("modl.sampling_rate=3", "with --set: unknown key 'modl'; valid keys here: model, data, training"),
        ("data.params.sed=3", "unknown key 'params.sed'; did you mean 'seed'?"),
        ("model.sampling_rate.x=3", "'model.sampling_rate' is 120, not a mapping"),
        ("training.max_epochs", "--set 'training.max_epochs': expected dotted.key=value"),
        ("=3", "--set '=3': expected dotted.key=value"),
        ("model..x=3", "--set 'model..x=3': expected dotted.key=value"),
        ("model.convnet={type: none", "--set model.convnet: not valid YAML"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_override_is_one_line(override: str, expected: str) -> None:
    found = message(lambda: read_experiment(MODEL, DATA, TRAINING, [override]))
    assert expected in found
    assert "\n" not in found


def test_a_mistake_in_a_file_names_the_file_even_with_overrides(tmp_path: Path) -> None:
    file = tmp_path / "training.yaml"
    file.write_text("max_epoch: 3")
    assert str(file) in message(lambda: read_experiment(MODEL, DATA, file, ["training.seed=1"]))


# --- Slots --------------------------------------------------------------------------------------------------------


class OneConfig(ComponentConfig):
    type: Literal["one"] = "one"
    size: PositiveInt = 1
    pair: tuple[float, float] = (0.0, 1.0)


class HolderConfig(Config):
    slot: OneConfig = OneConfig()
    names: tuple[str, ...] = Field(default=(), max_length=2)


@pytest.mark.parametrize(
    "raw",
    [{}, {"slot": {"type": "one"}}, {"slot": {"type": "one", "params": {}}}, {"slot": {"type": "one", "params": None}}],
)  # fmt: skip
def test_params_may_be_left_out_or_empty(raw: dict[str, Any]) -> None:
    assert build_config(HolderConfig, raw, "my.yaml") == HolderConfig()


def test_a_slot_is_dumped_as_type_and_params_and_lists_stay_lists() -> None:
    config = build_config(HolderConfig, {"slot": {"type": "one", "params": {"pair": [2, 3.5]}}}, "my.yaml")
    assert config.slot.pair == (2.0, 3.5)
    assert dump_config(config) == {
        "slot": {"type": "one", "params": {"size": 1, "pair": [2.0, 3.5]}},
        "names": [],
    }


def test_too_many_values_are_refused_with_their_number() -> None:
    found = message(lambda: build_config(HolderConfig, {"names": ["a", "b", "c"]}, "my.yaml"))
    assert found == "my.yaml: 'names' has 3 values, expected at most 2 (got ['a', 'b', 'c'])"
