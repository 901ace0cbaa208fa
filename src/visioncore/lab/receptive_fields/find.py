"""Receptive fields of a predictor's units: of the recording, and of the twin beside it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from visioncore.data.splits import Block
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.errors import DataError
from visioncore.lab.receptive_fields.covariance import Axes, triggered_covariance
from visioncore.lab.receptive_fields.gradient import MOMENTS, mean_gradients
from visioncore.lab.receptive_fields.kernels import Fields, Kernels, measure
from visioncore.lab.receptive_fields.result import OneKind, ReceptiveFields, Truth
from visioncore.lab.receptive_fields.triggered import decorrelated, significance, triggered_average
from visioncore.lab.receptive_fields.watched import Watched, spread_blocks
from visioncore.lab.receptive_fields.white_noise import effective_average
from visioncore.lab.rig import Rig
from visioncore.model import Ensemble, Twin

MAX_MINUTES = 6.0
"""Of each session's training blocks, spread over it, for what is averaged over the recording."""
Say = Callable[[str, float], None]
"""Told what is being done, and which share of it is done."""


def receptive_fields(
    rig: Rig,
    store: RecordingStore | None = None,
    seed: int = 0,
    say: Say = lambda what, share: None,
) -> ReceptiveFields:
    """All kernels of the rig's units, and what is measured of them.

    Args:
        store: the recording; without one, there are the twin's kernels under white noise alone.

    Raises:
        DataError: the recording lacks a session of the rig's units.
    """
    if store is not None and (lacking := [name for name in rig.sessions if name not in store.sessions]):
        raise DataError(f"{store.path}: has no session {', '.join(lacking)}; use rig.only(store.sessions)")
    generator = np.random.default_rng(seed)
    kinds: dict[str, OneKind] = {}
    noise = effective_average(rig, generator, progress=lambda done, of: say("white noise", done / of))
    kinds["white_noise"] = OneKind(noise.clean, measure(noise.raw))
    significances = np.full(len(rig.units), np.nan)
    axes: dict[str, list[Axes | None]] = {}
    if store is not None:
        parts = [
            _of_session(rig, store, session, generator, say)
            for session in store.sessions.values()
            if session.id in rig.sessions
        ]
        places = np.concatenate([part.places for part in parts])
        for name in parts[0].kernels:
            if all(name in part.kernels for part in parts):
                kinds[name] = OneKind.of(_joined([part.kernels[name] for part in parts], places))
        significances[places] = np.concatenate([part.p for part in parts])
        for name in ("recorded", "twin"):
            if name in kinds:
                # The twin's kernels of the same frames stand beside the recorded ones, and are of the same units.
                kinds[name] = kinds[name].where(significances < 0.05)
        axes = _covariances(rig, parts, _places_of_fields(kinds), generator, say)
    return ReceptiveFields(
        twin_digest=rig.predictor.digest,
        behaviour=rig.assumed
        if store is None
        else f"as it was recorded with the video; under white noise, {rig.assumed}",
        rig_units=rig.units,
        display=rig.display,
        rate_unit=rig.rate_unit,
        kinds=kinds,
        p=significances,
        axes=axes,
        readout_px=_readouts(rig),
        truth=Truth.of(rig, store),
    )


@dataclass(frozen=True)
class _Part:
    """What one session gives."""

    places: np.ndarray
    """Of its units among the rig's."""
    kernels: Mapping[str, Kernels]
    p: Float64[np.ndarray, " units"]
    watched: Watched | None
    """With recorded responses, and the predicted ones of the same units behind them."""


def _of_session(
    rig: Rig, store: RecordingStore, session: SessionStore, generator: np.random.Generator, say: Say
) -> _Part:
    ids = rig.unit_ids(session.id)
    places = np.array([k for k, unit in enumerate(rig.units) if unit.session == session.id])
    session = session.with_units(ids)
    blocks = spread_blocks(session.blocks_in("train"), rig.display.rate_hz, MAX_MINUTES)
    predictor, done = rig.during(session), iter(range(1, len(blocks) + 1))

    def respond(block: Block) -> np.ndarray:
        predicted = predictor.rates(block)
        say(f"session {session.id}: recorded and predicted", next(done) / len(blocks))
        return np.concatenate((session.responses(block.start, block.stop), predicted), axis=1)

    watched = Watched.of(session, blocks, rig.display.rate_hz, respond, store.burn_in_bins)
    kernels: dict[str, Kernels] = {}
    p = np.ones(len(ids))
    if watched is not None:
        kernels["recorded_sta"], kernels["twin_sta"] = _halves(triggered_average(watched))
        p = significance(watched.of_units(slice(len(ids))), generator)
        cleared = decorrelated(watched, kinds=2)
        if cleared is not None:
            kernels["recorded"], kernels["twin"] = _halves(cleared)
    gradients = gradients_of(rig, session, ids, generator, say)
    if gradients is not None:
        kernels["gradient"] = gradients
    return _Part(places, kernels, p, watched)


