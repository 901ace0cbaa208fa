"""The documentation is true: links resolve, named files exist, tables and examples are what the code gives."""

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from visioncore.config import build_config, load_config, parse_yaml, read_yaml
from visioncore.data import RecordingStore, prepare
from visioncore.describe import describe, guide_spec
from visioncore.errors import DataError
from visioncore.model import TwinConfig
from visioncore.model.cores import ViViTConfig
from visioncore.model.grid_layers import SpaceLayerConfig, TimeLayerConfig
from visioncore.shapes import VideoShape
from visioncore.training.experiment import read_experiment

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAMED_FILE = re.compile(r"`((?:src|tests|docs|experiments)/[\w./-]*)`")


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


@every_page
def test_every_relative_link_resolves(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if not target.startswith(("https://", "http://", "mailto:", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


@every_page
def test_every_file_that_is_named_exists(page: Path) -> None:
    # The how-tos name the files that their reader is about to write.
    to_be_written = {
        "src/visioncore/model/cores/one_convolution.py",
        "src/visioncore/model/grid_layers/filter.py",
        "src/visioncore/data/sources/npy_folder.py",
    }
    for name in NAMED_FILE.findall(prose(page)):
        assert (ROOT / name).exists() or name in to_be_written, name


def test_the_decisions_are_numbered_without_gaps() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def test_the_table_of_the_baseline_is_what_describe_gives() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("| stage | shape | parameters |\n|---|---|---|\n")[2].partition("\n\n")[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table.splitlines()]
    config = load_config(TwinConfig, ROOT / "experiments" / "model_configs" / "vivit_baseline.yaml")
    found = describe(config, guide_spec(config), 300)
    assert rows == [
        (stage.stage, stage.shape, f"{stage.parameters:,}" if stage.parameters else "") for stage in found.stages
    ]  # fmt: skip


def test_every_contract_is_listed_with_its_tests() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = text.partition("## Contracts")[2].partition("\n## ")[0].splitlines()
    listed = {row.split("|")[1].strip(): row for row in rows if re.match(r"\| [TSCKN]\d", row)}
    together = " ".join(listed).replace("S3–S5", "S3 S4 S5")
    expected = [*(f"T{i}" for i in range(1, 5)), *(f"S{i}" for i in range(1, 6))]
    expected += [
        *(f"C{i}" for i in range(1, 4)),
        *(f"K{i}" for i in range(1, 4)),
        *(f"N{i}" for i in range(1, 7)),
    ]
    assert set(re.findall(r"[TSCKN]\d", together)) == set(expected)
    assert all("`tests/" in row for row in listed.values())


# --- How-tos ------------------------------------------------------------------------------------------------------


def test_the_yaml_of_the_how_to_builds_and_its_overrides_are_valid(tmp_path: Path) -> None:
    page = ROOT / "docs" / "how_to" / "your_own_model.md"
    (text,) = code_blocks(page, "yaml")
    model = tmp_path / "my_model.yaml"
    model.write_text(text, encoding="utf-8")
    config = load_config(TwinConfig, model)
    found = describe(config, guide_spec(config), 24)
    assert found.warnings == []
    overrides = re.findall(r"--set '?([^'\s\\][^'\\\n]*?)'?(?: \\)?\n", "".join(code_blocks(page, "bash")))
    assert len(overrides) == 5
    data = ROOT / "experiments" / "data_configs" / "simulated.yaml"
    experiment = read_experiment(model, data, None, overrides)
    assert experiment.model.modulator.type == "none"
    assert experiment.data.balance == "session"
    assert experiment.training.learning_rate == 3e-4


def run_example(page: Path) -> ModuleType:
    (code,) = code_blocks(page, "python")
    module = ModuleType("example")
    exec(compile(code, str(page), "exec"), module.__dict__)
    return module


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


def read_split(raw: dict[str, Any]) -> Any:
    from visioncore.data import SplitConfig

    return build_config(SplitConfig, raw, "split")


def test_the_citation_and_the_changelog_name_the_version_of_the_package() -> None:
    import visioncore

    citation = read_yaml(ROOT / "CITATION.cff")
    assert (citation["cff-version"], citation["title"]) == ("1.2.0", "VisionCore")
    assert citation["authors"] == [{"name": "The VisionCore developers"}]
    assert citation["version"] == visioncore.__version__
    assert f"## [{visioncore.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{visioncore.__version__}"' in project
