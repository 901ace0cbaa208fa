"""From YAML text to a validated, frozen config: the only way, for files and for `--set`.

Every config of the project derives from `Config`, lives beside the thing it configures and holds the only copy
of its defaults. Slots (`convnet: {type: vivit, params: {...}}`) derive from `ComponentConfig`.
"""

import difflib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, get_args, get_origin

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
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from visioncore.errors import ConfigError
from visioncore.plain_yaml import cut, put_in_quotes, require_plain

C = TypeVar("C", bound="Config")
AsWritten = dict[str, Any]
"""Plain values as a YAML or a JSON file has them. What modules give each other is a `Config` or a `Record`. It is this
only where it must stay open: between a file and its check, or where another version may know other keys."""


class Config(BaseModel):
    """Frozen and strict: an unknown key, a wrong type or a non-finite number is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, strict=True
    )

    spelt_before: ClassVar[frozenset[str]] = frozenset()
    """Keys that files of before have here, and `as_spelt_now` knows where they stand now."""

    @classmethod
    def as_spelt_now(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        """`raw` as this version spells it; most configs have always been spelt so.

        Raises:
            ConfigError: it can mean two things; the message says how to spell either.
        """
        return raw


class Record(Config):
    """What was found, as a file keeps it: keys of other versions are kept, keys that were not set are not written."""

    model_config = ConfigDict(extra="allow")

    def to_json(self) -> AsWritten:
        """The record as plain JSON values, that `from_json` reads."""
        told: AsWritten = self.model_dump(mode="json", exclude_unset=True)
        return told

    @classmethod
    def from_json(cls, raw: Any) -> Self:
        """The record that `to_json` wrote.

        Raises:
            ConfigError: a key is missing, or holds a value of another kind.
        """
        return read_record(cls, raw)


def read_record(record_class: type[C], raw: Any) -> C:
    """Plain JSON values, as a program wrote them, as `record_class`.

    Raises:
        ConfigError: naming the first key that is missing or holds a value of another kind.
    """
    try:
        return record_class.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "(top level)"
        raise ConfigError(f"'{place}': {first['msg'][0].lower()}{first['msg'][1:]}") from None


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
    def _nest_params(self, flat: SerializerFunctionWrapHandler) -> AsWritten:
        params = flat(self)
        slot = {"type": params.pop("type")}
        return {**slot, "params": params} if params else slot


def read_yaml(path: Path) -> AsWritten:
    """The mapping in a YAML 1.2 file (`1e-4` is a number, `no` is a string, a duplicate key is an error).

    Raises:
        ConfigError: the file is missing, is not YAML, or holds no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], 1)
        raise ConfigError(f"{path}: no such file{_did_you_mean(*near)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    raw = parse_yaml(text, str(path))
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, found {type(raw).__name__}")
    return raw


def parse_yaml(text: str, where: str) -> Any:
    """Plain Python values from YAML 1.2 text; `where` names the source in errors.

    Raises:
        ConfigError: not YAML, or a value or key that is no plain number, text, list or mapping (dates, sets, .inf).
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    try:
        require_plain(yaml.compose(io.StringIO(text)), where)
        value = yaml.load(io.StringIO(text))
        return json.loads(json.dumps(value, allow_nan=False))
    except ConfigError:
        raise
    except DuplicateKeyError as error:
        found = str(error.problem).partition(" with value")[0]
        raise ConfigError(
            f"{where}: {found} in line {error.problem_mark.line + 1}; keep one of the two"
        ) from None
    except YAMLError as error:
        summary = " ".join(str(error).split())
        raise ConfigError(f"{where}: not valid YAML: {summary[:300]}") from None
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise ConfigError(
            f"{where}: holds a value that is no plain number, text, list or mapping ({error})"
        ) from None
    except (AttributeError, KeyError, IndexError, AssertionError) as error:
        raise ConfigError(f"{where}: not valid YAML ({type(error).__name__}: {error})") from None


def apply_overrides(raw: AsWritten, overrides: Sequence[str]) -> AsWritten:
    """`raw` with each `dotted.key=YAML value` set, before any validation, so that overrides are as strict as files.

    Raises:
        ConfigError: an override is not `key=value`, or its path runs through something that is no mapping.
    """
    result: AsWritten = json.loads(json.dumps(raw))
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
        raw = config_class.as_spelt_now(_tuples(raw))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    try:
        return config_class.model_validate(raw)
    except ValidationError as error:
        lines = [
            f"{where}: {_explain(config_class, raw, detail, where)}"
            for detail in _without_consequences(config_class, raw, error.errors())
        ]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None


def load_config(config_class: type[C], path: Path) -> C:
    """Read and validate one YAML file."""
    return build_config(config_class, read_yaml(path), str(path))


def dump_config(config: Config) -> AsWritten:
    """`config` as plain JSON values in the shape that `build_config` reads."""
    dumped: AsWritten = config.model_dump(mode="json")
    return dumped


def _tuples(raw: Any) -> Any:
    """YAML's lists as the tuples that frozen configs hold (strict validation never accepts a list for a tuple)."""
    if isinstance(raw, Mapping):
        return {key: _tuples(value) for key, value in raw.items()}
    return tuple(_tuples(value) for value in raw) if isinstance(raw, list) else raw


def _without_consequences(
    config_class: type[Config], raw: Any, details: Sequence[ErrorDetails]
) -> Iterator[ErrorDetails]:
    """The problems, less those that follow from another: a key is missing because it, or `params`, is misspelt."""
    unknown = [detail["loc"] for detail in details if detail["type"] == "extra_forbidden"]
    meant = {(loc[:-1], _nearest(config_class, raw, loc)) for loc in unknown}
    places = [detail["loc"] for detail in details]
    for detail in details:
        here = detail["loc"]
        outer = [here[:n] for n in range(len(here))]
        if detail["type"] == "missing":
            consequence = here and (here[:-1], here[-1]) in meant
            consequence = consequence or any((place, "params") in meant for place in outer)
        else:
            # A list whose items are wrong also counts as too short.
            inner = (other for other in places if len(other) > len(here) and other[: len(here)] == here)
            consequence = detail["type"] == "too_short" and any(inner)
        if not consequence:
            yield detail


def _explain(config_class: type[Config], raw: Any, detail: ErrorDetails, where: str) -> str:
    kind, found = detail["type"], detail["input"]
    location, _ = _path_in_file(raw, detail["loc"])
    key = ".".join(location) or "(top level)"
    if kind == "extra_forbidden":
        nearest = _nearest(config_class, raw, detail["loc"])
        known = ", ".join(sorted(_keys_at(config_class, detail["loc"][:-1])))
        return f"unknown key '{key}'{_did_you_mean(nearest) or f'; valid keys here: {known}'}"
    if kind == "missing" and isinstance(detail["loc"][-1], int):
        return f"'{'.'.join(location[:-1])}' has too few values (got {_short(found)})"
    if kind == "missing":
        return f"missing key '{key}'"
    if kind in ("too_short", "too_long"):
        context = detail.get("ctx", {})
        bound = (
            f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        )
        return f"'{key}' has {context['actual_length']} values, expected {bound} (got {_short(found)})"
    if kind == "union_tag_not_found" and isinstance(found, Mapping):
        if near := difflib.get_close_matches("type", map(str, found), 1, cutoff=0.5):
            return f"unknown key '{key}.{near[0]}'; did you mean 'type'?"
        return f"missing key '{key}.type'; expected {' | '.join(_tags_at(config_class, detail['loc']))}"
    if kind in ("union_tag_invalid", "literal_error"):
        context = detail.get("ctx", {})
        expected = str(context.get("expected_tags") or context.get("expected"))
        choices = [o.strip().strip("'") for o in expected.replace(" or ", ", ").split(",")]
        found = detail["input"].get("type") if kind == "union_tag_invalid" else found
        if kind == "union_tag_invalid":
            key = f"{key}.type" if location else "type"
        close = difflib.get_close_matches(str(found), choices, 1, cutoff=0.4)
        return f"'{key}' is {_short(found)}; expected {' | '.join(choices)}{_did_you_mean(*close)}"
    if kind in ("model_type", "model_attributes_type"):
        tags = " | ".join(_tags_at(config_class, detail["loc"]))
        return f"'{key}' is {_short(found)}; expected a mapping" + (f" with type: {tags}" if tags else "")
    message = _in_words(detail, where)
    return f"'{key}': {message} (got {_short(found)})" if location else message


def _in_words(detail: ErrorDetails, where: str) -> str:
    if detail["input"] is None and "none" not in detail["type"]:
        return "is empty; fill it in, or leave the key out where it has a default"
    if detail["type"] == "string_type" and not isinstance(detail["input"], Mapping | Sequence):
        return f"YAML reads a number, a truth value or nothing where a text belongs; {put_in_quotes(where)}"
    message = detail["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def _short(value: Any) -> str:
    return cut(repr(_lists(value)))


def _lists(value: Any) -> Any:
    """The way back from `_tuples`, for messages."""
    if isinstance(value, Mapping):
        return {key: _lists(inner) for key, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, tuple) else value


def _did_you_mean(near: str | None = None) -> str:
    return f"; did you mean '{near}'?" if near else ""


def _nearest(config_class: type[Config], raw: Any, location: tuple[int | str, ...]) -> str | None:
    """The valid key that the unknown key at `location` is closest to, if any is close."""
    known = _keys_at(config_class, location[:-1])
    known |= {key for c in _classes_at(config_class, location[:-1]) for key in getattr(c, "spelt_before", ())}
    _, around = _path_in_file(raw, location[:-1])
    if isinstance(around, Mapping):
        # A slot here, or one below (a data YAML has its source's `params` at the top level), may want its `params`.
        slots = [s for s in (around, *around.values()) if isinstance(s, Mapping) and "type" in s]
        known |= {"params"} if any("params" not in slot for slot in slots) else set()
    near = difflib.get_close_matches(str(location[-1]), sorted(known), 1, cutoff=0.5)
    return near[0] if near else None


def _path_in_file(raw: Any, location: tuple[int | str, ...]) -> tuple[list[str], Any]:
    """The keys as the file spells them (pydantic's union tags out, the file's `params` in), and the value there."""
    path: list[str] = []
    for step in location:
        if isinstance(raw, Mapping) and step not in raw:
            if step == raw.get("type"):
                continue
            if "params" in raw:
                path.append("params")
                raw = raw["params"]
        path.append(str(step))
        in_mapping = isinstance(raw, Mapping) and step in raw
        in_list = isinstance(raw, Sequence) and isinstance(step, int) and step < len(raw)
        raw = raw[step] if in_mapping or in_list else None
    return path, raw


def _keys_at(config_class: type[Config], location: tuple[int | str, ...]) -> set[str]:
    return {key for c in _classes_at(config_class, location) for key in c.model_fields}


def _classes_at(config_class: type[Config], location: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """The configs that may stand at a place, several where the file has not chosen yet."""
    classes: list[type[BaseModel]] = [config_class]
    names_follow = False
    for step in location:
        if isinstance(step, int) or names_follow:
            names_follow = False
            continue
        tagged = [c for c in classes if _type_tag(c) == step]
        if tagged:
            classes = tagged
            continue
        fields = [c.model_fields[step] for c in classes if step in c.model_fields]
        names_follow = any(get_origin(field.annotation) is dict for field in fields)
        classes = [m for f in fields for m in _models_in(f.annotation)]
    return classes


def _tags_at(config_class: type[Config], location: tuple[int | str, ...]) -> list[str]:
    return [tag for c in _classes_at(config_class, location) if (tag := _type_tag(c))]


def _type_tag(config_class: type[BaseModel]) -> str | None:
    field = config_class.model_fields.get("type")
    return get_args(field.annotation)[0] if field and get_args(field.annotation) else None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def differing_keys(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """The dotted keys at which two dumped configs differ; a key that is missing is as good as null."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        old, new = ({str(index): value for index, value in enumerate(values)} for values in (old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() | new.keys():
            yield from differing_keys(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif old != new:
        yield path


def dump_yaml(values: Mapping[str, Any]) -> str:
    """`values` as YAML text that `read_yaml` reads back."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    stream = io.StringIO()
    yaml.dump(json.loads(json.dumps(values)), stream)
    return stream.getvalue()
