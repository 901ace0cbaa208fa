"""Where units look, from what was measured of each: a small network from cortical coordinates, say, to positions.

Source: the grid-mean predictor of Lurz et al. 2021, "Generalization in data-driven models of primary visual cortex".
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from visioncore.errors import ConfigError
from visioncore.spec import SessionSpec


class ColumnMap(nn.Module):
    """A linear map from measured columns, plus a network of one hidden layer whose part starts at zero.

    Args:
        columns: of `measured_columns`.
        hidden: size of the hidden layer; 0 for the linear map alone.
    """

    def __init__(self, columns: Float[Tensor, "units columns"], hidden: int) -> None:
        super().__init__()
        self.columns: Tensor
        self.register_buffer("columns", columns, persistent=False)
        n_columns = columns.shape[1]
        self.linear, self.bend = nn.Linear(n_columns, 2), nn.Linear(n_columns, hidden)
        self.bent = nn.Linear(hidden, 2, bias=False)
        for weight in (self.linear.weight, self.linear.bias, self.bent.weight):
            nn.init.zeros_(weight)

    def forward(self) -> Float[Tensor, "units 2"]:
        """A position for every unit, on the readout's own scale."""
        return self.linear(self.columns) + self.bent(torch.tanh(self.bend(self.columns)))

    def fit(self, positions: Float[Tensor, "units 2"]) -> None:
        """The linear map that comes nearest to these positions, in squares; the network's part goes back to zero."""
        with torch.no_grad():
            design = (
                torch.cat((self.columns, self.columns.new_ones(len(self.columns), 1)), dim=1).double().cpu()
            )
            solution = torch.linalg.lstsq(design, positions.to(design), driver="gelsd").solution
            self.linear.weight.copy_(solution[:-1].T)
            self.linear.bias.copy_(solution[-1])
            self.bent.weight.zero_()


def measured_columns(session: SessionSpec, names: Sequence[str]) -> Float[Tensor, "units columns"]:
    """These columns of the session's units, each with mean 0 and standard deviation 1 over the units.

    Raises:
        ConfigError: the session has no such column, or a unit has no number there.
    """
    values = []
    for name in names:
        if name not in session.units:
            raise ConfigError(
                f"session '{session.id}': 'position_columns' names '{name}', which was not measured; its units have "
                f"{', '.join(session.units) or 'no columns'}"
            )
        column = session.units[name]
        for unit, value in zip(session.unit_ids, column, strict=True):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(
                    f"session '{session.id}', unit '{unit}': '{name}' is {value!r}; 'position_columns' needs a "
                    "number for every unit (the step 'select_units' leaves units out)"
                )
        found = np.array(column, np.float64)
        spread = float(found.std()) if len(found) else 0.0
        values.append((found - found.mean()) / (spread or 1.0) if len(found) else found)
    return torch.tensor(np.stack(values, axis=1), dtype=torch.float32)
