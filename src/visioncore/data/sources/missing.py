"""Codes for missing samples, as a session's YAML names them (`missing: [-9999]`), taken out of its signals."""

import numpy as np
from jaxtyping import Bool, Shaped


def is_missing(values: Shaped[np.ndarray, "..."], codes: tuple[float, ...]) -> Bool[np.ndarray, "..."]:
    """Where values are one of the codes, up to the rounding of their type."""
    missing = np.zeros(values.shape, bool)
    for code in codes:
        missing |= np.isclose(values, code, rtol=1e-6, atol=0) if values.dtype.kind == "f" else values == code
    return missing


def without_codes(values: Shaped[np.ndarray, "..."], codes: tuple[float, ...]) -> Shaped[np.ndarray, "..."]:
    """The values with NaN in the place of codes; whole numbers become float64 where they hold one."""
    missing = is_missing(values, codes)
    if not missing.any():
        return values
    known = values if values.dtype.kind == "f" else values.astype(np.float64)
    return np.where(missing, np.array(np.nan, known.dtype), known)
