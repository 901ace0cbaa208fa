"""What evaluation, audit, comparison and report ask of a model: a twin, or anything else that predicts units."""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from visioncore.provenance import Provenance
from visioncore.spec import DataSpec


@runtime_checkable
class Predictor(Protocol):
    """Predicts the responses of known units to any video. `Twin` is one; so may be a model of another library, or
    predictions that were kept in a file.
    """

    @property
    def spec(self) -> DataSpec:
        """The sessions it predicts, with their units in the order of its columns, and the data it was made for."""

    @property
    def sessions(self) -> tuple[str, ...]:
        """Ids of the sessions whose units it predicts."""

    @property
    def uses_behaviour(self) -> bool:
        """Whether predictions need behaviour."""

    @property
    def stride(self) -> int:
        """Bins that are predicted at one time (those under one token); scores are also told for each of them."""

    @property
    def first_predicted_bin(self) -> int:
        """Of a video; what it gives for bins before is NaN."""

    @property
    def digest(self) -> str:
        """Differs whenever predictions may: an evaluation is of this digest, and is not made twice for it."""

    @property
    def provenance(self) -> Provenance:
        """How it was made; `Provenance()` where nothing is known of that."""

    def columns(self, session: str, unit_ids: Sequence[str]) -> Int[np.ndarray, " units"]:
        """Where these units stand in the predictions.

        Raises:
            DataError: no such session, or it has no such unit.
        """

    def history_frames(self) -> int | None:
        """How many frames back a rate can depend on; None without bound, or where that is not known."""

    def predict(
        self,
        video: np.ndarray,
        behaviour: np.ndarray | Literal["mean"] | None = None,
        *,
        session: str,
    ) -> Float[np.ndarray, "time units"]:
        """Expected response of every unit of `session` in every bin of a raw video (T, C, H, W); see `Twin.predict`."""
