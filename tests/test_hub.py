"""A twin goes to the hub and comes back; what is made from it names the commit; the card says what is known."""

import http.server
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from hub_server import MAY_ALL, Hub, Repository
from scored import setting
from specs import data_spec
from visioncore import CheckpointError, ConfigError, VisionCoreError, load_twin, save_twin
from visioncore.checkpoint import load_predictor, save_ensemble, twin_path
from visioncore.cli import app
from visioncore.config import dump_yaml
from visioncore.evaluation.record import record_test_evaluation
from visioncore.hub import pinned
from visioncore.model import Ensemble, Twin, TwinConfig
from visioncore.model.cores import ViViTConfig
from visioncore.provenance import Provenance, RecordedExperiment
from visioncore.report.model_card import Stated, model_card
from visioncore.spec import Normalisation, SessionSpec
from visioncore.training.experiment import read_transfer
from visioncore.training.transfer import Transfer, TransferConfig


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A hub of this machine, which huggingface_hub takes for the only one."""
    with pytest.MonkeyPatch.context() as patched, _served() as server:
        url = f"http://127.0.0.1:{server.server_port}"
        patched.setenv("HF_ENDPOINT", url)
        patched.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))
        patched.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        patched.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        # It reads them when it is imported.
        for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
            patched.delitem(sys.modules, name)
        yield url
        for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
            del sys.modules[name]


class _served:
    """The hub's server, from here to there."""

    def __enter__(self) -> http.server.ThreadingHTTPServer:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self._server

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def hub(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Repository]:
    """Its repositories, which are none; we are logged in."""
    monkeypatch.setenv("HF_TOKEN", MAY_ALL)
    Hub.repositories.clear()
    return Hub.repositories


