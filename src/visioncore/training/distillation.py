"""Distillation: a twin learns from the rates of another predictor, an ensemble say, beside the recorded responses.

Source: Hinton, Vinyals & Dean 2015, "Distilling the knowledge in a neural network"; for neural encoding Baikulov 2023,
the winner of Sensorium, whose share of 0.36 is the default here.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field

from visioncore.checkpoint import load_predictor
from visioncore.config import Config
from visioncore.data import Batch, RecordingStore, SessionClips
from visioncore.errors import DataError
from visioncore.evaluation import check_fit, require_unseen, trained_on
from visioncore.model import Ensemble, InputClips


class DistillConfig(Config):
    """What is learnt from, and how much."""

    twin: str
    """A twin's or an ensemble's file, or the folder of one; relative to the working directory."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.36
    """Of what is learnt: targets are so much the teacher's rates, and the rest the recorded responses."""


class Teacher:
    """Blends what was recorded with what the teacher predicts for the same clips.

    The Poisson loss is linear in the response, so learning from the blend is learning from both with these weights; so
    is the squared error, but for a constant. The teacher sees a clip as the student does, CutMix included.

    Raises:
        CheckpointError: there is no such file, or it does not know these sessions and units.
        DataError: it was trained on other bins than those of this recording's training split.
    """

    def __init__(self, config: DistillConfig, store: RecordingStore) -> None:
        self._share = config.share
        teacher = load_predictor(config.twin)
        fitting = check_fit(teacher, store)
        if lacking := sorted(set(store.sessions) - set(fitting.sessions)):
            raise DataError(
                f"{config.twin}: the teacher does not know session '{lacking[0]}' of {store.path}"
            )
        require_unseen(teacher, store, "test")
        if trained_on(teacher, store) == "other data":
            raise DataError(
                f"{config.twin}: the teacher was trained on other data, or on these divided otherwise, so it may have "
                "seen this recording's test bins; distil from twins of this very recording and split"
            )
        self.digest = teacher.digest
        self._twins = teacher.members if isinstance(teacher, Ensemble) else (teacher,)
        self._columns = [
            {name: torch.from_numpy(twin.columns(name, own.unit_ids)) for name, own in store.sessions.items()}
            for twin in self._twins
        ]

    def blended(self, batch: Batch) -> Batch:
        """The batch with targets in the place of responses; bins that the teacher does not predict stay as they are."""
        with torch.no_grad():
            rates = [self._rates(number, batch) for number in range(len(self._twins))]
        return tuple(
            self._blend(part, torch.stack([own[k] for own in rates]).mean(0)) for k, part in enumerate(batch)
        )

    def _rates(self, number: int, batch: Batch) -> Sequence[torch.Tensor]:
        twin = self._twins[number].to(batch[0].video.device)
        rates = twin([InputClips(part.session, part.video, part.behaviour) for part in batch])
        return [
            own[..., self._columns[number][part.session].to(own.device)]
            for own, part in zip(rates, batch, strict=True)
        ]

    def _blend(self, part: SessionClips, rates: torch.Tensor) -> SessionClips:
        known = ~rates.isnan()
        target = torch.lerp(part.responses, torch.where(known, rates, 0.0).to(part.responses), self._share)
        return replace(part, responses=torch.where(known, target, part.responses))


def teacher_of(config: DistillConfig | None, store: RecordingStore) -> Teacher | None:
    """The teacher; none where the training has none."""
    return None if config is None else Teacher(config, store)
