"""Scores of a twin on one split of a prepared recording."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import Progress

from visioncore import metrics
from visioncore.data.splits import Block
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.errors import ConfigError, DataError
from visioncore.evaluation.kept_predictions import KeptPredictions
from visioncore.evaluation.population import Part, RepeatScores, exclusion_reasons, number, section_of
from visioncore.evaluation.prediction import (
    Acquaintance,
    Behaviour,
    BlockPrediction,
    BlockPredictor,
    Repeats,
    check_fit,
    repeats_together,
    require_recorded,
    require_unseen,
    trained_on,
)
from visioncore.evaluation.records import EvaluationSettings, Metric, ScoredSection, UnitRow
from visioncore.evaluation.result import EvaluationResult
from visioncore.evaluation.session_sums import SessionSums
from visioncore.metrics import Sums
from visioncore.predictor import Predictor
from visioncore.recording import Split
from visioncore.spec import ResponseKind

STRETCH_S = 20.0
"""The length of a stretch, about: a longer block counts as several when stretches are resampled for an interval."""
ERROR_STRETCH_S = 1.0
"""Stretches of time that are resampled for the error of the signal power."""

_logger = logging.getLogger(__name__)


def evaluate(
    twin: Predictor,
    store: RecordingStore,
    *,
    split: Split = "test",
    burn_in_s: float | None = None,
    bin_ms: float | None = None,
    behaviour: Behaviour = "recorded",
    progress: bool = True,
) -> EvaluationResult:
    """Score `twin` on every block of `split`.

    Scores are comparable only at one bin width: `bin_ms` sums counts and predictions to coarser bins, and
    averages traces. The burn-in is the recording's own unless given. Data that the twin may have seen are
    scored with a warning.

    Raises:
        DataError: the store is not like the data the twin was made for, or has no bin of the split; or a member of
            an ensemble was trained on these bins.
        CheckpointError: the twin lacks sessions or units of the store, or predicts NaN.
        ConfigError: `bin_ms` is no whole multiple of the store's bin, or behaviour is to be replaced by its mean and
            predictions are kept in a file.
    """
    require_recorded(twin, behaviour)
    acquaintance = trained_on(twin, store)
    store = check_fit(twin, store)
    require_unseen(twin, store, split)
    settings = _settings(twin, store, split, burn_in_s, bin_ms, behaviour, acquaintance)
    parts = []
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not progress) as bar:
        blocks = {s: [b for b in session.blocks if b.split == split] for s, session in store.sessions.items()}
        n_bins = sum(block.stop - block.start for some in blocks.values() for block in some)
        task = bar.add_task(f"Evaluating on {split}", total=n_bins)
        for name, session in store.sessions.items():
            part = _SessionScores(twin, session, settings)
            for block in repeats_together(blocks[name]):
                part.add(block)
                bar.advance(task, block.stop - block.start)
            if part.rows:
                parts.append(part.finish())
    if not parts:
        raise DataError(
            f"{store.path}: the {split} split has no bin after a burn-in of {settings.burn_in_s:g} s; "
            "choose another split, or a shorter burn-in"
        )
    result = _result(parts, settings)
    if result.overall.n_units == 0:
        reasons = sorted({row.excluded_reason for row in result.units if row.excluded_reason})
        raise DataError(
            f"{store.path}: none of the {len(result.units)} units can be scored on the {split} split "
            f"({'; '.join(reasons)}); choose another split, or divide the recording otherwise"
        )
    return result


@dataclass(frozen=True)
class _Session:
    """Every cut of one session that some section needs."""

    store: SessionStore
    whole: Part
    kinds: dict[str, Part]
    phases: dict[str, Part]
    sums: SessionSums


@dataclass(frozen=True)
class _Row:
    """What is resampled as one: a stretch of a block, or the same stretch of all repeats of a stimulus.

    A value per phase; no ceiling where the truth is not known.
    """

    kind: str
    model: list[Sums]
    ceiling: list[Sums]
    n_bins: list[int]

    def __add__(self, other: "_Row") -> "_Row":
        return _Row(
            self.kind,
            [a + b for a, b in zip(self.model, other.model, strict=True)],
            [a + b for a, b in zip(self.ceiling, other.ceiling, strict=True)],
            [a + b for a, b in zip(self.n_bins, other.n_bins, strict=True)],
        )


class _SessionScores:
    """Gathers the statistics of one session, block by block."""

    def __init__(self, twin: Predictor, session: SessionStore, settings: EvaluationSettings) -> None:
        self.session = session
        self.bins_per_s = settings.bins_per_s
        self.null = _null(session, settings)
        # A summed bin holds several phases.
        self.stride = twin.stride if settings.bins_summed == 1 else 1
        self.predict = BlockPredictor(
            twin,
            session,
            burn_in_bins=settings.burn_in_bins,
            bins_summed=settings.bins_summed,
            behaviour="mean" if settings.behaviour == "mean" else "recorded",
        )
        self.rows: dict[str, _Row] = {}
        self._ends: dict[str, np.ndarray] = {}
        self.repeated: dict[str, list[BlockPrediction]] = {}

    def add(self, block: Block) -> None:
        scored = self.predict(block)
        n_bins = len(scored.recorded)
        if not n_bins:
            return
        phase = (scored.start - block.start + np.arange(n_bins) - (self.stride - 1)) % self.stride
        for number_in_block, bins in enumerate(self._stretches(block, n_bins)):
            model, ceiling, counts = [], [], []
            for p in range(self.stride):
                some = bins[phase[bins] == p]
                recorded, valid = scored.recorded[some], scored.valid[some]
                model.append(Sums.measure(scored.prediction[some], recorded, self.null, valid))
                if scored.rates is not None:
                    ceiling.append(Sums.measure(scored.rates[some], recorded, self.null, valid))
                counts.append(int(valid.any(1).sum()))
            row = _Row(block.kind, model, ceiling, counts)
            # Repeats share their stimulus, so an interval that drew them one by one would be too narrow.
            shared = block.stimulus_id is not None
            owner = f"{block.kind} {block.stimulus_id}" if shared else f"block at {block.start}"
            key = f"{owner}, stretch {number_in_block}"
            self.rows[key] = self.rows[key] + row if key in self.rows else row
        if block.stimulus_id is not None:
            self.repeated.setdefault(block.stimulus_id, []).append(scored)

    def _stretches(self, block: Block, n_bins: int) -> list[np.ndarray]:
        """The bins of a block in stretches to resample; those of a repeat end where the first one's end."""
        n_stretches = math.ceil(n_bins / max(round(STRETCH_S * self.bins_per_s), 1))
        stretches = np.array_split(np.arange(n_bins), n_stretches)
        if block.stimulus_id is None:
            return stretches
        ends = np.cumsum([len(stretch) for stretch in stretches])[:-1]
        return np.split(np.arange(n_bins), self._ends.setdefault(block.stimulus_id, ends))

    def finish(self) -> _Session:
        repeats = [Repeats.of(blocks) for blocks in self.repeated.values() if len(blocks) > 1]
        kinds = sorted({row.kind for row in self.rows.values()})
        whole = self._part(repeats)
        return _Session(
            store=self.session,
            whole=whole,
            kinds={k: self._part([r for r in repeats if r.kind == k], kind=k) for k in kinds},
            phases={str(p): self._part([], phase=p) for p in range(self.stride)},
            sums=SessionSums(
                session=self.session.id,
                unit_ids=tuple(self.session.unit_ids),
                keys=tuple(self.rows),
                kinds=tuple(row.kind for row in self.rows.values()),
                model=whole.model,
                ceiling=whole.ceiling,
            ),
        )

    def _part(self, repeats: list[Repeats], kind: str | None = None, phase: int | None = None) -> Part:
        rows = [row for row in self.rows.values() if kind in (None, row.kind)]
        phases = range(self.stride) if phase is None else (phase,)
        n_repeats = min((len(r.responses) for r in repeats), default=0)
        return Part(
            model=Sums.stack([_total([row.model[p] for p in phases]) for row in rows]),
            ceiling=Sums.stack([_total([row.ceiling[p] for p in phases]) for row in rows])
            if self.session.has_rates
            else None,
            repeats=self._repeat_scores(repeats, n_repeats),
            n_repeats=n_repeats,
            n_bins=sum(row.n_bins[p] for row in rows for p in phases),
        )

    def _repeat_scores(self, repeats: list[Repeats], n_repeats: int) -> RepeatScores:
        if not repeats:
            return RepeatScores.undefined(len(self.session.unit_ids))
        # Concatenated over stimuli; what needs equal numbers of repeats gets the smallest number.
        responses = np.concatenate([r.responses[:n_repeats] for r in repeats], axis=1)
        prediction = np.concatenate([r.predictions[:n_repeats].mean(0) for r in repeats])
        every_prediction = np.concatenate([r.predictions.mean(0) for r in repeats])
        most = max(len(r.responses) for r in repeats)
        padded = [
            np.pad(r.responses, ((0, most - len(r.responses)), (0, 0), (0, 0)), constant_values=np.nan)
            for r in repeats
        ]
        feve, fev = metrics.feve(np.concatenate(padded, axis=1), every_prediction)
        power = metrics.signal_power(responses)
        error = metrics.signal_power_error(responses, round(ERROR_STRETCH_S * self.bins_per_s))
        return RepeatScores(
            cc_norm=metrics.cc_norm(responses, prediction),
            feve=feve,
            fev=fev,
            correlation_to_average=metrics.correlation_to_average(responses, prediction),
            oracle=metrics.jackknife_oracle(responses),
            snr=power / np.where(error > 0, error, np.nan),
        )


