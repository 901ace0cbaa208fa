"""How tuning curves look."""

from typing import TYPE_CHECKING

import numpy as np

from visioncore.drawing import PREDICTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_curve(
    axes: "Axes",
    x: np.ndarray,
    responses: np.ndarray,
    fitted_x: np.ndarray | None = None,
    fitted: np.ndarray | None = None,
    colour: str = PREDICTED,
    label: str | None = None,
) -> None:
    """Responses as dots, and the fitted curve through them; without one, the dots are joined."""
    axes.plot(x, responses, "o", color=colour, markersize=3, label=label)
    if fitted is None or fitted_x is None:
        axes.plot(x, responses, color=colour, linewidth=0.8, alpha=0.5)
    else:
        axes.plot(fitted_x, fitted, color=colour, linewidth=1.2)
    # Nothing is in sight always; other curves may still come.
    axes.plot(x[:1], [0.0], alpha=0)


def log_axis(axes: "Axes", values: np.ndarray) -> None:
    """A logarithmic axis, with some of what was shown as its ticks."""
    axes.set_xscale("log", base=2)
    every = values[:: max(len(values) // 3, 1)]
    axes.set_xticks(every, [f"{value:.2g}" for value in every])
    axes.minorticks_off()
