"""Predictions in a file are scored as a twin's are, by unit ids, and refused where they do not fit the recording."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from rich.console import Console

from conftest import Arrays
from scored import setting
from visioncore.comparison import ScoredRun, compare, named_run, read_runs
from visioncore.data import DataConfig, RecordingStore, prepare
from visioncore.errors import ConfigError, DataError
from visioncore.evaluation import EvaluationResult, KeptPredictions, evaluate, export_predictions
from visioncore.evaluation.kept_predictions import PredictionsHeader
from visioncore.model import TwinConfig
from visioncore.model.cores import ViViTConfig
from visioncore.model.linear import NoLinearConfig
from visioncore.model.modulators import ConvGRUConfig
from visioncore.predictor import Predictor
from visioncore.tables import scores as shown

Change = Callable[[Arrays], Any]
KINDS = ("counts", "trace")


def told(result: EvaluationResult) -> dict[str, Any]:
    """Everything but whose it is."""
    raw = result.to_json()
    del raw["settings"]["twin_digest"]
    return raw


def require_equal(one: EvaluationResult, other: EvaluationResult) -> None:
    assert told(one) == told(other)
    for mine, theirs in zip(one.sums, other.sums, strict=True):
        assert mine.keys == theirs.keys
        for name in vars(mine.model):
            np.testing.assert_array_equal(getattr(mine.model, name), getattr(theirs.model, name))


def arrays_of(path: Path) -> Arrays:
    with np.load(path) as file:
        return dict(file)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    s = setting(stride=3, factor=0.7)
    export_predictions(tmp_path / "twin.npz", s.twin, s.store)
    return tmp_path / "twin.npz"


# --- To the last digit --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"burn_in_s": 0.0}, {"bin_ms": 20.0}], ids=str)
def test_what_is_exported_is_scored_to_the_last_digit(
    kind: Literal["counts", "trace"], options: dict[str, Any], tmp_path: Path
) -> None:
    s = setting(stride=3, kind=kind, factor=0.7)
    truth = s.twin.script
    s.twin.script = lambda *seen: truth(*seen) * (1 + 0.5 * np.sin(np.arange(4) + 7.0 * seen[1][:, None]))
    export_predictions(tmp_path / "twin.npz", s.twin, s.store)
    kept = KeptPredictions(tmp_path / "twin.npz", s.store)
    assert isinstance(kept, Predictor)
    require_equal(evaluate(kept, s.store, progress=False, **options), s.score(**options))


@pytest.mark.parametrize("behaviour", ["recorded", "mean"])
def test_a_real_twins_predictions_give_its_evaluation(
    behaviour: Literal["recorded", "mean"], tiny_store: RecordingStore, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = TwinConfig(
        sampling_rate=60, convnet=ViViTConfig.tiny(), modulator=ConvGRUConfig.tiny(), linear=NoLinearConfig()
    )
    twin = config.build(tiny_store.spec).eval()
    for parameter in twin.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    assert twin.uses_behaviour
    assert twin.stride > 1
    own = evaluate(twin, tiny_store, behaviour=behaviour, progress=False)
    export_predictions(tmp_path / "twin.npz", twin, tiny_store, behaviour=behaviour)
    require_equal(
        evaluate(KeptPredictions(tmp_path / "twin.npz", tiny_store), tiny_store, progress=False), own
    )


def test_no_number_depends_on_the_order_of_units_and_sessions(exported: Path, tmp_path: Path) -> None:
    s = setting(stride=3)
    arrays, rng = arrays_of(exported), np.random.default_rng(1)
    orders = {name: rng.permutation(4) for name in "ab"}
    assert any((order != np.arange(4)).any() for order in orders.values())
    mixed = {key: a if key == "header" else a[..., orders[key[0]]] for key, a in reversed(arrays.items())}
    np.savez_compressed(tmp_path / "mixed.npz", **mixed)
    one, other = (
        evaluate(KeptPredictions(path, s.store), s.store, progress=False)
        for path in (exported, tmp_path / "mixed.npz")
    )
    require_equal(one, other)
    # The ids matter: without them the columns are others'.
    unmoved = {key: arrays[key] if key.endswith("unit_ids") else a for key, a in mixed.items()}
    np.savez(tmp_path / "wrong.npz", **unmoved)
    wrong = evaluate(KeptPredictions(tmp_path / "wrong.npz", s.store), s.store, progress=False)
    assert wrong.overall.bits_per_spike.mean != one.overall.bits_per_spike.mean


# --- Other people's files -----------------------------------------------------------------------------------------


def test_one_array_may_hold_a_whole_session_and_nothing_is_claimed_that_the_file_does_not_say(
    tmp_path: Path,
) -> None:
    s = setting(factor=0.7)
    arrays: Arrays = {}
    for name, session in s.store.fakes.items():
        arrays[f"{name}/unit_ids"] = np.array(session.unit_ids)
        # Nothing is scored in the first bins of a block, so a model need not predict them.
        arrays[f"{name}/5"] = 0.7 * session.true_rates[5:].astype(np.float64)
    np.savez(tmp_path / "peer.npz", **arrays)
    result = evaluate(KeptPredictions(tmp_path / "peer.npz", s.store), s.store, progress=False)
    own = s.score()
    assert result.overall.bits_per_spike.mean == pytest.approx(own.overall.bits_per_spike.mean, abs=1e-7)
    assert (result.settings.causal, result.settings.behaviour) == (None, None)
    assert result.settings.trained_on_these_data is None
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(shown(result))
    assert "whether causal is not said" in console.export_text()
    reread = EvaluationResult.from_json(result.to_json())
    assert reread.to_json() == result.to_json()


def drop(key: str) -> Change:
    return lambda arrays: arrays.pop(key)


def put(key: str, value: Any) -> Change:
    return lambda arrays: arrays.update({key: value})


def at(key: str, row: int, column: int, value: float) -> Change:
    def change(arrays: Arrays) -> None:
        arrays[key][row, column] = value

    return change


WRONG: dict[str, tuple[Change, str]] = {
    "no units": (drop("b/unit_ids"), r"has no 'b/unit_ids'; expected the ids of the units of session 'b'"),
    "no session": (lambda a: [a.pop(key) for key in [*a] if key.startswith("b/")], r"has no 'b/unit_ids'"),
    "strange session": (put("c/unit_ids", np.array(["c0"])), r"has the session 'c', .*; that has a, b"),
    "strange key": (put("rates", np.zeros(3)), r"does not know the key 'rates'; expected 'SESSION/unit_ids'"),
    "other unit": (put("a/unit_ids", np.array(["a0", "a1", "x9", "a3"])), r"session 'a': the file lacks .*: a2;"),
    "twice": (put("a/unit_ids", np.array(["a0", "a1", "a1", "a3"])), r"session 'a' has the unit a1 twice"),
    "more units": (
        put("a/unit_ids", np.array(["a0", "a1", "a2", "a3", "a4"])),
        r"session 'a': the recording lacks 1 unit\(s\): a4;",
    ),
    "columns": (put("a/0", np.zeros((250, 3))), r"'a/0' has 3 columns, and 'a/unit_ids' 4 ids"),
    "no block": (drop("b/250"), r"of session 'b', bins 260 to 500 .*bin 260 is not predicted"),
    "short": (put("b/250", np.zeros((200, 4))), r"of session 'b', bins 260 to 500 .*bin 450 is not predicted"),
    "overlap": (put("b/240", np.zeros((20, 4))), r"session 'b': 'b/0' ends before bin 250, and 'b/240' begins"),
    "too long": (put("b/1000", np.zeros((201, 4))), r"'b/1000' has 201 bins from 1000 on, .*ends after 1200"),
    "no axes": (put("a/0", np.zeros(250)), r"'a/0' is an array \(250,\) of float64; expected numbers"),
    "texts": (put("a/0", np.full((250, 4), "1")), r"'a/0' is an array .*expected numbers"),
    "nan": (at("b/250", 17, 2, np.nan), r"session 'b', unit b2, bin 267: nan is predicted; expected a finite"),
    "inf": (at("a/1000", 50, 1, np.inf), r"session 'a', unit a1, bin 1050: inf is predicted"),
    "negative": (at("b/250", 17, 3, -0.25), r"session 'b', unit b3, bin 267: -0.25 .*not negative"),
    "objects": (put("a/0", np.array([[{}]], dtype=object)), r"'a/0': holds Python objects, which are not read"),
    "no json": (put("header", np.array("causal")), r"\(header\): is no JSON text"),
    "typo": (put("header", np.array('{"casual": true}')), r"unknown key 'casual'; did you mean 'causal'\?"),
    "other data": (
        put("header", np.array('{"data_fingerprint": "beef"}')),
        r"of another recording than fake \(data_fingerprint beef, and here f00d\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_is_refused_with_the_reason(wrong: str, exported: Path, tmp_path: Path) -> None:
    change, expected = WRONG[wrong]
    arrays, s = arrays_of(exported), setting(stride=3)
    arrays["header"] = np.array(json.dumps({"stride": 3, "first_predicted_bin": 2}))
    change(arrays)
    np.savez(tmp_path / "peer.npz", **arrays)
    with pytest.raises(DataError, match=expected) as caught:
        evaluate(KeptPredictions(tmp_path / "peer.npz", s.store), s.store, progress=False)
    assert str(tmp_path / "peer.npz") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_traces_may_be_negative(tmp_path: Path) -> None:
    s = setting(kind="trace", factor=-1.0)
    export_predictions(tmp_path / "twin.npz", s.twin, s.store)
    require_equal(
        evaluate(KeptPredictions(tmp_path / "twin.npz", s.store), s.store, progress=False), s.score()
    )


def test_a_file_that_is_not_there_or_damaged_is_one_message(exported: Path, tmp_path: Path) -> None:
    s = setting()
    with pytest.raises(DataError, match=r"nothing\.npz: no such file"):
        KeptPredictions(tmp_path / "nothing.npz", s.store)
    whole = exported.read_bytes()
    for n in (0, 10, len(whole) // 2, len(whole) - 30):
        exported.write_bytes(whole[:n])
        with pytest.raises(DataError, match=r"twin\.npz: is not an intact NPZ file"):
            KeptPredictions(exported, s.store)
    middle = len(whole) // 2
    exported.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(DataError, match="is damaged"):
        evaluate(KeptPredictions(exported, s.store), s.store, progress=False)


def test_a_file_predicts_no_other_video_and_no_other_behaviour(exported: Path) -> None:
    s = setting()
    kept = KeptPredictions(exported, s.store)
    with pytest.raises(DataError, match="predicts no other video"):
        kept.predict(np.zeros((3, 1, 2, 3)), session="a")
    with pytest.raises(ConfigError, match="keeps predictions as they were made"):
        evaluate(kept, s.store, behaviour="mean", progress=False)
    with pytest.raises(DataError, match="session 'a' has no unit b0"):
        kept.columns("a", ["a1", "b0"])


def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    s = setting()
    s.twin.script = lambda *_: np.full((250, 4), np.nan)
    with pytest.raises(Exception, match="not finite"):
        export_predictions(tmp_path / "new" / "twin.npz", s.twin, s.store)
    assert [*(tmp_path / "new").iterdir()] == []


# --- Comparison ---------------------------------------------------------------------------------------------------


def test_files_are_compared_as_runs_are(
    one_session: Callable[..., tuple[DataConfig, Path]], tmp_path: Path
) -> None:
    data = one_session()
    store = prepare(*data)
    for name, factor in (("good", 1.0), ("bad", 0.2)):
        truth = store.sessions["one"].rates(0, 2400)
        assert truth is not None
        for seed in (0, 1):
            header = {"seed": seed, "causal": name == "good"}
            arrays: Arrays = {
                "one/unit_ids": ["10", "11", "12"],
                "one/0": factor * truth,
                "header": json.dumps(header),
            }
            np.savez(tmp_path / f"{name}{seed}.npz", **arrays)
    named = [f"{name}={tmp_path / f'{name}{seed}.npz'}" for name in ("good", "bad") for seed in (0, 1)]
    result = compare(read_runs(named, data))
    assert result.models["good"].seeds == (0, 1)
    assert result.models["bad"].family == "bad"
    assert result.models["good"].behaviour == "not said"
    assert result.settings.causal is False
    difference = result.overall.differences["bad"].bits_per_spike
    own = [
        evaluate(KeptPredictions(tmp_path / f"{name}0.npz", store), store, progress=False).overall
        for name in ("bad", "good")
    ]
    means = [section.bits_per_spike.mean for section in own]
    assert difference is not None
    assert None not in means
    assert difference.mean == pytest.approx(means[0] - means[1])  # type: ignore[operator]
    assert named_run(str(tmp_path / "good0.npz"))[0] == "good0"
    with pytest.raises(ConfigError, match="do not say what they are scored on"):
        read_runs(named)
    with pytest.raises(ConfigError, match="and there is none"):
        read_runs([str(tmp_path / "run")], data)


def test_a_comparison_says_causal_only_where_all_say_so() -> None:
    s = setting()
    run = ScoredRun.of("twin", s.twin, s.store)
    assert compare([run]).settings.causal is True
    silent = run.result.settings.model_copy(update={"causal": None})
    other = ScoredRun.of("peer", s.twin, s.store)
    result = run.result.model_copy(update={"settings": silent})
    assert compare([run, replace(other, result=result)]).settings.causal is None


def test_every_key_of_the_header_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how_to" / "score_any_model.md").read_text(encoding="utf-8")
    for key in set(PredictionsHeader.model_fields) - {"provenance"}:
        assert f"`{key}`" in page, key