def _null(session: SessionStore, settings: EvaluationSettings) -> np.ndarray:
    """The training mean per scored bin: counts add up in a coarser bin, a trace is averaged."""
    return session.train_mean * (settings.bins_summed if settings.counts else 1)


def _total(sums: Sequence[Sums]) -> Sums:
    return Sums.stack(sums).map(lambda a: a.sum(0))


def _settings(
    twin: Predictor,
    store: RecordingStore,
    split: Split,
    burn_in_s: float | None,
    bin_ms: float | None,
    behaviour: Behaviour,
    acquaintance: Acquaintance,
) -> EvaluationSettings:
    causal, seen = _kind_of_prediction(twin, behaviour)
    static, rate_hz = store.spec.sampling.rate_hz is None, store.spec.bins_per_s
    if static and bin_ms is not None:
        raise ConfigError(
            f"bin_ms is {bin_ms:g}, and the data are static images, which have no time; leave it out"
        )
    base_ms = 1000 / rate_hz
    factor = 1.0 if bin_ms is None else bin_ms / base_ms
    bins_summed = max(round(factor), 1)
    # Half a per cent lets 8.33 stand for 8.333...
    if not abs(factor - bins_summed) <= 0.005 * bins_summed:
        raise ConfigError(
            f"bin_ms is {bin_ms:g}, but the data have bins of {base_ms:.4g} ms and only whole multiples "
            f"can be summed without inventing data; the nearest is {bins_summed * base_ms:.4g}"
        )
    burn_in_bins = store.burn_in_bins if burn_in_s is None else math.ceil(burn_in_s * rate_hz - 1e-9)
    if acquaintance == "other data":
        _logger.warning(
            "%s is not the prepared recording that the twin was trained on: its %s split may hold data that "
            "the twin has seen",
            store.path,
            split,
        )
    return EvaluationSettings(
        split=split,
        bin_ms=None if static else bins_summed * base_ms,
        bins_summed=bins_summed,
        sampling_rate_hz=store.spec.sampling.rate_hz,
        burn_in_s=burn_in_bins / rate_hz,
        burn_in_bins=burn_in_bins,
        null="mean rate of the training split, per unit",
        rate_floor=metrics.RATE_FLOOR,
        causal=causal,
        behaviour=seen,
        response_kind=store.spec.response_kind,
        selection_metric=selection_metric(store.spec.response_kind),
        n_sessions=len(store.sessions),
        twin_digest=twin.digest,
        data_fingerprint=store.fingerprint,
        trained_on_these_data=None if acquaintance == "not known" else acquaintance != "other data",
    )


