"""The data YAML: a recording format as `type` and `params`, and beside them how it is prepared and drawn."""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    model_serializer,
    model_validator,
)

from visioncore.config import Config, build_config, read_yaml
from visioncore.data.sources.base import SourceConfig
from visioncore.data.splits import SplitConfig
from visioncore.data.store import CacheMode
from visioncore.errors import ConfigError


class DataConfig(Config):
    """A recording and its preparation. In YAML the source's `type` and `params` stand at the top level."""

    source: SourceConfig
    store: str = Field(default="stores", min_length=1)
    """Folder of prepared stores, relative to the YAML."""
    split: SplitConfig = SplitConfig()
    burn_in_s: NonNegativeFloat = 0.25
    """Left out of loss and scores at the start of every block and clip, where a model has no past yet."""
    balance: Literal["subject", "session", "none"] = "subject"
    """What counts equally in training: subjects, sessions, or (none) bins."""
    cache: CacheMode = "memory"
    """`memory` keeps the recording in memory where it fits into a quarter of it."""

    @model_validator(mode="before")
    @classmethod
    def _source_from_top_level(cls, raw: Any) -> Any:
        return _with_source(raw) if isinstance(raw, Mapping) and "type" in raw else raw

    @model_serializer(mode="wrap")
    def _source_to_top_level(self, nested: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        dumped = nested(self)
        return {**dumped.pop("source"), **dumped}


def build_data_config(raw: Mapping[str, Any], where: str) -> DataConfig:
    """Validate a data YAML's mapping; `where` names it in errors.

    Raises:
        ConfigError: one line per problem.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}: 'data' is {raw!r}; expected a mapping with 'type' and 'params'")
    if "source" in raw:
        raise ConfigError(
            f"{where}: unknown key 'source'; the format's 'type' and 'params' stand at the top level"
        )
    known = sorted({"type", "params", *DataConfig.model_fields} - {"source"})
    for key in raw:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, cutoff=0.6)
            hint = f"; did you mean '{near[0]}'?" if near else f"; valid keys here: {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key '{key}'{hint}")
    if "type" not in raw:
        raise ConfigError(
            f"{where}: missing key 'type'; it names the format of the recordings, such as arrays"
        )
    try:
        return build_config(DataConfig, _with_source(raw), where)
    except ConfigError as error:
        raise ConfigError(str(error).replace("'source.", "'").replace("'source':", "'params':")) from None


def load_data_config(path: Path) -> DataConfig:
    """Read and validate a data YAML."""
    return build_data_config(read_yaml(path), str(path))


def _with_source(raw: Mapping[str, Any]) -> dict[str, Any]:
    source = {key: raw[key] for key in ("type", "params") if key in raw}
    return {"source": source, **{key: value for key, value in raw.items() if key not in source}}
