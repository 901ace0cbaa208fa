"""`train`: from an experiment to a run folder. Wiring only.

RUN/experiment.yaml     every setting, resolved
RUN/plan.json           how many steps; written once
RUN/twin.safetensors    the best twin by validation so far
RUN/last.ckpt           where to resume
RUN/logs/               metrics.csv, TensorBoard
"""

import contextlib
import copy
import csv
import logging
import os
import pickle
import tempfile
import time
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from rich.progress import Progress
from torch.utils.data import DataLoader

from visioncore.checkpoint import load_pretrained_core, replace_durably, save_twin
from visioncore.config import differing_keys, dump_yaml, read_yaml
from visioncore.data import ClipDataset, RecordingStore, StepSampler, ValidationBlocks, prepare
from visioncore.errors import CheckpointError, ConfigError, TrainingError
from visioncore.model import Twin
from visioncore.training.experiment import EXPERIMENT_FILE, Experiment, TrainingConfig
from visioncore.training.initialise import initialise
from visioncore.training.lit_twin import LitTwin
from visioncore.training.monitors import FlatFit, Throughput
from visioncore.training.optim import shortened_warmup
from visioncore.training.plan import (
    Pace,
    Plan,
    plan_for_minutes,
    plan_for_passes,
    read_plan,
    rehearsal_s,
    write_plan,
)
from visioncore.training.provenance import provenance
from visioncore.training.rehearsal import Rehearsal

logger = logging.getLogger(__name__)

OUT_OF_MEMORY_REMEDIES = (
    "Remedies, in this order: a smaller training.batch_size with training.accumulate_grad_batches to make up for it, "
    "model.convnet.params.grad_checkpointing=true, a smaller model, larger patches (fewer tokens), a smaller "
    "hidden_dim of the convgru modulator."
)


def train(
    experiment: Experiment, run_dir: Path, max_minutes: float | None = None, pace: Pace | None = None
) -> Path:
    """Train, or go on training, the twin of `run_dir`; returns the path of the best twin.

    Args:
        max_minutes: how long; else the experiment says how many epochs or passes.
        pace: how fast, for `max_minutes`; found by a rehearsal when left out.

    Raises:
        ConfigError: the run folder holds another experiment, or configs and data disagree.
        TrainingError: the loss is not finite, or memory ran out; the last good checkpoint stays.
    """
    config = experiment.training
    _claim(run_dir, experiment)
    store = prepare(experiment.data, experiment.data_dir).with_train_share(config.train_share)
    torch.manual_seed(config.seed)
    twin = experiment.model.build(store.spec, store.normalisation)
    last = run_dir / "last.ckpt"
    resumed = _read_checkpoint(last)
    plan = read_plan(run_dir / "plan.json")
    if plan is not None:
        _require_same_data(plan, store, run_dir)
        if max_minutes is not None:
            logger.info(
                "%s was planned before: %d steps; --max-minutes changes nothing", run_dir, plan.max_steps
            )
    if resumed is not None and _stopped_early(resumed, config):
        logger.info("%s had stopped early; nothing is left to do", run_dir)
        return run_dir / "twin.safetensors"
    started = time.perf_counter()
    if resumed is None:
        if config.pretrained_core is not None:
            load_pretrained_core(twin, Path(config.pretrained_core))
        initialise(twin, store, config.initialise)
    folder = RunFolder(experiment, store, run_dir, initialise_s=time.perf_counter() - started)

    with _quiet_lightning(), _memory_advice():
        if plan is None:
            plan = _plan(experiment, store)
            if max_minutes is not None:
                pace = pace or _rehearsed(twin, experiment, store, plan, rehearsal_s(max_minutes))
                plan = plan_for_minutes(plan, max_minutes, pace)
            elif config.max_passes is not None:
                plan = plan_for_passes(plan, config.max_passes, _steps_per_pass(config, store))
            write_plan(run_dir / "plan.json", plan)
        if (warmup := shortened_warmup(config.warmup_steps, plan.max_steps)) < config.warmup_steps:
            logger.info("warm-up of %d steps, not %d: a tenth of the run", warmup, config.warmup_steps)
        module = LitTwin(twin, config, plan, store)
        callbacks = [RichProgressBar(), *_callbacks(config), folder]
        _fit(
            _trainer(config, plan, run_dir, callbacks),
            module,
            experiment,
            store,
            (last, resumed) if resumed else None,
        )
    return run_dir / "twin.safetensors"


