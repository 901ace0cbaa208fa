"""Several twins of the same units that predict as one: the mean of their rates, and how far they are apart."""

import hashlib
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from visioncore.errors import ConfigError
from visioncore.model.twin import Twin
from visioncore.provenance import Provenance
from visioncore.spec import DataSpec


class Ensemble:
    """Twins that differ in seed, recipe or training data. It is a `Predictor`, so it is scored and shown like a twin.

    Args:
        members: twins of the same sessions and units (in any order), made for the same frame and rate.

    Raises:
        ConfigError: there are fewer than two, or one does not fit the first; the member and the fact are named.
    """

    def __init__(self, members: Sequence[Twin]) -> None:
        if len(members) < 2:
            raise ConfigError(f"an ensemble has two members at least; found {len(members)}")
        for number, member in enumerate(members[1:], start=2):
            _require_alike(members[0], member, number)
        if len({member.digest for member in members}) < len(members):
            raise ConfigError("two members of the ensemble are the same twin; give each once")
        self.members = tuple(members)
        self.provenance = _provenance([member.provenance for member in members])

    @property
    def spec(self) -> DataSpec:
        """Of the first member, whose order the units have."""
        return self.members[0].spec

    @property
    def sessions(self) -> tuple[str, ...]:
        """Ids of the sessions whose units it predicts."""
        return self.members[0].sessions

    @property
    def uses_behaviour(self) -> bool:
        """Whether a member's predictions need behaviour."""
        return any(member.uses_behaviour for member in self.members)

    @property
    def stride(self) -> int:
        """Bins after which the members' tokens begin together again."""
        return math.lcm(*(member.stride for member in self.members))

    @property
    def first_predicted_bin(self) -> int:
        """Of a video; before, some member gives NaN."""
        return max(member.first_predicted_bin for member in self.members)

    @property
    def digest(self) -> str:
        """A fingerprint of what the ensemble predicts."""
        return hashlib.sha256(" ".join(member.digest for member in self.members).encode()).hexdigest()

    def unit_ids(self, session: str) -> tuple[str, ...]:
        """The units of a session, in the order of the predictions' columns."""
        return self.members[0].unit_ids(session)

    def columns(self, session: str, unit_ids: Sequence[str]) -> Int[np.ndarray, " units"]:
        """Where these units stand in the predictions.

        Raises:
            DataError: no such session, or it has no such unit.
        """
        return self.members[0].columns(session, unit_ids)

    def history_frames(self) -> int | None:
        """How many frames back a rate can depend on; None without bound."""
        known = [member.history_frames() for member in self.members]
        return None if None in known else max(frames for frames in known if frames is not None)

    def predict(
        self,
        video: np.ndarray,
        behaviour: np.ndarray | Literal["mean"] | None = None,
        *,
        session: str,
    ) -> Float[np.ndarray, "time units"]:
        """The members' mean; see `Twin.predict`."""
        return self.predict_with_spread(video, behaviour, session=session)[0]

    def predict_with_spread(
        self,
        video: np.ndarray,
        behaviour: np.ndarray | Literal["mean"] | None = None,
        *,
        session: str,
    ) -> tuple[Float[np.ndarray, "time units"], Float[np.ndarray, "time units"]]:
        """The members' mean, and their standard deviation (that of a sample). Both are NaN in bins that are not
        predicted; see `Twin.predict`. The spread says where members disagree, not how far the mean is from the truth.
        """
        units = self.unit_ids(session)
        each = np.stack(
            [
                member.predict(video, behaviour, session=session)[:, member.columns(session, units)]
                for member in self.members
            ]
        )
        return each.mean(axis=0), each.std(axis=0, ddof=1)


def _provenance(members: Sequence[Provenance]) -> Provenance:
    """Of all; with what they were trained on where that is the same."""
    told = {}
    for fact in ("data_fingerprint", "session_fingerprints", "held_out_units", "burn_in_s"):
        first, *others = (getattr(member, fact) for member in members)
        if all(other == first for other in others):
            told[fact] = first
    return Provenance(members=tuple(members), **told)


def _require_alike(first: Twin, member: Twin, number: int) -> None:
    what = f"member {number} of the ensemble"

    def require(fact: str, found: object, expected: object) -> None:
        if found != expected:
            raise ConfigError(f"{what}: {fact} is {found}, and the first member's {expected}")

    require("what it was made for", member.spec.sampling, first.spec.sampling)
    require("the sessions", sorted(member.sessions), sorted(first.sessions))
    for session in first.spec.sessions:
        own, where = member.spec.session(session.id), f"of session {session.id!r} "
        require(where + "the response kind", own.response_kind, session.response_kind)
        require(where + "the units", sorted(own.unit_ids), sorted(session.unit_ids))
        if member.uses_behaviour and first.uses_behaviour:
            require(where + "the behaviour", own.behaviour_names, session.behaviour_names)