def _kind_of_prediction(
    twin: Predictor, behaviour: Behaviour
) -> tuple[bool | None, Literal["recorded", "mean", "none"] | None]:
    """Whether it is causal, and the behaviour that it rests on; of a file as far as it says so."""
    if isinstance(twin, KeptPredictions):
        return twin.header.causal, twin.header.behaviour
    return True, behaviour if twin.uses_behaviour else "none"


def selection_metric(response_kind: ResponseKind) -> Metric:
    """The score by which models are chosen: bits/spike is not defined for traces."""
    return "bits_per_spike" if response_kind == "counts" else "correlation"


def _result(sessions: list[_Session], settings: EvaluationSettings) -> EvaluationResult:
    counts = settings.counts

    def section(parts: list[Part]) -> ScoredSection:
        return section_of(parts, counts)

    by_class: dict[str, list[Part]] = {}
    for session in sessions:
        classes = np.array([name or "" for name in session.store.cell_classes])
        for name in sorted(set(classes.tolist()) - {""}):
            by_class.setdefault(str(name), []).append(session.whole.take(classes == name))
    kinds = sorted({kind for session in sessions for kind in session.kinds})
    phases = list(sessions[0].phases)
    overall = section([s.whole for s in sessions])
    return EvaluationResult(
        settings=settings.model_copy(update={"n_repeats": overall.n_repeats}),
        overall=overall,
        sessions={s.store.id: section([s.whole]) for s in sessions},
        by_subject={
            subject: section([s.whole for s in sessions if s.store.subject == subject])
            for subject in dict.fromkeys(s.store.subject for s in sessions)
        },
        by_kind={k: section([s.kinds[k] for s in sessions if k in s.kinds]) for k in kinds},
        by_class={name: section(parts) for name, parts in sorted(by_class.items())},
        by_phase={p: section([s.phases[p] for s in sessions]) for p in phases},
        units=tuple(row for s in sessions for row in _rows(s, settings)),
        sums=tuple(s.sums for s in sessions),
    )


