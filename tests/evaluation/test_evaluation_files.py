"""What an evaluation leaves in files, and whose it is."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scored import (
    N_UNITS,
    ROW_KEYS,
    SECTION_KEYS,
    setting,
)
from visioncore.evaluation import EvaluationResult, load_evaluation
from visioncore.provenance import Provenance


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
        np.testing.assert_array_equal(before.model.nats_over_null, after.model.nats_over_null)
        assert after.ceiling is not None
        rows = [row for row in loaded.units if row.session == after.session]
        for sums, column in ((after.model, "bits_per_spike"), (after.ceiling, "ceiling")):
            total = sums.map(lambda a: a.sum(0)).bits_per_spike
            np.testing.assert_allclose(total, [getattr(row, column) for row in rows], rtol=1e-12)
    with np.load(tmp_path / "evaluation_test.npz") as arrays:
        # Files that were written before the code called it otherwise are read by this name.
        np.testing.assert_array_equal(arrays["0.model.gain"], result.sums[0].model.nats_over_null)
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


def test_what_was_measured_of_units_stands_in_their_table_and_its_classes_are_scored(tmp_path: Path) -> None:
    s = setting()
    one, other = s.store.fakes["a"], s.store.fakes["b"]
    plain = s.score()
    assert "columns" not in plain.units[0].to_json()
    one.units = {"depth_um": tuple(100 * i for i in range(N_UNITS)), "n_bins": ("x",) * N_UNITS}
    one.unit_truth = {}
    other.unit_truth = {}
    other.units = {"cell_type": ("pv", None) * (N_UNITS // 2)}
    result = s.score()
    result.write_table(tmp_path / "units.csv")
    rows = list(csv.DictReader((tmp_path / "units.csv").read_text().splitlines()))
    assert list(rows[0])[:6] == ["session", "unit_id", "cell_class", "depth_um", "unit_n_bins", "cell_type"]
    assert [row["depth_um"] for row in rows[:2]] == ["0", "100"]
    assert rows[0]["n_bins"].isdigit()
    assert rows[N_UNITS]["depth_um"] == ""
    assert [row["cell_type"] for row in rows[N_UNITS : N_UNITS + 2]] == ["pv", ""]
    assert {name: section.n_units for name, section in result.by_class.items()} == {"pv": N_UNITS // 2}
    again = type(result).from_json(result.to_json())
    assert again.units[1].columns == {"depth_um": 100, "n_bins": "x"}
