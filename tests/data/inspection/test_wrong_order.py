"""Fields that were planted in one order of the bits and read in another are told; fields that are whole are not."""

from typing import Any

import numpy as np
import pytest

from visioncore.data.inspection.wrong_order import wrong_order_note
from visioncore.data.sources.checkerboard import CheckerboardConfig

N_FRAMES, ROWS, COLUMNS, LAGS = 4000, 14, 20, 4


def averages(
    shown: dict[str, Any],
    read: dict[str, Any],
    seed: int,
    n_units: int = 6,
    field: float = 1.2,
    rate: float = 0.6,
) -> np.ndarray:
    """Spike-triggered averages of units with Gaussian fields on one film, computed on the same bits read otherwise."""
    rng = np.random.default_rng(seed)
    films = [
        CheckerboardConfig(name="pcg64", seed=seed, **kind).build().read(np.arange(N_FRAMES))[:, 0] / 255
        - 0.5
        for kind in (shown, read)
    ]
    _, rows, columns = films[0].shape
    y, x = np.arange(rows)[None, :, None], np.arange(columns)[None, None]
    centre = np.stack([rng.uniform(2, rows - 2, n_units), rng.uniform(2, columns - 2, n_units)])[
        :, :, None, None
    ]
    if field == 0:
        centre = np.round(centre)
    planted = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * max(field, 1e-2) ** 2))
    planted = planted.reshape(n_units, -1) * rng.choice([-1, 1], (n_units, 1))
    planted /= np.linalg.norm(planted, axis=1, keepdims=True)
    film, as_read = (frames.reshape(N_FRAMES, -1).astype(np.float32) for frames in films)
    counts = rng.poisson(rate * np.exp(2 * np.roll(film @ planted.T.astype(np.float32), 2, axis=0))).astype(
        np.float32
    )
    lagged = [counts[LAGS:].T @ as_read[LAGS - k : N_FRAMES - k] for k in range(LAGS)]
    return np.stack(lagged, axis=1).reshape(n_units, LAGS, *films[1].shape[1:])


BOARD = {"rows": ROWS, "columns": COLUMNS}
EXCHANGED = {"rows": COLUMNS, "columns": ROWS}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("shown", "read"),
    [
        ({**BOARD, "order": "columns"}, {**BOARD, "order": "rows"}),
        ({**BOARD, "order": "rows"}, {**BOARD, "order": "columns"}),
        ({**BOARD, "order": "rows"}, {**EXCHANGED, "order": "rows"}),
        ({**BOARD, "order": "columns"}, {**EXCHANGED, "order": "columns"}),
    ],
)
def test_fields_read_in_the_wrong_order_are_told(
    shown: dict[str, Any], read: dict[str, Any], seed: int
) -> None:
    note = wrong_order_note(averages(shown, read, seed), read["order"])
    assert note is not None
    assert f"order: {'columns' if read['order'] == 'rows' else 'rows'}" in note
    assert f"or by {read['columns']} rows of {read['rows']} columns" in note


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("field", [0.0, 0.7, 1.2, 2.5])
@pytest.mark.parametrize("order", ["rows", "columns"])
def test_fields_that_are_whole_raise_no_alarm(order: str, field: float, seed: int) -> None:
    kind = {**BOARD, "order": order}
    assert wrong_order_note(averages(kind, kind, seed, field=field), order) is None  # type: ignore[arg-type]


def test_noise_alone_raises_no_alarm() -> None:
    rng = np.random.default_rng(0)
    for n_units in (1, 3, 40):
        for _ in range(40):
            assert wrong_order_note(rng.normal(size=(n_units, LAGS, ROWS, COLUMNS)), "rows") is None


def test_orders_of_a_square_board_cannot_be_told_apart_and_are_not() -> None:
    square = {"rows": 16, "columns": 16}
    made = averages({**square, "order": "columns"}, {**square, "order": "rows"}, 0)
    assert wrong_order_note(made, "rows") is None
