"""What a paired comparison promises, on runs whose predictions are made up and whose differences are known."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from visioncore import metrics
from visioncore.comparison import ComparedSection, Comparison, ScoredRun, compare
from visioncore.comparison.records import PairedDifference
from visioncore.comparison.scored_run import ModelSettings, _of_units
from visioncore.data import DataConfig, build_data_config
from visioncore.errors import ConfigError, DataError
from visioncore.evaluation import (
    EvaluationResult,
    EvaluationSettings,
    Metric,
    ScoredSection,
    SessionSums,
    UnitRow,
)
from visioncore.metrics import Sums

N_ROWS, N_BINS, N_UNITS = 24, 120, 20
NULL = 0.3
SETTINGS: dict[str, Any] = {
    "bins_summed": 1,
    "burn_in_bins": 10,
    "twin_digest": "cafe",
    "trained_on_these_data": True,
    "split": "test",
    "bin_ms": 10.0,
    "sampling_rate_hz": 100.0,
    "burn_in_s": 0.1,
    "null": "mean rate of the training split, per unit",
    "rate_floor": 1e-9,
    "causal": True,
    "behaviour": "recorded",
    "response_kind": "counts",
    "selection_metric": "bits_per_spike",
    "n_sessions": 2,
    "n_repeats": 0,
    "data_fingerprint": "f00d",
}
NOTHING = PairedDifference(mean=0.0, ci95=(0.0, 0.0), better_units=0.0)
METRICS: tuple[Metric, ...] = ("bits_per_spike", "correlation")
Predict = Callable[[np.ndarray], np.ndarray]


def data_of(seed: int) -> DataConfig:
    return build_data_config({"type": "simulated", "split": {"seed": seed}}, "test")


def recording(seed: int, n_units: int = N_UNITS) -> tuple[np.ndarray, np.ndarray]:
    """True rates and counts, (rows, bins, units); rows differ in how much they drive, as blocks of a movie do."""
    rng = np.random.default_rng(seed)
    drive = rng.gamma(2.0, 0.5, (N_ROWS, 1, 1))
    rates = NULL * (1 + drive * (rng.gamma(0.6, 1 / 0.6, (N_ROWS, N_BINS, n_units)) - 1)).clip(0.05)
    return rates, rng.poisson(rates).astype(np.float64)


def session_sums(name: str, seed: int, predict: Predict, n_units: int = N_UNITS) -> SessionSums:
    """Half the rows are of a movie and half of noise."""
    rates, counts = recording(seed, n_units)
    valid, null = np.ones((N_BINS, n_units), bool), np.full(n_units, NULL)
    predicted = predict(rates)
    return SessionSums(
        session=name,
        unit_ids=tuple(f"{name}{i}" for i in range(n_units)),
        keys=tuple(f"block at {row}" for row in range(N_ROWS)),
        kinds=("movie", "noise") * (N_ROWS // 2),
        model=Sums.stack([Sums.measure(p, c, null, valid) for p, c in zip(predicted, counts, strict=True)]),
        ceiling=Sums.stack([Sums.measure(r, c, null, valid) for r, c in zip(rates, counts, strict=True)]),
    )


def run(model: str, predict: Predict, *, seed: int = 0, n_units: int = N_UNITS, **changes: Any) -> ScoredRun:
    """A run that predicts `predict(true rates)`."""
    sums = tuple(session_sums(name, i, predict, n_units) for i, name in enumerate("ab"))
    units = tuple(
        UnitRow(
            session=s.session,
            unit_id=unit,
            cell_class=("simple", "complex")[i % 2],
            snr=2.0 if i % 3 else 0.5,
            cc_norm=0.5,
            bits_per_spike=None,
            ceiling=None,
            correlation=None,
            n_repeats=2,
            excluded_reason=None,
        )
        for s in sums
        for i, unit in enumerate(s.unit_ids)
    )
    result = EvaluationResult(
        settings=EvaluationSettings.from_json(SETTINGS | changes),
        # A comparison reads its bins alone.
        overall=ScoredSection.model_construct(n_bins=2 * N_ROWS * N_BINS),
        sessions={},
        by_kind={},
        by_class={},
        by_phase={},
        units=units,
        sums=sums,
    )
    return ScoredRun(
        model=model,
        where=f"runs/{model}/seed-{seed}",
        seed=seed,
        data=data_of(seed=0),
        config=ModelSettings(model={"core": model}, training={"clip_frames": 100}),
        train_share=1.0,
        result=result,
        parameters=1000,
        training_flops=1e12,
        wall_s=60.0 + seed,
    )


def mixed(share: float) -> Predict:
    """So much of the truth, the rest the mean rate."""
    return lambda rates: share * rates + (1 - share) * NULL


def bits(section: ComparedSection, name: str) -> Any:
    """Any, because a test knows that it is defined."""
    return section.differences[name].bits_per_spike


def scores_of(found: Comparison, name: str) -> Any:
    """The scores of a model over everything; Any for the same reason."""
    return found.overall.models[name]


def true_difference(one: Predict, other: Predict) -> float:
    """What the difference would be with very much data: expected gains instead of measured ones."""
    per_unit = []
    for seed in range(2):
        rates = recording(seed)[0].reshape(-1, N_UNITS)
        gain = {}
        for name, predict in (("one", one), ("other", other)):
            p = np.maximum(predict(rates), 1e-9)
            gain[name] = (rates * np.log(p / NULL) - (p - NULL)).sum(0)
        per_unit.append((gain["one"] - gain["other"]) / (rates.sum(0) * np.log(2)))
    return float(np.concatenate(per_unit).mean())


def test_a_model_against_itself_differs_by_exactly_nothing() -> None:
    found = compare([run("a", mixed(0.7)), run("b", mixed(0.7))])
    for score in METRICS:
        assert found.matrix["b"]["a"].score(score) == NOTHING
    assert found.overall.models["a"] == found.overall.models["b"]


def test_the_paired_interval_is_much_narrower_than_the_models_own_and_covers_the_known_difference() -> None:
    found = compare([run("weak", mixed(0.5)), run("strong", mixed(0.8))])
    difference = bits(found.overall, "strong")
    low, high = difference.ci95
    assert low < true_difference(mixed(0.8), mixed(0.5)) < high
    assert low < difference.mean < high
    own = [scores_of(found, name).bits_per_spike.ci95 for name in ("weak", "strong")]
    unpaired = np.hypot(*(b - a for a, b in own))
    assert high - low < 0.6 * unpaired
    assert own[0][1] > own[1][0]  # the models' own intervals overlap, and yet the difference is certain
    assert low > 0


def test_the_scores_of_one_model_are_those_of_its_evaluation() -> None:
    one = run("a", mixed(0.6))
    found = scores_of(compare([one]), "a")
    totals = [s.model.map(lambda a: a.sum(0)) for s in one.result.sums]
    expected = np.concatenate([t.bits_per_spike for t in totals])
    assert found.bits_per_spike.mean == pytest.approx(expected.mean())
    assert found.bits_per_spike.median == pytest.approx(np.median(expected))
    draws = metrics.population_draws([s.model for s in one.result.sums], lambda s: s.bits_per_spike)
    assert found.bits_per_spike.ci95 == metrics.interval(draws)
    assert 0.5 < found.fraction_of_ceiling < 1


def test_the_matrix_has_opposite_signs_across_its_diagonal_and_the_reference_is_its_column() -> None:
    runs = [run(name, mixed(share)) for name, share in (("a", 0.4), ("b", 0.6), ("c", 0.9))]
    found = compare(runs, reference="b")
    for score in METRICS:
        forth, back = found.matrix["c"]["a"].score(score), found.matrix["a"]["c"].score(score)
        assert forth.mean is not None
        assert back.ci95 is not None
        assert -forth.mean == back.mean
        assert forth.ci95 == pytest.approx([-v for v in back.ci95[::-1]])
    bits_better = [found.matrix[a][b].score("bits_per_spike").better_units for a, b in ("ca", "ac")]
    assert sum(share or 0.0 for share in bits_better) == 1.0
    assert found.overall.differences == {name: found.matrix[name]["b"] for name in "abc"}


def shuffled(one: ScoredRun) -> ScoredRun:
    """The same run with sessions, units and rows in another order."""
    rng = np.random.default_rng(1)
    sums = []
    for s in one.result.sums[::-1]:
        rows, units = rng.permutation(len(s.keys)), rng.permutation(len(s.unit_ids))
        take = np.ix_(rows, units)
        assert s.ceiling is not None
        sums.append(
            SessionSums(
                s.session,
                tuple(s.unit_ids[i] for i in units),
                tuple(s.keys[i] for i in rows),
                tuple(s.kinds[i] for i in rows),
                s.model.map(lambda a, take=take: a[take]),  # type: ignore[misc]
                s.ceiling.map(lambda a, take=take: a[take]),  # type: ignore[misc]
            )
        )
    units_of = tuple(one.result.units[i] for i in rng.permutation(len(one.result.units)))
    return replace(one, result=one.result.model_copy(update={"sums": tuple(sums), "units": units_of}))


def test_units_sessions_and_stretches_in_another_order_are_matched_by_their_ids() -> None:
    straight = [run("a", mixed(0.5)), run("b", mixed(0.8))]
    found = compare([straight[0], shuffled(straight[1])])
    assert found == compare(straight)
    assert bits(found.overall, "b").mean > 0.05


def test_a_gain_in_one_class_and_kind_shows_there_and_nowhere_else() -> None:
    def better_for_complex_cells_in_movies(rates: np.ndarray) -> np.ndarray:
        predicted = mixed(0.5)(rates)
        predicted[0::2, :, 1::2] = mixed(0.9)(rates)[0::2, :, 1::2]
        return predicted

    found = compare([run("a", mixed(0.5)), run("b", better_for_complex_cells_in_movies)])
    gains = {
        (cell, kind): bits(section, "b")
        for cell, kinds in found.by_class_and_kind.items()
        for kind, section in kinds.items()
    }
    assert gains["complex", "movie"].ci95[0] > 0.05
    for place in (("complex", "noise"), ("simple", "movie"), ("simple", "noise")):
        assert gains[place] == NOTHING
    assert bits(found.by_class["simple"], "b").mean == 0
    assert bits(found.by_kind["movie"], "b").mean > bits(found.overall, "b").mean > 0
    assert found.by_class["simple"].n_units == N_UNITS
    assert list(found.sessions) == ["a", "b"]


def test_several_seeds_are_averaged_and_their_spread_is_told_apart() -> None:
    seeds = [run("b", mixed(share), seed=i) for i, share in enumerate((0.6, 0.7, 0.8))]
    found = compare([run("a", mixed(0.5)), *seeds])
    alone = [scores_of(compare([replace(one, model="x")]), "x").bits_per_spike.mean for one in seeds]
    score = scores_of(found, "b").bits_per_spike
    assert score.of_seeds == pytest.approx(alone)
    assert score.mean == pytest.approx(np.mean(alone))
    assert score.seed_sd == pytest.approx(np.std(alone, ddof=1))
    assert scores_of(found, "a").bits_per_spike.seed_sd is None
    assert found.models["b"].seeds == (0, 1, 2)
    assert found.models["b"].wall_s == 61.0
    per_unit = [unit.score("bits_per_spike", "b") or np.nan for unit in found.units]
    assert np.mean(per_unit) == pytest.approx(score.mean)


def test_models_that_differ_in_their_share_of_the_data_alone_are_one_family() -> None:
    a, b = run("a", mixed(0.5)), run("b", mixed(0.6))
    less = replace(a, model="a with less", train_share=0.3)
    found = compare([a, less, b]).models
    assert {name: own.family for name, own in found.items()} == {"a": "a", "a with less": "a", "b": "b"}
    assert found["a with less"].train_share == 0.3


def test_with_few_units_only_blocks_are_resampled_and_the_comparison_says_so() -> None:
    few = compare([run("a", mixed(0.5), n_units=4), run("b", mixed(0.8), n_units=4)])
    assert few.settings.resampled == "blocks of time"
    assert few.settings.n_units == 8
    assert compare([run("a", mixed(0.5))]).settings.resampled == "units and blocks of time"


def test_traces_are_compared_by_correlation_alone() -> None:
    trace: dict[str, Any] = {"response_kind": "trace", "selection_metric": "correlation"}
    found = compare([run("a", mixed(0.5), **trace), run("b", np.square, **trace)])
    assert set(found.matrix["b"]["a"].to_json()) == {"correlation"}
    assert found.overall.ceiling is None
    assert found.overall.models["a"].fraction_of_ceiling is None


def test_cc_norm_is_averaged_over_the_units_that_are_reliable_in_every_run() -> None:
    a, b = run("a", mixed(0.5)), run("b", mixed(0.8))
    units = list(b.result.units)
    units[1] = units[1].model_copy(update={"cc_norm": None})
    b = replace(b, result=b.result.model_copy(update={"units": tuple(units)}))
    found = compare([a, b]).models
    reliable = 2 * sum(i % 3 > 0 for i in range(N_UNITS)) - 1
    assert [found[name].cc_norm_n_units for name in "ab"] == [reliable, reliable]
    assert found["a"].cc_norm == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("split", "validation"), ("bin_ms", 20.0), ("burn_in_s", 0.5)],
)
def test_runs_scored_under_other_conditions_are_refused_with_what_differs(setting: str, value: Any) -> None:
    expected = f"runs/b/seed-0: {setting} is {value}, but runs/a/seed-0 has {SETTINGS[setting]}"
    with pytest.raises(DataError, match=expected):
        compare([run("a", mixed(0.5)), run("b", mixed(0.5), **{setting: value})])


def test_runs_on_different_data_are_refused_with_what_differs() -> None:
    one, other = run("a", mixed(0.5)), run("b", mixed(0.5), data_fingerprint="beef")
    cut_otherwise = replace(other, data=data_of(seed=1))
    with pytest.raises(
        DataError, match=r"runs/b/seed-0 and runs/a/seed-0 .* they differ in data\.split\.seed;"
    ):
        compare([one, cut_otherwise])
    with pytest.raises(DataError, match="their settings agree, so the files have changed since"):
        compare([one, other])


def with_sums(one: ScoredRun, change: Callable[[SessionSums], SessionSums]) -> ScoredRun:
    first, *others = one.result.sums
    return replace(one, result=one.result.model_copy(update={"sums": (change(first), *others)}))


def test_other_units_sessions_or_stretches_are_refused_by_name() -> None:
    a, b = run("a", mixed(0.5)), run("b", mixed(0.5))
    renamed = with_sums(b, lambda s: replace(s, unit_ids=("new", *s.unit_ids[1:])))
    with pytest.raises(DataError, match="runs/b/seed-0 was not scored on session 'a': unit a0, which runs/a"):
        compare([a, renamed])
    fewer = with_sums(b, lambda s: replace(s, session="c"))
    with pytest.raises(DataError, match="runs/b/seed-0 was not scored on session a, which runs/a/seed-0 was"):
        compare([a, fewer])
    moved = with_sums(b, lambda s: replace(s, keys=("elsewhere", *s.keys[1:])))
    with pytest.raises(
        DataError, match="not scored on session 'a': stretch of time block at 0, which runs/a"
    ):
        compare([a, moved])
    with pytest.raises(DataError, match="runs/b/seed-0: its evaluation holds no sums"):
        compare([a, replace(b, result=b.result.model_copy(update={"sums": ()}))])


def test_other_bins_of_the_same_units_are_refused() -> None:
    def one_bin_less(s: SessionSums) -> SessionSums:
        return replace(s, model=replace(s.model, bins=s.model.bins - np.eye(N_ROWS, N_UNITS)))

    with pytest.raises(
        DataError, match=r"on 119 bins of unit a0 in session 'a' \(block at 0\), but .* on 120"
    ):
        compare([run("a", mixed(0.5)), with_sums(run("b", mixed(0.5)), one_bin_less)])


def test_runs_of_one_name_that_are_not_its_seeds_are_refused_with_a_remedy() -> None:
    one, other = run("a", mixed(0.5)), run("a", mixed(0.5), seed=1)
    changed = replace(other, config=ModelSettings(model={"core": "a"}, training={"clip_frames": 200}))
    with pytest.raises(ConfigError, match=r"differ in training\.clip_frames; .*NAME=runs/a/seed-1"):
        compare([one, changed])
    with pytest.raises(ConfigError, match="differ in train_share"):
        compare([one, replace(other, train_share=0.3)])
    with pytest.raises(ConfigError, match=r"the same seed \(0\)"):
        compare([one, replace(other, seed=0)])


def test_an_unknown_reference_is_refused_with_the_models_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'c'; expected one of the models: a, b"):
        compare([run("a", mixed(0.5)), run("b", mixed(0.5))], reference="c")


def test_the_tables_have_every_model_on_every_cut_and_every_unit(tmp_path: Any) -> None:
    found: Comparison = compare([run("a", mixed(0.5)), run("b", mixed(0.8))])
    found.write_table(tmp_path / "comparison.csv")
    found.write_units(tmp_path / "units.csv")
    found.write_json(tmp_path / "comparison.json")
    header, *rows = (tmp_path / "comparison.csv").read_text().splitlines()
    assert len(rows) == 2 * (1 + 2 + 2 + 2 + 4)
    assert {"model", "kind", "cell_class", "difference.bits_per_spike.ci95_low"} <= set(header.split(","))
    header, *rows = (tmp_path / "units.csv").read_text().splitlines()
    assert len(rows) == 2 * N_UNITS
    assert {"unit_id", "bits_per_spike.a", "correlation.b"} <= set(header.split(","))


def test_what_was_measured_of_units_stands_beside_their_scores(tmp_path: Any) -> None:
    one, other = run("a", mixed(0.5)), run("b", mixed(0.8))
    measured = tuple(unit.model_copy(update={"columns": {"area": "V1"}}) for unit in one.result.units)
    one = replace(one, result=one.result.model_copy(update={"units": measured}))
    found = compare([one, other])
    found.write_units(tmp_path / "units.csv")
    header, *rows = (tmp_path / "units.csv").read_text().splitlines()
    assert header.split(",")[:4] == ["session", "unit_id", "cell_class", "area"]
    assert all(row.split(",")[3] == "V1" for row in rows)


def test_models_of_some_of_the_units_are_compared_on_those_that_all_have() -> None:
    every, some = run("every", lambda rates: rates), run("some", lambda rates: 0.8 * rates)
    kept = {("b", f"b{i}") for i in range(0, N_UNITS, 2)}
    fewer = replace(some, result=_of_units(some.result, kept))
    with pytest.raises(DataError, match="compare twins of the same units"):
        compare([every, fewer])
    found = compare([every, fewer], common_units=True)
    assert found.to_json() == compare([replace(every, result=_of_units(every.result, kept)), fewer]).to_json()
    assert {(row.session, row.unit_id) for row in found.units} == kept
    assert compare([every, some], common_units=True).to_json() == compare([every, some]).to_json()
    with pytest.raises(DataError, match="have no unit in common"):
        compare([fewer, replace(some, result=_of_units(some.result, {("a", "a1")}))], common_units=True)