def _halves(kernels: Kernels) -> tuple[Kernels, Kernels]:
    """Those of recorded responses, and those of the predicted ones behind them."""
    recorded, twin = np.split(kernels.values, 2)
    return replace(kernels, values=recorded), replace(kernels, values=twin)


def gradients_of(
    rig: Rig,
    session: SessionStore,
    ids: Sequence[str],
    generator: np.random.Generator,
    say: Say = lambda what, share: None,
    moments: int = MOMENTS,
) -> Kernels | None:
    """Of a twin; of an ensemble, the mean of its members'. None for what is neither: it has no gradient."""
    predictor = rig.predictor
    twins = predictor.members if isinstance(predictor, Ensemble) else (predictor,)
    if not all(isinstance(twin, Twin) for twin in twins):
        return None
    blocks = session.blocks_in("validation") or session.blocks_in("train")
    of_all, done = len(twins) * len(ids) * moments, [0]

    def advance(more: int) -> None:
        done[0] += more
        say(f"session {session.id}: gradients", done[0] / of_all)

    each = []
    for twin in twins:
        assert isinstance(twin, Twin)
        found = mean_gradients(
            twin,
            session,
            blocks,
            rig.display,
            twin.columns(session.id, ids),
            generator,
            moments,
            advance,
        )
        if found is None:
            return None
        each.append(found)
    values, power, drive = (
        np.mean([getattr(found, name) for found in each], axis=0) for name in ("values", "power", "drive")
    )
    return Kernels(values, each[0].lag_s, each[0].px, power, drive)


def _joined(parts: Sequence[Kernels], places: np.ndarray) -> Kernels:
    """Kernels of all sessions, units in the rig's order."""

    def together(arrays: Sequence[np.ndarray]) -> np.ndarray:
        joined = np.empty((len(places), *arrays[0].shape[1:]), np.float32)
        joined[places] = np.concatenate(arrays)
        return joined

    powers = [part.power for part in parts if part.power is not None]
    drives = [part.drive for part in parts if part.drive is not None]
    return Kernels(
        together([part.values for part in parts]),
        parts[0].lag_s,
        parts[0].px,
        together(powers) if powers else None,
        together(drives) if drives else None,
    )


def _places_of_fields(kinds: Mapping[str, OneKind]) -> Fields:
    """Where units look, by the best that there is."""
    name = next(name for name in ("gradient", "twin", "white_noise") if name in kinds)
    return kinds[name].fields


def _covariances(
    rig: Rig, parts: Sequence[_Part], fields: Fields, generator: np.random.Generator, say: Say
) -> dict[str, list[Axes | None]]:
    axes: dict[str, list[Axes | None]] = {name: [None] * len(rig.units) for name in ("recorded", "twin")}
    done = 0
    for part in parts:
        for own, place in enumerate(part.places):
            done += 1
            say("covariance", done / len(rig.units))
            if part.watched is None or not fields.found[place]:
                continue
            axes["recorded"][place], axes["twin"][place] = triggered_covariance(
                part.watched,
                (own, own + len(part.places)),
                fields.centre_px[place],
                float(fields.sigma_px[place]),
                generator,
            )
    return axes


def _readouts(rig: Rig) -> Float64[np.ndarray, "units 2"]:
    """Where readouts are placed; NaN where a predictor has none that is."""
    found = np.full((len(rig.units), 2), np.nan)
    if isinstance(rig.predictor, Twin):
        for session in rig.sessions:
            readout = rig.predictor.placed_readout(session)
            if readout is not None:
                places = [k for k, unit in enumerate(rig.units) if unit.session == session]
                columns = rig.predictor.columns(session, [rig.units[k].unit_id for k in places])
                found[places] = readout.centres_px().detach().double().cpu().numpy()[columns]
    return found