def find_pace(experiment: Experiment, seconds: float) -> Pace:
    """How fast training goes here and now: some steps of it are timed for `seconds`, and what they learnt is dropped.

    Raises:
        ConfigError: configs and data disagree.
        TrainingError: the loss is not finite, or memory ran out.
    """
    store = prepare(experiment.data, experiment.data_dir).with_train_share(experiment.training.train_share)
    torch.manual_seed(experiment.training.seed)
    twin = experiment.model.build(store.spec, store.normalisation)
    with _quiet_lightning(), _memory_advice():
        return _rehearsed(twin, experiment, store, _plan(experiment, store), seconds)


def _claim(run_dir: Path, experiment: Experiment) -> None:
    """Record the experiment, or make sure that the folder was made by the same one."""
    path = run_dir / EXPERIMENT_FILE
    resolved = experiment.resolved()
    if path.exists():
        recorded = {key: value for key, value in read_yaml(path).items() if key != "data_dir"}
        different = sorted(differing_keys(recorded, resolved))
        if different:
            raise ConfigError(
                f"{run_dir} holds another experiment (different: {', '.join(different[:5])}); choose another --out, "
                "or run the same command as before to resume"
            )
        return
    if run_dir.exists() and any(run_dir.iterdir()):
        raise ConfigError(f"{run_dir} exists and is no run folder of ours; choose another --out")
    run_dir.mkdir(parents=True, exist_ok=True)
    partial = run_dir.parent / f".{run_dir.name}.experiment.{os.getpid()}.partial"
    data_dir = os.path.relpath(experiment.data_dir, run_dir)
    partial.write_text(dump_yaml({"data_dir": data_dir, **resolved}), encoding="utf-8")
    replace_durably(partial, path)


def _plan(experiment: Experiment, store: RecordingStore) -> Plan:
    """Of `max_epochs`, which passes or minutes may then change."""
    config = experiment.training
    return Plan(
        epochs=config.max_epochs,
        steps_per_epoch=config.steps_per_epoch or max(int(_steps_per_pass(config, store)), 1),
        batches_per_step=config.accumulate_grad_batches,
        data_fingerprint=store.fingerprint,
    )


def _steps_per_pass(config: TrainingConfig, store: RecordingStore) -> float:
    train_bins = sum(b.stop - b.start for s in store.sessions.values() for b in s.blocks_in("train"))
    clips_per_step = config.batch_size * config.accumulate_grad_batches * config.devices
    return train_bins / (config.clip_frames * clips_per_step)


def _rehearsed(twin: Twin, experiment: Experiment, store: RecordingStore, plan: Plan, seconds: float) -> Pace:
    """How fast the run goes: a copy of it is trained for a while, in a folder that is thrown away."""
    config = experiment.training
    endless = plan.model_copy(update={"epochs": 1, "steps_per_epoch": 10**9})
    module = LitTwin(copy.deepcopy(twin), config, endless, store)
    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task("finding the pace", total=1.0)
    rehearsal = Rehearsal(seconds, plan.batches_per_step, watch=lambda done: bar.update(task, completed=done))
    with bar, tempfile.TemporaryDirectory() as folder:
        run_folder = RunFolder(experiment, store, Path(folder), initialise_s=0.0)
        callbacks = [*_callbacks(config), run_folder, rehearsal]
        _fit(_trainer(config, endless, Path(folder), callbacks), module, experiment, store, None)
    assert rehearsal.pace is not None
    return rehearsal.pace


