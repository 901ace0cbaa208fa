"""Values that YAML takes for something else than a text are refused with their key, line and what to do."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args, get_origin

import pytest
from pydantic import BaseModel

from visioncore.config import Config, apply_overrides, build_config, differing_keys, parse_yaml
from visioncore.data import build_data_config
from visioncore.data.sources.arrays_config import ArraysSessionConfig
from visioncore.errors import ConfigError
from visioncore.training.experiment import read_experiment

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
MODEL = EXPERIMENTS / "model_configs" / "vivit_tiny.yaml"
DATA = EXPERIMENTS / "data_configs" / "simulated.yaml"
TRAINING = EXPERIMENTS / "training_configs" / "small.yaml"
NOT_TEXT = "YAML reads a number, a truth value or nothing where a text belongs"
ARRAYS = """
type: arrays
params:
  sampling_rate_hz: 120
  response_kind: counts
  sessions:
    - {id: a, subject: m, path: a.npz, video: v, responses: r}
"""


class HolderConfig(Config):
    names: tuple[str, ...] = ()


def message(action: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        action()
    return str(caught.value)


def string_keys(config_class: type[BaseModel]) -> Iterator[tuple[str, bool]]:
    for name, field in config_class.model_fields.items():
        arguments = get_args(field.annotation) or (field.annotation,)
        if str in arguments and get_origin(field.annotation) is not dict:
            yield name, type(None) in arguments


@pytest.mark.parametrize("written", ["26872", "0804", "1e3", "0x1F", "true", "2.50"])
@pytest.mark.parametrize("key", [key for key, _ in string_keys(ArraysSessionConfig)])
def test_a_text_that_yaml_reads_as_something_else_is_to_be_put_in_quotes(key: str, written: str) -> None:
    raw = parse_yaml(ARRAYS, "my.yaml")
    raw["params"]["sessions"][0][key] = parse_yaml(written, "value")
    found = message(lambda: build_data_config(raw, "my.yaml"))
    assert found.startswith(f"my.yaml: 'params.sessions.0.{key}': {NOT_TEXT}; put it in quotes")
    assert "put it in quotes, as it is written" in found
    assert "\n" not in found
    raw["params"]["sessions"][0][key] = parse_yaml(f'"{written}"', "value")
    assert build_data_config(raw, "my.yaml")


@pytest.mark.parametrize("key", [key for key, optional in string_keys(ArraysSessionConfig) if not optional])
def test_nothing_in_the_place_of_a_text_is_named_as_such(key: str) -> None:
    raw = parse_yaml(ARRAYS, "my.yaml")
    raw["params"]["sessions"][0][key] = None
    found = message(lambda: build_data_config(raw, "my.yaml"))
    remedy = "fill it in, or leave the key out where it has a default"
    assert f"'params.sessions.0.{key}': is empty; {remedy} (got None)" in found


def test_texts_in_lists_and_in_other_configs_are_to_be_put_in_quotes_too() -> None:
    found = message(lambda: build_config(HolderConfig, {"names": ["a", 3]}, "my.yaml"))
    assert f"'names.1': {NOT_TEXT}; put it in quotes, as it is written (got 3)" in found
    found = message(
        lambda: build_data_config({"type": "simulated", "params": {"subjects": ["A", 7]}}, "my.yaml")
    )
    assert f"'params.subjects.1': {NOT_TEXT}" in found


ODD = {
    "2023-05-01": "(2023-05-01, a date); if it is a text, put it in quotes",
    "2023-05-01T10:00:00Z": "(2023-05-01T10:00:00Z, a date); if it is a text, put it in quotes",
    "2023-13-41": "(2023-13-41, a date); if it is a text, put it in quotes",
    ".inf": "(.inf, no finite number)",
    "-.Inf": "(-.Inf, no finite number)",
    ".nan": "(.nan, no finite number)",
    "1e999": "(1e999, no finite number)",
    "!!binary aGk=": "(aGk=, bytes)",
    "!!set {a, b}": "(a set); write a list",
    "!!omap [a: 1]": "(an ordered mapping); write a list",
}


@pytest.mark.parametrize("value", ODD)
def test_a_value_that_is_not_plain_is_named_with_its_key_and_line(value: str) -> None:
    found = message(lambda: parse_yaml(f"a: 1\nb:\n  - 2\n  - {{c: 3}}\n  - c: {value}\n", "my.yaml"))
    holds = "holds a value that is no plain number, text, list or mapping "
    assert found.startswith(f"my.yaml: 'b.2.c' in line 5 {holds}{ODD[value]}")
    found = message(lambda: apply_overrides({}, [f"model.x={value}"]))
    assert found.startswith(f"--set model.x: {holds}{ODD[value]}")
    found = message(lambda: apply_overrides({}, [f"model.x={{y: [1, {value}]}}"]))
    assert found.startswith(f"--set model.x: 'y.1' in line 1 {holds}{ODD[value]}")


@pytest.mark.parametrize("key", ["0804", "1.5", "true", "null", "2023-05-01", ".inf", "? [a, b]\n  "])
def test_a_key_that_is_no_text_is_named_with_its_line(key: str) -> None:
    found = message(lambda: parse_yaml(f"a:\n  b: 1\n  {key}: 2\n", "my.yaml"))
    named = "a list or mapping" if key.startswith("?") else key
    assert (
        found == f"my.yaml: the key {named} in 'a' in line 3 is no text; put it in quotes, as it is written"
    )


@pytest.mark.parametrize("override", ["data.params.subjects=[7]", "data.params.subjects=[2023-05-01]"])
def test_quotes_after_set_are_to_be_kept_from_the_shell(override: str) -> None:
    found = message(lambda: read_experiment(MODEL, DATA, TRAINING, [override]))
    assert """put it in quotes, as it is written, and once more for the shell: --set 'key="..."'""" in found
    read_experiment(MODEL, DATA, TRAINING, ['data.params.subjects=["7"]'])


def test_a_list_that_contains_itself_is_named() -> None:
    found = message(lambda: parse_yaml("a: &x [1, *x]", "my.yaml"))
    assert found.startswith("my.yaml: 'a.1' in line 1 holds a value that is no plain number")
    assert "(a list or mapping that contains itself); write" in found


def test_an_anchor_used_twice_and_a_merge_are_plain() -> None:
    text = "a: &x {b: [1, 2]}\nc: *x\nd: {<<: *x, e: 3}"
    assert parse_yaml(text, "my.yaml") == {"a": {"b": [1, 2]}, "c": {"b": [1, 2]}, "d": {"b": [1, 2], "e": 3}}


def test_a_key_that_is_not_there_differs_from_null_in_no_list_either() -> None:
    old = {"sessions": [{"id": "a"}, {"id": "b", "kinds": [1, 2]}]}
    assert not list(
        differing_keys(old, {"sessions": [{"id": "a", "group": None}, {"id": "b", "kinds": [1, 2]}]})
    )
    assert list(differing_keys(old, {"sessions": [{"id": "a"}, {"id": "b", "kinds": [1]}]})) == [
        "sessions.1.kinds"
    ]
    assert list(differing_keys(old, {"sessions": [{"id": "c"}, old["sessions"][1]]})) == ["sessions.0.id"]
