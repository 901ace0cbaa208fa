"""Training settings as they were spelt before the optimiser, the machine and the length were parts of their own.

Such YAMLs, `--set` overrides and records in run folders are read as before: each key has one place now. Where a key of
before and its new place both stand, or a key no longer says what it did, that is an error that names the new spelling.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from visioncore.config import AsWritten, apply_overrides, parse_yaml
from visioncore.errors import ConfigError

PLACES = {
    **{
        key: f"optimiser.params.{key}"
        for key in (
            *("learning_rate", "muon_learning_rate", "session_learning_rate"),
            *("weight_decay", "session_weight_decay"),
        )
    },
    **{key: f"machine.{key}" for key in ("accelerator", "devices", "num_nodes", "num_workers", "precision")},
}
"""Where each key of `training` stands now."""
LENGTHS = {"max_epochs": "epochs", "max_passes": "passes", "max_steps": "steps"}
"""Which length each key was."""
USUAL = {"optimiser": "adamw", "length": "epochs"}
"""The type of a slot of which only `params` are said."""
SPELT_BEFORE = frozenset([*PLACES, *LENGTHS])


def as_spelt_now(training: Mapping[str, Any]) -> AsWritten:
    """The settings of `training` with every key in its place.

    Raises:
        ConfigError: a key stands here and in its place too, or says something of an optimiser that is not chosen.
    """
    found = {key: value for key, value in training.items() if key not in SPELT_BEFORE}
    if isinstance(found.get("optimiser"), str):
        found["optimiser"] = {"type": found["optimiser"]}
    found |= _length_of(training)
    for key, place in PLACES.items():
        if key not in training or (key == "muon_learning_rate" and training[key] is None):
            continue
        if key == "muon_learning_rate" and _type_of(found.get("optimiser")) != "muon":
            raise ConfigError(
                "muon_learning_rate is set and optimiser is not 'muon'; choose it (optimiser.type: muon), or leave the "
                "rate out"
            )
        _put(found, place, training[key], key)
    for slot, kind in USUAL.items():
        if isinstance(found.get(slot), Mapping) and found[slot].keys() == {"params"}:
            found[slot] = {"type": kind, **found[slot]}
    return found


def _length_of(training: Mapping[str, Any]) -> AsWritten:
    """The length of a flat spelling, under its key; nothing where none is said."""
    found: AsWritten = {}
    for key, kind in LENGTHS.items():
        # Passes counted in place of epochs.
        if key not in training or (key != "max_epochs" and training[key] is None):
            continue
        if "length" in training:
            raise ConfigError(f"'{key}' and 'length' both stand here; keep {_length(kind, training[key])}")
        if key == "max_steps" and training.get("max_passes") is not None:
            raise ConfigError(
                f"max_passes is {training['max_passes']} and max_steps {training[key]}; give one of them, as "
                f"{_length(kind, training[key])}"
            )
        found["length"] = {"type": kind, "params": {"number": training[key]}}
    return found


def with_overrides(raw: AsWritten, overrides: Sequence[str]) -> AsWritten:
    """`raw` (`model`, `data`, `training`) with each `--set`, those included that spell training as before.

    Raises:
        ConfigError: an override is no `key=value`, or can mean two things.
    """
    if isinstance(raw.get("training"), Mapping):
        raw = {**raw, "training": as_spelt_now(raw["training"])}
    for override in overrides:
        dotted, equals, text = override.partition("=")
        part, _, key = dotted.strip().partition(".")
        if part == "training" and equals:
            override = _override(key, text, raw.get("training", {}), override)
        raw = apply_overrides(raw, [override])
        params = raw.get("training", {}).get("optimiser", {}) if isinstance(raw.get("training"), dict) else {}
        params = params.get("params") if isinstance(params, dict) else None
        # Off, as every optimiser but Muon has it.
        if isinstance(params, dict) and params.get("muon_learning_rate", 0) is None:
            del params["muon_learning_rate"]
    return raw


def _override(key: str, text: str, training: Any, override: str) -> str:
    """The override as it is spelt now."""
    if key in PLACES:
        return f"training.{PLACES[key]}={text}"
    if key == "optimiser" and isinstance(parse_yaml(text, f"--set training.{key}"), str):
        return f"training.optimiser.type={text}"
    if key not in LENGTHS:
        return override
    value, kind = parse_yaml(text, f"--set training.{key}"), LENGTHS[key]
    now = _type_of(training.get("length")) if isinstance(training, Mapping) else None
    if key != "max_epochs" and value is None and now != kind:
        return f"training.length.type={now or USUAL['length']}"
    if value is None or (key == "max_epochs" and now not in (None, kind)):
        raise ConfigError(
            f"--set {override!r}: the length of this training is in {now or USUAL['length']}; to have another, say "
            f"--set 'training.{_length('epochs', value or 'N')}'"
        )
    return f"training.length={{type: {kind}, params: {{number: {text}}}}}"


def _put(found: AsWritten, place: str, value: Any, key: str) -> None:
    *slots, last = place.split(".")
    node: Any = found
    for depth, slot in enumerate(slots):
        inside = node.get(slot, {})
        if not isinstance(inside, Mapping):
            raise ConfigError(f"'{key}' and '{'.'.join(slots[: depth + 1])}' both stand here; keep '{place}'")
        if slot == "params" and slot not in node and node.keys() - {"type"}:
            raise ConfigError(f"'{key}' and '{slots[0]}' both stand here; keep '{place}'")
        node[slot] = dict(inside)
        node = node[slot]
    if last in node:
        raise ConfigError(f"'{key}' and '{place}' both stand here; keep '{place}'")
    node[last] = value


def _type_of(slot: Any) -> Any:
    return slot.get("type") if isinstance(slot, Mapping) else getattr(slot, "type", None)


def _length(kind: str, number: Any) -> str:
    return f"length={{type: {kind}, params: {{number: {number}}}}}"
