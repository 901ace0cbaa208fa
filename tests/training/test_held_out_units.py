"""Units that are held out: nothing that is fitted sees them, and heads for them are fitted on the frozen trunk."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from flawed import N_BINS, RATE_HZ, SPLITS, TRIAL_BINS, VIVIT, recording, traces
from visioncore import cli
from visioncore.checkpoint import load_twin
from visioncore.comparison import compare, read_runs
from visioncore.config import build_config, dump_config, dump_yaml, read_yaml
from visioncore.data import RecordingStore, build_data_config, prepare
from visioncore.errors import ConfigError, DataError
from visioncore.evaluation import KeptPredictions, evaluate, export_predictions, load_evaluation
from visioncore.model import Ensemble, Twin
from visioncore.spec import Normalisation, SessionSpec
from visioncore.training.experiment import Experiment, read_experiment, read_transfer
from visioncore.training.held_out_heads import fit_held_out_units
from visioncore.training.held_out_units import drawn
from visioncore.training.run import train
from visioncore.training.transfer import TransferConfig

MODEL = {"model_type": "v1multi", "sampling_rate": 120.0, **VIVIT}
SHORT = {
    "length": {"type": "steps", "params": {"number": 4}},
    "steps_per_epoch": 2,
    "clip_frames": 96,
    "batch_size": 1,
    "held_out_units": 0.4,
}
IDS = {"s0": ("w", "x", "y", "z"), "s1": ("e", "f", "g", "h")}


def written(
    folder: Path, *, garbage: Mapping[str, tuple[str, ...]] | None = None, kind: str = "counts"
) -> Path:
    """Two sessions of four units; `garbage`: units whose responses are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    sessions, rng = [], np.random.default_rng(5)
    for seed, (name, ids) in enumerate(IDS.items()):
        arrays = recording(0.3, seed) if kind == "counts" else traces(recording(0.3, seed))
        spikes = arrays["spikes"].copy()
        for unit in (garbage or {}).get(name, ()):
            # Rates that no other unit has, so that scales and means would tell.
            spikes[:, ids.index(unit)] = rng.poisson(40.0, N_BINS)
        starts = np.arange(0, N_BINS, TRIAL_BINS)
        np.savez(
            folder / f"{name}.npz",
            stim=arrays["stim"],
            speed=arrays["speed"],
            spikes=spikes,
            ids=np.array(ids),
            starts=starts,
            split=np.array(SPLITS),
        )
        session = {"id": name, "subject": "m", "path": f"{name}.npz", "video": "stim", "responses": "spikes"}
        session |= {"unit_ids": "ids", "behaviour": "speed", "trial_start": "starts", "split": "split"}
        sessions.append(session)
    params = {"sampling_rate_hz": RATE_HZ, "response_kind": kind, "sessions": sessions}
    (folder / "data.yaml").write_text(dump_yaml({"type": "arrays", "params": params}))
    (folder / "model.yaml").write_text(dump_yaml(MODEL))
    (folder / "training.yaml").write_text(dump_yaml(SHORT))
    return folder


def experiment_of(folder: Path, *overrides: str) -> Experiment:
    return read_experiment(folder / "model.yaml", folder / "data.yaml", folder / "training.yaml", overrides)


