"""Space-time kernels of units, and what is measured of them: place, size, latency, separability, signal and noise."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy.ndimage import gaussian_filter
from scipy.optimize import least_squares

from visioncore.lab.display import Display

FLAT = 3.0
"""A map whose peak is not so many of its own spreads above its median shows no field."""
FAINT = 6.0
"""Nor does a kernel whose peak is not so many times its spread elsewhere: noise of thousands of values has 4 or 5."""


@dataclass(frozen=True)
class Kernels:
    """How a rate depends on the contrast that stood at a place so long ago."""

    values: Float32[np.ndarray, "units lags rows columns"]
    """Lag 0 is the bin's own frame."""
    lag_s: float
    """From one lag to the next."""
    px: int
    """Pixels of the display along one of the kernel's."""
    power: Float32[np.ndarray, "units lags rows columns"] | None = None
    """Mean square of what `values` are the mean of, where that is known: it also shows fields whose mean vanishes."""
    drive: Float32[np.ndarray, "units lags"] | None = None
    """How much each lag adds to the rate, where that is known: its peak is the latency."""

    @property
    def energy(self) -> Float32[np.ndarray, "units lags rows columns"]:
        """Squares: `power` where it is known."""
        return np.square(self.values) if self.power is None else self.power


@dataclass(frozen=True)
class Fields:
    """What was measured of kernels; NaN where they show no field."""

    centre_px: Float64[np.ndarray, "units 2"]
    """Row and column in the display."""
    sigma_px: Float64[np.ndarray, " units"]
    """Standard deviation of the Gaussian envelope of the kernel; of an ellipse, the geometric mean of its two."""
    latency_ms: Float64[np.ndarray, " units"]
    """Of the lag with the most energy; of gradients, of that which adds most to the rate."""
    separability: Float64[np.ndarray, " units"]
    """Share of the power of the strongest pair of a spatial and a temporal profile; 1: space times time."""
    snr: Float64[np.ndarray, " units"]
    """The kernel's peak in standard deviations of its values outside the field."""

    @property
    def found(self) -> np.ndarray:
        """Which units have a field."""
        return np.isfinite(self.sigma_px)

    def columns(self, display: Display, prefix: str) -> dict[str, Float64[np.ndarray, " units"]]:
        """For a table: positions and sizes in the display's unit."""
        position = display.position(self.centre_px)
        unit = display.unit
        return {
            f"{prefix}_x_{unit}": position[:, 0],
            f"{prefix}_y_{unit}": position[:, 1],
            f"{prefix}_sigma_{unit}": self.sigma_px * display.unit_per_px,
            f"{prefix}_latency_ms": self.latency_ms,
            f"{prefix}_separability": self.separability,
            f"{prefix}_snr": self.snr,
        }


def measure(kernels: Kernels) -> Fields:
    """Fit a Gaussian to each unit's map of energy, and tell the rest within it.

    The energy of a Gabor or a Gaussian falls off with a deviation 1/√2 of its envelope's.
    """
    n = len(kernels.values)
    found = {
        name: np.full(n, np.nan) for name in ("row", "column", "sigma", "latency", "separability", "snr")
    }
    for k, (kernel, energy) in enumerate(zip(kernels.values, kernels.energy, strict=True)):
        fit = _gaussian_of(energy.sum(0))
        if fit is None:
            continue
        row, column, down, across = fit
        snr = _signal_to_noise(kernel, _window(energy.shape[1:], row, column, 2 * down, 2 * across))
        if kernels.power is None and not snr > FAINT:
            continue
        found["row"][k], found["column"][k] = row * kernels.px, column * kernels.px
        found["sigma"][k] = np.sqrt(2 * down * across) * kernels.px
        weight = _window(energy.shape[1:], row, column, 2 * down, 2 * across)
        course = (energy * weight).sum((1, 2)) if kernels.drive is None else kernels.drive[k]
        found["latency"][k] = 1e3 * kernels.lag_s * _peak(course)
        found["separability"][k] = _separability(kernel * np.sqrt(weight))
        found["snr"][k] = snr
    return Fields(
        centre_px=np.stack([found["row"], found["column"]], axis=1),
        sigma_px=found["sigma"],
        latency_ms=found["latency"],
        separability=found["separability"],
        snr=found["snr"],
    )


def _gaussian_of(energy: Float[np.ndarray, "rows columns"]) -> tuple[float, float, float, float] | None:
    """Row, column and the two deviations of the Gaussian, on a floor, that fits a map best."""
    rows, columns = energy.shape
    smooth = gaussian_filter(energy.astype(np.float64), 1.0, mode="nearest")
    floor = float(np.median(smooth))
    spread = 1.4826 * float(np.median(np.abs(smooth - floor)))
    peak = float(smooth.max())
    if not peak > floor + FLAT * spread or peak <= 0:
        return None
    row, column = np.unravel_index(int(smooth.argmax()), smooth.shape)
    r, c = np.mgrid[:rows, :columns] + 0.5
    scaled = energy / peak

    def misfit(p: np.ndarray) -> np.ndarray:
        height, at_row, at_column, down, across, low = p
        shape = np.exp(-(((r - at_row) / down) ** 2) / 2 - (((c - at_column) / across) ** 2) / 2)
        return (low + height * shape - scaled).ravel()

    low = [0, 0, 0, 0.3, 0.3, -1]
    high = [20, rows, columns, rows, columns, 1]
    start = [1.0, row + 0.5, column + 0.5, 1.5, 1.5, floor / peak]
    fit = least_squares(
        misfit, np.clip(start, np.array(low) + 1e-6, np.array(high) - 1e-6), bounds=(low, high)
    )
    height, at_row, at_column, down, across, _ = fit.x
    # A field that fills the frame, or none: the map is flat, or its peak is a single odd pixel.
    if max(down / rows, across / columns) > 0.5 or height < 0.05:
        return None
    return float(at_row), float(at_column), float(down), float(across)


def _window(
    shape: tuple[int, ...], row: float, column: float, down: float, across: float
) -> Float64[np.ndarray, "rows columns"]:
    r, c = np.mgrid[: shape[0], : shape[1]] + 0.5
    return np.exp(-(((r - row) / down) ** 2) / 2 - (((c - column) / across) ** 2) / 2)


def _peak(profile: Float[np.ndarray, " lags"]) -> float:
    """The place of the maximum, between samples by a parabola."""
    at = int(profile.argmax())
    if not 0 < at < len(profile) - 1:
        return float(at)
    before, here, after = profile[at - 1 : at + 2]
    bend = before - 2 * here + after
    return float(at) if bend == 0 else float(at + 0.5 * (before - after) / bend)


def _separability(kernel: Float[np.ndarray, "lags rows columns"]) -> float:
    powers = np.square(np.linalg.svd(kernel.reshape(len(kernel), -1), compute_uv=False))
    total = float(powers.sum())
    return float(powers[0]) / total if total > 0 else float("nan")


def _signal_to_noise(kernel: Float[np.ndarray, "lags rows columns"], weight: np.ndarray) -> float:
    outside = kernel[:, weight < 0.01]
    if outside.size < 10:
        return float("nan")
    spread, peak = float(outside.std()), float(np.abs(kernel).max())
    return peak / spread if spread > 0 else float("inf") if peak > 0 else float("nan")
