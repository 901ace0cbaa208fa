"""How figures look, and how they become files and parts of a page. Matplotlib is not imported to import this."""

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito 2008: distinguishable with any colour vision.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKERS = ("o", "s", "^", "D", "v", "P")
PREDICTED, RECORDED, TRUE = "#0072B2", "#6b6b6b", "#D55E00"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#333333",
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def as_image(frame: Shaped[np.ndarray, "channels height width"]) -> Float[np.ndarray, "..."]:
    """A frame for `imshow`: grey, or RGB when it has three channels, from 0 to 1."""
    picture = frame.astype(np.float32)
    low, high = (0.0, 255.0) if frame.dtype == np.uint8 else (float(picture.min()), float(picture.max()))
    scaled = np.clip((picture - low) / max(high - low, 1e-6), 0, 1)
    return np.moveaxis(scaled, 0, -1) if len(frame) == 3 else scaled.mean(0)


def as_png(figure: "Figure") -> bytes:
    """The figure as it stands in a page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white")
    return buffer.getvalue()


def png_uri(png: bytes) -> str:
    """A PNG as text that stands in the page itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