def _twin(seed: int = 0) -> Twin:
    sessions = (
        SessionSpec(id="s0", subject="Ada", unit_ids=("a", "b"), units={"area": ("V1", "LM")}),
        SessionSpec(id="s1", subject="Bob", unit_ids=("c",)),
    )
    constants = Normalisation(video_mean=(0.0,), video_std=(1.0,))
    spec = data_spec(height=14, width=22, sampling_rate_hz=60.0, sessions=sessions, constants=constants)
    torch.manual_seed(seed)
    return TwinConfig(sampling_rate=spec.rate_hz, convnet=ViViTConfig.tiny()).build(spec).eval()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a twin, and nothing else."""
    made = RecordedExperiment.from_json({"data": {"type": "experanto"}})
    save_twin(_twin(), tmp_path / "run" / "twin.safetensors", Provenance(seed=3, experiment=made))
    return tmp_path / "run"


def _push(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, ["push", *map(str, arguments)], catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_a_twin_goes_there_and_comes_back(run: Path, hub: dict[str, Repository]) -> None:
    said = _push(run, "me/mice")
    repo = hub["me/mice"]
    assert repo.private
    (oid,) = list(repo.commits)[1:]
    assert said == f"private: hf://me/mice@{oid}\n"
    assert sorted(repo.commits[oid]) == [".gitattributes", "README.md", "twin.safetensors"]
    mine = load_twin(run)
    for name in ("hf://me/mice", f"hf://me/mice@{oid}", Path("hf://me/mice")):
        twin = load_twin(name)
        assert twin.digest == mine.digest
        assert twin.provenance == mine.provenance.model_copy(update={"hub": f"hf://me/mice@{oid}"})
    # A name without a revision is the newest.
    other = _twin(seed=1)
    save_twin(other, run / "twin.safetensors", Provenance())
    _push(run, "me/mice")
    assert load_twin("hf://me/mice").digest == other.digest
    assert load_twin(f"hf://me/mice@{oid}").digest == mine.digest


def test_what_is_there_is_never_made_public_by_the_way(run: Path, hub: dict[str, Repository]) -> None:
    hub["me/open"], hub["me/closed"] = Repository(), Repository(private=True)
    for repo in hub.values():
        repo.commit({})
    with pytest.raises(ConfigError, match=r"hf://me/open: is public.*say --public"):
        _push(run, "me/open")
    with pytest.raises(ConfigError, match=r"hf://me/closed: is private"):
        _push(run, "me/closed", "--public")
    assert [len(repo.commits) for repo in hub.values()] == [1, 1]
    assert _push(run, "me/new", "--public").startswith("public: hf://me/new@")
    assert not hub["me/new"].private


def test_an_ensemble_too(tmp_path: Path, hub: dict[str, Repository]) -> None:
    ensemble = Ensemble([_twin(0), _twin(1)])
    save_ensemble(ensemble, tmp_path / "twin.safetensors")
    _push(tmp_path / "twin.safetensors", "me/two")
    loaded = load_predictor("hf://me/two")
    assert loaded.digest == ensemble.digest
    assert str(loaded.provenance.hub).startswith("hf://me/two@")
    with pytest.raises(CheckpointError, match="holds an ensemble of 2 twins"):
        load_twin("hf://me/two")
    assert (
        "An ensemble of 2 digital twins" in hub["me/two"].commits[_last(hub["me/two"])]["README.md"].decode()
    )


def _last(repo: Repository) -> str:
    return next(reversed(repo.commits))


def test_what_is_made_from_it_names_the_commit(run: Path, hub: dict[str, Repository], tmp_path: Path) -> None:
    _push(run, "me/mice")
    name = f"hf://me/mice@{_last(hub['me/mice'])}"
    (tmp_path / "data.yaml").write_text(dump_yaml({"type": "simulated", "params": {"sampling_rate_hz": 60}}))
    experiment = read_transfer(TransferConfig(twin="hf:/me/mice"), tmp_path / "data.yaml")
    assert experiment.training.transfer is not None
    assert experiment.training.transfer.twin == name
    assert experiment.resolved().training.to_json()["transfer"]["twin"] == name
    made = Transfer(experiment.training.transfer).provenance(Provenance())
    assert made.origin is not None
    assert made.origin.hub == name
    assert pinned("runs/mine") == "runs/mine"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf://me/nothing", "there is no such repository, or it is private .*HF_TOKEN"),
        ("hf://me/hidden", "there is no such repository, or it is private .*HF_TOKEN"),
        ("hf://me/gated", "to those who accept its terms"),
        ("hf://me/twin@v2", "the repository has no such revision"),
        ("hf://me/pickled", "holds no twin.safetensors.*least of all a pickle"),
        ("hf://me/foreign", "hf://me/foreign.*not a VisionCore twin"),
        ("hf://me", "expected hf://owner/name or hf://owner/name@revision"),
        ("hf://me/../x", "expected hf://owner/name or hf://owner/name@revision"),
        ("hf://me/ba--d", "is no name of the hub"),
    ],
)
def test_what_cannot_be_had_is_one_clear_error(
    name: str, expected: str, hub: dict[str, Repository], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from safetensors.torch import save

    for repo in ("hidden", "gated", "twin", "pickled", "foreign"):
        hub[f"me/{repo}"] = Repository(private=repo == "hidden", gated=repo == "gated")
        hub[f"me/{repo}"].commit({"twin.safetensors": save({"x": torch.zeros(2)})})
    hub["me/pickled"].commits.clear()
    hub["me/pickled"].commit({"pytorch_model.bin": pickle.dumps(_Planted(tmp_path / "planted"))})
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(VisionCoreError, match=expected):
        load_twin(name)
    assert not (tmp_path / "planted").exists()


class _Planted:
    """A pickle that leaves a trace when it is read."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self._trace,)


