"""The data YAML: recordings, each a format as `type` and `params`, and how they are prepared and drawn."""

import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, model_serializer, model_validator

from visioncore.config import AsWritten, Config, build_config, dump_config, read_yaml
from visioncore.data.preparation import PreparedSource, StepConfig
from visioncore.data.sources.base import SourceConfig
from visioncore.data.splits import SplitConfig
from visioncore.data.store import CacheMode
from visioncore.data.train_statistics import Pooling
from visioncore.errors import ConfigError
from visioncore.recording import RecordingSource

_DIVIDES = ("split", "burn_in_s", "normalisation")
"""Keys of a listed YAML that the listing one decides, and must not contradict."""
_SOURCE_KEYS = ("type", "params")
_RECORDING_KEYS = (*_SOURCE_KEYS, "base", "preparation")
"""Keys of a recording, which a YAML over a single one has at the top level."""


class LocatedSource(Config):
    """A format, and what is done to its sessions before they are stored. In YAML, `type` and `params` stand beside."""

    source: SourceConfig
    preparation: tuple[StepConfig, ...] = ()
    """Steps, taken one after the other."""
    base: str = "."
    """The folder that the source's paths are relative to, itself relative to the folder of the data YAML."""

    @model_validator(mode="before")
    @classmethod
    def _source_from_beside(cls, raw: Any) -> Any:
        return _nested(raw)

    @model_serializer(mode="wrap")
    def _source_to_beside(self, nested: Callable[[Any], AsWritten]) -> AsWritten:
        dumped = nested(self)
        base = {} if self.base == "." else {"base": self.base}
        return {**dumped["source"], **self._steps(dumped), **base}

    def build(self, base_dir: Path) -> RecordingSource:
        """The source, with its steps; `base_dir` is the folder of the data YAML."""
        source = self.source.build(base_dir / self.base)
        return PreparedSource(source, self.preparation) if self.preparation else source

    def content(self) -> dict[str, Any]:
        """What is read and what is done to it, wherever it lies, as JSON."""
        dumped = dump_config(self)
        dumped.pop("base", None)
        return dumped

    def _steps(self, dumped: dict[str, Any]) -> dict[str, Any]:
        """Nothing where there are none: recordings of before there were steps are spelt as they were."""
        return {"preparation": dumped["preparation"]} if self.preparation else {}


class DataConfig(Config):
    """Recordings and their preparation. In YAML a single recording's `type` and `params` stand at the top level."""

    recordings: tuple[LocatedSource, ...] = Field(min_length=1)
    """Of several, the sessions are prepared, divided and trained on together."""
    store: str = Field(default="stores", min_length=1)
    """Folder of what is prepared, relative to the YAML; or a URL that fsspec opens, such as `s3://bucket/place`."""
    split: SplitConfig = SplitConfig()
    burn_in_s: NonNegativeFloat = 0.25
    """Left out of loss and scores at the start of every block and clip, where a model has no past yet."""
    normalisation: Pooling = "pooled"
    """Whether pixels and behaviour are normalised by means and spreads over all sessions, or by each session's own."""
    balance: Literal["subject", "session", "none"] = "subject"
    """What counts equally in training: subjects, sessions, or (none) bins."""
    cache: CacheMode = "memory"
    """`memory` keeps the recording in memory where it fits into a quarter of it."""

    @model_validator(mode="before")
    @classmethod
    def _recording_from_top_level(cls, raw: Any) -> Any:
        return _with_recordings(raw) if isinstance(raw, Mapping) and "type" in raw else raw

    @model_serializer(mode="wrap")
    def _recording_to_top_level(self, nested: Callable[[Any], AsWritten]) -> AsWritten:
        dumped = nested(self)
        if len(self.recordings) > 1 or self.recordings[0].base != ".":
            return dumped
        return {**dumped.pop("recordings")[0], **dumped}