def _fit(
    trainer: lightning.Trainer,
    module: LitTwin,
    experiment: Experiment,
    store: RecordingStore,
    resumed: tuple[Path, dict[str, Any]] | None,
) -> None:
    config = experiment.training
    first_epoch = 0 if resumed is None else len(resumed[1]["history"])
    trainer.fit(
        module,
        _train_loader(experiment, store, module.plan, first_epoch),
        _validation_loader(config, store),
        ckpt_path=None if resumed is None else str(resumed[0]),
        weights_only=None if resumed is None else False,
    )
    if trainer.interrupted:
        raise KeyboardInterrupt


def _device(config: TrainingConfig) -> Literal["cuda", "cpu"]:
    """The one place that decides: an NVIDIA GPU where there is one, unless the config says otherwise."""
    found = torch.cuda.device_count()
    if config.accelerator == "gpu" and not found:
        raise ConfigError(
            "training.accelerator is 'gpu' and this machine has none that torch sees; use 'auto' or 'cpu'"
        )
    device: Literal["cuda", "cpu"] = "cuda" if found and config.accelerator != "cpu" else "cpu"
    if device == "cuda" and config.devices > found:
        raise ConfigError(f"training.devices is {config.devices}, and this machine has {found} GPU(s)")
    return device


def _dataset(experiment: Experiment, store: RecordingStore) -> ClipDataset:
    config = experiment.training
    return ClipDataset(
        store, config.clip_frames, config.batch_size, config.seed, balance=experiment.data.balance
    )


def _read_checkpoint(last: Path) -> dict[str, Any] | None:
    """The point to resume from, if there is one, checked against the checksums that it carries."""
    if not last.exists():
        return None
    try:
        with zipfile.ZipFile(last) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} does not match its checksum")
        checkpoint: dict[str, Any] = torch.load(last, map_location="cpu", weights_only=False)
        if not isinstance(checkpoint["history"], list):
            raise TypeError("its history is no list")
    except (
        *(zipfile.BadZipFile, RuntimeError, KeyError, EOFError, ValueError, TypeError, OSError),
        *(AttributeError, ImportError, IndexError, NotImplementedError, pickle.UnpicklingError),
    ) as error:
        raise CheckpointError(f"{last}: cannot be resumed from ({error}); delete it to start again") from None
    return checkpoint


def _require_same_data(plan: Plan, store: RecordingStore, run_dir: Path) -> None:
    if plan.data_fingerprint != store.fingerprint:
        raise ConfigError(
            f"{run_dir} was begun on other data (fingerprint {plan.data_fingerprint[:16]}, now "
            f"{store.fingerprint[:16]}): the recording, its split or its preparation has changed, and what was "
            "test data may have been trained on. Choose another --out, or bring the old data back"
        )


def _stopped_early(checkpoint: dict[str, Any], config: TrainingConfig) -> bool:
    """Whether early stopping had ended the run; Lightning itself would train one more epoch."""
    states = [state for key, state in checkpoint["callbacks"].items() if key.startswith("EarlyStopping")]
    patience = config.early_stopping_patience
    return patience is not None and any(state["wait_count"] >= patience for state in states)


def _train_loader(experiment: Experiment, store: RecordingStore, plan: Plan, first_epoch: int) -> DataLoader:
    config = experiment.training
    sampler = StepSampler(
        plan.batches_per_epoch, rank=int(os.environ.get("LOCAL_RANK", "0")), world_size=config.devices
    )
    # Lightning tells the sampler its epoch only after the first iterator of a run has been made.
    sampler.set_epoch(first_epoch)
    return DataLoader(
        _dataset(experiment, store),
        batch_size=None,
        sampler=sampler,
        num_workers=config.num_workers,
        persistent_workers=config.num_workers > 0,
    )


def _validation_loader(config: TrainingConfig, store: RecordingStore) -> DataLoader:
    return DataLoader(ValidationBlocks(store, config.batch_size, config.validation_minutes), batch_size=None)