def _rows(session: _Session, settings: EvaluationSettings) -> Iterator[UnitRow]:
    counts = settings.counts
    total = session.whole.model.map(lambda a: a.sum(0))
    ceiling = session.whole.ceiling.map(lambda a: a.sum(0)) if session.whole.ceiling and counts else None
    silent = "no spikes in the training data" if counts else "the trace never changes in the training data"
    reasons = np.where(
        session.store.silent_in_training, silent, exclusion_reasons(session.whole.model, counts)
    )
    classes, columns = session.store.cell_classes, session.store.units
    bins = np.maximum(total.bins, 1)
    timed = counts and settings.sampling_rate_hz is not None
    per_s = settings.bins_per_s if timed else 1.0
    null = _null(session.store, settings)
    predicted = np.where(total.bins > 0, (total.y / bins + null) * per_s, np.nan)
    recorded = np.where(total.bins > 0, (total.x / bins + null) * per_s, np.nan)
    kind = "rate_hz" if timed else "mean"
    for i, unit in enumerate(session.store.unit_ids):
        scores: dict[str, Any] = {**session.whole.repeats.of_unit(i)}
        scores |= {f"recorded_{kind}": number(recorded[i]), f"predicted_{kind}": number(predicted[i])}
        if columns:
            scores["columns"] = {name: values[i] for name, values in columns.items()}
        yield UnitRow(
            session=session.store.id,
            unit_id=unit,
            cell_class=classes[i],
            spikes=int(total.spikes[i]) if counts else None,
            bits_per_spike=number(total.bits_per_spike[i]) if counts else None,
            ceiling=number(ceiling.bits_per_spike[i]) if ceiling else None,
            correlation=number(total.correlation[i]) if total.bins[i] else None,
            correlation_note="constant prediction or recording: 0 by convention"
            if total.constant[i]
            else None,
            **scores,
            n_repeats=session.whole.n_repeats,
            n_bins=int(total.bins[i]),
            excluded_reason=str(reasons[i]) or None,
        )
