"""Several twins as one: what it predicts, what its file holds, and that nobody is scored on what a member saw."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from flawed import LINEAR, RATE_HZ, VIVIT, prepared, recording, started
from visioncore import cli
from visioncore.checkpoint import load_predictor, load_twin, save_ensemble
from visioncore.config import dump_yaml
from visioncore.data import ClipDataset, RecordingStore
from visioncore.errors import CheckpointError, ConfigError, DataError
from visioncore.evaluation import evaluate
from visioncore.losses import masked_loss
from visioncore.model import Ensemble, Twin
from visioncore.model.matched_units import unit_axes
from visioncore.provenance import Provenance, SeenBins
from visioncore.report import write_report
from visioncore.run_folder import RunFolder
from visioncore.training.distillation import DistillConfig, Teacher
from visioncore.training.ensemble import join
from visioncore.training.experiment import read_experiment
from visioncore.training.run import train


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RecordingStore:
    return prepared(tmp_path_factory.mktemp("data"), recording())


def shaken(store: RecordingStore, seed: int, model: dict[str, Any] = VIVIT) -> Twin:
    """As if trained: no weight is where it starts."""
    twin = started(store, model)
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    return twin.eval()


@pytest.fixture(scope="module")
def members(store: RecordingStore) -> list[Twin]:
    return [shaken(store, seed, model) for seed, model in enumerate((VIVIT, VIVIT, LINEAR))]


def reordered(twin: Twin) -> Twin:
    """The same twin, its units the other way round."""
    (session,) = twin.spec.sessions
    turned = session.model_copy(update={"unit_ids": session.unit_ids[::-1], "units": {}})
    other = twin.config.build(twin.spec.model_copy(update={"sessions": (turned,)})).eval()
    axes = unit_axes(twin, session.id)
    with torch.no_grad():
        other.trunk.load_state_dict(twin.trunk.state_dict())
        own = twin.heads[session.id].state_dict()
        for name, tensor in other.heads[session.id].state_dict().items():
            axis = axes[name]
            tensor.copy_(own[name] if axis is None else own[name].flip(axis))
    return other


def test_it_predicts_the_mean_of_its_members_and_how_far_they_are_apart(members: list[Twin]) -> None:
    ensemble = Ensemble(members)
    video = recording(seed=3)["stim"][:60]
    each = np.stack([member.predict(video, session="s0") for member in members])
    mean, spread = ensemble.predict_with_spread(video, session="s0")
    assert ensemble.first_predicted_bin == 1
    assert np.isnan(mean[0]).all()
    np.testing.assert_allclose(mean[1:], each.mean(0)[1:], rtol=1e-6)
    np.testing.assert_allclose(spread[1:], each.std(0, ddof=1)[1:], rtol=1e-5)
    np.testing.assert_array_equal(ensemble.predict(video, session="s0"), mean)


def test_members_may_have_their_units_in_another_order(members: list[Twin]) -> None:
    video = recording(seed=3)["stim"][:60]
    turned = reordered(members[1])
    np.testing.assert_allclose(
        turned.predict(video, session="s0")[1:, ::-1], members[1].predict(video, session="s0")[1:], rtol=1e-6
    )
    one, other = (Ensemble([members[0], member]) for member in (members[1], turned))
    np.testing.assert_allclose(
        one.predict(video, session="s0"), other.predict(video, session="s0"), rtol=1e-6
    )


def test_its_file_brings_all_of_it_back_and_is_no_twin(
    members: list[Twin], store: RecordingStore, tmp_path: Path
) -> None:
    ensemble = Ensemble(members)
    file = tmp_path / "twin.safetensors"
    save_ensemble(ensemble, file)
    again = load_predictor(file)
    assert isinstance(again, Ensemble)
    assert again.digest == ensemble.digest
    video = recording(seed=3)["stim"][:60]
    np.testing.assert_array_equal(again.predict(video, session="s0"), ensemble.predict(video, session="s0"))
    with pytest.raises(CheckpointError, match="an ensemble of 3 twins, where one twin is needed"):
        load_twin(tmp_path)
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="damaged"):
        load_predictor(file)


def test_it_is_scored_and_shown_like_a_twin(
    members: list[Twin], store: RecordingStore, tmp_path: Path
) -> None:
    ensemble = Ensemble(members)
    result = evaluate(ensemble, store, progress=False)
    assert result.settings.twin_digest == ensemble.digest
    page = write_report(ensemble, store, result, tmp_path).read_text()
    assert "Members of the ensemble" in page
    assert members[2].digest[:12] in page
    assert "one standard deviation over the members" in page


def test_what_does_not_fit_together_is_no_ensemble(members: list[Twin], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two members at least; found 1"):
        Ensemble(members[:1])
    with pytest.raises(ConfigError, match="the same twin"):
        Ensemble([members[0], members[0]])
    arrays = recording()
    fewer = prepared(
        tmp_path / "fewer", {**arrays, "spikes": arrays["spikes"][:, :3], "truth": arrays["truth"][:, :3]}
    )
    with pytest.raises(ConfigError, match=r"member 2 of the ensemble: of session 's0' the units is"):
        Ensemble([members[0], shaken(fewer, 1)])
    two = prepared(tmp_path / "two", arrays, recording(seed=1))
    with pytest.raises(ConfigError, match="member 2 of the ensemble: the sessions is"):
        Ensemble([members[0], shaken(two, 1)])


# --- Runs ---------------------------------------------------------------------------------------------------------


def run(folder: Path, name: str, *overrides: str) -> Path:
    """A short training of the recording in `folder`."""
    files = {
        "model": {"sampling_rate": RATE_HZ, **LINEAR},
        "data": {
            "type": "arrays",
            "params": {
                "sampling_rate_hz": RATE_HZ,
                "response_kind": "counts",
                "sessions": [
                    {"id": "s0", "subject": "m", "path": "0.npz", "video": "stim", "responses": "spikes"}
                ],
            },
            "split": {"block_s": 2.0, "split_gap_s": 0.2},
            "burn_in_s": 0.2,
        },
        "training": {"clip_frames": 96, "length": {"type": "steps", "params": {"number": 2}}},
    }
    if not (folder / "0.npz").exists():
        np.savez(folder / "0.npz", **recording())
    for kind, raw in files.items():
        (folder / f"{kind}.yaml").write_text(dump_yaml(raw))
    experiment = read_experiment(
        folder / "model.yaml", folder / "data.yaml", folder / "training.yaml", list(overrides)
    )
    train(experiment, folder / name)
    return folder / name


@pytest.mark.slow
def test_runs_of_one_recording_become_a_folder_like_a_run(tmp_path: Path) -> None:
    runs = [run(tmp_path, f"seed{seed}", f"training.seed={seed}") for seed in range(2)]
    out = tmp_path / "both"
    command = ["ensemble", *map(str, runs), "--out", str(out)]
    assert CliRunner().invoke(cli.app, command, catch_exceptions=False).exit_code == 0
    with pytest.raises(ConfigError, match="is there already"):
        CliRunner().invoke(cli.app, command, catch_exceptions=False)
    for words in (["evaluate", str(out)], ["report", str(out)], ["compare", str(out), str(runs[0])]):
        assert CliRunner().invoke(cli.app, words, catch_exceptions=False).exit_code == 0
    assert RunFolder(out).evaluation("test").exists()
    assert RunFolder(out).test_evaluations.exists()
    with pytest.raises(ConfigError, match="another experiment"):
        run(tmp_path, "both")
    # A student of it; of another teacher under that name it does not go on.
    student = run(tmp_path, "student", f"training.distill={{twin: {out}}}")
    assert load_twin(student).provenance.taught_by == load_predictor(out).digest
    save_ensemble(Ensemble([load_twin(run) for run in runs[::-1]]), RunFolder(out).twin)
    with pytest.raises(ConfigError, match="begun with a teacher of the digest"):
        run(tmp_path, "student", f"training.distill={{twin: {out}}}")


@pytest.mark.slow
def test_an_ensemble_of_folds_is_not_scored_on_what_a_member_saw(tmp_path: Path) -> None:
    folds = [
        run(tmp_path, f"fold{k}", f"data.split={{fold: {k}, folds: 3, block_s: 2.0, split_gap_s: 0.2}}")
        for k in range(2)
    ]
    file, has_data = join(folds, tmp_path / "folds")
    assert not has_data
    with pytest.raises(ConfigError, match="name the data with --data"):
        CliRunner().invoke(cli.app, ["evaluate", str(file.parent)], catch_exceptions=False)
    (tmp_path / "fold.yaml").write_text(
        (tmp_path / "data.yaml").read_text().replace("block_s: 2.0", "fold: 0\n  folds: 3\n  block_s: 2.0")
    )
    command = ["evaluate", str(file.parent), "--data", str(tmp_path / "fold.yaml")]
    with pytest.raises(DataError, match=r"of the test split trained or selected a member of this ensemble"):
        CliRunner().invoke(cli.app, command, catch_exceptions=False)
    # Of a recording that none of them saw it is.
    other = prepared(tmp_path / "other", recording(seed=8), behaviour=None)
    assert evaluate(load_predictor(file), other, progress=False).overall.n_units > 0


# --- Distillation -------------------------------------------------------------------------------------------------


def batch_of(store: RecordingStore) -> Any:
    return ClipDataset(store, 96, 3, seed=0, balance="none")[0]


def test_targets_are_the_blend_that_was_asked_for(
    members: list[Twin], store: RecordingStore, tmp_path: Path
) -> None:
    ensemble = Ensemble(members)
    save_ensemble(ensemble, tmp_path / "t.safetensors")
    batch = batch_of(store)
    (blended,) = Teacher(DistillConfig(twin=str(tmp_path / "t.safetensors"), share=0.3), store).blended(batch)
    (part,) = batch
    video = part.video[1].transpose(0, 1).numpy()
    taught = torch.from_numpy(ensemble.predict(video, session="s0"))
    expected = 0.7 * part.responses[1, 1:] + 0.3 * taught[1:]
    torch.testing.assert_close(blended.responses[1, 1:], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(blended.responses[:, 0], part.responses[:, 0], rtol=0, atol=0)
    assert not blended.responses.requires_grad


@pytest.mark.parametrize("kind", ["counts", "trace"])
def test_learning_from_the_blend_is_learning_from_both(kind: Any) -> None:
    torch.manual_seed(0)
    rates = torch.rand(2, 5, 3, requires_grad=True)
    recorded, taught = torch.rand(2, 5, 3) * 2, torch.rand(2, 5, 3)
    valid, scale = torch.rand(2, 5, 3) > 0.3, torch.ones(3)

    def gradient(*weighted: tuple[float, torch.Tensor]) -> torch.Tensor:
        losses = [weight * masked_loss(kind, rates, target, valid, scale) for weight, target in weighted]
        return torch.autograd.grad(torch.stack(losses).sum(), rates)[0]

    both = gradient((0.7, recorded), (0.3, taught))
    torch.testing.assert_close(gradient((1.0, torch.lerp(recorded, taught, 0.3))), both)


def test_a_teacher_that_may_have_seen_the_test_bins_is_refused(
    members: list[Twin], store: RecordingStore, tmp_path: Path
) -> None:
    file, session = tmp_path / "t.safetensors", store.sessions["s0"]

    def teach(recording: RecordingStore, made: Provenance) -> Teacher:
        ensemble = Ensemble(members)
        ensemble.provenance = made
        save_ensemble(ensemble, file)
        return Teacher(DistillConfig(twin=str(file)), recording)

    divided = Provenance(data_fingerprint="another", session_fingerprints={"s0": "divided otherwise"})
    with pytest.raises(DataError, match="may have seen this recording's test bins"):
        teach(store, divided)
    alike = Provenance(data_fingerprint="another", session_fingerprints={"s0": session.fingerprint})
    assert teach(store, alike).digest == Ensemble(members).digest
    last = session.blocks_in("test")[0].stop
    seen = SeenBins(signals_fingerprint=session.signals_fingerprint, bins=((last - 1, last),))
    with pytest.raises(DataError, match="trained or selected a member"):
        teach(store, Provenance(seen_bins={"s0": seen}))
    two = prepared(tmp_path / "two", recording(), recording(seed=1))
    with pytest.raises(DataError, match="does not know session 's1'"):
        teach(two, Provenance(data_fingerprint=two.fingerprint))
