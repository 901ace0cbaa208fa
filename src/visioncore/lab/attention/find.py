"""Attention maps of a twin's units, the checks that make them believable, and gradient attribution beside them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64

from visioncore.data.splits import Block
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.errors import ConfigError
from visioncore.lab.attention import checks
from visioncore.lab.attention.checks import KnownFields
from visioncore.lab.attention.result import AttentionMaps, Example
from visioncore.lab.attention.rollout import attention_of, has_attention, head_maps, randomised, rollout
from visioncore.lab.gradients import CONTEXT_S, Moments, integrated_gradients, moments_at, smooth_grad
from visioncore.lab.rig import Rig, UnitName
from visioncore.model import Twin
from visioncore.shapes import FeatureShape

MAPS = {"rollout": 0.5, "attention alone": 0.0}
"""Kinds of maps, and which share of its own input each block passes on in them."""
UNITS, MOMENTS, EXAMPLES = 12, 4, 3
"""At most so many units are looked at, each at the moments of its highest rates; some of them are drawn."""
WINDOW_S = 0.3
"""Of video before a moment that is covered, or attributed to."""
APART_S = 0.5
SEARCHED_S = 60.0
"""Of each session's validation blocks, in which high rates are looked for."""
Say = Callable[[str, float], None]


def attention_maps(
    rig: Rig,
    store: RecordingStore,
    known: KnownFields | None = None,
    seed: int = 0,
    say: Say = lambda what, share: None,
    units: int = UNITS,
    moments: int = MOMENTS,
    attributions: bool = True,
    at: tuple[str, int] | None = None,
) -> AttentionMaps | None:
    """Maps of the rig's units, at even distances among them; None for a predictor without attention.

    Args:
        known: where units look, from something else than the twin; of the rig's units.
        units, moments: how many at most.
        attributions: whether integrated gradients and SmoothGrad are made for the examples.
        at: session and bin of the moment at which examples are drawn, of any split but test; the moment of each
            example's highest rate when left out.

    Raises:
        ConfigError: there is no such session or bin among the rig's, or it is of the test split.
    """
    twin = rig.predictor
    if not has_attention(twin) or not isinstance(twin, Twin):
        return None
    generator = np.random.default_rng(seed)
    core = twin.trunk.core
    assert core is not None
    other = randomised(twin, seed)
    looked: list[_Looked] = []
    examples: list[Example] = []
    chosen = _spread(rig.units, units)
    of_examples = set(_spread([unit for unit in chosen if at is None or unit.session == at[0]], EXAMPLES))
    moment = None if at is None else _asked_for(rig, twin, store, *at)
    for session in (store.sessions[name] for name in rig.sessions if name in store.sessions):
        mine = [unit for unit in chosen if unit.session == session.id]
        if not mine:
            continue
        found = _moments_of_high_rates(rig, twin, session, [unit.unit_id for unit in mine], moments)
        for own, unit in zip(found, mine, strict=True):
            say("attention", len(looked) / max(len(chosen), 1))
            if own is None:
                continue
            column = int(twin.columns(session.id, [unit.unit_id])[0])
            one = _look(twin, other, unit, own, column, core.out_shape, rig, generator)
            looked.append(one)
            if unit in of_examples:
                shown = moment or own.take(slice(0, 1))
                examples.append(_example(twin, one.unit, shown, column, rig, generator, attributions))
    if not looked:
        return None
    place = {unit: k for k, unit in enumerate(rig.units)}
    fields = None if known is None else _of_units(known, [place[one.unit] for one in looked])
    made = [
        check
        for kind in MAPS
        for check in _checks(
            kind,
            [one.kinds[kind] for one in looked],
            core.out_shape,
            fields or _nothing_known(len(looked)),
            generator,
        )
    ]
    return AttentionMaps(
        twin_digest=twin.digest,
        behaviour=_RECORDED,
        rig_units=tuple(one.unit for one in looked),
        display=rig.display,
        rate_unit=rig.rate_unit,
        grid=core.out_shape,
        maps={kind: np.stack([one.kinds[kind].maps for one in looked]) for kind in MAPS},
        drops={kind: np.stack([one.kinds[kind].drops for one in looked]) for kind in MAPS},
        token_s=core.out_shape.stride / rig.display.rate_hz,
        checks=tuple(made),
        examples=tuple(examples),
    )


_RECORDED = "as it was recorded with each moment's video"


@dataclass(frozen=True)
class _Map:
    """One kind of map of a unit."""

    maps: Float32[np.ndarray, "tokens places"]
    """Mean over moments."""
    random: Float64[np.ndarray, " places"]
    """Of the twin with random weights, over all times."""
    drops: Float64[np.ndarray, " 3"]
    """Mean rate, its fall where attended places are covered, and where as much is covered elsewhere."""


@dataclass(frozen=True)
class _Looked:
    """What was found of one unit."""

    unit: UnitName
    kinds: dict[str, _Map]


def _look(
    twin: Twin,
    other: Twin,
    unit: UnitName,
    moments: Moments,
    column: int,
    grid: FeatureShape,
    rig: Rig,
    generator: np.random.Generator,
) -> _Looked:
    mask = _mask(twin, moments.session, column)
    blocks, random_blocks = attention_of(twin, moments), attention_of(other, moments)
    per = rig.display.rate_hz if rig.predictor.spec.response_kind == "counts" else 1.0
    grey = np.array(rig.display.grey, np.float32)
    kinds = {}
    for kind, residual in MAPS.items():
        maps = torch.stack([rollout(own, mask, residual)[0] for own in blocks])
        random = torch.stack([rollout(own, mask, residual)[0].sum(0) for own in random_blocks]).mean(0)
        chosen = checks.masks_of(maps.sum(1).double().cpu().numpy())
        drops = checks.drop_where_covered(twin, moments, column, chosen, grid, grey, generator)
        kinds[kind] = _Map(maps.mean(0).cpu().numpy(), random.double().cpu().numpy(), per * np.array(drops))
    return _Looked(unit, kinds)


