"""From YAML text to a validated, frozen config; the only door, used by files and `--set` alike.

Every config of the project derives from `Config`, lives beside the thing it configures and holds the only copy
of its defaults. Slots (`convnet: {type: vivit, params: {...}}`) derive from `ComponentConfig`.
"""

import difflib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from visioncore.errors import ConfigError

C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Frozen and strict: an unknown key, a wrong type or a non-finite number is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, strict=True
    )


class ComponentConfig(Config):
    """A slot, spelled `{type: name, params: {...}}` in YAML and flat in Python."""

    @model_validator(mode="before")
    @classmethod
    def _flatten_params(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or "params" not in raw:
            return raw
        beside = set(raw) - {"type", "params"}
        if beside:
            raise ValueError(f"keys {sorted(beside)} stand beside 'params'; move them into it")
        params = {} if raw["params"] is None else raw["params"]
        if not isinstance(params, Mapping):
            raise ValueError(f"'params' must be a mapping, got {params!r}")
        if "type" in params:
            raise ValueError("'type' stands inside 'params'; move it beside it")
        return {**({"type": raw["type"]} if "type" in raw else {}), **params}

    @model_serializer(mode="wrap")
    def _nest_params(self, flat: SerializerFunctionWrapHandler) -> dict[str, Any]:
        params = flat(self)
        slot = {"type": params.pop("type")}
        return {**slot, "params": params} if params else slot


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML 1.2 file (`1e-4` is a number, `no` is a string, a duplicate key is an error).

    Raises:
        ConfigError: the file is missing, is not YAML, or holds no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], 1)
        raise ConfigError(f"{path}: no such file{_did_you_mean(near)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    raw = parse_yaml(text, str(path))
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, found {type(raw).__name__}")
    return raw


def parse_yaml(text: str, where: str) -> Any:
    """Plain Python values from YAML 1.2 text; `where` names the source in errors."""
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    try:
        value = yaml.load(io.StringIO(text))
        return json.loads(json.dumps(value, allow_nan=False))
    except YAMLError as error:
        summary = " ".join(str(error).split())
        raise ConfigError(f"{where}: not valid YAML: {summary[:300]}") from None
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        # Dates, sets, anchors that contain themselves, .inf: legal YAML that no config of ours holds.
        raise ConfigError(
            f"{where}: holds a value that is no plain number, text, list or mapping ({error})"
        ) from None
    except (AttributeError, KeyError, IndexError, AssertionError) as error:
        raise ConfigError(f"{where}: not valid YAML ({type(error).__name__}: {error})") from None


def apply_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`raw` with each `dotted.key=YAML value` set, before any validation, so that overrides are as strict as files.

    Raises:
        ConfigError: an override is not `key=value`, or its path runs through something that is no mapping.
    """
    result: dict[str, Any] = json.loads(json.dumps(raw))
    for override in overrides:
        dotted, equals, text = override.partition("=")
        keys = dotted.strip().split(".")
        if not equals or not all(keys):
            raise ConfigError(f"--set {override!r}: expected dotted.key=value")
        node = result
        for depth, key in enumerate(keys[:-1]):
            child = node.setdefault(key, {})
            if not isinstance(child, dict):
                path = ".".join(keys[: depth + 1])
                raise ConfigError(f"--set {override!r}: '{path}' is {child!r}, not a mapping")
            node = child
        node[keys[-1]] = parse_yaml(text, f"--set {dotted}")
    return result


def build_config(config_class: type[C], raw: Mapping[str, Any], where: str) -> C:
    """Validate `raw` as `config_class`.

    Raises:
        ConfigError: one line per problem, each naming `where`, the key and the nearest valid key.
    """
    try:
        return config_class.model_validate(_tuples(raw))
    except ValidationError as error:
        lines = [f"{where}: {_explain(config_class, raw, detail)}" for detail in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None


def load_config(config_class: type[C], path: Path) -> C:
    """Read and validate one YAML file."""
    return build_config(config_class, read_yaml(path), str(path))


def dump_config(config: Config) -> dict[str, Any]:
    """`config` as plain JSON values in the shape that `build_config` reads."""
    dumped: dict[str, Any] = config.model_dump(mode="json")
    return dumped


def _tuples(raw: Any) -> Any:
    """YAML's lists as the tuples that frozen configs hold (strict validation takes one for the other nowhere)."""
    if isinstance(raw, Mapping):
        return {key: _tuples(value) for key, value in raw.items()}
    return tuple(_tuples(value) for value in raw) if isinstance(raw, list) else raw


def _explain(config_class: type[Config], raw: Any, detail: ErrorDetails) -> str:
    location = _path_in_file(raw, detail["loc"])
    key = ".".join(location) or "(top level)"
    if detail["type"] == "extra_forbidden":
        known = sorted(_keys_at(config_class, detail["loc"][:-1]))
        near = difflib.get_close_matches(str(detail["loc"][-1]), known, 1, cutoff=0.5)
        hint = _did_you_mean(near) or f"; valid keys here: {', '.join(known)}"
        return f"unknown key '{key}'{hint}"
    if detail["type"] == "missing":
        return f"missing key '{key}'"
    if detail["type"] in ("union_tag_invalid", "literal_error"):
        context = detail.get("ctx", {})
        expected = str(context.get("expected_tags") or context.get("expected"))
        options = [o.strip().strip("'") for o in expected.replace(" or ", ", ").split(",")]
        found = context.get("tag", detail["input"])
        if detail["type"] == "union_tag_invalid":
            key = f"{key}.type" if location else "type"
        near = difflib.get_close_matches(str(found), options, 1, cutoff=0.4)
        return f"'{key}' is {found!r}; expected {' | '.join(options)}{_did_you_mean(near)}"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"'{key}': {message} (got {_short(detail['input'])})"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _did_you_mean(near: Sequence[str]) -> str:
    return f"; did you mean '{near[0]}'?" if near else ""


def _path_in_file(raw: Any, location: tuple[int | str, ...]) -> list[str]:
    """The keys as the file spells them: pydantic's union tags out, the file's `params` in."""
    path: list[str] = []
    for step in location:
        if isinstance(raw, Mapping):
            if step in raw:
                path.append(str(step))
                raw = raw[step]
                continue
            if step == raw.get("type"):
                continue
            if "params" in raw:
                path.append("params")
                raw = raw["params"]
                if isinstance(raw, Mapping) and step in raw:
                    raw = raw[step]
                path.append(str(step))
                continue
        elif isinstance(raw, list) and isinstance(step, int) and step < len(raw):
            raw = raw[step]
        path.append(str(step))
    return path


def _keys_at(config_class: type[Config], location: tuple[int | str, ...]) -> set[str]:
    classes: list[type[BaseModel]] = [config_class]
    for step in location:
        if isinstance(step, int):
            continue
        tagged = [c for c in classes if _type_tag(c) == step]
        if tagged:
            classes = tagged
            continue
        fields = [c.model_fields[step] for c in classes if step in c.model_fields]
        classes = [m for f in fields for m in _models_in(f.annotation)]
    return {key for c in classes for key in c.model_fields}


def _type_tag(config_class: type[BaseModel]) -> str | None:
    field = config_class.model_fields.get("type")
    return get_args(field.annotation)[0] if field and get_args(field.annotation) else None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def dump_yaml(values: Mapping[str, Any]) -> str:
    """`values` as YAML text that `read_yaml` reads back."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    stream = io.StringIO()
    yaml.dump(json.loads(json.dumps(values)), stream)
    return stream.getvalue()
