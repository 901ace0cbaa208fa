"""A recording that can be scored by hand, and a predictor that follows a script, for the tests of evaluation."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from predictors import ScriptedPredictor
from specs import data_spec
from visioncore.data.splits import Block
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.evaluation import evaluate
from visioncore.spec import Columns, DataSpec, Normalisation, SessionSpec

RATE_HZ, N_BINS, BURN_IN, N_UNITS = 100.0, 1200, 10, 4
REPEATED = range(600, 1000, 100)
KINDS = {"movie": (0, 600), "noise": (600, 1200)}


def blocks(n_repeats: int = 4) -> tuple[Block, ...]:
    """Two test blocks of movie, repeats of one noise stimulus, a training block and one more noise block."""
    repeats = [Block(s, s + 100, "test", "frozen", "noise") for s in REPEATED[:n_repeats]]
    movie = [Block(0, 250, "test", None, "movie"), Block(250, 500, "test", None, "movie")]
    return (
        *movie,
        Block(510, 600, "train", None, "movie"),
        *repeats,
        Block(1000, 1200, "test", None, "noise"),
    )


class FakeSession(SessionStore):
    """A session in memory; the first pixel of a frame holds its bin, the same one for every repeat."""

    def __init__(self, name: str, seed: int, unit_ids: tuple[str, ...]) -> None:
        rng = np.random.default_rng(seed)
        self.id, self.subject, self.unit_ids, self.n_bins = name, f"{name}'s subject", unit_ids, N_BINS
        self.blocks, self.fingerprint = blocks(), "f00d"
        index = np.arange(N_BINS)
        index[600:1000] = 600 + np.arange(400) % 100
        self.frames = np.zeros((N_BINS, 1, 2, 3), np.float32)
        self.frames[:, 0, 0, 0] = index
        self.true_rates = rng.gamma(0.6, 0.5, (N_BINS, len(unit_ids))).astype(np.float32)[index]
        self.counts = rng.poisson(self.true_rates).astype(np.float32)
        self.is_valid = np.ones(self.counts.shape, bool)
        self.train_mean = np.full(len(unit_ids), 0.3)
        self.unit_truth: dict[str, list[Any]] = {"cell_class": ["simple", "complex"] * (len(unit_ids) // 2)}
        self.units: Columns = {}
        self.samples: np.ndarray | None = None
        self.reads: list[int] = []
        self.truth_known = True

    @property
    def has_rates(self) -> bool:
        return self.truth_known

    def video(self, start: int, stop: int) -> np.ndarray:
        self.reads.append(stop - start)
        return self.frames[start:stop]

    def responses(self, start: int, stop: int) -> np.ndarray:
        return self.counts[start:stop]

    def behaviour(self, start: int, stop: int) -> np.ndarray | None:
        return None if self.samples is None else self.samples[start:stop]

    def valid(self, start: int, stop: int) -> np.ndarray:
        return self.is_valid[start:stop]

    def rates(self, start: int, stop: int) -> np.ndarray | None:
        return self.true_rates[start:stop] if self.truth_known else None


class FakeStore(RecordingStore):
    def __init__(self, sessions: list[FakeSession], kind: Literal["counts", "trace"] = "counts") -> None:
        self.path, self.fingerprint, self.burn_in_bins = Path("fake"), "f00d", BURN_IN
        self.fakes = {session.id: session for session in sessions}
        self.sessions = dict(self.fakes)
        self.spec = data_spec(
            channels=1,
            height=2,
            width=3,
            sampling_rate_hz=RATE_HZ,
            response_kind=kind,
            behaviour_names=("x",),
            sessions=tuple(SessionSpec(id=s.id, subject=s.subject, unit_ids=s.unit_ids) for s in sessions),
        )


class BinPredictor(ScriptedPredictor):
    """Knows the bins that it is shown by the value of their first pixel, and tells them its script."""

    def predict(
        self, video: np.ndarray, behaviour: np.ndarray | Literal["mean"] | None = None, *, session: str
    ) -> np.ndarray:
        return super().predict(video[:, 0, 0, 0].astype(int), behaviour, session=session)


def scripted(spec: DataSpec, stride: int = 1) -> BinPredictor:
    constants = Normalisation(
        video_mean=(0.0,), video_std=(1.0,), behaviour_mean=(0.0,), behaviour_std=(1.0,)
    )
    return BinPredictor(spec.with_constants(constants), lambda *_: np.empty((0, 0)), stride=stride)


ON_REPEATS = ("cc_norm", "feve", "correlation_to_average", "oracle")
SECTION_KEYS = {
    *("bits_per_spike", "correlation", "ceiling", "fraction_of_ceiling", "fraction_of_ceiling_ci95"),
    *(*ON_REPEATS, *(f"{name}_n_units" for name in (*ON_REPEATS, "feve_published")), "feve_published"),
    *("n_repeats", "n_units", "n_excluded", "n_bins"),
}
"""What other people's scripts read of an evaluation's JSON; of a trace, rows have means in place of rates."""
ROW_KEYS = {
    *(
        "session",
        "unit_id",
        "cell_class",
        "spikes",
        "recorded_rate_hz",
        "predicted_rate_hz",
        "bits_per_spike",
    ),
    *("ceiling", "correlation", "correlation_note", *ON_REPEATS, "fev", "snr", "n_repeats", "n_bins"),
    "excluded_reason",
}


@dataclass
class Setting:
    store: FakeStore
    twin: ScriptedPredictor
    calls: dict[str, int] = field(default_factory=dict)

    def score(self, **options: Any) -> Any:
        """Any, because a test knows which of its scores are defined."""
        return evaluate(self.twin, self.store, progress=False, **options)


def setting(stride: int = 1, kind: Literal["counts", "trace"] = "counts", factor: float = 1.0) -> Setting:
    """Two sessions and a twin that predicts `factor` times the truth."""
    sessions = [
        FakeSession(name, seed, tuple(f"{name}{i}" for i in range(N_UNITS))) for seed, name in enumerate("ab")
    ]
    store = FakeStore(sessions, kind)
    twin = scripted(store.spec, stride)
    twin.script = lambda session, bins, _: factor * store.fakes[session].true_rates[bins]
    return Setting(store, twin)


def scored_bins(session: FakeSession, skip: int = BURN_IN) -> np.ndarray:
    return np.concatenate([np.arange(b.start + skip, b.stop) for b in session.blocks if b.split == "test"])
