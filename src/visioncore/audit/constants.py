"""Whether what was fitted before training was fitted on training bins, and on what the twin was trained at all.

Everything is computed anew here, by other code than that which fitted it: an audit that used the same code would repeat
its mistakes.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float64

from visioncore.audit.findings import Finding
from visioncore.audit.numbers import ConstantsNumbers, ResponsesNumbers, TrainingDataNumbers
from visioncore.audit.scan import Moments, Scan
from visioncore.data.splits import SPLITS
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.evaluation import trained_on
from visioncore.predictor import Predictor
from visioncore.spec import DataSpec

TOLERANCE = 1e-4
"""Of a spread: stored and recomputed constants differ by rounding only."""
_PIECE_BINS = 65_536
_REMEDY = "prepare the recording with this version of VisionCore and train again: constants come from train bins only"


def constants_from_train(store: RecordingStore, twin: Predictor, found: Scan) -> Finding:
    """Recompute normalisation and training means; a mismatch that all data would explain is named."""
    wrong: list[str] = []
    holders: list[tuple[str, DataSpec, list[str], str]] = [
        ("the store's", store.spec, ["train", "spared"], store.settings.normalisation)
    ]
    if gone := [name for name in twin.sessions if name not in store.sessions]:
        untold = f" The twin's own also rest on {', '.join(gone)}, not here, and cannot be recomputed."
    else:
        untold = ""
        holders.append(("the twin's", twin.spec, ["train"], _pooling(twin)))
    for holder, spec, fitted_on, pooling in holders:
        for signal, why in _mismatches(spec, found, fitted_on, pooling):
            wrong.append(f"{holder} normalisation of {signal}{_origin(why)}")
    for name, session in store.sessions.items():
        # Of silent units no bin counts, so that there is nothing to recompute from.
        heard = ~session.silent_in_training
        mean, rate, over_all = (
            rates[heard] for rates in (session.train_mean, *training_means(session, store))
        )
        if not np.allclose(mean, rate, rtol=TOLERANCE, atol=0):
            why = np.allclose(mean, over_all, rtol=TOLERANCE, atol=0)
            wrong.append(f"the training means of session {name}{_origin(bool(why))}")
    numbers = ConstantsNumbers(mismatches=tuple(wrong))
    if wrong:
        sentence = f"Not the training split's: {'; '.join(wrong)}.{untold}"
        return Finding(check="constants", level="fail", sentence=sentence, numbers=numbers, remedy=_REMEDY)
    whose = "the store's" if untold else "the store's and the twin's"
    sentence = (
        f"Normalisation ({whose}) and training means are those of the training bins, recomputed.{untold}"
    )
    return Finding(check="constants", level="note" if untold else "pass", sentence=sentence, numbers=numbers)


def _origin(all_data: bool) -> str:
    return " (they are those of all data, test bins included)" if all_data else " (of unknown origin)"


def _mismatches(
    spec: DataSpec, found: Scan, fitted_on: Sequence[str], pooling: str
) -> dict[tuple[str, bool], None]:
    """Signals whose constants are not those of these bins, and whether they are those of all bins; each once."""
    in_blocks = ("train", "spared", "validation", "test")
    told: dict[tuple[str, bool], None] = {}
    for session in spec.sessions:
        if session.id not in found.video:
            continue
        group = list(found.video) if pooling == "pooled" else [session.id]
        constants, names = session.normalisation, session.behaviour_names
        checks = [("video", [found.video[id_] for id_ in group], constants.video_mean, constants.video_std)]
        for i, name in enumerate(names):
            # Signals are pooled over the sessions that have them.
            places = {other.id: other.behaviour_names for other in spec.sessions}
            own = [
                {
                    place: moments.column(places[id_].index(name))
                    for place, moments in found.behaviour[id_].items()
                }
                for id_ in group
                if name in places.get(id_, ())
            ]
            checks.append(
                ("behaviour", own, constants.behaviour_mean[i : i + 1], constants.behaviour_std[i : i + 1])
            )
        for signal, moments, mean, std in checks:
            if _fits(_pooled(moments, fitted_on), np.array(mean), np.array(std)):
                continue
            wholes = (in_blocks, (*in_blocks, "outside"))
            why = any(_fits(_pooled(moments, whole), np.array(mean), np.array(std)) for whole in wholes)
            told[signal, why] = None
    return told


def _pooled(moments: Sequence[dict[str, Moments]], places: Sequence[str]) -> Moments:
    first, *others = (own[place] for own in moments for place in places)
    return sum(others, start=first)


def _pooling(twin: Predictor) -> str:
    made = twin.provenance.experiment
    return made.data.normalisation if made else "pooled"


def train_share(twin: Predictor) -> float:
    """The share of the training blocks that the twin was trained on; all where its file does not say."""
    made = twin.provenance.experiment
    return made.training.train_share if made else 1.0


def _fits(moments: Moments, mean: np.ndarray, std: np.ndarray) -> bool:
    expected_std = np.where(moments.std > 0, moments.std, 1.0)
    close_mean = np.abs(moments.mean - mean) <= TOLERANCE * expected_std
    return bool((close_mean & (np.abs(expected_std - std) <= TOLERANCE * expected_std)).all())


def training_means(
    session: SessionStore, store: RecordingStore
) -> tuple[Float64[np.ndarray, " units"], Float64[np.ndarray, " units"]]:
    """Mean response per valid bin after burn-in: of train blocks, and of the blocks of all splits."""
    total, n_valid = (np.zeros((len(SPLITS), len(session.unit_ids))) for _ in range(2))
    for block in session.blocks:
        row = SPLITS.index(block.split)
        for start, stop in _pieces(block.start + store.burn_in_bins, block.stop):
            valid = session.valid(start, stop)
            total[row] += np.where(valid, session.responses(start, stop), 0).sum(0, dtype=np.float64)
            n_valid[row] += valid.sum(0)
    least = 0.5 if store.spec.response_kind == "counts" else -np.inf
    train = SPLITS.index("train")
    own, whole = (
        np.maximum(spikes, least) / np.maximum(bins, 1)
        for spikes, bins in ((total[train], n_valid[train]), (total.sum(0), n_valid.sum(0)))
    )
    return own, whole


def _pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, _PIECE_BINS):
        yield first, min(first + _PIECE_BINS, stop)


def training_data(store: RecordingStore, twin: Predictor) -> Finding:
    """Whether the twin was trained on this very preparation of the data, or on the sessions of it that it knows."""
    fingerprint = twin.provenance.data_fingerprint
    numbers = TrainingDataNumbers(trained_on=fingerprint, evaluated_on=store.fingerprint)
    found = trained_on(twin, store)
    if found == "these data":
        sentence = "The twin was trained on this very preparation of the data: its test split is this one."
        return Finding(check="training data", level="pass", sentence=sentence, numbers=numbers)
    gained = [name for name in store.sessions if name not in twin.sessions]
    lost = [name for name in twin.sessions if name not in store.sessions]
    changes = [f"{verb} {', '.join(names)}" for verb, names in (("gained", gained), ("lost", lost)) if names]
    since = f" The recording has {' and '.join(changes)} since." if changes else ""
    if found == "these sessions":
        sentence = f"The twin was trained on these very sessions: their test split is this one.{since}"
        return Finding(check="training data", level="note", sentence=sentence, numbers=numbers)
    if found == "not known":
        sentence = f"The twin does not say on which data of these sessions it was trained.{since}"
        remedy = (
            "only its maker can tell whether it has seen this test split; train it with 'visioncore train'"
        )
        return Finding(check="training data", level="note", sentence=sentence, numbers=numbers, remedy=remedy)
    sentence = (
        f"The twin was trained on other data (fingerprint {str(fingerprint)[:12]}, here {store.fingerprint[:12]}): it "
        f"may have been trained on this test split.{since}"
    )
    remedy = "evaluate on the data of its training, or on a recording that shares nothing with them"
    return Finding(check="training data", level="fail", sentence=sentence, numbers=numbers, remedy=remedy)


def whole_counts(store: RecordingStore) -> Finding:
    """Smoothed spikes look ahead and score higher: counts must be whole numbers."""
    if store.spec.response_kind == "trace":
        sentence = (
            "Responses are traces. Whether they were smoothed or deconvolved with a filter that looks ahead cannot be "
            "seen in them; it would make every score acausal."
        )
        return Finding(
            check="responses",
            level="note",
            sentence=sentence,
            numbers=ResponsesNumbers(response_kind="trace"),
            remedy="say how the traces were made",
        )
    fractional = 0
    for session in store.sessions.values():
        for start, stop in _pieces(0, session.n_bins):
            counts = session.responses(start, stop)
            fractional += int(((counts != np.round(counts)) & session.valid(start, stop)).sum())
    numbers = ResponsesNumbers(response_kind="counts", fractional=fractional)
    if fractional:
        sentence = f"{fractional:,} spike counts are not whole numbers: smoothed spikes score too high."
        remedy = "store whole counts per bin, or set response_kind: trace and say how they were smoothed"
        return Finding(check="responses", level="fail", sentence=sentence, numbers=numbers, remedy=remedy)
    return Finding(
        check="responses",
        level="pass",
        sentence="All spike counts are whole numbers: no smoothing.",
        numbers=numbers,
    )
