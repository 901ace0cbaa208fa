"""Indices of tuning, as published. Responses are above rest, and what is below rest counts as none: 0."""

import numpy as np
from jaxtyping import Float, Float64

Responses = Float[np.ndarray, "units directions"]


def vector_orientation(responses: Responses, degrees: Float[np.ndarray, " directions"]) -> np.ndarray:
    """Sum of responses along twice their directions, over their sum: its length is 1 less the circular variance, and
    half its angle the preferred orientation.

    Source: Ringach, Shapley & Hawken 2002.
    """
    return _vector(responses, 2 * np.deg2rad(degrees))


def vector_direction(responses: Responses, degrees: Float[np.ndarray, " directions"]) -> np.ndarray:
    """Sum of responses along their directions, over their sum: its length is 1 less the circular variance in direction.

    Source: Mazurek, Kager & Van Hooser 2014.
    """
    return _vector(responses, np.deg2rad(degrees))


def _vector(responses: Responses, radians: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(responses @ np.exp(1j * radians) / responses.sum(1))


def along_orientation(
    responses: Responses, degrees: Float[np.ndarray, " directions"]
) -> Float64[np.ndarray, " units"]:
    """The direction along the orientation of the vector sum, in which the response is the larger of both."""
    half = np.nan_to_num(np.rad2deg(np.angle(vector_orientation(responses, degrees))) / 2)
    one, opposite = (at_angle(responses, degrees, half + turn) for turn in (0, 180))
    return np.where(one >= opposite, half, half + 180)


def at_angle(
    responses: Responses, degrees: Float[np.ndarray, " directions"], wanted_deg: Float64[np.ndarray, " units"]
) -> Float64[np.ndarray, " units"]:
    """Each unit's response to a direction, on the straight line between those that were shown beside it."""
    pairs = zip(responses, wanted_deg, strict=True)
    return np.array([np.interp(wanted, degrees, own, period=360) for own, wanted in pairs], np.float64)


def orientation_selectivity(
    responses: Responses, degrees: Float[np.ndarray, " directions"]
) -> Float64[np.ndarray, " units"]:
    """(preferred - orthogonal) / (preferred + orthogonal), with the mean of both orthogonal directions.

    Source: Niell & Stryker 2008.
    """
    best = degrees[responses.argmax(1)]
    across = (at_angle(responses, degrees, best + 90) + at_angle(responses, degrees, best - 90)) / 2
    return difference_over_sum(responses.max(1), across)


def direction_selectivity(
    responses: Responses, degrees: Float[np.ndarray, " directions"]
) -> Float64[np.ndarray, " units"]:
    """(preferred - null) / (preferred + null): null is the direction opposite to the preferred.

    Source: Niell & Stryker 2008; Mazurek, Kager & Van Hooser 2014.
    """
    best = degrees[responses.argmax(1)]
    return difference_over_sum(responses.max(1), at_angle(responses, degrees, best + 180))


def difference_over_sum(one: np.ndarray, other: np.ndarray) -> Float64[np.ndarray, " units"]:
    """(one - other) / (one + other); NaN where both are 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((one - other) / (one + other), np.float64)
