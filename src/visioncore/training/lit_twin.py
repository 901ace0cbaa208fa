"""The Lightning module: loss, validation score, optimiser. It holds no architecture."""

import math
import time
from collections.abc import Callable
from typing import Any, Self

import lightning
import numpy as np
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from visioncore.data import (
    Balance,
    Batch,
    ClipDataset,
    RecordingStore,
    SessionClips,
    StepSampler,
    ValidationBlocks,
    clip_length,
)
from visioncore.errors import TrainingError
from visioncore.losses import masked_loss
from visioncore.metrics import PopulationScore
from visioncore.model import InputClips, Twin
from visioncore.model.extras import Extras, auxiliary_loss
from visioncore.provenance import Epoch
from visioncore.training.averaging import AveragedTwin
from visioncore.training.cutmix import cutmix
from visioncore.training.distillation import Teacher
from visioncore.training.experiment import TrainingConfig
from visioncore.training.plan import RunPlan
from visioncore.training.ranks import dealt, gathered
from visioncore.training.resumption import deal_out_anew
from visioncore.training.schedule import learning_rate_factor

CUTMIX = 1
"""Keeps the draws of CutMix apart from those that chose the batch's clips from the same (seed, number)."""


class LitTwin(lightning.LightningModule):
    """Trains a twin. Every random draw of a step is a function of (seed, step), so a resumed run repeats none of it."""

    def __init__(
        self,
        twin: Twin,
        config: TrainingConfig,
        plan: RunPlan,
        store: RecordingStore,
        balance: Balance,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.twin, self.config, self.plan, self._teacher = twin, config, plan, teacher
        self._store, self._balance = store, balance
        for head in twin.heads:
            for filters in head.linear.filters if head.linear else ():
                filters.requires_grad_(not config.fixed_filters)
        self.first_epoch = 0
        """The epoch with which this process began."""
        self.average = None if config.ema_decay is None else AveragedTwin(twin, config.ema_decay)
        self._null = {id: session.train_mean for id, session in store.sessions.items()}
        self._score = PopulationScore()
        self._n_validation = 0
        self._validation_losses: list[tuple[float, int]] = []
        self._losses: list[float] = []
        self._n_supervised = 0
        self._not_finite: str | None = None
        self._resumed_at_s, self._started = 0.0, 0.0
        self.history: list[Epoch] = []
        """One per epoch; kept in the checkpoint, so that a resumed run has all of it."""

    def train(self, mode: bool = True) -> Self:
        """Lightning's, but what nothing is trained of stays as in evaluation: without dropout, and its statistics."""
        super().train(mode)
        for part in self.twin.trunk.modules():
            weights = list(part.parameters())
            if weights and not any(weight.requires_grad for weight in weights):
                part.eval()
        return self

    @property
    def evaluated(self) -> Twin:
        """The twin to validate, select and save."""
        return self.twin if self.average is None else self.average.twin

    def train_dataloader(self) -> DataLoader:
        """This rank's batches: asked of the trainer, which knows all ranks, however and wherever they were started."""
        config = self.config
        # Lightning tells the sampler its epoch only after the first iterator of a run has been made.
        sampler = StepSampler(
            self.plan.batches_per_epoch,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            epoch=len(self.history),
            first=self._steps_of_epoch() * self.plan.batches_per_step,
        )
        return DataLoader(
            ClipDataset(
                self._store,
                clip_length(self._store, config.clip_frames),
                config.batch_size,
                config.seed,
                balance=self._balance,
                batches_per_step=self.plan.batches_per_step * self.trainer.world_size,
                mixing=config.mixing,
            ),
            batch_size=None,
            sampler=sampler,
            num_workers=config.machine.num_workers,
            persistent_workers=config.machine.num_workers > 0,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
        )

    def val_dataloader(self) -> DataLoader:
        """This rank's share of validation."""
        blocks = ValidationBlocks(self._store, self.config.batch_size, self.config.validation_minutes)
        self._n_validation = len(blocks)
        own = dealt(len(blocks), self.trainer.global_rank, self.trainer.world_size)
        return DataLoader(Subset(blocks, own), batch_size=None)

    def on_train_start(self) -> None:
        self.first_epoch = len(self.history)
        self._started = time.perf_counter()

    def _steps_of_epoch(self) -> int:
        """Steps of the epoch that goes on."""
        return self.global_step - (self.history[-1].step if self.history else 0)

    def wall_s(self) -> float:
        """Seconds of training and validation so far; neither what a kill threw away nor the time until it went on."""
        return self._resumed_at_s + time.perf_counter() - self._started

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        number = self._global_batch(batch_idx)
        seed_step(self.config.seed, number)
        rng = np.random.default_rng([self.config.seed, number, CUTMIX])
        # The DataLoader makes lists of tuples.
        batch = cutmix(tuple(batch), self.config.cutmix, rng)
        if self._teacher is not None:
            batch = self._teacher.blended(batch)
        largest = self.config.shift_px
        moved = torch.randint(-largest, largest + 1, (2,)).tolist() if largest else (0, 0)
        loss, extras = self.loss(batch, (moved[0], moved[1]))
        self._n_supervised += sum(int(self._supervised(part).sum()) for part in batch)
        self._losses.append(float(loss.detach()))
        self.log("train/loss", loss, prog_bar=True, batch_size=1, sync_dist=True)
        self.log_dict({f"train/{name}": value for name, value in extras.items()}, batch_size=1)
        if not bool(loss.isfinite()):
            # An error at once would leave the other processes waiting: a gradient that is NaN tells all of them.
            self._not_finite = self._not_finite or self._diagnosis(batch, loss)
            loss = loss * math.nan
        return loss

    def loss(self, batch: Batch, moved_px: tuple[int, int] = (0, 0)) -> tuple[Tensor, Extras]:
        """Mean over the clips of a batch, each by its weight, and what the trunk adds to it; see
        `Twin.forward_with_extras`. A clip's is a sum over valid bins, divided by as many as it could have: so the mean
        over batches, of passes or of processes, is the loss of their clips as one batch.
        """
        clips = [InputClips(part.session, part.video, part.behaviour) for part in batch]
        predictions, extras = self.twin.forward_with_extras(clips, moved_px)
        n_clips = sum(len(part.starts) for part in batch)
        losses = [
            part.weight
            * masked_loss(
                self.twin.spec.response_kind,
                prediction,
                part.responses,
                self._supervised(part),
                self.twin.heads[part.session].output.response_scale,
                out_of=n_clips * self._most_supervised(part),
            )
            for part, prediction in zip(batch, predictions, strict=True)
        ]
        return torch.stack(losses).sum() + auxiliary_loss(extras), extras

    def validation_step(self, batch: SessionClips, batch_idx: int) -> None:
        """Adds whole blocks to the score, walking through them in chunks as `predict` does."""
        if self._in_all_ranks(batch_idx) >= self._n_validation:
            return  # another rank scores it
        length = self.config.clip_frames
        chunks = batch.video.split(length, dim=2)
        behaviour = [None] * len(chunks) if batch.behaviour is None else batch.behaviour.split(length, dim=1)
        walk = self.evaluated.walk(zip(chunks, behaviour, strict=True), session=batch.session)
        prediction = torch.cat(list(walk), dim=1)
        valid = self._predicted(batch)
        loss = masked_loss(
            self.evaluated.spec.response_kind,
            prediction,
            batch.responses,
            valid,
            self.evaluated.heads[batch.session].output.response_scale,
        )
        self._validation_losses.append((float(loss), len(prediction)))
        for row in range(len(prediction)):
            self._score.update(
                batch.session,
                prediction[row].double().cpu().numpy(),
                batch.responses[row].double().cpu().numpy(),
                self._null[batch.session],
                valid[row].cpu().numpy(),
            )

    def on_validation_epoch_start(self) -> None:
        self._score, self._validation_losses = PopulationScore(), []

    def on_validation_epoch_end(self) -> None:
        """Puts together what the ranks have scored, so that each knows the whole."""
        of_ranks = gathered((self._score, self._validation_losses))
        self._score = PopulationScore.of([score for score, _ in of_ranks])
        losses, n_blocks = np.array([of_batch for _, own in of_ranks for of_batch in own]).T
        self.log("validation/loss", float(np.average(losses, weights=n_blocks)))
        self.log("validation/score", self.validation_score(), prog_bar=True)

    def validation_score(self) -> float:
        """What twins are selected by, over the validation blocks seen last."""
        counts = self.twin.spec.response_kind == "counts"
        return self._score.bits_per_spike() if counts else self._score.correlation()

    def on_train_epoch_end(self) -> None:
        of_ranks = gathered((self._losses, self._n_supervised))
        if sum(n_supervised for _, n_supervised in of_ranks) == 0:
            raise TrainingError(
                "no bin of an epoch's clips could be learnt from: all were invalid or in the burn-in; use longer "
                "training.clip_frames, a shorter burn_in_s, or supervision: dense"
            )
        metrics = self.trainer.callback_metrics
        self.history.append(
            Epoch(
                step=self.global_step,
                train_loss=float(np.mean(np.concatenate([losses for losses, _ in of_ranks]))),
                validation_loss=float(metrics["validation/loss"]),
                validation_score=float(metrics["validation/score"]),
                learning_rate=float(self.optimizers().param_groups[0]["lr"]),  # type: ignore[union-attr]
                gradient_norm=float(metrics["train/gradient_norm"]),
                clips=self.global_step * self.plan.batches_per_step * self._clips_per_batch(),
                wall_s=self.wall_s(),
            )
        )
        self._losses, self._n_supervised = [], 0

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: torch.optim.Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.update_average()

    def update_average(self) -> None:
        """Take the weights after a step into the average, where one is kept."""
        if self.average is not None:
            self.average.update_parameters(self.twin)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not math.isfinite(float(norm)):
            gradient = f"the gradient is not finite at step {self.global_step}. {NOT_FINITE_REMEDIES}"
            raise TrainingError(self._not_finite or gradient)
        self.log("train/gradient_norm", norm, batch_size=1)

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        config = self.config
        optimizer = config.optimiser.build(self.twin)
        factor = learning_rate_factor(
            config.schedule, config.warmup_steps, self.plan.scheduled_steps, config.final_learning_rate
        )
        # The plan is asked anew at every step, as it may be put right once.
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: factor(self.plan.scheduled_step(step))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Plain values, because a checkpoint is read without running what is pickled in it.
        checkpoint["history"] = [epoch.to_json() for epoch in self.history]
        checkpoint["unfinished_epoch"] = {
            "losses": list(gathered(self._losses)),
            "n_supervised": sum(gathered(self._n_supervised)),
            "batches_per_step": self.plan.batches_per_step,
            "wall_s": self.wall_s(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = [Epoch.from_json(epoch) for epoch in checkpoint["history"]]
        self._resumed_at_s = (self.history[-1].seconds or 0.0) if self.history else 0.0
        unfinished = checkpoint.get("unfinished_epoch")
        if unfinished is None:
            return  # of an earlier version, which saved at the end of epochs alone
        if any(unfinished["losses"]):
            self._resumed_at_s = unfinished["wall_s"]
        rank = self.trainer.global_rank
        losses = deal_out_anew(checkpoint, self.trainer.world_size, self.plan.batches_per_step)
        self._losses = losses[rank]
        self._n_supervised = unfinished["n_supervised"] if rank == 0 else 0

    def _predicted(self, part: SessionClips) -> Tensor:
        """Valid bins that the twin predicts. They follow from their position, so that a NaN is never masked."""
        valid = part.valid.clone()
        valid[:, : self.twin.first_predicted_bin] = False
        return valid

    def _supervised(self, part: SessionClips) -> Tensor:
        valid = self._predicted(part)
        if self.config.supervision == "last":
            newest = [length // self.twin.stride * self.twin.stride - 1 for length in part.lengths]
            is_newest = torch.arange(valid.shape[1], device=valid.device) == valid.new_tensor(
                newest, dtype=torch.long
            ).unsqueeze(1)
            valid &= is_newest[..., None]
        return valid

    def _most_supervised(self, part: SessionClips) -> int:
        """Bins and units of a clip that the loss takes where nothing is missing."""
        _, n_bins, n_units = part.valid.shape
        without_past = max(self._store.burn_in_bins, self.twin.first_predicted_bin)
        return n_units * (1 if self.config.supervision == "last" else max(n_bins - without_past, 1))

    def _global_batch(self, batch_idx: int) -> int:
        return self._in_all_ranks(self.current_epoch * self.plan.batches_per_epoch + batch_idx)

    def _in_all_ranks(self, index: int) -> int:
        """The number of this rank's batch `index` among those of all ranks."""
        return index * self.trainer.world_size + self.trainer.global_rank

    def _clips_per_batch(self) -> int:
        return self.config.batch_size * self.trainer.world_size

    def _diagnosis(self, batch: Batch, loss: Tensor) -> str:
        clips = ", ".join(f"{part.session} from bins {list(part.starts)}" for part in batch)
        return f"the loss is {float(loss.detach())} at step {self.global_step} (clips: {clips}). {NOT_FINITE_REMEDIES}"


NOT_FINITE_REMEDIES = (
    "The last good checkpoint is kept. Lower training.optimiser.params.learning_rate, set training.gradient_clip, use "
    "32-true rather than bf16-mixed, and check the clip's data; 'model.convnet.params.flash_attention=false' rules the "
    "attention kernel out."
)


def seed_step(seed: int, batch: int) -> None:
    """Make all of torch's draws of this batch a function of (seed, batch)."""
    torch.manual_seed(int(np.random.SeedSequence([seed, batch]).generate_state(1, np.uint64)[0] >> 1))
