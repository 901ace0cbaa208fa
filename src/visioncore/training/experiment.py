"""One experiment: model, data, training. What `visioncore train` resolves, records and resumes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from visioncore.checkpoint import load_twin
from visioncore.config import AsWritten, Config, build_config, dump_config, read_yaml
from visioncore.data import DataConfig, Mixing, build_data_config
from visioncore.errors import ConfigError
from visioncore.hub import pinned
from visioncore.model import TwinConfig
from visioncore.provenance import RecordedExperiment
from visioncore.recipes import recipes_folder
from visioncore.run_folder import RunFolder
from visioncore.training.distillation import DistillConfig
from visioncore.training.lengths import EpochsConfig, LengthConfig
from visioncore.training.loggers import LoggerConfig, TensorBoardConfig
from visioncore.training.machine import MachineConfig
from visioncore.training.optimisers import AdamWConfig, OptimiserConfig
from visioncore.training.spelling import SPELT_BEFORE, as_spelt_now, with_overrides
from visioncore.training.transfer import TransferConfig


class InitialiseConfig(Config):
    """What is set from the training split before the first step. Mean rates always are."""

    linear: bool = True
    """The linear path, in closed form."""
    positions: bool = True
    """Readout positions, from where stimulus contrast drives each unit."""
    max_minutes_per_session: PositiveFloat = 20.0
    """Recording time that the estimates read at most."""


class TrainingConfig(Config):
    """The training YAML."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    length: LengthConfig = EpochsConfig()
    """How long; `--max-minutes` decides before it."""
    steps_per_epoch: PositiveInt | None = None
    """Optimiser steps between two validations; one pass over the training bins when left out."""
    train_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of each session's training blocks that anything is fitted on: how much recording does a model need?"""
    held_out_units: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of each session's units that nothing is fitted on: what is the core worth for units that it never saw?"""
    batch_size: PositiveInt = 16
    """Clips per forward pass."""
    accumulate_grad_batches: PositiveInt = 1
    """Forward passes per optimiser step."""
    mixing: Mixing = "clips"
    """What a step holds of several sessions; `data.balance` says what each counts."""
    clip_frames: PositiveInt = 300
    supervision: Literal["dense", "last"] = "dense"
    """`dense` scores every bin of a clip, `last` only the newest frame's (the guide's)."""
    cutmix: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share of the batches whose clips each get a box of another clip of their session (see `training/cutmix.py`)."""
    shift_px: NonNegativeInt = 0
    """The core sees each batch moved by up to as many pixels, both ways, and its readouts look there; so what it learns
    holds at any place of the tubelets' grid."""
    fixed_filters: bool = False
    """Leave the linear path's spatial filters as they were set from the data; their time courses are trained."""
    optimiser: OptimiserConfig = AdamWConfig()
    warmup_steps: NonNegativeInt = 200
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How every learning rate falls after the warm-up; `constant` does not."""
    final_learning_rate: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01
    """Where `cosine` and `linear` end, as a share of the optimiser's rates."""
    ema_decay: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Validate, select and save the moving average of the weights with this decay per step (0.999, say)."""
    gradient_clip: PositiveFloat | None = 1.0
    validation_minutes: PositiveFloat | None = None
    """Validation recording per session that each validation reads at most; all of it when left out."""
    early_stopping_patience: PositiveInt | None = None
    """Validations without a better score before training stops; decides before `patience_passes`."""
    patience_passes: PositiveFloat | None = None
    """Passes over the training bins without a better score before training stops; see `training/enough.py`."""
    pretrained_core: str | None = None
    """A twin file or run folder whose core's weights are the start; relative to the working directory."""
    distill: DistillConfig | None = None
    """Learn from the rates of another twin, or of an ensemble, beside the responses."""
    transfer: TransferConfig | None = None
    """Another twin's trunk, left as it is, is the start; what `visioncore transfer` sets."""
    initialise: InitialiseConfig = InitialiseConfig()
    machine: MachineConfig = MachineConfig()
    """What it is computed on: no part of what makes it this run."""
    loggers: tuple[LoggerConfig, ...] = (TensorBoardConfig(),)
    """Where numbers go besides `logs/metrics.csv`; no part of it either."""

    spelt_before = SPELT_BEFORE

    @classmethod
    def as_spelt_now(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        return as_spelt_now(raw)

    @model_validator(mode="before")
    @classmethod
    def _put_keys_of_before_in_their_places(cls, raw: Any) -> Any:
        return as_spelt_now(raw) if isinstance(raw, Mapping) else raw

    @model_validator(mode="after")
    def _starts_from_one_twin(self) -> "TrainingConfig":
        if self.transfer is not None and self.pretrained_core is not None:
            raise ValueError("gives both 'transfer' and 'pretrained_core'; a transfer has its twin's core")
        return self

    @property
    def clips_per_step(self) -> int:
        """Clips of one optimiser step, over all forward passes, devices and machines."""
        return self.batch_size * self.accumulate_grad_batches * self.machine.processes


class ExperimentConfig(Config):
    """Everything a run is made from; `data` is validated by the data package and kept beside it."""

    model: TwinConfig
    training: TrainingConfig = TrainingConfig()

    @classmethod
    def as_spelt_now(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        if not isinstance(raw.get("training"), Mapping):
            return raw
        return {**raw, "training": as_spelt_now(raw["training"])}


class Experiment:
    """Resolved configs plus where the data's relative paths start."""

    def __init__(self, raw: AsWritten, where: str, data_dir: Path) -> None:
        if unknown := sorted(raw.keys() - {"model", "data", "training"}):
            raise ConfigError(f"{where}: unknown key '{unknown[0]}'; valid keys here: model, data, training")
        config = build_config(ExperimentConfig, {k: v for k, v in raw.items() if k != "data"}, where)
        self.model, self.training = config.model, _pinned(config.training)
        self.data: DataConfig = build_data_config(raw.get("data", {}), where, data_dir)
        self.data_dir = data_dir

    def resolved(self) -> RecordedExperiment:
        """Every setting, defaults included, in the shape of the YAML files."""
        return RecordedExperiment.from_json(
            {
                "model": dump_config(self.model),
                "data": dump_config(self.data),
                "training": dump_config(self.training),
            }
        )


def _pinned(training: TrainingConfig) -> TrainingConfig:
    """The same with the commits of twins on the hub, so that what is recorded is what was used."""
    changed: dict[str, Any] = {}
    if training.pretrained_core is not None:
        changed["pretrained_core"] = pinned(training.pretrained_core)
    for key in ("distill", "transfer"):
        if (own := getattr(training, key)) is not None:
            changed[key] = own.model_copy(update={"twin": pinned(own.twin)})
    return training.model_copy(update=changed)


def read_experiment(
    model: Path, data: Path, training: Path | None, overrides: Sequence[str] = ()
) -> Experiment:
    """The experiment that these YAML files and `--set` overrides describe.

    Raises:
        ConfigError: naming file, key and the nearest valid key.
    """
    files = {"model": model, "data": data} | ({"training": training} if training else {})
    raw = {key: read_yaml(path) for key, path in files.items()}
    # Files are checked one by one first, so that an error names the file it stands in.
    build_config(TwinConfig, raw["model"], str(model))
    build_data_config(raw["data"], str(data), data.parent)
    if training:
        build_config(TrainingConfig, raw["training"], str(training))
    return Experiment(
        with_overrides(raw, overrides), "with --set" if overrides else "experiment", data.parent
    )


def read_transfer(
    transfer: TransferConfig, data: Path, training: Path | None = None, overrides: Sequence[str] = ()
) -> Experiment:
    """The experiment that puts heads for the recording of a data YAML on another twin's trunk.

    Args:
        training: a training YAML; the recipe `transfer.yaml` when left out. Clips are as long as in the other twin's
            training unless it says otherwise.

    Raises:
        ConfigError: naming file, key and the nearest valid key; or an override is of something else than the training.
        CheckpointError: there is no such twin.
    """
    raw_data = read_yaml(data)
    build_data_config(raw_data, str(data), data.parent)
    return _transferred(transfer, raw_data, data.parent, training, overrides)


def held_out_experiment(run: Path) -> Experiment:
    """The experiment that puts heads for the units that were held out from a run's training on its twin's trunk.

    Raises:
        CheckpointError: the run folder holds no twin.
        ConfigError: it holds no experiment.
    """
    data, data_dir = recorded_data(run)
    # Twins are named from the working directory, which may be another when the fit goes on.
    transfer = TransferConfig(twin=str(run.resolve()), held_out=True, leave_out_behaviour=True)
    return _transferred(transfer, dump_config(data), data_dir, kept=("clip_frames", "train_share"))


def _transferred(
    transfer: TransferConfig,
    data: AsWritten,
    data_dir: Path,
    training: Path | None = None,
    overrides: Sequence[str] = (),
    kept: tuple[str, ...] = ("clip_frames",),
) -> Experiment:
    """`kept`: settings of the other twin's training that hold unless the training YAML says otherwise."""
    transfer = transfer.model_copy(update={"twin": pinned(transfer.twin)})
    origin = load_twin(transfer.twin)
    file = training or recipes_folder() / "training_configs" / "transfer.yaml"
    recipe = read_yaml(file)
    build_config(TrainingConfig, recipe, str(file))
    if "transfer" in recipe:
        raise ConfigError(f"{file}: has 'transfer' of its own; leave it out, as the command says it")
    recorded = origin.provenance.experiment
    as_before = (
        {} if recorded is None else {k: v for k, v in recorded.training.to_json().items() if k in kept}
    )
    raw: AsWritten = {"model": dump_config(origin.config), "data": data}
    raw["training"] = {**as_before, **recipe, "transfer": dump_config(transfer)}
    changed = with_overrides(raw, overrides)
    for key in ("model", "data"):
        if changed[key] != raw[key]:
            raise ConfigError(f"--set: '{key}' cannot be overridden in a transfer; 'training' can")
    return Experiment(changed, "with --set" if overrides else "experiment", data_dir)


def recorded_data(run_dir: Path) -> tuple[DataConfig, Path]:
    """The data config that a run folder was trained on, and the folder that its paths are relative to.

    Raises:
        ConfigError: the folder holds no experiment.
    """
    folder = RunFolder(run_dir)
    path, recorded = folder.experiment, folder.claimed_by()
    if recorded is None:
        raise ConfigError(f"{run_dir} holds no {path.name}, so its data are not known; name them with --data")
    if "data" not in recorded.model_fields_set or recorded.data_dir is None:
        raise ConfigError(f"{path}: expected the keys 'data' and 'data_dir'; name the data with --data")
    return build_data_config(recorded.data.to_json(), str(path)), run_dir / recorded.data_dir
