"""Configuration: strict, in one spelling, and every mistake in one clear line (contracts C1 to C3)."""

import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, PositiveInt

from visioncore.config import (
    ComponentConfig,
    Config,
    apply_overrides,
    build_config,
    dump_config,
    dump_yaml,
    load_config,
    parse_yaml,
    read_yaml,
)
from visioncore.data import build_data_config
from visioncore.describe import describe, guide_spec
from visioncore.errors import ConfigError
from visioncore.model import TwinConfig
from visioncore.model.cores import CoreConfig
from visioncore.training.experiment import TrainingConfig, read_experiment

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = ROOT / "experiments"
Build = Callable[[dict[str, Any], str], Config]
BUILDERS: dict[str, Build] = {
    "model_configs": lambda raw, where: build_config(TwinConfig, raw, where),
    "data_configs": build_data_config,
    "training_configs": lambda raw, where: build_config(TrainingConfig, raw, where),
}
SHIPPED = sorted(EXPERIMENTS.glob("*_configs/*.yaml"))
every_shipped_file = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
MODEL = EXPERIMENTS / "model_configs" / "vivit_tiny.yaml"
DATA = EXPERIMENTS / "data_configs" / "simulated.yaml"
TRAINING = EXPERIMENTS / "training_configs" / "small.yaml"
CORES = " | ".join(core.tiny().type for core in get_args(get_args(CoreConfig)[0]))
ARRAYS = """
type: arrays
params:
  sampling_rate_hz: 120
  response_kind: counts
  sessions:
    - {id: a, subject: m, path: a.npz, video: v, responses: r}
"""


def build_file(path: Path) -> Config:
    return BUILDERS[path.parent.name](read_yaml(path), path.name)


def build_text(text: str, kind: str = "model_configs") -> Config:
    return BUILDERS[kind](parse_yaml(text, "my.yaml"), "my.yaml")


