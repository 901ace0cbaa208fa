"""A predictor that is no twin: it gives what a script says."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from visioncore.provenance import Provenance
from visioncore.spec import DataSpec

Script = Callable[[str, np.ndarray, Any], np.ndarray]
"""From session, video (time, channels, height, width) and behaviour to rates (time, units)."""


class ScriptedPredictor:
    """Has what `visioncore.predictor.Predictor` asks for, and nothing else; stride-1 bins late, as a real twin."""

    def __init__(
        self,
        spec: DataSpec,
        script: Script,
        *,
        stride: int = 1,
        uses_behaviour: bool = False,
        provenance: Provenance | None = None,
    ) -> None:
        self.spec, self.script, self.stride, self.uses_behaviour = spec, script, stride, uses_behaviour
        self.provenance = provenance or Provenance()
        self.calls: list[int] = []

    @property
    def sessions(self) -> tuple[str, ...]:
        return tuple(session.id for session in self.spec.sessions)

    @property
    def first_predicted_bin(self) -> int:
        return self.stride - 1

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.stride} {self.spec.model_dump_json()}".encode()).hexdigest()

    def columns(self, session: str, unit_ids: Sequence[str]) -> np.ndarray:
        own = self.spec.session(session).unit_ids
        return np.array([own.index(unit) for unit in unit_ids])

    def history_frames(self) -> int | None:
        return 1

    def predict(
        self, video: np.ndarray, behaviour: np.ndarray | Literal["mean"] | None = None, *, session: str
    ) -> np.ndarray:
        self.calls.append(len(video))
        rates = self.script(session, video, behaviour).astype(np.float32)
        rates[: self.stride - 1] = np.nan
        return rates
