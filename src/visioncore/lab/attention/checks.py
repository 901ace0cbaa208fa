"""What makes attention maps believable: three checks, each of which a map can fail."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from scipy.stats import spearmanr

from visioncore.config import Record
from visioncore.lab.gradients import Differentiated, Moments
from visioncore.model import Twin
from visioncore.shapes import FeatureShape

MOST_ALIKE = 0.5
"""Rank correlation with the maps of randomised weights, above which maps do not show what was learnt."""
LEAST_CONCENTRATED = 2.0
"""How many times more of a map must lie in the unit's field than if it were spread evenly."""
FIELD_SIGMAS = 2.0
MASKED_SHARE = 0.05
"""Of the places, that are covered with grey."""
ELSEWHERE = 4
"""Other places that as much is covered at."""
RESAMPLED = 1000


class Check(Record):
    """One check of the maps."""

    of: str
    """Which maps."""
    name: str
    passed: bool | None
    """None where it could not be made."""
    value: float | None
    limit: float | None
    sentence: str


def changes_with_the_weights(
    of: str, maps: Float[np.ndarray, "maps places"], random: Float[np.ndarray, "maps places"]
) -> Check:
    """Whether the maps are others once the core's weights are drawn anew."""
    known = [
        float(spearmanr(a, b).statistic)
        for a, b in zip(maps, random, strict=True)
        if np.ptp(a) > 0 and np.ptp(b) > 0
    ]
    if not known:
        return Check(
            of=of,
            name="randomised weights",
            passed=False,
            value=None,
            limit=MOST_ALIKE,
            sentence="Maps are the same at every place, so randomised weights cannot change them.",
        )
    value = float(np.median(known))
    passed = value < MOST_ALIKE
    return Check(
        of=of,
        name="randomised weights",
        passed=passed,
        value=value,
        limit=MOST_ALIKE,
        sentence=f"Maps correlate {value:.2f} (rank, median) with those of the same twin with random weights in its "
        + ("core: they show what was learnt." if passed else "core: they mostly show where the readout is."),
    )


@dataclass(frozen=True)
class KnownFields:
    """Where units are known to look, from something else than the twin."""

    centre_px: Float64[np.ndarray, "units 2"]
    sigma_px: Float64[np.ndarray, " units"]
    source: str

    @property
    def known(self) -> Bool[np.ndarray, " units"]:
        """Of which units."""
        return np.asarray(np.isfinite(self.centre_px).all(1) & np.isfinite(self.sigma_px))


def covers_the_field(
    of: str,
    maps: Float[np.ndarray, "units places"],
    places_px: Float[np.ndarray, "places 2"],
    fields: KnownFields,
) -> Check:
    """Whether more of a unit's map lies in its known field than if the map were even."""
    limit = LEAST_CONCENTRATED
    if not fields.known.any():
        return Check(
            of=of,
            name="known field",
            passed=None,
            value=None,
            limit=limit,
            sentence="Of no unit is a field known from elsewhere than the twin: whether maps cover it was not checked.",
        )
    ratios = []
    for k in np.flatnonzero(fields.known):
        distance = np.linalg.norm(places_px - fields.centre_px[k], axis=1)
        inside = distance <= FIELD_SIGMAS * fields.sigma_px[k]
        # Of a field smaller than a place, the nearest place.
        inside |= distance == distance.min()
        ratios.append(float(maps[k][inside].sum() / maps[k].sum() / inside.mean()))
    value = float(np.median(ratios))
    return Check(
        of=of,
        name="known field",
        passed=value > limit,
        value=value,
        limit=limit,
        sentence=f"A unit's {fields.source} field holds {value:.1f} times as much of its map as of an even one (median "
        f"of {len(ratios)} units" + (")." if value > limit else f"; at least {limit:g} is asked for)."),
    )


def masks_of(maps: Float[np.ndarray, "maps places"]) -> Bool[np.ndarray, "maps places"]:
    """The most attended places of each map."""
    count = max(round(MASKED_SHARE * maps.shape[1]), 1)
    chosen = np.zeros(maps.shape, bool)
    np.put_along_axis(chosen, np.argsort(-maps, axis=1, kind="stable")[:, :count], True, axis=1)
    return chosen


