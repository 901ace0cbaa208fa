"""`look`: everything that tells how a twin sees, analysis by analysis."""

from collections.abc import Callable, Collection, Iterator
from typing import Literal, get_args

from visioncore.data.store import RecordingStore
from visioncore.errors import ConfigError
from visioncore.lab.analysis import Analysis
from visioncore.lab.attention import KnownFields, attention_maps, has_attention
from visioncore.lab.receptive_fields import ReceptiveFields, Truth, receptive_fields
from visioncore.lab.representation import representation
from visioncore.lab.rig import Rig
from visioncore.model import Ensemble, Twin
from visioncore.predictor import Predictor

Part = Literal["receptive_fields", "attention", "representation"]
PARTS: tuple[Part, ...] = get_args(Part)
Say = Callable[[str, float], None]
"""Told what is being done, and which share of it is done."""
Note = Callable[[str], None]
"""Told what is left out, and why."""


def look(
    rig: Rig,
    store: RecordingStore | None,
    parts: Collection[str] = PARTS,
    *,
    other: Predictor | None = None,
    at: tuple[str, int] | None = None,
    seed: int = 0,
    say: Say = lambda what, share: None,
    note: Note = lambda text: None,
) -> Iterator[Analysis]:
    """The analyses that there are of this predictor, each as soon as it is found.

    Args:
        store: the recording; without one there are receptive fields under white noise alone.
        other: a second predictor of the same units, that the representation is held against.
        at: session and bin of the moment at which attention is drawn.
        note: told what is left out, and why.

    Raises:
        ConfigError: there is no such part, or the recording has none of the units.
    """
    if unknown := [part for part in parts if part not in PARTS]:
        raise ConfigError(f"no analysis {', '.join(unknown)}; expected {' | '.join(PARTS)}")
    if store is not None:
        rig = _fitting(rig, store, note)
    fields: ReceptiveFields | None = None
    if "receptive_fields" in parts:
        fields = receptive_fields(rig, store, seed, say)
        if "gradient" not in fields.kinds:
            note(_why_no_gradient(rig.predictor, store))
        yield fields
    if "attention" in parts:
        yield from _attention(rig, store, fields, at, seed, say, note)
    if "representation" in parts:
        yield from _representation(rig, store, other, seed, say, note)


def _attention(
    rig: Rig,
    store: RecordingStore | None,
    fields: ReceptiveFields | None,
    at: tuple[str, int] | None,
    seed: int,
    say: Say,
    note: Note,
) -> Iterator[Analysis]:
    if not has_attention(rig.predictor):
        note(why_no_attention(rig.predictor))
    elif store is None:
        note("no attention maps: they are of the recording's video; name it with --data")
    elif maps := attention_maps(rig, store, known_fields(rig, store, fields), seed, say, at=at):
        yield maps
    else:
        note("no attention maps: no unit's rate varies in the validation blocks, or these are too short")


def _representation(
    rig: Rig, store: RecordingStore | None, other: Predictor | None, seed: int, say: Say, note: Note
) -> Iterator[Analysis]:
    if store is None:
        note("no representation: it is of the recording's video; name it with --data")
    elif found := representation(rig, store, other=other, seed=seed, say=say):
        yield found
    else:
        note(
            "no representation: no session has two units and blocks of training and validation long enough for it"
        )


def _fitting(rig: Rig, store: RecordingStore, note: Note) -> Rig:
    """The rig with units of the recording alone; what that leaves out is said."""
    if lacking := [session for session in rig.sessions if session not in store.sessions]:
        note(f"{store.path.name} has no session {', '.join(lacking)}: their units are left out")
    if rig.behaviour:
        note("the behaviour that was given is assumed under white noise; all else is of what was recorded")
    return rig.only(store.sessions)


def known_fields(rig: Rig, store: RecordingStore, found: ReceptiveFields | None = None) -> KnownFields | None:
    """Where units are known to look from something else than the twin: the truth, or what was recorded."""
    truth = Truth.of(rig, store)
    known = KnownFields(truth.centre_px, truth.sigma_px, "true")
    if known.known.any():
        return known
    if found is None or "recorded" not in found.kinds:
        return None
    fields = found.kinds["recorded"].fields
    return KnownFields(fields.centre_px, fields.sigma_px, "recorded")


def why_no_attention(predictor: Predictor) -> str:
    """What is said in place of maps."""
    if isinstance(predictor, Ensemble):
        return "no attention maps: each member of an ensemble has attention of its own; look at a member"
    if isinstance(predictor, Twin):
        return f"no attention maps: a {predictor.config.convnet.type} core has no attention"
    return "no attention maps: this predictor is no twin"


def _why_no_gradient(predictor: Predictor, store: RecordingStore | None) -> str:
    if store is None:
        return "no gradients over natural video, and nothing recorded: name the recording with --data"
    if not isinstance(predictor, Twin | Ensemble):
        return "no gradients: this predictor is no twin"
    return "no gradients: no block is long enough to draw moments from"
