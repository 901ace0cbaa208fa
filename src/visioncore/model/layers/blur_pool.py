"""Half the grid without aliasing: a fixed binomial filter before every second place is taken."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from visioncore.model.layers.causal_conv import fold_time, unfold_time
from visioncore.model.layers.strided_conv import tile
from visioncore.shapes import FeatureShape

BINOMIAL = (1.0, 3.0, 3.0, 1.0)
"""Even, so that the coarse grid's edges are those of the fine one."""


class BlurPool(nn.Module):
    """Grid of half the rows and columns (rounded up); a weighted mean, at the borders over what lies inside.

    Source: Zhang 2019, "Making convolutional networks shift-invariant again".
    """

    def __init__(self, features: FeatureShape) -> None:
        super().__init__()
        self.rows = tile(features.rows, len(BINOMIAL), 2, "same", "rows")
        self.columns = tile(features.columns, len(BINOMIAL), 2, "same", "columns")
        taps = torch.tensor(BINOMIAL)
        self.kernel: Tensor
        self.inside: Tensor
        self.register_buffer("kernel", torch.outer(taps, taps)[None, None], persistent=False)
        inside = self._blur(torch.ones(1, 1, features.rows, features.columns, device=self.kernel.device))
        self.register_buffer("inside", inside, persistent=False)
        self.out_shape = replace(
            features,
            rows=self.rows.tokens,
            columns=self.columns.tokens,
            row_edges_px=_in_pixels(self.rows.edges_px, features.row_edges_px, features.rows),
            column_edges_px=_in_pixels(self.columns.edges_px, features.column_edges_px, features.columns),
        )

    def forward(
        self, x: Float[Tensor, "batch dim tokens rows columns"]
    ) -> Float[Tensor, "batch dim tokens half_rows half_columns"]:
        return unfold_time(self._blur(fold_time(x)) / self.inside, len(x))

    def _blur(
        self, images: Float[Tensor, "images dim rows columns"]
    ) -> Float[Tensor, "images dim half_rows half_columns"]:
        padded = functional.pad(
            images,
            (self.columns.pad_before, self.columns.pad_after, self.rows.pad_before, self.rows.pad_after),
        )
        dim = images.shape[1]
        return functional.conv2d(padded, self.kernel.expand(dim, -1, -1, -1), stride=2, groups=dim)


def _in_pixels(edges: tuple[float, float], fine_px: tuple[float, float], n_cells: int) -> tuple[float, float]:
    """Edges counted in cells of the finer grid, as pixels of the stimulus."""
    start, stop = fine_px
    cell = (stop - start) / n_cells
    return start + edges[0] * cell, start + edges[1] * cell
