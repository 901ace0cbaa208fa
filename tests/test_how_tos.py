"""What the how-tos add does what they say: each page's code is executed, and held to what its slot asks for."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from pages import ROOT, code_blocks
from part_contracts import config_with, require_a_curve, require_contracts
from prepared import require_step_contracts, small_session
from visioncore.config import build_config, dump_config, dump_yaml, parse_yaml
from visioncore.data import DataConfig, RecordingStore, prepare
from visioncore.data.store import SessionStore
from visioncore.errors import DataError
from visioncore.evaluation import KeptPredictions, evaluate
from visioncore.model import TwinConfig
from visioncore.model.cores import NoCoreConfig, ViViTConfig
from visioncore.model.grid_layers import SpaceLayerConfig, TimeLayerConfig
from visioncore.model.linear import LowRankLinearConfig
from visioncore.report.sections import Shown
from visioncore.run_folder import RunFolder
from visioncore.shapes import VideoShape
from visioncore.training.experiment import TrainingConfig
from visioncore.training.plan import RunPlan
from visioncore.training.trainer import build_trainer

HOW_TOS = ROOT / "docs" / "how_to"


def run_example(page: Path) -> ModuleType:
    (code,) = code_blocks(page, "python")
    module = ModuleType("example")
    exec(compile(code, str(page), "exec"), module.__dict__)
    return module


def read_split(raw: dict[str, Any]) -> Any:
    from visioncore.data import SplitConfig

    return build_config(SplitConfig, raw, "split")


def test_the_core_of_the_how_to_keeps_the_contracts_of_a_core() -> None:
    example = run_example(ROOT / "docs" / "how_to" / "add_a_core.md")
    torch.manual_seed(0)
    video = torch.randn(2, 1, 9, 6, 8)
    core = example.OneConvolutionConfig.tiny().build(VideoShape(1, 6, 8))
    with torch.no_grad():
        whole, _ = core.advance(None, video)
        first, state = core.advance(None, video[:, :, :4])
        second, _ = core.advance(state, video[:, :, 4:])
        later = video.clone()
        later[:, :, 5] += 1
        changed, _ = core.advance(None, later)
    shape = core.out_shape
    assert whole.shape == (2, shape.channels, 9 // shape.stride, shape.rows, shape.columns)
    assert torch.allclose(torch.cat((first, second), dim=2), whole, atol=1e-6)
    assert torch.equal(changed[:, :, :5], whole[:, :, :5])
    assert not torch.equal(changed[:, :, 5], whole[:, :, 5])
    with pytest.raises(ValueError, match="odd number"):
        build_config(example.OneConvolutionConfig, {"pixels": 4}, "my.yaml")


def test_the_grid_layer_of_the_how_to_keeps_the_contracts_of_a_grid_layer() -> None:
    page = ROOT / "docs" / "how_to" / "add_a_grid_layer.md"
    example = run_example(page)
    (text,) = code_blocks(page, "yaml")
    written = parse_yaml(text, str(page))["convnet"]["params"]
    # The union is closed, so the page's own layer cannot be read by it.
    kinds = {"filter": example.FilterLayerConfig, "space": SpaceLayerConfig, "time": TimeLayerConfig}
    layers = tuple(build_config(kinds[layer["type"]], layer, str(page)) for layer in written["layers"])
    known = written | {"layers": [layer for layer in written["layers"] if layer["type"] != "filter"]}
    config = build_config(ViViTConfig, {"params": known}, str(page)).model_copy(update={"layers": layers})
    torch.manual_seed(0)
    core = config.build(VideoShape(1, 12, 16))
    assert core.history_frames() == (3 + 63) * 8 + 48
    video = torch.randn(2, 1, 80, 12, 16)
    later = video.clone()
    later[:, :, 40] += 1
    whole, _ = core.advance(None, video)
    first, state = core.advance(None, video[:, :, :29])
    second, _ = core.advance(state, video[:, :, 29:])
    changed, _ = core.advance(None, later)
    assert torch.allclose(torch.cat((first, second), dim=2), whole, atol=1e-5)
    assert torch.equal(changed[:, :, :5], whole[:, :, :5])
    assert not torch.equal(changed[:, :, 5], whole[:, :, 5])
    whole.square().sum().backward()
    (weight,) = (part.weight for part in core.modules() if isinstance(part, example.FilterLayer))
    assert (weight.grad != 0).all()


def test_the_source_of_the_how_to_can_be_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = run_example(ROOT / "docs" / "how_to" / "add_a_source.md")
    rng = np.random.default_rng(0)
    (tmp_path / "day1").mkdir()
    video = rng.integers(0, 256, (1200, 4, 6), dtype=np.uint8)
    np.save(tmp_path / "day1" / "video.npy", video)
    np.save(tmp_path / "day1" / "spikes.npy", rng.poisson(0.2, (1200, 2)))
    config = build_config(
        example.NpyFolderConfig,
        {"params": {"sampling_rate_hz": 60, "subject": "m1", "sessions": ["day1"]}},
        "my.yaml",
    )

    class Located:
        """Likewise of a recording in it."""

        source, base = config, "."

        def build(self, base_dir: Path) -> object:
            return config.build(base_dir)

        def content(self) -> dict[str, Any]:
            return dump_config(config)

    class Data:
        """What `prepare` reads of a data config; the union of a real one is closed."""

        store, burn_in_s, cache, normalisation = "stores", 0.1, "none", "pooled"
        recordings = (Located(),)
        split = read_split({"block_s": 2.0, "split_gap_s": 0.25})

    store: RecordingStore = prepare(Data(), tmp_path)  # type: ignore[arg-type]
    assert store.sessions["day1"].unit_ids == ("0", "1")
    assert np.array_equal(store.sessions["day1"].video(10, 20)[:, 0], video[10:20])
    fingerprint = config.build(tmp_path).fingerprint("day1")
    np.save(tmp_path / "day1" / "spikes.npy", rng.poisson(0.2, (1100, 2)))
    assert config.build(tmp_path).fingerprint("day1") != fingerprint
    with pytest.raises(DataError, match=r"1200 frames and spikes\.npy 1100 bins"):
        config.build(tmp_path).session("day1")


def test_the_preparation_step_of_the_how_to_is_a_step(tmp_path: Path) -> None:
    example = run_example(HOW_TOS / "add_a_preparation_step.md")
    mirrored = require_step_contracts(example.MirrorConfig.tiny(), tmp_path)
    before = small_session()
    assert np.array_equal(mirrored.read("video", 10, 20), before.frames[10:20, :, :, ::-1])
    assert mirrored.unit_truth["rf_column_px"] == [5.0, 4.0, 3.0]


def test_the_simulated_recording_of_the_how_to_is_a_source() -> None:
    example = run_example(HOW_TOS / "add_a_simulated_recording.md")
    source = example.FlickerConfig(subjects=("A", "A"), minutes=0.5).build(Path())
    assert source.session_ids() == ("A1", "A2")
    one, other = (source.session(id_) for id_ in source.session_ids())
    assert one.frames.shape == (1800, 1, 8, 12)
    assert one.spec.unit_ids[0] == "A1-000"
    assert not np.array_equal(one.frames, other.frames)
    assert np.array_equal(one.frames, source.session("A1").frames)
    assert (one.rates[1:, 0] > 0.2).tolist() == (one.frames[:-1, 0, 0, 0] == 255).tolist()


def test_the_adapter_of_the_how_to_is_an_adapter() -> None:
    example = run_example(HOW_TOS / "add_an_adapter.md")
    twin = require_contracts(config_with(adapter=example.GazeAdapterConfig.tiny()))
    assert twin.uses_behaviour
    with pytest.raises(DataError, match="does not predict without"):
        twin.rates(torch.zeros(1, 1, 4, 14, 22), session="a")


def test_the_modulator_of_the_how_to_is_a_modulator() -> None:
    example = run_example(HOW_TOS / "add_a_modulator.md")
    require_contracts(config_with(modulator=example.GateConfig.tiny()))


def test_the_readout_of_the_how_to_is_a_readout_and_its_sessions_share() -> None:
    example = run_example(HOW_TOS / "add_a_readout.md")
    for linear in ({}, {"linear": LowRankLinearConfig(window_s=0.06, num_basis=4, gain=True)}):
        twin = require_contracts(config_with(readout=example.FactorisedReadoutConfig.tiny(), **linear))
    names = [name for name in twin.state_dict() if "shared" in name]
    assert names == ["heads.shared.weight", "heads.shared.bias"]
    readouts = [head.readout for head in twin.heads]
    assert all(own is not None and own.shared is twin.heads.shared for own in readouts)


def test_the_linear_path_of_the_how_to_is_a_linear_path() -> None:
    example = run_example(HOW_TOS / "add_a_linear_path.md")
    for core in (ViViTConfig.tiny(), NoCoreConfig()):
        twin = require_contracts(config_with(linear=example.FlickerConfig.tiny(), convnet=core))
    assert twin.history_frames() == 2


def test_the_output_of_the_how_to_is_an_output() -> None:
    example = run_example(HOW_TOS / "add_an_output.md")
    require_contracts(config_with(output=example.SquareOutputConfig.tiny()))
    require_a_curve(example.SquareOutputConfig.tiny())


def test_the_report_section_of_the_how_to_stands_on_the_page(
    tiny_store: RecordingStore, tmp_path: Path
) -> None:
    example = run_example(HOW_TOS / "add_a_report_section.md")
    config = TwinConfig(sampling_rate=tiny_store.spec.rate_hz, convnet=NoCoreConfig())
    twin = config.build(tiny_store.spec).eval()
    result = evaluate(twin, tiny_store, progress=False)
    shown = Shown.of(twin, tiny_store, result, tmp_path)
    assert example.depths(shown) is None
    store = copy.copy(tiny_store)
    spec = tiny_store.spec.sessions[0]
    depth = {"depth_um": tuple(100 * i for i in range(len(spec.unit_ids)))}
    own = SimpleNamespace(spec=spec.model_copy(update={"units": depth}))
    store.sessions = {**tiny_store.sessions, spec.id: cast(SessionStore, own)}
    section = example.depths(replace(shown, store=store))
    assert section.title == "Depth"
    assert section.html.count(" µm: ") == len([row for row in shown.scored if row.session == spec.id])


def test_the_logger_of_the_how_to_gets_the_numbers_of_a_run(tmp_path: Path) -> None:
    example = run_example(HOW_TOS / "add_a_logger.md")
    config = build_config(example.LinesConfig, {"type": "lines", "params": {"file": "here.jsonl"}}, "test")
    training = TrainingConfig().model_copy(update={"loggers": (config,)})
    plan = RunPlan(epochs=1, steps_per_epoch=1, batches_per_step=1, data_fingerprint="")
    (logger,) = build_trainer(training, plan, RunFolder(tmp_path), []).loggers
    logger.log_metrics({"score": 0.5}, step=3)
    assert json.loads((tmp_path / "logs" / "here.jsonl").read_text()) == {"step": 3, "score": 0.5}


def test_the_predictions_of_the_how_to_are_scored(
    tiny_config: tuple[DataConfig, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = tiny_config
    monkeypatch.chdir(folder)
    (folder / "my_data.yaml").write_text(dump_yaml(dump_config(config)))
    example = run_example(HOW_TOS / "score_any_model.md")
    kept = KeptPredictions(folder / "peer.npz", example.store)
    result = evaluate(kept, example.store, progress=False)
    assert result.overall.bits_per_spike.mean == pytest.approx(0.0, abs=0.01)
    assert (result.settings.causal, result.settings.behaviour) == (True, "none")
