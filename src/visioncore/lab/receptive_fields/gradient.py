"""The gradient of a twin's rates, averaged over natural video: what each unit's rate depends on, where and when."""

from collections.abc import Callable

import numpy as np

from visioncore.data.splits import Block
from visioncore.data.store import SessionStore
from visioncore.lab.display import Display
from visioncore.lab.gradients import Differentiated, draw_moments
from visioncore.lab.receptive_fields.kernels import Kernels
from visioncore.model import Twin

MOMENTS = 16
WINDOW_S = 0.2
MOMENTS_AT_ONCE = 16


def mean_gradients(
    twin: Twin,
    session: SessionStore,
    blocks: tuple[Block, ...],
    display: Display,
    columns: np.ndarray,
    generator: np.random.Generator,
    moments: int = MOMENTS,
    advance: Callable[[int], None] = lambda units: None,
) -> Kernels | None:
    """Mean and mean square, over moments of these blocks, of the change of a rate per unit of contrast at a pixel.

    The mean is the unit's linear part for this video; the mean square also shows units whose gradient changes its sign,
    as complex cells' does. What each lag adds to the rate is gradient times contrast, summed over pixels: natural video
    leaves fast changes of a gradient over time undetermined, and they drive nothing. None where blocks are too short.

    Args:
        columns: of the units in the twin's predictions.
        advance: told after how many units (times moments) more.
    """
    window = display.frames(WINDOW_S)
    drawn = draw_moments(twin, session, blocks, moments, window, generator)
    if drawn is None:
        return None
    counts = twin.spec.response_kind == "counts"
    per = display.rate_hz if counts else 1.0
    scale = ((np.array(display.grey) - np.array(display.black)) * per).astype(np.float32)
    shape = (len(columns), window, display.height, display.width)
    total, squares = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    drive = np.zeros(shape[:2], np.float32)
    grey = np.array(display.grey, np.float32)[:, None, None, None]
    for start in range(0, moments, MOMENTS_AT_ONCE):
        function = Differentiated(twin, drawn.take(slice(start, start + MOMENTS_AT_ONCE)))
        above = function.pixels().cpu().numpy() - grey
        for k, (_, found) in enumerate(function.gradients(function.pixels(), columns)):
            gradient = found.cpu().numpy()
            drive[k] += np.einsum("mcthw,mcthw->t", gradient, above)[::-1]
            # All channels change together, each by its own step; lag 0 comes first.
            change = np.einsum("mcthw,c->mthw", gradient, scale)[:, ::-1]
            total[k] += change.sum(0)
            squares[k] += np.square(change).sum(0)
            advance(len(change))
    return Kernels(total / moments, 1 / display.rate_hz, 1, squares / moments, drive * per / moments)
