"""Heads on another twin's trunk: what is appended leaves what was there as it was, and nothing unfit gets that far."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from flawed import N_BINS, N_UNITS, RATE_HZ, SPLITS, TRIAL_BINS, VIVIT, prepared, recording, started
from visioncore import cli
from visioncore.checkpoint import load_twin, save_twin
from visioncore.comparison.matched import matched_units
from visioncore.config import build_config, dump_yaml
from visioncore.data import RecordingStore, build_data_config, prepare
from visioncore.errors import ConfigError, DataError
from visioncore.evaluation import evaluate
from visioncore.files import write_csv
from visioncore.model import Twin, TwinConfig
from visioncore.model.matched_units import take_over, unit_axes
from visioncore.provenance import Provenance, RecordedExperiment, UnitMatch
from visioncore.training.experiment import TrainingConfig, read_transfer
from visioncore.training.lit_twin import LitTwin
from visioncore.training.matches import read_matches
from visioncore.training.plan import RunPlan
from visioncore.training.run import train
from visioncore.training.transfer import Transfer, TransferConfig, freeze

MODEL = {
    "sampling_rate": 120.0,
    **VIVIT,
    "convnet": {**VIVIT["convnet"], "params": {**VIVIT["convnet"]["params"], "patch_dropout": 0.5}},
    "modulator": {"type": "convgru", "params": {"behaviour_dim": 4, "hidden_dim": 4}},
}
SHORT = {"length": {"type": "steps", "params": {"number": 3}}, "clip_frames": 96, "batch_size": 1}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RecordingStore:
    return prepared(tmp_path_factory.mktemp("old"), recording(), recording(seed=1))


@pytest.fixture(scope="module")
def origin(store: RecordingStore) -> Twin:
    twin = started(store, MODEL)
    with torch.no_grad():
        # As if trained: no weight is where it starts.
        for weight in twin.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return twin.eval()


@pytest.fixture(scope="module")
def origin_file(origin: Twin, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("origin") / "old.safetensors"
    save_twin(origin, path, Provenance())
    return str(path)


def of_new(folder: Path, **changes: Any) -> RecordingStore:
    """A recording of other units, and `data.yaml` beside it; `changes` are of its session."""
    starts = np.arange(0, N_BINS, TRIAL_BINS)
    arrays = recording(seed=5)
    pupil = np.concatenate([arrays["speed"] * 0 + 7, arrays["speed"]], axis=1)
    np.savez(folder / "new.npz", **arrays, starts=starts, split=np.array(SPLITS), pupil=pupil)
    session = {"id": "new", "subject": "m", "path": "new.npz", "video": "stim", "responses": "spikes"}
    session |= {"behaviour": "speed", "trial_start": "starts", "split": "split", **changes}
    raw = {
        "type": "arrays",
        "params": {"sampling_rate_hz": RATE_HZ, "response_kind": "counts", "sessions": [session]},
    }
    (folder / "data.yaml").write_text(dump_yaml(raw))
    return prepare(build_data_config(raw, "data.yaml"), folder)


def predictions(twin: Twin, session: str) -> np.ndarray:
    video = recording(seed=9)["stim"][:100]
    return twin.predict(video, np.ones((100, 1)), session=session)


@pytest.mark.slow
def test_appended_heads_leave_every_older_prediction_as_it_was(
    origin: Twin, origin_file: str, tmp_path: Path
) -> None:
    of_new(tmp_path)
    training = tmp_path / "short.yaml"
    training.write_text(dump_yaml(SHORT))
    transfer = TransferConfig(twin=origin_file)
    experiment = read_transfer(transfer, tmp_path / "data.yaml", training)
    grown = load_twin(train(experiment, tmp_path / "run"))
    assert grown.sessions == (*origin.sessions, "new")
    for session in origin.sessions:
        np.testing.assert_array_equal(predictions(grown, session), predictions(origin, session))
    assert grown.provenance.made_from == origin.digest
    assert grown.provenance.session_fingerprints is not None
    # It goes on from the same twin only.
    save_twin(origin.without_sessions("s1"), Path(origin_file), Provenance())
    try:
        with pytest.raises(ConfigError, match="begun from a twin"):
            train(experiment, tmp_path / "run")
    finally:
        save_twin(origin, Path(origin_file), Provenance())


def test_a_frozen_trunk_is_still_and_heads_learn(origin: Twin, store: RecordingStore, tmp_path: Path) -> None:
    twin = origin.without_sessions("s1")
    freeze(twin, "heads")
    plan = RunPlan(epochs=1, steps_per_epoch=1, batches_per_step=1, data_fingerprint="")
    module = LitTwin(twin, TrainingConfig(), plan, store, "none").train()
    video = torch.rand(1, 1, 40, 9, 12)
    first, second = (
        twin.trunk.advance(None, twin.trunk.look(video, torch.ones(1, 40, 1), "s0"))[0] for _ in "ab"
    )
    assert first is not None
    assert second is not None
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert not first.requires_grad
    assert all(weight.requires_grad for weight in module.twin.heads["s0"].output.parameters())


@pytest.mark.parametrize("trained", ["modulator", "last_blocks"])
def test_of_the_trunk_only_what_is_asked_for_is_trained(origin: Twin, trained: Any) -> None:
    twin = origin.without_sessions("s1")
    freeze(twin, trained)
    learning = {name for name, weight in twin.trunk.named_parameters() if weight.requires_grad}
    parts = {name.split(".")[0] for name in learning}
    assert parts == {"modulator"} | ({"core"} if trained == "last_blocks" else set())
    assert not any(name.startswith(("core.tokenizer", "core.layers.0")) for name in learning)


def test_a_core_of_one_piece_has_no_last_blocks(store: RecordingStore) -> None:
    blind = {"sampling_rate": 120.0, "convnet": {"type": "blind"}}
    twin = build_config(TwinConfig, blind, "blind").build(store.spec)
    with pytest.raises(ConfigError, match="no last blocks"):
        freeze(twin, "last_blocks")
    with pytest.raises(ConfigError, match="no modulator"):
        freeze(twin, "modulator")


def test_a_matched_unit_predicts_as_its_old_self(origin: Twin, store: RecordingStore) -> None:
    """Wherever it stands now, whatever stands beside it."""
    own = store.spec.session("s1")
    order = [2, 0, 3]
    ids = ("other", *(f"today-{unit}" for unit in order))
    session = own.model_copy(update={"id": "today", "unit_ids": ids, "units": {}})
    today = origin.without_sessions("s0", "s1").with_sessions(session)
    matches = [
        UnitMatch(
            session="today", unit_id=f"today-{k}", matched_session="s1", matched_unit_id=own.unit_ids[k]
        )
        for k in order
    ]
    fresh = today.heads["today"].state_dict()["readout.weight"][0].clone()
    take_over(today.eval(), origin, matches)
    found, expected = predictions(today, "today"), predictions(origin, "s1")
    np.testing.assert_allclose(found[1:, 1:], expected[1:, order], rtol=1e-5)
    torch.testing.assert_close(today.heads["today"].state_dict()["readout.weight"][0], fresh, rtol=0, atol=0)


def test_the_axis_of_units_is_found_where_other_axes_are_as_long(origin: Twin) -> None:
    axes = unit_axes(origin, "s0")
    assert axes["readout.phase_bias"] == 1
    assert axes["readout.position"] == axes["linear.spatial"] == axes["output.bias"] == 0
    assert axes["readout.phase_in"] is None
    assert origin.heads["s0"].state_dict()["readout.phase_bias"].shape == (2, N_UNITS)


def begin(origin_file: str, store: RecordingStore, **settings: Any) -> Twin:
    transfer = Transfer(TransferConfig.model_validate({"twin": origin_file, **settings}))
    return transfer.begin(transfer.origin.config, transfer.fitting(store))


def test_a_session_of_a_name_that_is_taken_is_refused(origin_file: str, store: RecordingStore) -> None:
    with pytest.raises(DataError, match=r"'s0'.*has a session of that name"):
        begin(origin_file, store)
    assert begin(origin_file, store, train="modulator").sessions == ("s0", "s1")


@pytest.mark.parametrize(
    ("fact", "value"), [("height", 10), ("width", 13), ("channels", 2), ("rate_hz", 60.0), ("rate_hz", None)]
)
def test_other_frames_or_another_rate_are_refused(
    origin_file: str, tmp_path: Path, fact: str, value: float | None
) -> None:
    new = of_new(tmp_path)
    sampling = new.spec.sampling.model_copy(update={fact: value})
    new.spec = new.spec.model_copy(update={"sampling": sampling})
    with pytest.raises(DataError, match=rf"{fact} is {value}, and .* was made for"):
        begin(origin_file, new)


def test_behaviour_that_the_trunk_never_saw_is_refused_or_left_out(origin_file: str, tmp_path: Path) -> None:
    new = of_new(tmp_path, behaviour="pupil", behaviour_names=["pupil", "behaviour_0"])
    with pytest.raises(DataError, match="'new' has behaviour that the trunk was not built for: pupil"):
        begin(origin_file, new)
    twin = begin(origin_file, new, leave_out_behaviour=True)
    assert twin.spec.session("new").behaviour_names == ("behaviour_0",)
    # What is kept is the signal of that name, with its own constants, and such a twin is evaluated on all the same.
    kept = Transfer(TransferConfig(twin=origin_file, leave_out_behaviour=True)).fitting(new).sessions["new"]
    samples, both = kept.behaviour(0, 50), new.sessions["new"].behaviour(0, 50)
    assert samples is not None
    assert both is not None
    np.testing.assert_array_equal(samples[:, 0], both[:, 1])
    mean = twin.spec.session("new").normalisation.behaviour_mean
    assert mean == new.spec.session("new").normalisation.behaviour_mean[1:]
    assert evaluate(twin.eval(), new, progress=False).overall.n_units == N_UNITS


def test_a_table_of_matches_names_units_that_are_there(origin: Twin, tmp_path: Path) -> None:
    ids = {session: origin.unit_ids(session) for session in origin.sessions}
    row = UnitMatch(
        session="s1", unit_id=ids["s1"][0], matched_session="s0", matched_unit_id=ids["s0"][1]
    ).to_json()
    table = tmp_path / "match.csv"
    write_csv(table, [row])
    assert read_matches(table, origin, origin) == (UnitMatch(**row),)
    for changes, expected in (
        ({"unit_id": "s9"}, r"match.csv, line 2: the new recording has no unit 's9' of session 's1'"),
        ({"matched_session": "sO"}, r"line 2: the twin has no unit .* of session 'sO'"),
    ):
        write_csv(table, [row | changes])
        with pytest.raises(DataError, match=expected):
            read_matches(table, origin, origin)
    write_csv(table, [row, row | {"matched_unit_id": ids["s0"][2]}])
    with pytest.raises(DataError, match=r"line 3: unit .* of session 's1' is matched twice"):
        read_matches(table, origin, origin)
    write_csv(table, [{"session": "s1", "unit": "x"}])
    with pytest.raises(DataError, match="lacks the column 'unit_id'; it has session, unit"):
        read_matches(table, origin, origin)
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not readable as text"):
        read_matches(table, origin, origin)
    with pytest.raises(DataError, match="no such file"):
        read_matches(tmp_path / "none.csv", origin, origin)


def test_a_command_that_is_refused_takes_no_run_folder(origin_file: str, tmp_path: Path) -> None:
    of_new(tmp_path, id="s0")
    command = ["transfer", origin_file, "--data", str(tmp_path / "data.yaml"), "--out", str(tmp_path / "run")]
    with pytest.raises(DataError, match="has a session of that name"):
        CliRunner().invoke(cli.app, command, catch_exceptions=False)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="'model' cannot be overridden in a transfer"):
        CliRunner().invoke(cli.app, [*command, "--set", "model.sampling_rate=60"], catch_exceptions=False)


def test_matched_units_stand_beside_their_old_selves(origin: Twin, store: RecordingStore) -> None:
    ids = origin.unit_ids("s0")
    match = UnitMatch(session="s0", unit_id=ids[1], matched_session="gone", matched_unit_id="u")
    made = RecordedExperiment.from_json({"training": {"transfer": {"twin": "no/such/run"}}})
    twin = origin.with_sessions()
    twin.provenance = Provenance(experiment=made, matched_units=(match,))
    (unit,) = matched_units(twin.eval(), evaluate(twin, store, progress=False))
    assert unit.bits_per_spike is not None
    assert unit.matched_bits_per_spike is None