def _trainer(
    config: TrainingConfig, plan: Plan, run_dir: Path, callbacks: list[Callback]
) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator=_device(config),
        devices=config.devices,
        # Sessions differ between ranks, so on each some readouts see no clip.
        strategy="ddp_find_unused_parameters_true" if config.devices > 1 else "auto",
        precision=config.precision,
        max_epochs=plan.epochs,
        limit_train_batches=plan.batches_per_epoch,
        accumulate_grad_batches=plan.batches_per_step,
        gradient_clip_val=config.gradient_clip,
        callbacks=callbacks,
        logger=TensorBoardLogger(run_dir / "logs", name="", version="tensorboard"),
        log_every_n_steps=10,
        num_sanity_val_steps=-1,  # all of it, before the first step: the start is scored too
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(callback, RichProgressBar) for callback in callbacks),
        default_root_dir=run_dir,
    )


def _callbacks(config: TrainingConfig) -> list[Callback]:
    callbacks: list[Callback] = [Throughput(config.batch_size * config.devices), FlatFit()]
    if config.early_stopping_patience is not None:
        callbacks.append(
            EarlyStopping(
                "validation/score", mode="max", patience=config.early_stopping_patience, check_finite=False
            )
        )
    return callbacks


class RunFolder(Checkpoint):
    """After every epoch: the best twin, the history, and last of all the point to resume from; each atomically."""

    def __init__(
        self, experiment: Experiment, store: RecordingStore, run_dir: Path, *, initialise_s: float
    ) -> None:
        self._experiment, self._store, self._run_dir = experiment, store, run_dir
        self._initialise_s = initialise_s
        self._best = (float("-inf"), float("-inf"))

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "initialise_s": self._initialise_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best, self._initialise_s = state_dict["best"], state_dict["initialise_s"]

    def on_sanity_check_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Where training starts is the first candidate: with few data the filters set from them may be the best."""
        assert isinstance(pl_module, LitTwin)
        score = pl_module.validation_score()
        resumed = bool(pl_module.history)
        if score == score and not resumed:
            self._best = (score, float("-inf"))
            if trainer.is_global_zero:
                self._save(pl_module, {"step": 0, "validation_score": score})

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, LitTwin)
        newest = pl_module.history[-1]
        # Where the score is undefined (no spike in the validation data) the loss decides.
        score = newest["validation_score"]
        rank = (score if score == score else float("-inf"), -newest["validation_loss"])
        if score != score and len(pl_module.history) == 1:
            logger.warning(
                "the validation score is undefined (no spikes?): the best twin is chosen by its loss"
            )
        is_best = rank > self._best
        if is_best:
            self._best = rank
        if trainer.is_global_zero:
            if is_best:
                self._save(pl_module, {key: value for key, value in newest.items() if value == value})
            _write_history(self._run_dir / "logs" / "metrics.csv", pl_module.history)
        partial = self._run_dir / ".last.ckpt.partial"
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            replace_durably(partial, self._run_dir / "last.ckpt")

    def _save(self, module: LitTwin, metrics: dict[str, float]) -> None:
        record = provenance(self._experiment, self._store, module.plan, metrics, self._initialise_s)
        save_twin(module.evaluated, self._run_dir / "twin.safetensors", record)


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
    replace_durably(partial, path)


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's advice on what is decided here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for advice in (
            ".*does not have many workers.*",
            ".*GPU available but not used.*",
            ".*lr_scheduler.step.*optimizer.step.*",
            ".*Checkpoint directory .* exists and is not empty.*",
            ".*number of training batches .* smaller than the logging interval.*",
            ".*isinstance.treespec, LeafSpec.* is deprecated.*",
            ".*Found .* module.*in eval mode at the start of training.*",
        ):
            warnings.filterwarnings("ignore", advice)
        yield


@contextlib.contextmanager
def _memory_advice() -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        exhausted = isinstance(
            error, (MemoryError, torch.OutOfMemoryError)
        ) or "can't allocate memory" in str(error)
        if not exhausted:
            raise
        raise TrainingError(
            f"out of memory ({str(error).splitlines()[0]}). {OUT_OF_MEMORY_REMEDIES}"
        ) from None
