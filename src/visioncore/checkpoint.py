"""A twin is one `.safetensors` file that rebuilds itself: weights, configs, data facts, provenance. So is an ensemble.

The header holds, as JSON, the format version, the model's resolved config, the DataSpec with every unit id, the
normalisation constants and the provenance; a SHA-256 digest over all of it and every tensor is verified on loading.
An ensemble's has such a header for every member, whose tensors' names begin with its number.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from visioncore.config import AsWritten, apply_overrides, build_config, differing_keys, dump_config
from visioncore.errors import CheckpointError, ConfigError
from visioncore.hub import fetch, is_on_hub
from visioncore.migration import from_format_1
from visioncore.model import Ensemble, Twin, TwinConfig
from visioncore.model.renamed import renamed
from visioncore.provenance import Provenance
from visioncore.run_folder import RunFolder
from visioncore.spec import DataSpec
from visioncore.tensor_file import read_tensors, write_tensors

FORMAT_VERSION = 2
_HEADER = "visioncore"
OVERRIDABLE = (
    *("flash_attention", "grad_checkpointing"),
    *("patch_dropout", "mha_dropout", "ff_dropout", "drop_path"),
)
"""Settings of a core that change no rate: how it is computed, and what acts in training only."""
EXAMPLE = "model.convnet.params.flash_attention=false"


def save_twin(twin: Twin, path: Path, provenance: Provenance) -> None:
    """Write `twin` to `path`, atomically: a killed save leaves the old file or none."""
    _write(path, {"format_version": FORMAT_VERSION, **_contents(twin, provenance)}, twin.state_dict())


def save_ensemble(ensemble: Ensemble, path: Path) -> None:
    """Write all members of `ensemble` into one file, atomically."""
    header = {
        "format_version": FORMAT_VERSION,
        "members": [_contents(member, member.provenance) for member in ensemble.members],
        "provenance": ensemble.provenance.model_copy(update={"members": None}).to_json(),
    }
    tensors = {
        f"{number}.{name}": tensor
        for number, member in enumerate(ensemble.members)
        for name, tensor in member.state_dict().items()
    }
    _write(path, header, tensors)


def _contents(twin: Twin, provenance: Provenance) -> AsWritten:
    return {
        "model": dump_config(twin.config),
        "data": dump_config(twin.spec),
        "provenance": provenance.to_json(),
    }


def _write(path: Path, contents: AsWritten, weights: Mapping[str, Tensor]) -> None:
    write_tensors(path, weights, _HEADER, json.dumps(contents, sort_keys=True, allow_nan=False))


def load_twin(path: str | Path, device: str | torch.device = "cpu", overrides: Sequence[str] = ()) -> Twin:
    """The twin in a `.safetensors` file or in a run folder, in evaluation mode. Needs no other file.

    Args:
        path: or the name of a twin on the hub, `hf://owner/name` or `hf://owner/name@revision`.
        overrides: settings of the model as `--set` spells them, such as "model.convnet.params.flash_attention=false";
            only those that change no rate (`OVERRIDABLE`).

    Raises:
        CheckpointError: the file is missing, damaged, of a newer format, or its weights do not fit its own config; or
            it holds an ensemble.
        ConfigError: an override names no setting of this model, or one that would change its rates.
    """
    loaded = load_predictor(path, device, overrides)
    if isinstance(loaded, Ensemble):
        raise CheckpointError(
            f"{path}: holds an ensemble of {len(loaded.members)} twins, where one twin is needed; name the run of one "
            "of them, or load it with load_predictor"
        )
    return loaded


def load_predictor(
    path: str | Path, device: str | torch.device = "cpu", overrides: Sequence[str] = ()
) -> Twin | Ensemble:
    """What is in a file, in a run folder or on the hub: a twin, or an ensemble of twins. See `load_twin`."""
    if is_on_hub(path):
        found = fetch(path)
        try:
            loaded = load_predictor(found.file, device, overrides)
        except CheckpointError as error:
            raise CheckpointError(f"{found.name}: {error}") from None
        loaded.provenance = loaded.provenance.model_copy(update={"hub": found.name})
        return loaded
    file = twin_path(Path(path))
    if isinstance(overrides, str):
        raise ConfigError(
            f"overrides is the string {overrides!r}; expected a list of them, such as [{EXAMPLE!r}]"
        )
    header, tensors = _read(file)
    try:
        contents = json.loads(header)
        version = contents["format_version"]
        if version == 1:
            contents = from_format_1(contents)
        elif version != FORMAT_VERSION:
            raise CheckpointError(
                f"{file}: format version {version}; this VisionCore reads 1 to {FORMAT_VERSION}. Install the version "
                "that wrote it (named in its header) or a newer one"
            )
        if "members" not in contents:
            return _twin(contents, _renamed(tensors), file, overrides).to(device)
        members = [
            _twin(own, _renamed(_of_member(number, tensors)), file, overrides).to(device)
            for number, own in enumerate(contents["members"])
        ]
        ensemble = Ensemble(members)
        told = build_config(Provenance, contents["provenance"], f"{file} (provenance)")
        ensemble.provenance = told.model_copy(update={"members": ensemble.provenance.members})
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file}: the header is not what VisionCore writes ({error!r})") from None
    return ensemble


def _twin(contents: AsWritten, tensors: Mapping[str, Tensor], file: Path, overrides: Sequence[str]) -> Twin:
    try:
        config = build_config(TwinConfig, contents["model"], f"{file} (model)")
        spec = build_config(DataSpec, contents["data"], f"{file} (data)")
        provenance = build_config(Provenance, contents["provenance"], f"{file} (provenance)")
    except ConfigError as error:
        raise CheckpointError(f"{error}\n(the file was written by an incompatible version)") from None
    if overrides:
        config = _overridden(config, overrides, file)
    twin = config.build(spec)
    copy_weights(twin, tensors, str(file))
    twin.provenance = provenance
    return twin.eval()


def _of_member(number: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    own = f"{number}."
    return {name.removeprefix(own): tensor for name, tensor in tensors.items() if name.startswith(own)}


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {renamed(name): tensor for name, tensor in tensors.items()}


def _overridden(config: TwinConfig, overrides: Sequence[str], file: Path) -> TwinConfig:
    recorded = {"model": dump_config(config)}
    changed = apply_overrides(recorded, overrides)
    if unknown := sorted(changed.keys() - {"model"}):
        raise ConfigError(f"override of '{unknown[0]}': expected a setting of the model, such as {EXAMPLE}")
    result = build_config(TwinConfig, changed["model"], f"override of {file.name}")
    for key in sorted(differing_keys(recorded, {"model": dump_config(result)})):
        if key.rpartition(".")[2] not in OVERRIDABLE:
            raise ConfigError(
                f"override of '{key}': the twin's weights were trained with another value and would give other rates; "
                f"what may be overridden is {', '.join(OVERRIDABLE)}"
            )
    return result


def load_pretrained_core(twin: Twin, path: Path) -> None:
    """Copy the core's weights from another twin; every tensor of the core must be there with its shape.

    Raises:
        CheckpointError: a tensor is missing, left over or of another shape; nothing is copied then.
    """
    if twin.trunk.core is None:
        raise CheckpointError(f"{path}: this model has no core to load weights into")
    header, tensors = _read(twin_path(path))
    if "members" in json.loads(header):
        raise CheckpointError(f"{path}: holds an ensemble, where the core of one twin is needed")
    core = {
        name.removeprefix("trunk.core."): t
        for name, t in _renamed(tensors).items()
        if name.startswith("trunk.core.")
    }
    copy_weights(twin.trunk.core, core, f"{path} (core)")


def twin_path(path: Path) -> Path:
    """`path` itself, the twin inside it when it is a run folder, or the file of a twin on the hub."""
    if is_on_hub(path):
        return fetch(path).file
    file = RunFolder(path).twin if path.is_dir() else path
    if not file.is_file():
        what = "the run folder holds no twin yet" if path.is_dir() else "no such file"
        raise CheckpointError(f"{file}: {what}")
    return file


def copy_weights(module: torch.nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Strictly copy `tensors` into `module`.

    Raises:
        CheckpointError: naming what is missing, left over or of another shape; nothing is copied then.
    """
    own = module.state_dict()
    problems = [f"missing {name}" for name in sorted(own.keys() - tensors.keys())]
    problems += [f"unexpected {name}" for name in sorted(tensors.keys() - own.keys())]
    problems += [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}"
        for name in sorted(own.keys() & tensors.keys())
        if own[name].shape != tensors[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise CheckpointError(f"{where}: weights do not match the model: {'; '.join(problems[:4])}{more}")
    module.load_state_dict(dict(tensors))


def _read(file: Path) -> tuple[str, dict[str, Tensor]]:
    return read_tensors(file, _HEADER, "a VisionCore twin")