def elsewhere(
    chosen: Bool[np.ndarray, " places"], grid: FeatureShape, generator: np.random.Generator
) -> Bool[np.ndarray, "others places"]:
    """The same shape, moved (around the edges) to where it overlaps least."""
    flat = chosen.reshape(grid.rows, grid.columns)
    moves = [(r, c) for r in range(grid.rows) for c in range(grid.columns) if (r, c) != (0, 0)]
    moved = [np.roll(flat, move, axis=(0, 1)).ravel() for move in moves]
    overlap = np.array([(other & chosen).sum() for other in moved])
    free = np.flatnonzero(overlap == overlap.min())
    some = generator.choice(free, size=min(ELSEWHERE, len(free)), replace=False)
    return np.stack([moved[k] for k in some])


def covered(
    pixels: Float[np.ndarray, "channels window height width"],
    chosen: Bool[np.ndarray, " places"],
    grid: FeatureShape,
    grey: Float[np.ndarray, " channels"],
) -> Float[np.ndarray, "channels window height width"]:
    """A window with grey at these places of the grid."""
    height, width = pixels.shape[-2:]
    found = pixels.copy()
    for row, column in np.argwhere(chosen.reshape(grid.rows, grid.columns)):
        down, across = (
            _cell(row, grid.rows, grid.row_edges_px, height),
            _cell(column, grid.columns, grid.column_edges_px, width),
        )
        found[..., down, across] = grey[:, None, None, None]
    return found


def _cell(index: int, count: int, edges_px: tuple[float, float], size: int) -> slice:
    first, last = edges_px
    step = (last - first) / count
    start, stop = first + index * step, first + (index + 1) * step
    return slice(int(np.clip(round(start), 0, size)), int(np.clip(round(stop), 0, size)))


def drop_where_covered(
    twin: Twin,
    moments: Moments,
    column: int,
    chosen: Bool[np.ndarray, "moments places"],
    grid: FeatureShape,
    grey: Float[np.ndarray, " channels"],
    generator: np.random.Generator,
) -> tuple[float, float, float]:
    """A unit's mean rate at these moments; by how much it falls where attended places are covered; and elsewhere."""
    function = Differentiated(twin, moments)
    shown = function.pixels()

    def rates(pixels: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            found = function.rates(torch.from_numpy(pixels).to(shown.device))
        return np.asarray(found[:, column].cpu().numpy(), np.float64)

    plain = shown.cpu().numpy()
    whole = rates(plain)
    attended = rates(np.stack([covered(p, c, grid, grey) for p, c in zip(plain, chosen, strict=True)]))
    others = [elsewhere(c, grid, generator) for c in chosen]
    least = min(len(other) for other in others)
    away = [
        rates(np.stack([covered(p, other[k], grid, grey) for p, other in zip(plain, others, strict=True)]))
        for k in range(least)
    ]
    return (
        float(whole.mean()),
        float((whole - attended).mean()),
        float((whole - np.mean(away, axis=0)).mean()),
    )


def lowers_the_prediction(
    of: str,
    rates: Float64[np.ndarray, " units"],
    attended: Float64[np.ndarray, " units"],
    away: Float64[np.ndarray, " units"],
    generator: np.random.Generator,
) -> Check:
    """Whether covering what is attended lowers the rate more than covering as much elsewhere, over units."""
    name, share = "masking", (attended - away) / np.maximum(rates, 1e-9)
    drawn = generator.integers(len(share), size=(RESAMPLED, len(share)))
    low, high = np.quantile(np.median(share[drawn], axis=1), [0.025, 0.975])
    value, passed = float(np.median(share)), bool(low > 0)
    fell, fell_away = (float(np.median(drop / np.maximum(rates, 1e-9))) for drop in (attended, away))
    return Check(
        of=of,
        name=name,
        passed=passed,
        value=value,
        limit=0.0,
        sentence=f"Where the rate is high, grey over the {MASKED_SHARE:.0%} most attended places lowers it by "
        f"{fell:.0%}, as much grey elsewhere by {fell_away:.0%} (medians of {len(share)} units; the difference is "
        f"{value:.0%}, 95 % interval {low:.0%} to {high:.0%})"
        + ("." if passed else ": no more than elsewhere."),
    )