def test_offline_what_was_fetched_is_there_and_the_rest_is_said(
    run: Path, hub: dict[str, Repository], endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    _push(run, "me/kept")
    digest = load_twin("hf://me/kept").digest
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_twin("hf://me/kept").digest == digest
    with pytest.raises(CheckpointError, match="cannot be reached, and the twin is not in the cache"):
        load_twin("hf://me/new")
    with pytest.raises(CheckpointError, match="cannot be reached"):
        _push(run, "me/kept")


@pytest.mark.parametrize(
    ("token", "arguments", "expected"),
    [
        (None, ["me/mice"], r"hf://me/mice: .*log in with|may not do this there \(HTTP 401\)"),
        (MAY_ALL, ["others/mice"], r"others/mice: you may not do this there \(HTTP 403\)"),
        (MAY_ALL, ["mice"], "mice: expected owner/name"),
        (MAY_ALL, ["me/mice", "--licence", "mine"], r'the hub refuses: .*"license" must be one of'),
    ],
)
def test_what_may_not_be_pushed_is_one_clear_error(
    token: str | None,
    arguments: list[str],
    expected: str,
    run: Path,
    hub: dict[str, Repository],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(VisionCoreError, match=expected):
        _push(run, *arguments)
    assert all("twin.safetensors" not in files for repo in hub.values() for files in repo.commits.values())


def test_what_is_no_twin_is_not_pushed(tmp_path: Path, hub: dict[str, Repository]) -> None:
    (tmp_path / "twin.safetensors").write_bytes(pickle.dumps({}))
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        _push(tmp_path, "me/mice")
    assert hub == {}


# --- The card -----------------------------------------------------------------------------------------------------


def test_the_card_says_what_is_known_and_invents_nothing(run: Path) -> None:
    card = model_card(load_predictor(run), run, Stated(), "me/mice")
    for name in ("Species", "Task", "Licence of the data", "Licence of the weights"):
        assert f"| {name} | not stated |" in card
    assert "| Area | LM, V1 |" in card
    assert "| Subjects | 2: Ada, Bob |" in card
    assert "| Units | 3, recorded as spike counts |" in card
    assert "| Format of the recordings | experanto |" in card
    assert "How well it predicts is not stated" in card
    assert "license" not in card
    assert "must not be used for" in card


def test_the_card_says_what_is_stated(run: Path) -> None:
    stated = Stated(
        species="macaque", area="V4", task="fixation", licence="mit", data_licence="CC0", not_for=("sale",)
    )
    card = model_card(load_predictor(run), run, stated, "me/mice")
    front, body = card.removeprefix("---\n").split("---\n", 1)
    assert "license: mit\n" in front
    for row in ("Species | macaque", "Area | V4", "Task | fixation", "Licence of the data | CC0"):
        assert f"| {row} |" in body
    assert "- sale\n" in body


def test_the_card_has_the_scores_of_this_very_twin(run: Path) -> None:
    twin = load_predictor(run)
    result = setting().score()
    settings = result.settings.model_copy(update={"twin_digest": twin.digest})
    result.model_copy(update={"settings": settings}).write_json(run / "evaluation_test.json")
    record_test_evaluation(run, twin.digest, "f00d", {}, "evaluate")
    card = model_card(twin, run, Stated(), "me/mice")
    bits = result.overall.bits_per_spike
    low, high = bits.ci95
    assert f"| All units | {bits.mean:.3f} ({low:.3f} to {high:.3f}) |" in card
    assert "Test split evaluated once, by one twin." in card
    assert "No audit for leaks" in card
    # Scores of other weights are not its scores.
    result.write_json(run / "evaluation_test.json")
    assert "How well it predicts is not stated" in model_card(twin, run, Stated(), "me/mice")


def test_a_dry_run_pushes_nothing(run: Path, hub: dict[str, Repository]) -> None:
    assert _push(run, "me/mice", "--dry-run", "--species", "mouse").startswith(
        "---\nlibrary_name: visioncore"
    )
    assert hub == {}


def test_commands_take_a_name_of_the_hub(run: Path, hub: dict[str, Repository], tmp_path: Path) -> None:
    _push(run, "me/mice")
    done = CliRunner().invoke(app, ["embed", "hf://me/mice", "--out", str(tmp_path / "units.csv")])
    assert done.exit_code == 0, done.output
    assert len((tmp_path / "units.csv").read_text().splitlines()) == 4
    assert twin_path(Path("hf://me/mice")).read_bytes() == (run / "twin.safetensors").read_bytes()
