"""Where each unit looks: by its spot map, else by Gabor noise, else by its readout."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from visioncore.lab.rig import Rig
from visioncore.lab.tuning.gabors import GaborTuning
from visioncore.lab.tuning.spots import SpotMap
from visioncore.model import Ensemble, Twin
from visioncore.predictor import Predictor

NOWHERE = "neither spots nor Gabor noise nor a readout tell where it looks"


@dataclass(frozen=True)
class Centres:
    """A place per unit, and what told it."""

    centre_px: Float64[np.ndarray, "units 2"]
    """(row, column); NaN where nothing tells it."""
    told_by: tuple[str, ...]
    """`spots`, `gabors`, `readout`, or empty."""

    @classmethod
    def of(cls, rig: Rig, spots: SpotMap, gabors: GaborTuning) -> "Centres":
        """The first of them that tells it."""
        centre = np.full((len(rig.units), 2), np.nan)
        told_by = np.full(len(centre), "", object)
        for name, places in (
            ("spots", spots.centre_px),
            ("gabors", gabors.centre_px),
            ("readout", readout_centres_px(rig)),
        ):
            here = np.isnan(centre[:, 0]) & np.isfinite(places[:, 0])
            centre[here], told_by[here] = places[here], name
        return cls(centre, tuple(told_by.tolist()))

    @property
    def counts(self) -> dict[str, int]:
        """How many units each told of."""
        return {name or "nothing": self.told_by.count(name) for name in dict.fromkeys(self.told_by)}


def readout_centres_px(rig: Rig) -> Float64[np.ndarray, "units 2"]:
    """(row, column) where the readout of each unit stands, as the mean over an ensemble's members; NaN without one."""
    members = rig.predictor.members if isinstance(rig.predictor, Ensemble) else [rig.predictor]
    return np.mean([_of_one(member, rig) for member in members], axis=0)


def _of_one(predictor: Predictor, rig: Rig) -> Float64[np.ndarray, "units 2"]:
    found = np.full((len(rig.units), 2), np.nan)
    if not isinstance(predictor, Twin):
        return found
    for session in rig.sessions:
        if (readout := predictor.placed_readout(session)) is None:
            continue
        places = [k for k, unit in enumerate(rig.units) if unit.session == session]
        columns = predictor.columns(session, [rig.units[k].unit_id for k in places])
        found[places] = readout.centres_px().detach().cpu().double().numpy()[columns]
    return found
