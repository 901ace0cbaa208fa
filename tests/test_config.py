"""Configuration: strict, in one spelling, and every mistake in one clear line (contracts C1 to C3)."""

import json
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from config_files import (
    ARRAYS,
    BUILDERS,
    CORES,
    EXPERIMENTS,
    MODEL,
    SHIPPED,
    build_file,
    build_text,
    every_shipped_file,
    message,
)
from visioncore.config import (
    apply_overrides,
    build_config,
    dump_config,
    dump_yaml,
    load_config,
    parse_yaml,
    read_yaml,
)
from visioncore.describe import describe, guide_spec
from visioncore.errors import ConfigError
from visioncore.model import TwinConfig

# --- Every shipped file -------------------------------------------------------------------------------------------


def test_every_folder_of_shipped_configs_has_files() -> None:
    assert {path.parent.name for path in SHIPPED} == set(BUILDERS)
    # Names in a benchmark are free, and so are keys of a search: tests/test_benchmark.py and tests/test_search.py have
    # tests of their own for those files.
    assert {path.parent.name for path in EXPERIMENTS.rglob("*.yaml")} == {*BUILDERS, "benchmarks", "search"}


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
