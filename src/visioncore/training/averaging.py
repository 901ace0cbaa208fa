"""The exponential moving average of a twin's weights, which is often better than any of the twins it averages.

Source: Polyak & Juditsky 1992 for the idea; the decay is min(decay, (1 + n) / (10 + n)) after n updates, so that the
first steps are soon forgotten.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from visioncore.model import Twin


class AveragedTwin(AveragedModel):
    """A second copy of the twin. As a submodule of what is trained it moves, is saved and is resumed with it.

    So training never leaves the raw weights: validation and the run folder look at `twin` here instead.
    """

    def __init__(self, twin: Twin, decay: float) -> None:
        @torch.no_grad()
        def average(averaged: Sequence[Tensor], current: Sequence[Tensor], n_averaged: Tensor | int) -> None:
            n = int(n_averaged)
            weight = 1 - min(decay, (1 + n) / (10 + n))
            torch._foreach_lerp_(list(averaged), list(current), weight)

        # Constants of the model are its buffers: copied, not averaged.
        super().__init__(twin, multi_avg_fn=average, use_buffers=False)
        self.requires_grad_(False)

    @property
    def twin(self) -> Twin:
        """The twin with averaged weights."""
        assert isinstance(self.module, Twin)
        return self.module