def message(action: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        action()
    return str(caught.value)


# --- Every shipped file -------------------------------------------------------------------------------------------


def test_every_folder_of_shipped_configs_has_files() -> None:
    assert {path.parent.name for path in SHIPPED} == set(BUILDERS)
    # Names in a benchmark are free, so tests/test_benchmark.py has tests of its own for those files.
    assert {path.parent.name for path in EXPERIMENTS.rglob("*.yaml")} == {*BUILDERS, "benchmarks"}


@every_shipped_file
def test_every_shipped_file_survives_a_round_trip(path: Path) -> None:
    config = build_file(path)
    dumped = dump_config(config)
    again = BUILDERS[path.parent.name](parse_yaml(dump_yaml(dumped), "again"), "again")
    assert again == config
    assert dump_config(again) == dumped


@pytest.mark.parametrize(
    "path", [p for p in SHIPPED if p.parent.name == "model_configs"], ids=lambda path: path.stem
)
def test_every_shipped_model_is_built_on_the_guides_data(path: Path) -> None:
    config = load_config(TwinConfig, path)
    found = describe(config, guide_spec(config), clip_frames=24)
    assert found.parameters > 0
    assert found.stages[-1].shape == "(B, 24, 100)"


def keys_in(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if isinstance(key, str):
            yield (*path, key)
        yield from keys_in(inner, (*path, key))


def with_key_renamed(raw: dict[str, Any], path: tuple[str | int, ...], name: str) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(raw))
    node: Any = changed
    for step in path[:-1]:
        node = node[step]
    items = [(name if key == path[-1] else key, value) for key, value in node.items()]
    node.clear()
    node.update(items)
    return changed


def misspellings(key: str) -> set[str]:
    middle = len(key) // 2
    other = "x" if key[middle] != "x" else "y"
    return {key[:middle] + other + key[middle + 1 :], key[1:], key[:-1], key + "s"}


@every_shipped_file
def test_any_key_with_one_letter_changed_is_one_line_with_file_key_and_the_right_key(path: Path) -> None:
    raw, build = read_yaml(path), BUILDERS[path.parent.name]
    for place in keys_in(raw):
        key = str(place[-1])
        for wrong in misspellings(key):
            changed = with_key_renamed(raw, place, wrong)
            found = message(partial(build, changed, path.name))
            assert found.startswith(f"{path.name}: ")
            assert "\n" not in found
            spelled = ".".join([*map(str, place[:-1]), wrong])
            assert f"unknown key '{spelled}'; did you mean '{key}'?" in found


MUTATIONS_PER_FILE = 40
BYTES = b":{}[]-#&*!|>%@`\"',?\n\t \x00\xff\xc3.e019~<=yn"


def damaged(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        change = rng.randrange(4)
        if change == 0:
            del data[at : at + rng.choice((1, 1, 3, 20))]
        elif change == 1:
            data.insert(at, rng.choice(BYTES))
        elif change == 2:
            data[at] ^= 1 << rng.randrange(8)
        else:
            data[at] = rng.choice(BYTES)
    return bytes(data)


@every_shipped_file
def test_a_damaged_file_is_an_error_of_ours_or_a_valid_config(path: Path, tmp_path: Path) -> None:
    rng = random.Random(path.name)
    file = tmp_path / "damaged.yaml"
    errors = []
    for _ in range(MUTATIONS_PER_FILE):
        file.write_bytes(damaged(path.read_bytes(), rng))
        try:
            BUILDERS[path.parent.name](read_yaml(file), str(file))
        except ConfigError as error:
            errors.append(str(error))
    assert errors
    for text in errors:
        assert all(line.startswith(str(file)) for line in text.splitlines())
        assert "pydantic" not in text


# --- One mistake, one line ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Unknown keys, as the file spells them.
        ("sampling_rat: 240\nconvnet: {type: none}", "unknown key 'sampling_rat'; did you mean 'sampling_rate'?"),
        (
            "sampling_rate: 240\nconvnet: {type: none}\nlinear: {type: low_rank, params: {rnk: 2}}",
            "unknown key 'linear.params.rnk'; did you mean 'rank'?",
        ),
        (
            "sampling_rate: 240\nconvnet: {type: none}\nlinear: {type: low_rank, params: {colour: 2}}",
            "unknown key 'linear.params.colour'; valid keys here: gain, knots, num_basis, rank, type, window_s",
        ),
        ("convnet: {type: none}", "missing key 'sampling_rate'"),
        # Slots.
        ("sampling_rate: 240\nconvnet: vivit", f"'convnet' is 'vivit'; expected a mapping with type: {CORES}"),
        ("sampling_rate: 240\nconvnet:", f"'convnet' is None; expected a mapping with type: {CORES}"),
        (
            "sampling_rate: 240\nconvnet: {type: vivt}",
            f"'convnet.type' is 'vivt'; expected {CORES}; did you mean 'vivit'?",
        ),
        ("sampling_rate: 240\nconvnet: {params: {}}", f"missing key 'convnet.type'; expected {CORES}"),
        ("sampling_rate: 240\nconvnet: {tpe: none, params: {}}", "unknown key 'convnet.tpe'; did you mean 'type'?"),
        (
            "sampling_rate: 240\nconvnet: {type: none}\nreadout: {tpe: gaussian, params: {}}",
            "unknown key 'readout.tpe'; did you mean 'type'?",
        ),
        (
            "sampling_rate: 240\nconvnet: {type: none}\nlinear: {type: low_rank, parms: {rank: 2}}",
            "unknown key 'linear.parms'; did you mean 'params'?",
        ),
        (
            "sampling_rate: 240\nconvnet: {type: none}\nlinear: {type: low_rank, params: {rank: 2}, window_s: 0.1}",
            "'linear': keys ['window_s'] stand beside 'params'; move them into it",
        ),
        ("sampling_rate: 240\nconvnet: {type: none, params: 3}", "'convnet': 'params' must be a mapping, got 3"),
        (
            "sampling_rate: 240\nconvnet: {type: vivit, params: {type: vivit}}",
            "'convnet': 'type' stands inside 'params'; move it beside it",
        ),
        # Types are not converted.
        ('sampling_rate: "240"\nconvnet: {type: none}', "'sampling_rate': input should be a valid number (got '240')"),
        ("sampling_rate: true\nconvnet: {type: none}", "'sampling_rate': input should be a valid number (got True)"),
        (
            "sampling_rate: 240\nconvnet: {type: none}\nlinear: {type: low_rank, params: {rank: 2.0}}",
            "'linear.params.rank': input should be a valid integer (got 2.0)",
        ),
        ("sampling_rate: .inf\nconvnet: {type: none}", "holds a value that is no plain number"),
        ("sampling_rate: 240\ninitial_input_channels: 0\nconvnet: {type: none}", "greater than 0 (got 0)"),
        (
            "sampling_rate: 240\nconvnet: {type: none}\nmodulator: {type: convgru}",
            "my.yaml: a modulator needs a core: set 'modulator: {type: none}'",
        ),
        # Not YAML, or not a mapping.
        ("sampling_rate: 240\nsampling_rate: 120", 'found duplicate key "sampling_rate" in line 2'),
        ("convnet: {type: none", "not valid YAML"),
        ("[1, 2]", "'(top level)' is [1, 2]; expected a mapping"),
        ("sampling_rate: 2020-01-01", "holds a value that is no plain number, text, list or mapping"),
        ("x: &a [*a]", "holds a value that is no plain number, text, list or mapping"),
        ("x: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_model_is_one_line_that_says_what_to_do(text: str, expected: str) -> None:
    found = message(lambda: build_text(text))
    assert found.startswith("my.yaml: ")
    assert expected in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("path: a.npz", "pth: a.npz", "unknown key 'params.sessions.0.pth'; did you mean 'path'?"),
        ("path: a.npz, ", "", "missing key 'params.sessions.0.path'"),
        ("params:", "parms:", "unknown key 'parms'; did you mean 'params'?"),
        ("type: arrays", "type: array", "'type' is 'array'; expected simulated | "),
        ("- {id: a, subject: m, path: a.npz, video: v, responses: r}", "[]", "'params.sessions' has 0 values"),
        ("- {id: a, subject: m, path: a.npz, video: v, responses: r}", "- a", "'params.sessions.0' is 'a'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_data_file_is_one_line_that_says_what_to_do(old: str, new: str, expected: str) -> None:
    found = message(lambda: build_text(ARRAYS.replace(old, new), "data_configs"))
    assert found.startswith("my.yaml: ")
    assert expected in found
    assert "\n" not in found


def test_two_mistakes_are_two_lines() -> None:
    text = "sampling_rate: no\nconvnet: {type: none}\nlinear: {type: low_rank, params: {rnk: 1}}"
    lines = message(lambda: build_text(text)).splitlines()
    assert len(lines) == 2
    assert all(line.startswith("my.yaml: ") for line in lines)


def test_a_list_of_the_wrong_length_says_so() -> None:
    raw = read_yaml(MODEL)
    for patch, expected in (("[4, 6]", "has too few values (got [4, 6])"), ("[4, 6, 6, 6]", "has 4 values")):
        changed = apply_overrides(raw, [f"convnet.params.patch_size={patch}"])
        found = message(partial(build_config, TwinConfig, changed, "my.yaml"))
        assert "'convnet.params.patch_size' " + expected in found
        assert "\n" not in found


def test_a_missing_file_is_named_with_the_near_one(tmp_path: Path) -> None:
    (tmp_path / "baseline.yaml").write_text("seed: 0")
    assert message(lambda: read_yaml(tmp_path / "baselin.yaml")).endswith(
        "baselin.yaml: no such file; did you mean 'baseline.yaml'?"
    )
    assert "cannot be read" in message(lambda: read_yaml(tmp_path))


@pytest.mark.parametrize("content", [b"", b"- 1", b"text", b"\xff\xfe\x00"])
def test_a_file_that_holds_no_mapping_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_bytes(content)
    assert message(lambda: read_yaml(tmp_path / "my.yaml")).startswith(str(tmp_path / "my.yaml"))


def test_configs_are_frozen() -> None:
    config = load_config(TwinConfig, MODEL)
    with pytest.raises(ValueError, match="frozen"):
        config.sampling_rate = 3.0


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