def build_data_config(raw: Mapping[str, Any], where: str, base_dir: Path | None = None) -> DataConfig:
    """Validate a data YAML's mapping; `where` names it in errors.

    Args:
        base_dir: the folder of the YAML, where it may list others (`recordings: [a.yaml, b.yaml]`).

    Raises:
        ConfigError: one line per problem.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}: 'data' is {raw!r}; expected a mapping with 'type' and 'params'")
    known = sorted({*_RECORDING_KEYS, *DataConfig.model_fields})
    for key in raw:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, cutoff=0.6)
            hint = f"; did you mean '{near[0]}'?" if near else f"; valid keys here: {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key '{key}'{hint}")
    if "recordings" not in raw:
        if "type" not in raw:
            raise ConfigError(
                f"{where}: missing key 'type'; it names the format of the recordings, such as arrays "
                "(or list data YAMLs under 'recordings')"
            )
        return _built(_with_recordings(raw), where)
    if beside := [key for key in _RECORDING_KEYS if key in raw]:
        remedy = "give one of them" if beside[0] in _SOURCE_KEYS else "give it in each"
        raise ConfigError(f"{where}: '{beside[0]}' stands beside 'recordings'; {remedy}")
    listed = raw["recordings"]
    if not isinstance(listed, list | tuple) or not listed:
        raise ConfigError(f"{where}: 'recordings' is {listed!r}; expected a list of data YAMLs")
    entries = [
        _listed(entry, raw, where, base_dir) if isinstance(entry, str) else [_nested(entry)]
        for entry in listed
    ]
    return _built({**raw, "recordings": [one for several in entries for one in several]}, where)


def load_data_config(path: Path) -> DataConfig:
    """Read and validate a data YAML."""
    return build_data_config(read_yaml(path), str(path), path.parent)


def _listed(entry: str, raw: Mapping[str, Any], where: str, base_dir: Path | None) -> list[AsWritten]:
    """The recordings of a listed YAML, as this one would spell them."""
    if base_dir is None:
        raise ConfigError(
            f"{where}: lists the data YAML '{entry}', which only a file can; give its type and params"
        )
    path = base_dir / entry
    theirs = read_yaml(path)
    config = build_data_config(theirs, str(path), path.parent)
    for key in _DIVIDES:
        if key in theirs and theirs[key] != raw.get(key):
            raise ConfigError(
                f"{path}: has '{key}', and {where}, which lists it, {'another' if key in raw else 'none'}; recordings "
                f"that are listed together are divided together: give '{key}' in {where}, and in no other"
            )
    base = os.path.relpath(path.parent, base_dir)
    return [
        {
            "source": dump_config(located.source),
            "preparation": [dump_config(step) for step in located.preparation],
            "base": os.path.normpath(os.path.join(base, located.base)),
        }
        for located in config.recordings
    ]


def _built(raw: Mapping[str, Any], where: str) -> DataConfig:
    try:
        return build_config(DataConfig, raw, where)
    except ConfigError as error:
        message = str(error)
        if len(raw["recordings"]) == 1:
            message = message.replace("'recordings.0.source.", "'").replace(
                "'recordings.0.source':", "'params':"
            )
            message = message.replace("'recordings.0.preparation", "'preparation")
        raise ConfigError(message.replace(".source.", ".").replace(".source'", "'")) from None


def _with_recordings(raw: Mapping[str, Any]) -> AsWritten:
    recording = _nested({key: raw[key] for key in _RECORDING_KEYS if key in raw})
    return {"recordings": [recording], **{key: raw[key] for key in raw if key not in _RECORDING_KEYS}}


def _nested(entry: Any) -> Any:
    """A recording's `type` and `params` as one, so that errors of a format name its keys."""
    if not isinstance(entry, Mapping) or "type" not in entry:
        return entry
    own = {key: entry[key] for key in _SOURCE_KEYS if key in entry}
    return {"source": own, **{key: value for key, value in entry.items() if key not in own}}
