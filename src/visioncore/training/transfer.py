"""New units on a trunk that another twin learnt: heads are trained for them, and the trunk stays as it is.

Where only heads are trained, they are appended: the result has the other twin's sessions too, whose predictions stay
equal to the bit. Where part of the trunk is trained, it is a twin of the new sessions alone.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator
from torch import nn

from visioncore.checkpoint import load_twin
from visioncore.config import Config, dump_config
from visioncore.data import RecordingStore
from visioncore.errors import ConfigError, DataError
from visioncore.model import Twin, TwinConfig
from visioncore.model.matched_units import take_over
from visioncore.provenance import Provenance, UnitMatch
from visioncore.spec import Sampling, same_rate
from visioncore.training.matches import read_matches
from visioncore.training.start import Start

Trained = Literal["heads", "modulator", "last_blocks"]

logger = logging.getLogger(__name__)


class TransferConfig(Config):
    """Part of the training YAML; `visioncore transfer` writes it."""

    twin: str
    """A twin's file or a run folder, whose trunk is the start; relative to the working directory."""
    train: Trained = "heads"
    """Beside the heads: nothing; or the modulator; or the modulator and the last blocks of the core."""
    match: str | None = None
    """A table of units that are the same as units of that twin (`training/matches.py`)."""
    leave_out_behaviour: bool = False
    """Leave out signals that the trunk was not built for, in place of refusing the session."""
    held_out: bool = False
    """The new units are those that were held out from that twin's training, in its own recording; what comes out is a
    twin of them alone."""

    @model_validator(mode="after")
    def _held_out_units_get_heads(self) -> Self:
        if self.held_out and self.train != "heads":
            raise ValueError(
                "the trunk of a twin whose held-out units are fitted stays as it is; leave out 'train'"
            )
        return self


class Transfer(Start):
    """The twin whose trunk is the start, and what is made of it.

    Raises:
        CheckpointError: its file is missing or damaged.
    """

    def __init__(self, config: TransferConfig) -> None:
        super().__init__()
        self.config = config
        self.origin = load_twin(config.twin)
        self.matches: tuple[UnitMatch, ...] = ()

    @property
    def appends(self) -> bool:
        """Whether the result has the origin's sessions too."""
        return self.config.train == "heads" and not self.config.held_out

    @property
    def made_from(self) -> str:
        return self.origin.digest

    def fitting(self, store: RecordingStore) -> RecordingStore:
        """The new recording, without the signals that are to be left out.

        Raises:
            DataError: its frames or its rate are others than those the trunk was made for.
            ConfigError: held-out units are asked for, and there are none.
        """
        _require_sampling(store, self.origin.spec.sampling, self.config.twin)
        if self.config.held_out:
            store = _of_held_out_units(store, self.origin.provenance, self.config.twin)
        known = set(self.origin.spec.behaviour_names)
        if not (self.origin.uses_behaviour and self.config.leave_out_behaviour):
            return store
        kept = {
            own.id: [name for name in own.behaviour_names if name in known] for own in store.spec.sessions
        }
        return store.with_behaviour(kept)

    def begin(self, model: TwinConfig, store: RecordingStore) -> Twin:
        """A twin of the new sessions on the origin's trunk, of which only what is to be trained asks for gradients.

        Raises:
            DataError: a session cannot stand on this trunk, or beside the origin's.
            ConfigError: the trunk has nothing of what is to be trained, or the model is another than the origin's.
        """
        if dump_config(model) != dump_config(self.origin.config):
            raise ConfigError(
                f"the model is another than that of {self.config.twin}; `visioncore transfer` takes it from there"
            )
        sessions = store.spec.sessions
        if self.appends:
            _require_room(self.origin, store)
        twin = self.origin.without_sessions(*self.origin.sessions).with_sessions(*sessions)
        for own in sessions:
            lacking = [n for n in twin.spec.behaviour_names if n not in own.behaviour_names]
            if twin.uses_behaviour and lacking:
                logger.info("session %s: has no %s, which stand at their mean", own.id, ", ".join(lacking))
        freeze(twin, self.config.train)
        if self.config.match is not None:
            self.matches = read_matches(Path(self.config.match), twin, self.origin)
        return twin

    def settle(self, twin: Twin) -> None:
        """Matched units start from their old selves."""
        if self.matches:
            take_over(twin, self.origin, self.matches)
            logger.info("%d units start from their matches in %s", len(self.matches), self.config.twin)

    def finished(self, twin: Twin) -> Twin:
        """The origin with the heads of `twin` appended, or `twin` itself."""
        if not self.appends:
            return twin
        grown = self.origin.with_sessions(*twin.spec.sessions)
        for session in twin.sessions:
            grown.heads[session].load_state_dict(twin.heads[session].state_dict())
        return grown

    def provenance(self, own: Provenance) -> Provenance:
        origin = self.origin.provenance
        fingerprints = {**(origin.session_fingerprints or {}), **(own.session_fingerprints or {})}
        held_out = {**(origin.held_out_units or {}), **(own.held_out_units or {})}
        return own.model_copy(
            update={
                "made_from": self.made_from,
                "origin": origin,
                "session_fingerprints": fingerprints if self.appends else own.session_fingerprints,
                "held_out_units": (held_out or None) if self.appends else own.held_out_units,
                "matched_units": self.matches or None,
            }
        )