def store_of(folder: Path) -> RecordingStore:
    return prepare(build_data_config(read_yaml(folder / "data.yaml"), "data.yaml"), folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording, and a run on it that holds two units of each session out."""
    here = written(tmp_path_factory.mktemp("held_out"))
    train(experiment_of(here), here / "run")
    return here


def weights(twin: Twin) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in twin.state_dict().items()}


# --- Nothing that is fitted sees them ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["counts", pytest.param("trace", marks=pytest.mark.slow)])
def test_what_held_out_units_did_changes_no_bit_of_the_twin(kind: str, folder: Path, tmp_path: Path) -> None:
    one_folder = folder if kind == "counts" else written(tmp_path / "one", kind=kind)
    one = load_twin(
        folder / "run" if kind == "counts" else train(experiment_of(one_folder), tmp_path / "run")
    )
    held_out = one.provenance.held_out_units
    assert held_out is not None
    other_folder = written(tmp_path / "garbage", garbage=held_out, kind=kind)
    store = store_of(other_folder)
    assert store.fingerprint != store_of(one_folder).fingerprint
    other = load_twin(train(experiment_of(other_folder), tmp_path / "other"))
    assert other.spec == one.spec
    for name, tensor in weights(one).items():
        np.testing.assert_array_equal(tensor, weights(other)[name], err_msg=name)


@pytest.mark.slow
def test_what_other_units_did_does_change_it(folder: Path, tmp_path: Path) -> None:
    one = load_twin(folder / "run")
    garbage = {"s0": (one.unit_ids("s0")[0],)}
    other = load_twin(train(experiment_of(written(tmp_path / "kept", garbage=garbage)), tmp_path / "run"))
    assert any((tensor != weights(other)[name]).any() for name, tensor in weights(one).items())


def test_ids_are_recorded_and_the_run_is_evaluated_on_the_others(folder: Path, tmp_path: Path) -> None:
    twin, store = load_twin(folder / "run"), store_of(folder)
    held_out = twin.provenance.held_out_units
    assert held_out == {
        name: tuple(u for u in ids if u in set(drawn(store, 0.4)[name])) for name, ids in IDS.items()
    }
    assert [len(units) for units in held_out.values()] == [2, 2]
    for name, ids in IDS.items():
        assert set(twin.unit_ids(name)) == set(ids) - set(held_out[name])
    result = evaluate(twin, store, progress=False)
    assert {(row.session, row.unit_id) for row in result.units} == {
        (name, unit) for name in IDS for unit in twin.unit_ids(name)
    }
    narrowed = store.with_units({name: twin.unit_ids(name) for name in IDS})
    assert evaluate(twin, narrowed, progress=False).to_json() == result.to_json()
    export_predictions(tmp_path / "twin.npz", twin, store)
    kept = evaluate(KeptPredictions(tmp_path / "twin.npz", store), store, progress=False)
    assert kept.overall == result.overall
    other = load_twin(folder / "run")
    with torch.no_grad():
        next(iter(other.parameters())).add_(0.1)
    assert evaluate(Ensemble([twin, other]), store, progress=False).overall.n_units == 4
    for command in ("evaluate", "audit", "report"):
        done = CliRunner().invoke(cli.app, [command, str(folder / "run")])
        assert done.exception is None or isinstance(done.exception, SystemExit), (command, done.exception)
        assert done.exit_code == 0 or command == "audit", done.output


def test_a_run_that_holds_units_out_goes_on_as_itself_alone(folder: Path) -> None:
    before = (folder / "run" / "twin.safetensors").read_bytes()
    train(experiment_of(folder), folder / "run")
    assert (folder / "run" / "twin.safetensors").read_bytes() == before
    with pytest.raises(ConfigError, match=r"different: training\.held_out_units"):
        train(experiment_of(folder, "training.held_out_units=0.2"), folder / "run")


# --- Which units -------------------------------------------------------------------------------------------------


def test_the_draw_depends_on_ids_and_the_seed_of_the_split_alone(tmp_path: Path) -> None:
    store = store_of(written(tmp_path))
    half, most = drawn(store, 0.5), drawn(store, 0.75)
    for name, ids in IDS.items():
        assert len(half[name]) == 2
        assert set(half[name]) < set(most[name]) < set(ids)
    turned = store.with_units({name: ids[::-1] for name, ids in IDS.items()})
    assert drawn(turned, 0.5) == half
    seeds = {str(drawn(_with_seed(store, seed), 0.5)) for seed in range(8)}
    assert len(seeds) > 3


def _with_seed(store: RecordingStore, seed: int) -> RecordingStore:
    other = store.with_units({})
    split = store.settings.split.model_copy(update={"seed": seed})
    other.settings = store.settings.model_copy(update={"split": split})
    return other


def test_a_share_that_leaves_nothing_or_takes_nothing_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"held_out_units is 0.9, which leaves none of the 4 unit\(s\) of session 's0'"
    ):
        train(experiment_of(folder, "training.held_out_units=0.9"), tmp_path / "run")
    single = store_of(folder).with_units({name: ids[:1] for name, ids in IDS.items()})
    with pytest.raises(DataError, match=r"is 0.1, and no session has a unit to spare"):
        drawn(single, 0.1)
    assert {len(units) for units in drawn(store_of(folder), 0.1).values()} == {1}
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="held_out_units"):
        experiment_of(folder, "training.held_out_units=1.0")


def test_a_narrowed_recording_is_read_as_the_columns_of_the_whole(folder: Path) -> None:
    store = store_of(folder)
    some = store.with_units({"s0": ("z", "x")})
    whole, part = store.sessions["s0"], some.sessions["s0"]
    places = [3, 1]
    for _ in "from disk", "from memory":
        for read in ("responses", "valid"):
            np.testing.assert_array_equal(getattr(part, read)(5, 50), getattr(whole, read)(5, 50)[:, places])
        some.load_into_memory()
    np.testing.assert_array_equal(part.train_mean, whole.train_mean[places])
    assert part.with_units(("x",)).responses(5, 50).tolist() == whole.responses(5, 50)[:, 1:2].tolist()
    assert some.sessions["s1"] is store.sessions["s1"]
    assert some.left_out_units == {"s0": ("w", "y")}
    assert store.left_out_units == {}
    share = some.with_train_share(0.5).sessions["s0"].train_mean
    np.testing.assert_array_equal(share, store.with_train_share(0.5).sessions["s0"].train_mean[places])


def test_scales_and_columns_of_units_go_with_them() -> None:
    constants = Normalisation(video_mean=(0.0,), video_std=(1.0,), count_scale=(1.0, 3.0, 1.0))
    spec = SessionSpec(
        id="s", subject="m", unit_ids=("a", "b", "c"), units={"depth": (1, 2, 3)}, constants=constants
    )
    some = spec.with_units(("c", "b"))
    assert (some.units, some.normalisation.count_scale) == ({"depth": (3, 2)}, (1.0, 3.0))
    assert spec.with_units(("a", "c")).normalisation.count_scale == ()
    with pytest.raises(ConfigError, match="session 's' has no unit d"):
        spec.with_units(("a", "d"))


# --- Their heads -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_heads_for_held_out_units_are_fitted_on_the_trunk_as_it_is(folder: Path) -> None:
    run = folder / "run"
    origin = load_twin(run)
    done = CliRunner().invoke(
        cli.app, ["evaluate", str(run), "--held-out-units", "--json", str(folder / "h.json")]
    )
    assert done.exit_code == 0, done.output
    fitted = load_twin(run / "held_out_units")
    held_out = origin.provenance.held_out_units
    assert held_out is not None
    for name, units in held_out.items():
        assert set(fitted.unit_ids(name)) == set(units)
        assert fitted.spec.session(name).normalisation == origin.spec.session(name).normalisation
    for name, tensor in origin.trunk.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), fitted.trunk.state_dict()[name].numpy())
    told = json.loads((folder / "h.json").read_text())
    assert {(row["session"], row["unit_id"]) for row in told["units"]} == {
        (name, unit) for name, units in held_out.items() for unit in units
    }
    # These cells have a linear filter, which heads have too: what was held out is predicted, and about as well.
    trained = evaluate(origin, store_of(folder), progress=False).overall.correlation.mean
    correlation = told["overall"]["correlation"]["mean"]
    assert trained is not None
    assert correlation > 0.15
    assert correlation > 0.5 * trained
    assert (
        load_evaluation(run / "held_out_units" / "evaluation_test.json", fitted, store_of(folder)) is not None
    )
    # Not fitted twice, and compared by what any run folder is.
    before = (run / "held_out_units" / "last.ckpt").read_bytes()
    assert fit_held_out_units(run) == run / "held_out_units"
    assert (run / "held_out_units" / "last.ckpt").read_bytes() == before
    with pytest.raises(DataError, match="compare twins of the same units"):
        compare(read_runs([f"a={run}", f"b={run / 'held_out_units'}"]))
    # The twin changes: heads of the old one are no more of use.
    train(experiment_of(folder, "training.seed=7"), folder / "other")
    (run / "twin.safetensors").write_bytes((folder / "other" / "twin.safetensors").read_bytes())
    with pytest.raises(ConfigError, match=r"was fitted on another twin than twin\.safetensors is now"):
        fit_held_out_units(run)


def test_without_held_out_units_it_is_said(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(experiment_of(folder, "training.held_out_units=0.0"), run)
    assert load_twin(run).provenance.held_out_units is None
    with pytest.raises(ConfigError, match=r"no unit of .* was held out from its training"):
        fit_held_out_units(run)
    assert not (run / "held_out_units").exists()
    for arguments, expected in (
        (["--max-minutes", "1"], "is for --held-out-units"),
        (["--held-out-units", "--data", str(folder / "data.yaml")], "name RUN, and no other data"),
    ):
        done = CliRunner().invoke(cli.app, ["evaluate", str(run), *arguments])
        assert expected in str(done.exception)


@pytest.mark.slow
def test_a_transfer_remembers_what_either_training_held_out(folder: Path, tmp_path: Path) -> None:
    new = written(tmp_path)
    text = (new / "data.yaml").read_text().replace("id: s0", "id: n0").replace("id: s1", "id: n1")
    (new / "data.yaml").write_text(text)
    experiment = read_transfer(
        TransferConfig(twin=str(folder / "run")), new / "data.yaml", new / "training.yaml"
    )
    grown = load_twin(train(experiment, tmp_path / "grown"))
    assert grown.sessions == ("s0", "s1", "n0", "n1")
    held_out = grown.provenance.held_out_units
    assert held_out is not None
    assert [len(held_out[name]) for name in grown.sessions] == [2, 2, 2, 2]
    assert {len(row.unit_id) for row in evaluate(grown, store_of(folder), progress=False).units} == {1}
    assert dump_config(experiment.training)["held_out_units"] == 0.4


def test_only_heads_are_fitted_for_held_out_units() -> None:
    with pytest.raises(ConfigError, match="stays as it is; leave out 'train'"):
        build_config(TransferConfig, {"twin": "run", "held_out": True, "train": "modulator"}, "t")
