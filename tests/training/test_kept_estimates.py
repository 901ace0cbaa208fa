"""Estimates that another training kept are, to the bit, those that would be computed; else they are not read."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flawed import LINEAR, N_BINS, N_UNITS, SPLITS, TRIAL_BINS, VIVIT, Arrays, prepared, recording, traces
from searches import written
from visioncore.checkpoint import save_twin
from visioncore.config import build_config
from visioncore.data import RecordingStore
from visioncore.model import Twin, TwinConfig
from visioncore.provenance import Provenance
from visioncore.remote import RemotePath
from visioncore.training import initialise as initialise_module
from visioncore.training.experiment import InitialiseConfig, read_experiment
from visioncore.training.initialise import initialise
from visioncore.training.kept_estimates import FOLDER, folder_of
from visioncore.training.run import train

BURN_IN_BINS = 60


def equally_active(arrays: Arrays, seed: int = 3) -> Arrays:
    """Every unit fires as often as any other, in any trial: training means tell neither units nor trials apart."""
    rng = np.random.default_rng(seed)
    spikes = np.zeros_like(arrays["spikes"])
    for start in range(BURN_IN_BINS, len(spikes), TRIAL_BINS):
        rates = arrays["truth"][start : start + TRIAL_BINS - BURN_IN_BINS]
        drawn = (np.log(rates) + rng.gumbel(size=rates.shape)).argsort(axis=0)[-30:]
        np.put_along_axis(spikes[start:], drawn, 1, axis=0)
    return {**arrays, "spikes": spikes, "ids": np.array(["w", "x", "y", "z"])}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RecordingStore:
    """Two sessions, the second of less contrast."""
    second = recording(seed=1)
    second["stim"] = second["stim"] // 2 + 64
    both = [equally_active(arrays) for arrays in (recording(), second)]
    return prepared(tmp_path_factory.mktemp("counts"), *both, unit_ids="ids")


def filters(**params: Any) -> dict[str, Any]:
    return {"linear": {"type": "low_rank", "params": {"rank": 1, **params}}}


def begun(
    store: RecordingStore,
    folder: Path | None,
    model: Mapping[str, Any] = LINEAR,
    config: InitialiseConfig | None = None,
    *,
    seed: int = 0,
    built_for: RecordingStore | None = None,
) -> Twin:
    """Where training starts."""
    torch.manual_seed(seed)
    made = build_config(TwinConfig, {"sampling_rate": store.spec.rate_hz, **model}, "m")
    twin = made.build((built_for or store).spec).eval()
    initialise(twin, store, config or InitialiseConfig(), folder)
    return twin


def same(one: Twin, other: Twin) -> bool:
    """To the bit."""
    own, theirs = one.state_dict(), other.state_dict()
    return own.keys() == theirs.keys() and all(torch.equal(own[name], theirs[name]) for name in own)


def sampled(*unused: Any) -> None:
    raise AssertionError("estimated, where estimates are kept")


def flickering(arrays: Arrays) -> Arrays:
    """Without contrast inside a frame: nothing tells where units look."""
    return {**arrays, "stim": np.broadcast_to(arrays["stim"][:, :1, :1], arrays["stim"].shape).copy()}


@pytest.mark.parametrize(
    ("kind", "model", "config"),
    [
        ("counts", {**LINEAR, **filters(knots=6)}, InitialiseConfig()),
        ("counts", VIVIT, InitialiseConfig()),
        ("counts", VIVIT, InitialiseConfig(linear=False)),
        # One lag has one component: the second filter stays as the seed drew it.
        ("counts", {**VIVIT, **filters(rank=2, window_s=0.02)}, InitialiseConfig()),
        ("trace", {**VIVIT, "trace_output": {"type": "softplus"}}, InitialiseConfig()),
        ("flicker", VIVIT, InitialiseConfig()),
    ],
    ids=["bends", "vivit", "positions alone", "one lag", "traces", "flicker"],
)
def test_what_is_read_is_what_is_computed_to_the_bit(
    kind: str,
    model: dict[str, Any],
    config: InitialiseConfig,
    store: RecordingStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    if kind == "trace":
        store = prepared(tmp_path, traces(recording()), kind="trace")
    if kind == "flicker":
        store = prepared(tmp_path, flickering(recording()))
    folder = tmp_path / "kept"

    def told() -> list[str]:
        lines = caplog.messages
        caplog.clear()
        return lines

    computed = begun(store, None, model, config, seed=1)
    after, said = torch.get_rng_state(), told()
    # Kept by a training with another seed.
    begun(store, folder, model, config, seed=0)
    assert told() == said
    assert len([*folder.iterdir()]) == len(store.sessions)
    monkeypatch.setattr(initialise_module, "take_sample", sampled)
    read = begun(store, folder, model, config, seed=1)
    assert torch.equal(torch.get_rng_state(), after)
    lines = told()
    assert sum("as kept in" in line for line in lines) == len(store.sessions)
    assert [line for line in lines if "as kept in" not in line] == said
    assert same(read, computed)
    video = recording()["stim"][:300]
    for session in store.sessions:
        rates = read.predict(video, session=session)
        np.testing.assert_array_equal(rates, computed.predict(video, session=session))


def test_what_another_training_would_estimate_otherwise_is_not_read(
    store: RecordingStore, tmp_path: Path
) -> None:
    """In turn, into one folder; each comes out as it does alone."""
    one, half = store.only(["s0"]), {"s0": ("w", "x")}
    other = prepared(tmp_path / "other", equally_active(recording(), seed=4), unit_ids="ids")
    ways: dict[str, dict[str, Any]] = {
        "as it is": {"store": one},
        "another window": {"store": one, "model": {**LINEAR, **filters(window_s=0.15)}},
        "a bend": {"store": one, "model": {**LINEAR, **filters(knots=6)}},
        "another output": {"store": one, "model": {**LINEAR, "output": {"type": "exponential"}}},
        "a core": {"store": one, "model": VIVIT},
        "other constants": {"store": one, "built_for": store},
        "some units": {"store": one.with_units(half)},
        "the other units": {"store": one.without_units(half)},
        "units in another order": {"store": one.with_units({"s0": ("z", "y", "x", "w")})},
        "a share of the blocks": {"store": one.with_train_share(0.7), "built_for": one},
        "less of the recording": {"store": one, "config": InitialiseConfig(max_minutes_per_session=0.1)},
        "other responses": {"store": other},
    }
    computed = {name: begun(folder=None, **way) for name, way in ways.items()}
    different = [name for name in ways if not same(computed[name], computed["as it is"])]
    assert different == [*ways][1:]
    for name, way in ways.items():
        assert same(begun(folder=tmp_path / "kept", **way), computed[name]), name
    assert len([*(tmp_path / "kept").iterdir()]) == len(ways)


def test_the_means_of_these_tests_tell_no_unit_and_no_trial_apart(store: RecordingStore) -> None:
    """Else they would be what keeps other units and other blocks apart above."""
    session = store.sessions["s0"]
    assert len(session.unit_ids) == N_UNITS
    assert len({*session.train_mean}) == 1
    assert set(store.with_train_share(0.7).sessions["s0"].train_mean) == {*session.train_mean}
    assert len(SPLITS) == 12


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("a byte", "do not match their digest"),
        ("the end", "not a readable safetensors file"),
        ("emptied", "not a readable safetensors file"),
        ("a twin", "not estimates of VisionCore"),
        ("renamed", "other estimates; was it renamed"),
    ],
)
def test_a_damaged_or_foreign_file_is_said_and_computed_anew(
    harm: str, reason: str, store: RecordingStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = store.only(["s0"])
    computed = begun(store, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    caplog.set_level(logging.INFO)
    if harm == "a byte":
        file.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    elif harm == "the end":
        file.write_bytes(whole[:-10])
    elif harm == "emptied":
        file.write_bytes(b"")
    elif harm == "a twin":
        save_twin(begun(store, None), file, Provenance())
    else:
        begun(store, tmp_path / "other", {**LINEAR, **filters(window_s=0.15)})
        (other,) = (tmp_path / "other").iterdir()
        other.replace(file)
        other.parent.rmdir()
    assert same(begun(store, tmp_path), computed)
    (said,) = [text for text in caplog.messages if text.endswith("estimated anew")]
    assert reason in said
    # And put right.
    caplog.clear()
    assert same(begun(store, tmp_path), computed)
    assert any("as kept in" in text for text in caplog.messages)
    assert [*tmp_path.iterdir()] == [file]


def test_where_nothing_can_be_kept_all_is_computed(
    store: RecordingStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = store.only(["s0"])
    (tmp_path / "taken").touch()
    assert same(begun(store, tmp_path / "taken"), begun(store, None))
    assert any("are not kept" in text for text in caplog.messages)
    # What an adapter makes of the video, weights decide.
    begun(store, tmp_path / "none", {**LINEAR, "adapter": {"type": "affine"}})
    # Mean rates alone are computed as quickly as they are read.
    begun(store, tmp_path / "none", config=InitialiseConfig(linear=False))
    assert not (tmp_path / "none").exists()


def test_the_folder_is_beside_the_plan(store: RecordingStore, tmp_path: Path) -> None:
    assert folder_of(store) == Path(store.path.parent) / FOLDER  # type: ignore[arg-type]
    away = store.only(["s0"])
    away.path = RemotePath("memory://stores/plan.json")
    assert folder_of(away) is None


def test_a_training_keeps_them_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = np.arange(0, N_BINS, TRIAL_BINS)
    written(tmp_path)
    np.savez(tmp_path / "0.npz", **recording(), starts=starts, split=np.array(SPLITS))
    model, data, training = (tmp_path / f"{name}.yaml" for name in ("model", "data", "training"))
    short = ["training.length={type: steps, params: {number: 2}}", "training.steps_per_epoch=2"]
    train(read_experiment(model, data, training, short), tmp_path / "one")
    assert len([*(tmp_path / "stores" / FOLDER).iterdir()]) == 1
    monkeypatch.setattr(initialise_module, "take_sample", sampled)
    train(read_experiment(model, data, training, [*short, "training.seed=1"]), tmp_path / "other")