def freeze(twin: Twin, trained: Trained) -> None:
    """Leave only what is to be trained with gradients.

    Raises:
        ConfigError: the trunk has nothing of that.
    """
    trunk = twin.trunk
    trunk.requires_grad_(False)
    if twin.heads.shared is not None:
        twin.heads.shared.requires_grad_(False)
    for session in twin.sessions:
        if (own := trunk.of_session(session)) is not None:
            own.requires_grad_(True)
    parts: list[nn.Module] = []
    if trained != "heads" and trunk.modulator is not None:
        parts.append(trunk.modulator)
    if trained == "last_blocks":
        last: Sequence[nn.Module] = trunk.core.last_blocks() if trunk.core else ()
        if not last:
            raise ConfigError(
                f"core '{twin.config.convnet.type}' has no last blocks to train; transfer with --train heads"
            )
        parts += last
    if trained == "modulator" and not parts:
        raise ConfigError("this twin has no modulator to train; transfer with --train heads")
    for part in parts:
        part.requires_grad_(True)


_REMEDY = {
    "channels": "the step 'grey'",
    "height": "the steps 'crop' and 'resize'",
    "width": "the steps 'crop' and 'resize'",
    "rate_hz": "the step 'resample'",
}
"""Of `preparation`, by the fact that differs."""


def _require_sampling(store: RecordingStore, made_for: Sampling, where: str) -> None:
    for fact, remedy in _REMEDY.items():
        found, expected = getattr(store.spec.sampling, fact), getattr(made_for, fact)
        alike = same_rate(found, expected) if fact == "rate_hz" and found and expected else found == expected
        if not alike:
            raise DataError(
                f"{store.path}: {fact} is {found}, and {where} was made for {expected}; see {remedy} of 'preparation'"
            )


def _of_held_out_units(store: RecordingStore, made: Provenance, where: str) -> RecordingStore:
    """The recording as if it had the units alone that were held out from a training on it."""
    held_out = {name: units for name, units in (made.held_out_units or {}).items() if name in store.sessions}
    if not held_out:
        raise ConfigError(
            f"{where}: no unit of {store.path} was held out from its training; train with training.held_out_units=0.2, "
            "say, to see what the trunk is worth for units that it never saw"
        )
    return store.with_units(
        {
            name: [unit for unit in session.unit_ids if unit in set(held_out.get(name, ()))]
            for name, session in store.sessions.items()
        }
    )


def _require_room(origin: Twin, store: RecordingStore) -> None:
    """Refuse what cannot stand beside the origin's sessions, before anything is trained."""
    for own in store.spec.sessions:
        if own.id in origin.sessions:
            raise DataError(
                f"session {own.id!r}: the twin has a session of that name; name the new one otherwise in its data, or "
                "use --train modulator, which gives a twin of the new sessions alone"
            )
    origin.with_sessions(*store.spec.sessions)
