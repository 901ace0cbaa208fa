"""What units do while a stimulus is shown: a clip that plays, and mean responses to repeats."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from visioncore.data.splits import Block
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.evaluation import BlockPredictor, Repeats
from visioncore.recording import Split
from visioncore.report import figures
from visioncore.report.clip import REPEATS_SHOWN, ShownClip, make_clip
from visioncore.report.figures import Psth
from visioncore.report.sections.base import SCORE_LABELS, Section, Shown, rendered

PSTH_BIN_S = 0.02
PSTH_S = 4.0
STIMULI_SHOWN = 2
CLIP_UNITS = 8
EXAMPLES = {"good": 0.9, "median": 0.5, "bad": 0.1}
"""Units shown, by their quantile in the score."""


def clip(shown: Shown) -> Section | None:
    """The stimulus, with recorded and predicted responses running under it, where any unit can be scored."""
    made = _clip(shown)
    if made is None:
        return None
    return Section("What it saw, and what the twin says", rendered("clip", shown, clip=made))


def repeats(shown: Shown) -> Section:
    """Mean responses of a good, a median and a bad unit to repeated stimuli."""
    return Section("Responses to repeated stimuli", rendered("repeats", shown, psths=_psth_figure(shown)))


def _repeats(session: SessionStore, split: Split) -> list[tuple[Block, ...]]:
    """The blocks of each repeated stimulus: one of every kind first, common kinds before rare ones."""
    groups: dict[str, list[Block]] = {}
    for block in session.blocks_in(split):
        if block.stimulus_id is not None:
            groups.setdefault(block.stimulus_id, []).append(block)
    repeated = [tuple(group) for group in groups.values() if len(group) > 1]
    bins = Counter[str]()
    for block in session.blocks_in(split):
        bins[block.kind] += block.n_bins
    repeated.sort(key=lambda group: -bins[group[0].kind])
    kinds = [group[0].kind for group in repeated]
    first = [i for i, kind in enumerate(kinds) if kind not in kinds[:i]]
    rest = [i for i in range(len(repeated)) if i not in first]
    return [repeated[i] for i in first + rest]


def _psth_figure(shown: Shown) -> str | None:
    """Units at fixed quantiles of the score, on their first repeated stimuli: nothing is picked by eye."""
    eligible = [row for row in shown.scored if row.n_repeats > 1]
    if not eligible:
        return None
    rows = []
    predicted: dict[str, list[Repeats]] = {}
    for name, quantile in EXAMPLES.items():
        row = eligible[round((1 - quantile) * (len(eligible) - 1))]
        session = shown.store.sessions[row.session]
        if session.id not in predicted:
            predicted[session.id] = _predicted_repeats(shown, session)
        title = f"{name}: unit {row.unit_id} ({row.score(shown.metric):.2f} {shown.score_label})"
        unit = session.unit_ids.index(row.unit_id)
        rows.append(_psths_of(predicted[session.id], shown.store, unit, title))
    return figures.psths(rows, "spikes/s" if shown.store.spec.response_kind == "counts" else "response")


def _bins_summed(store: RecordingStore) -> int:
    return max(round(PSTH_BIN_S * store.spec.bins_per_s), 1)


def _predicted_repeats(shown: Shown, session: SessionStore) -> list[Repeats]:
    store = shown.store
    predict = BlockPredictor(
        shown.twin, session, burn_in_bins=store.burn_in_bins, bins_summed=_bins_summed(store)
    )
    groups = _repeats(session, shown.split)[:STIMULI_SHOWN]
    return [Repeats.of([predict(block) for block in blocks]) for blocks in groups]


def _psths_of(stimuli: Sequence[Repeats], store: RecordingStore, unit: int, title: str) -> list[Psth]:
    bin_s = _bins_summed(store) / store.spec.bins_per_s
    scale = 1 / bin_s if store.spec.response_kind == "counts" else 1.0
    shown = slice(0, round(PSTH_S / bin_s))
    return [
        Psth(
            title=f"{title}; {repeats.kind}" if number == 0 else repeats.kind,
            bin_s=bin_s,
            start_s=store.burn_in_bins / store.spec.bins_per_s,
            recorded=repeats.responses[:, shown, unit] * scale,
            predicted=repeats.predictions[:, shown, unit].mean(0) * scale,
            true=None if repeats.rates is None else repeats.rates[:, shown, unit].mean(0) * scale,
        )
        for number, repeats in enumerate(stimuli)
    ]


def _clip(shown: Shown) -> ShownClip | None:
    scored = shown.scored
    if not scored:
        return None
    session = shown.store.sessions[scored[len(scored) // 2].session]
    repeats = _repeats(session, shown.split)
    alone = max(session.blocks_in(shown.split), key=lambda block: block.n_bins)
    mine = [row for row in scored if row.session == session.id]
    offered = [mine[i] for i in np.unique(np.linspace(0, len(mine) - 1, CLIP_UNITS).round().astype(int))]
    labels = {}
    for row in offered:
        scores = [
            f"{row.score(m):.2f} {label}" for m, label in SCORE_LABELS.items() if row.score(m) is not None
        ]
        name = f"{row.unit_id} ({row.class_name})" if row.class_name else row.unit_id
        labels[session.unit_ids.index(row.unit_id)] = f"{name}: {', '.join(scores)}"
    return make_clip(
        shown.twin, shown.store, session, repeats[0][:REPEATS_SHOWN] if repeats else (alone,), labels
    )
