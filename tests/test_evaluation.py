"""What an evaluation promises, on a recording that can be scored by hand and a twin that follows a script."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from predictors import ScriptedPredictor
from specs import data_spec
from visioncore import metrics
from visioncore.data.splits import Block
from visioncore.data.store import RecordingStore, SessionStore
from visioncore.errors import CheckpointError, ConfigError, DataError
from visioncore.evaluation import EvaluationResult, evaluate, load_evaluation, scoring
from visioncore.provenance import Provenance
from visioncore.spec import DataSpec, Normalisation, SessionSpec

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
    *(*ON_REPEATS, *(f"{name}_n_units" for name in ON_REPEATS)),
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


def test_the_scores_are_those_of_the_test_bins_after_each_blocks_burn_in() -> None:
    s = setting(factor=0.7)
    result = s.score()
    per_unit = []
    for session in s.store.fakes.values():
        bins = scored_bins(session)
        rates, counts = 0.7 * session.true_rates[bins], session.counts[bins]
        per_unit.append(metrics.bits_per_spike(rates, counts, session.train_mean))
        found = [row.bits_per_spike for row in result.units if row.session == session.id]
        np.testing.assert_allclose(found, per_unit[-1], rtol=1e-5)
        expected = metrics.correlation(rates, counts)[0]
        found = [row.correlation for row in result.units if row.session == session.id]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    overall = result.overall
    assert overall.bits_per_spike.mean == pytest.approx(np.mean(per_unit), rel=1e-5)
    spikes = np.array([row.spikes for row in result.units])
    assert overall.bits_per_spike.pooled == pytest.approx(
        np.average(np.ravel(per_unit), weights=spikes), rel=1e-5
    )
    assert overall.n_bins == 2 * len(scored_bins(s.store.fakes["a"]))
    assert overall.n_units == 2 * N_UNITS
    low, high = overall.bits_per_spike.ci95
    assert low < overall.bits_per_spike.mean < high


def test_the_truth_as_prediction_reaches_the_ceiling_exactly_and_half_of_it_does_not() -> None:
    whole = setting().score().overall
    assert whole.fraction_of_ceiling == pytest.approx(1.0, rel=1e-6)
    assert whole.fraction_of_ceiling_ci95 == pytest.approx((1.0, 1.0), rel=1e-6)
    assert whole.ceiling.bits_per_spike == pytest.approx(whole.bits_per_spike.mean, rel=1e-6)
    assert setting(factor=0.5).score().overall.fraction_of_ceiling < 0.95


def test_sections_cover_sessions_kinds_classes_and_phases() -> None:
    result = setting(stride=4).score()
    assert list(result.sessions) == ["a", "b"]
    assert list(result.by_kind) == ["movie", "noise"]
    assert {name: part.n_units for name, part in result.by_class.items()} == {"complex": 4, "simple": 4}
    assert list(result.by_phase) == ["0", "1", "2", "3"]
    for sections in (result.sessions, result.by_kind, result.by_phase):
        assert sum(part.n_bins for part in sections.values()) == result.overall.n_bins


def test_a_prediction_that_is_bad_at_one_phase_shows_at_that_phase() -> None:
    s = setting(stride=2)

    def script(session: str, bins: np.ndarray, _: Any) -> np.ndarray:
        rates = s.store.fakes[session].true_rates[bins].copy()
        rates[1::2] *= 0.2  # bin 1 of a block is phase 0 when the stride is 2
        return rates

    s.twin.script = script
    phases = s.score().by_phase
    assert phases["0"].bits_per_spike.mean < phases["1"].bits_per_spike.mean - 0.1


def test_bins_without_a_prediction_leave_model_and_ceiling_alike() -> None:
    s = setting(stride=30)
    result = s.score()
    assert result.overall.n_bins == 2 * len(scored_bins(s.store.fakes["a"], skip=29))
    assert result.overall.fraction_of_ceiling == pytest.approx(1.0, rel=1e-6)


def test_summed_bins_are_sums_of_counts_and_predictions() -> None:
    s = setting(factor=0.8)
    result = s.score(bin_ms=30.0)
    assert result.settings.bin_ms == 30.0
    session = s.store.fakes["a"]
    pieces = []
    for block in session.blocks:
        if block.split == "test":
            start = block.start + BURN_IN
            pieces.append(np.arange(start, start + (block.stop - start) // 3 * 3).reshape(-1, 3))
    bins = np.concatenate(pieces)
    rates, counts = 0.8 * session.true_rates[bins].sum(1), session.counts[bins].sum(1)
    expected = metrics.bits_per_spike(rates, counts, 3 * session.train_mean)
    np.testing.assert_allclose([r.bits_per_spike for r in result.units[:N_UNITS]], expected, rtol=1e-5)
    assert result.units[0].recorded_rate_hz == pytest.approx(counts[:, 0].mean() * RATE_HZ / 3, rel=1e-5)


def test_coarser_bins_of_a_trace_are_means_of_trace_prediction_and_null() -> None:
    s = setting(kind="trace", factor=0.8)
    fine, coarse = s.score(), s.score(bin_ms=30.0)
    session = s.store.fakes["a"]
    starts = [(b.start + BURN_IN, (b.stop - b.start - BURN_IN) // 3 * 3) for b in session.blocks]
    test = [b.split == "test" for b in session.blocks]
    bins = np.concatenate([np.arange(a, a + n) for (a, n), some in zip(starts, test, strict=True) if some])
    recorded, predicted = session.counts[bins], 0.8 * session.true_rates[bins]
    for i, row in enumerate(coarse.units[:N_UNITS]):
        assert row.recorded_mean == pytest.approx(recorded[:, i].mean(), rel=1e-5)
        assert row.predicted_mean == pytest.approx(predicted[:, i].mean(), rel=1e-5)
        averages = [values[:, i].reshape(-1, 3).mean(1) for values in (recorded, predicted)]
        assert row.correlation == pytest.approx(np.corrcoef(*averages)[0, 1], rel=1e-5)
        assert row.recorded_mean == pytest.approx(fine.units[i].recorded_mean, rel=0.05)


def test_a_trace_on_a_high_baseline_is_no_constant_in_coarser_bins() -> None:
    s = setting(kind="trace")
    for session in s.store.fakes.values():
        session.true_rates = session.counts = 1e4 + 0.02 * session.true_rates
        session.train_mean = np.full(N_UNITS, 1e4)
    assert s.score(bin_ms=30.0).overall.correlation.mean == pytest.approx(1.0, abs=1e-6)


def test_a_summed_bin_counts_only_where_all_its_bins_are_valid() -> None:
    s = setting()
    every_bin = s.score(bin_ms=30.0).sessions["a"].n_bins
    s.store.fakes["a"].is_valid[BURN_IN + 3 : BURN_IN + 10 : 6] = False
    assert s.score(bin_ms=30.0).sessions["a"].n_bins == every_bin - 2


@pytest.mark.parametrize(("bin_ms", "nearest"), [(25.0, "20"), (4.0, "10"), (14.0, "10")])
def test_a_bin_width_that_is_no_multiple_is_refused_with_the_nearest(bin_ms: float, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"nearest is {nearest}$"):
        setting().score(bin_ms=bin_ms)


def test_units_in_another_order_are_matched_by_their_ids() -> None:
    straight = setting(factor=0.7).score()
    s = setting(factor=0.7)
    order = [2, 0, 3, 1]
    specs = tuple(
        SessionSpec(id=x.id, subject=x.subject, unit_ids=tuple(x.unit_ids[i] for i in order))
        for x in s.store.spec.sessions[::-1]
    )
    permuted = scripted(s.store.spec.model_copy(update={"sessions": specs}))
    script = s.twin.script
    permuted.script = lambda session, bins, behaviour: script(session, bins, behaviour)[:, order]
    s.twin = permuted
    assert s.score().units == straight.units


def test_missing_units_and_sessions_are_named() -> None:
    s = setting()
    fewer = s.store.spec.sessions[0].model_copy(update={"unit_ids": ("a0", "a1", "a2", "new")})
    s.twin = scripted(s.store.spec.model_copy(update={"sessions": (fewer, s.store.spec.sessions[1])}))
    with pytest.raises(CheckpointError, match=r"session 'a': the twin lacks 1 unit\(s\): a3"):
        s.score()
    other = s.store.spec.sessions[0].model_copy(update={"id": "c"})
    s.twin = scripted(s.store.spec.model_copy(update={"sessions": (other,)}))
    with pytest.raises(CheckpointError, match="no session 'a' of fake, nor any other of it; it has c"):
        s.score()


@pytest.mark.parametrize(
    ("fact", "value"), [("height", 5), ("sampling_rate_hz", 50.0), ("response_kind", "trace")]
)
def test_a_store_unlike_the_twins_data_is_refused(fact: str, value: Any) -> None:
    s = setting()
    spec = s.store.spec
    if fact == "response_kind":
        sessions = tuple(own.model_copy(update={fact: value}) for own in spec.sessions)
        s.store.spec = spec.model_copy(update={"sessions": sessions})
    else:
        key = "rate_hz" if fact == "sampling_rate_hz" else fact
        s.store.spec = spec.model_copy(update={"sampling": spec.sampling.model_copy(update={key: value})})
    with pytest.raises(DataError, match=f"{fact} is {value}"):
        s.score()


def test_units_without_spikes_or_valid_bins_are_excluded_counted_and_explained() -> None:
    s = setting()
    session = s.store.fakes["a"]
    session.counts[:, 1] = 0
    session.is_valid[:, 2] = False
    result = s.score()
    assert result.overall.n_excluded == 2
    assert result.overall.n_units == 6
    assert [row.excluded_reason for row in result.units[:4]] == [
        None,
        "no spikes in the scored bins",
        "no valid bins",
        None,
    ]
    assert np.isfinite(result.overall.bits_per_spike.mean)


def test_what_stands_in_bins_that_are_not_valid_changes_nothing() -> None:
    scores = []
    for spoil in (False, True):
        s = setting(factor=0.8)
        session = s.store.fakes["b"]
        session.is_valid[620:700, 0] = False
        session.is_valid[100:130] = False
        if spoil:
            session.counts[~session.is_valid] = 99
        scores.append(s.score().to_json())
    assert scores[0] == scores[1]


def test_a_constant_prediction_scores_no_correlation_and_says_so() -> None:
    s = setting()
    s.twin.script = lambda session, bins, _: np.full((len(bins), N_UNITS), 0.3)
    result = s.score()
    assert result.overall.correlation.mean == 0
    assert result.overall.correlation.n_constant_predictions == 8
    assert "constant" in result.units[0].correlation_note
    assert result.overall.bits_per_spike.mean == pytest.approx(0, abs=1e-6)


def test_repeats_are_scored_over_all_of_them_and_reported_with_their_number() -> None:
    s = setting()
    for session in s.store.fakes.values():
        session.true_rates *= 3
        session.counts = np.random.default_rng(5).poisson(session.true_rates).astype(np.float32)
    result = s.score()
    session = s.store.fakes["a"]
    repeats = np.stack([session.counts[b + BURN_IN : b + 100] for b in REPEATED])
    expected = metrics.cc_norm(repeats, session.true_rates[600 + BURN_IN : 700])
    np.testing.assert_allclose([row.cc_norm for row in result.units[:N_UNITS]], expected, rtol=1e-5)
    assert result.overall.n_repeats == result.settings.n_repeats == 4
    assert result.overall.cc_norm_n_units == 8
    assert result.overall.cc_norm == pytest.approx(1.0, abs=0.15)
    assert result.by_kind["movie"].cc_norm is None


def test_units_without_reliable_signal_stay_out_of_the_mean_over_repeats() -> None:
    s = setting()
    for session in s.store.fakes.values():
        session.counts = np.random.default_rng(5).poisson(3 * session.true_rates).astype(np.float32)
        session.counts[:, 1] = np.random.default_rng(7).poisson(0.3, N_BINS)
    result = s.score()
    assert result.overall.cc_norm_n_units == result.overall.feve_n_units == 6
    reliable = [row.cc_norm for row in result.units if row.unit_id[1] != "1"]
    assert result.overall.cc_norm == pytest.approx(np.mean(reliable), rel=1e-12)


@pytest.mark.parametrize("segment_s", [20.0, 0.5])
@pytest.mark.parametrize("cut", [0, 3])
def test_showing_every_stimulus_twice_with_the_same_outcome_makes_no_interval_narrower(
    segment_s: float, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "INTERVAL_BLOCK_S", segment_s)
    found = []
    for shown in (1, 2):
        s = setting(factor=0.6)
        for session in s.store.fakes.values():
            index = np.arange(N_BINS) % 600
            session.frames[:, 0, 0, 0] = index
            session.true_rates, session.counts = session.true_rates[index], session.counts[index]
            session.blocks = tuple(
                Block(start, start + 100 - cut * (start >= 600), "test", f"{start % 600}", "movie")
                for start in range(0, 600 * shown, 100)
            )
        scores = s.score().overall
        found.append(
            [
                np.ptp(interval)
                for interval in (
                    scores.bits_per_spike.ci95,
                    scores.correlation.ci95,
                    scores.ceiling.ci95,
                )
            ]
        )
    # Cut repeats weigh the bins a little otherwise; blocks taken for independent would be 0.71 as wide.
    np.testing.assert_allclose(found[1], found[0], rtol=0.12 if cut else 1e-9)


def test_repeats_that_agree_in_video_and_behaviour_share_a_prediction_and_others_do_not() -> None:
    s = setting()
    s.score()
    assert len(s.twin.calls) == 2 * (2 + 1 + 1)
    s = setting()
    s.twin.uses_behaviour = True
    for session in s.store.fakes.values():
        session.samples = np.zeros((N_BINS, 1), np.float32)
        session.samples[700:800] = 1
    seen: list[float] = []

    def script(session: str, bins: np.ndarray, behaviour: np.ndarray) -> np.ndarray:
        seen.append(float(behaviour.mean()))
        return s.store.fakes[session].true_rates[bins] * (1 + behaviour)

    s.twin.script = script
    result = s.score()
    assert seen.count(1.0) == 2
    assert result.settings.behaviour == "recorded"
    assert result.overall.fraction_of_ceiling < 1


def test_no_more_than_one_block_of_video_is_read_at_a_time() -> None:
    s = setting()
    s.score()
    assert max(s.store.fakes["a"].reads) == 250


def test_without_truth_the_ceiling_is_null() -> None:
    s = setting()
    for session in s.store.fakes.values():
        session.truth_known = False
    overall = s.score().overall
    assert overall.ceiling.bits_per_spike is None
    assert overall.fraction_of_ceiling is None


def test_with_truth_in_one_session_only_the_fraction_is_over_its_units() -> None:
    s = setting(factor=0.5)
    s.store.fakes["b"].truth_known = False
    result = s.score()
    assert result.overall.fraction_of_ceiling == pytest.approx(
        result.sessions["a"].fraction_of_ceiling, rel=1e-12
    )


def test_traces_have_a_correlation_and_no_bits_per_spike() -> None:
    s = setting(kind="trace")
    for session in s.store.fakes.values():
        session.counts = session.true_rates * 2 - 1
    result = s.score()
    assert result.settings.selection_metric == "correlation"
    assert set(result.overall.bits_per_spike.to_json().values()) == {None}
    assert result.overall.correlation.mean == pytest.approx(1.0, abs=1e-6)
    assert result.overall.fraction_of_ceiling is None
    assert result.units[0].spikes is None


def test_a_split_without_bins_and_a_prediction_that_is_not_finite_are_errors() -> None:
    s = setting()
    with pytest.raises(DataError, match="validation split has no bin"):
        s.score(split="validation")
    s.twin.script = lambda session, bins, _: np.full((len(bins), N_UNITS), np.nan)
    with pytest.raises(CheckpointError, match="session 'a', bins 0 to 250"):
        s.score()


def test_a_twin_that_diverges_late_in_a_block_is_refused_rather_than_scored_on_its_healthy_bins() -> None:
    s = setting(stride=4)
    healthy = s.twin.script

    def script(session: str, bins: np.ndarray, behaviour: Any) -> np.ndarray:
        rates = healthy(session, bins, behaviour).copy()
        rates[4:, 2] = np.nan
        return rates

    s.twin.script = script
    with pytest.raises(CheckpointError, match="not finite; its weights are damaged or its training diverged"):
        s.score()


def test_data_other_than_the_training_data_are_scored_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    s = setting()
    s.twin.provenance = Provenance(data_fingerprint="beef")
    assert s.score().settings.trained_on_these_data is None
    s.twin.provenance = Provenance(data_fingerprint="beef", session_fingerprints={"a": "beef", "b": "beef"})
    assert s.score().settings.trained_on_these_data is False
    assert "may hold data that the twin has seen" in caplog.text


def test_the_json_and_the_table_hold_the_result_and_belong_to_one_twin(tmp_path: Path) -> None:
    s = setting()
    s.store.fakes["a"].counts[:, 0] = 0
    result = s.score()
    result.write_json(tmp_path / "test.json")
    result.write_table(tmp_path / "units.csv")
    assert json.loads((tmp_path / "test.json").read_text())["settings"]["causal"] is True
    lines = (tmp_path / "units.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * N_UNITS
    assert lines[0].startswith(
        "session,unit_id,cell_class,spikes,recorded_rate_hz,predicted_rate_hz,bits_per_spike"
    )
    assert lines[1].endswith("no spikes in the scored bins")
    again = load_evaluation(tmp_path / "test.json", s.twin, s.store)
    assert again is not None
    assert again.overall.bits_per_spike.mean == result.overall.bits_per_spike.mean
    s.store.fingerprint = "other"
    assert load_evaluation(tmp_path / "test.json", s.twin, s.store) is None
    assert load_evaluation(tmp_path / "absent.json", s.twin, s.store) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: [],
        lambda raw: raw | {"settings": []},
        lambda raw: raw | {"settings": None},
        lambda raw: {name: part for name, part in raw.items() if name != "overall"},
        lambda raw: raw | {"overall": {}},
        lambda raw: raw | {"overall": raw["overall"] | {"ceiling": None}},
        lambda raw: raw | {"sessions": {"a": 3}},
        lambda raw: raw | {"by_kind": []},
        lambda raw: raw | {"units": {}},
        lambda raw: raw | {"units": []},
        lambda raw: raw | {"units": [{"session": "a"}]},
        lambda raw: raw | {"news": 1},
    ],
)
def test_a_damaged_evaluation_counts_as_none(damage: Callable[[Any], Any], tmp_path: Path) -> None:
    s = setting()
    path = tmp_path / "test.json"
    s.score().write_json(path)
    assert load_evaluation(path, s.twin, s.store) is not None
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    assert load_evaluation(path, s.twin, s.store) is None


def test_every_section_and_row_has_exactly_the_parts_that_a_reader_is_promised() -> None:
    result = setting().score()
    told = result.to_json()
    assert told["overall"].keys() == SECTION_KEYS
    assert all(row.keys() == ROW_KEYS for row in told["units"])
    trace = setting(kind="trace").score().to_json()["units"][0]
    assert trace.keys() == {name.replace("rate_hz", "mean") for name in ROW_KEYS}


def test_what_other_versions_say_beside_is_kept_and_what_they_need_not_say_may_be_missing() -> None:
    raw = setting().score().to_json()
    raw["overall"] |= {"novelty": [0.5]}
    raw["settings"] |= {"mood": "good"}
    del raw["overall"]["bits_per_spike"]["pooled"], raw["units"][0]["fev"]
    again = EvaluationResult.from_json(raw)
    assert again.to_json() == raw
    assert (again.overall.bits_per_spike.pooled, again.units[0].fev) == (None, None)


def test_a_run_folders_evaluation_keeps_the_sums_that_its_scores_are_made_of(tmp_path: Path) -> None:
    s = setting(stride=2, factor=0.7)
    result = s.score()
    result.write_to(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"evaluation_test.json", "evaluation_test.npz"}
    loaded = load_evaluation(tmp_path / "evaluation_test.json", s.twin, s.store)
    assert loaded is not None
    assert [sums.session for sums in loaded.sums] == ["a", "b"]
    for before, after in zip(result.sums, loaded.sums, strict=True):
        assert (before.unit_ids, before.keys, before.kinds) == (after.unit_ids, after.keys, after.kinds)
        np.testing.assert_array_equal(before.model.gain, after.model.gain)
        assert after.ceiling is not None
        rows = [row for row in loaded.units if row.session == after.session]
        for sums, column in ((after.model, "bits_per_spike"), (after.ceiling, "ceiling")):
            total = sums.map(lambda a: a.sum(0)).bits_per_spike
            np.testing.assert_allclose(total, [getattr(row, column) for row in rows], rtol=1e-12)
    # Repeats are one row per stretch, whatever their number.
    assert sum("frozen" in key for key in loaded.sums[0].keys) == 1


def test_sums_that_are_missing_damaged_or_of_another_evaluation_are_not_taken(tmp_path: Path) -> None:
    s = setting()
    s.score().write_to(tmp_path)
    path, sums = tmp_path / "evaluation_test.json", tmp_path / "evaluation_test.npz"
    whole = sums.read_bytes()
    sums.write_bytes(whole[: len(whole) // 2])
    damaged = load_evaluation(path, s.twin, s.store)
    other = setting()
    other.twin.stride = 2
    other.score(burn_in_s=0.2).write_to(tmp_path / "other")
    sums.write_bytes((tmp_path / "other" / "evaluation_test.npz").read_bytes())
    of_another = load_evaluation(path, s.twin, s.store)
    sums.unlink()
    missing = load_evaluation(path, s.twin, s.store)
    for found in (damaged, of_another, missing):
        assert found is not None
        assert found.sums == ()