def _checks(
    kind: str,
    each: Sequence[_Map],
    grid: FeatureShape,
    fields: KnownFields,
    generator: np.random.Generator,
) -> list[checks.Check]:
    maps = np.stack([one.maps.sum(0) for one in each])
    rate, attended, away = np.stack([one.drops for one in each]).T
    return [
        checks.changes_with_the_weights(kind, maps, np.stack([one.random for one in each])),
        checks.covers_the_field(kind, maps, _places(grid), fields),
        checks.lowers_the_prediction(kind, rate, attended, away, generator),
    ]


def _asked_for(rig: Rig, twin: Twin, store: RecordingStore, session: str, at: int) -> Moments:
    """The moment of one bin."""
    if session not in rig.sessions or session not in store.sessions:
        raise ConfigError(f"no session {session!r} is looked at; expected one of {', '.join(rig.sessions)}")
    own = store.sessions[session]
    for block in own.blocks:
        if block.start <= at < block.stop and block.split != "test":
            if at < block.start + twin.stride:
                raise ConfigError(
                    f"session {session!r}: bin {at} has no past, since its block begins at bin {block.start}; choose a "
                    "later one"
                )
            return moments_at(twin, own, [(block.start, at)], rig.display.frames(WINDOW_S))
    raise ConfigError(
        f"session {session!r}: bin {at} is in no block of training or validation (bins 0 to {own.n_bins - 1}); "
        "the test split is not looked at"
    )


def _example(
    twin: Twin,
    unit: UnitName,
    moment: Moments,
    column: int,
    rig: Rig,
    generator: np.random.Generator,
    attributions: bool,
) -> Example:
    """One moment."""
    mask, grey = _mask(twin, moment.session, column), np.array(rig.display.grey, np.float32)
    (blocks,) = attention_of(twin, moment)
    heads = {}
    for number, block in enumerate(blocks):
        for head, values in enumerate(head_maps(block, mask)[0].cpu().numpy()):
            heads[f"{block.over}, block {number + 1}, head {head + 1}"] = values
    found: dict[str, np.ndarray] = {}
    if attributions:
        found = {
            "integrated gradients": integrated_gradients(twin, moment, column, grey)[0],
            "SmoothGrad": smooth_grad(twin, moment, column, generator)[0],
        }
    return Example(
        unit=unit,
        bin=moment.bins[0],
        frames=moment.shown[0],
        rollout=rollout(blocks, mask)[0].cpu().numpy(),
        heads=heads,
        attributions=found,
    )


def _mask(twin: Twin, session: str, column: int) -> torch.Tensor:
    readout = twin.placed_readout(session)
    assert readout is not None
    with torch.no_grad():
        return readout.masks()[column : column + 1].float()


def _moments_of_high_rates(
    rig: Rig, twin: Twin, session: SessionStore, unit_ids: Sequence[str], count: int
) -> list[Moments | None]:
    """The bins in which each unit's rate is highest, some time apart; None for a unit whose rate never varies."""
    rate_hz = rig.display.rate_hz
    context, window = round(CONTEXT_S * rate_hz), rig.display.frames(WINDOW_S)
    blocks = _some(session.blocks_in("validation") or session.blocks_in("train"), round(SEARCHED_S * rate_hz))
    predict, every = rig.during(session), rig.unit_ids(session.id)
    columns = [every.index(unit) for unit in unit_ids]
    rates, bins, starts = [], [], []
    for block in blocks:
        own = predict.rates(block)[:, columns]
        first = min(context // 2 + window, len(own))
        rates.append(own[first:])
        bins.append(np.arange(block.start + first, block.stop))
        starts.append(np.full(len(own) - first, block.start))
    together, where, begin = np.concatenate(rates), np.concatenate(bins), np.concatenate(starts)
    apart = round(APART_S * rate_hz)
    found: list[Moments | None] = []
    for values in together.T:
        chosen: list[int] = []
        for k in np.argsort(-values):
            if all(abs(where[k] - where[c]) >= apart for c in chosen):
                chosen.append(int(k))
            if len(chosen) == count:
                break
        if len(values) == 0 or float(np.ptp(values)) <= 0 or len(chosen) < count:
            found.append(None)
            continue
        ends = [(int(begin[k]), int(where[k])) for k in chosen]
        found.append(moments_at(twin, session, ends, window))
    return found


def _some(blocks: Sequence[Block], bins: int) -> list[Block]:
    total = sum(block.n_bins for block in blocks)
    return list(blocks[:: max(total // max(bins, 1), 1)])


def _spread(units: Sequence[UnitName], count: int) -> list[UnitName]:
    """At most so many, at even distances."""
    return [
        units[k]
        for k in np.unique(np.linspace(0, len(units) - 1, min(count, len(units))).round().astype(int))
    ]


def _places(grid: FeatureShape) -> Float64[np.ndarray, "places 2"]:
    axes = []
    for count, (first, last) in ((grid.rows, grid.row_edges_px), (grid.columns, grid.column_edges_px)):
        axes.append(first + (np.arange(count) + 0.5) * (last - first) / count)
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)


def _of_units(fields: KnownFields, some: Sequence[int]) -> KnownFields:
    return KnownFields(fields.centre_px[list(some)], fields.sigma_px[list(some)], fields.source)


def _nothing_known(count: int) -> KnownFields:
    return KnownFields(np.full((count, 2), np.nan), np.full(count, np.nan), "unknown")
