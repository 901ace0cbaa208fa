"""Contracts K1, N6: a twin is its file, whole or refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from forked import predict_from_file, run_in_new_process
from twins import (
    every_part,
    make_inputs,
    make_twin,
)
from visioncore.checkpoint import load_twin, save_twin
from visioncore.errors import CheckpointError
from visioncore.model.cores import CoreConfig, ViViTConfig
from visioncore.model.modulators import (
    ModulatorConfig,
)
from visioncore.provenance import Provenance


@every_part
def test_a_twin_rebuilds_itself_from_its_file_alone(
    core: CoreConfig, modulator: ModulatorConfig, tmp_path: Path
) -> None:
    """In a new process, in an empty folder, with no YAML and no data."""
    twin = make_twin(core, modulator)
    path = tmp_path / "twin.safetensors"
    save_twin(twin, path, Provenance(seed=3))
    video, behaviour = make_inputs(batch=1)
    np.savez(tmp_path / "in.npz", video=video[0, 0].numpy(), behaviour=behaviour[0].numpy())
    log = tmp_path.with_suffix(".log")
    assert run_in_new_process(predict_from_file, tmp_path, log=log) == 0, log.read_text(encoding="utf-8")
    expected = twin.predict(video[0, 0].numpy(), behaviour[0].numpy(), session="two/β")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.npz", "out.npy", "twin.safetensors"]


def test_a_twin_with_any_byte_changed_is_refused_or_the_same(tmp_path: Path) -> None:
    twin = make_twin(linear=False)
    path = tmp_path / "twin.safetensors"
    save_twin(twin, path, Provenance())
    intact = path.read_bytes()
    weights = twin.state_dict()
    header_end = 8 + int.from_bytes(intact[:8], "little")
    rng = np.random.default_rng(0)
    positions = [*range(16), *range(8, header_end, 37), *rng.integers(header_end, len(intact), 60)]
    refused = 0
    for position in positions:
        damaged = bytearray(intact)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            again = load_twin(path)
        except CheckpointError:
            refused += 1
            continue
        assert again.spec == twin.spec
        assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in weights.items())
    assert refused > 0.9 * len(positions)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 100, b"PK\x03\x04" + b"0" * 64])
def test_a_file_that_is_no_twin_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"other\.safetensors"):
        load_twin(path)
    with pytest.raises(CheckpointError, match="no twin yet"):
        load_twin(tmp_path)


def test_weights_that_do_not_match_every_tensor_are_not_loaded(tmp_path: Path) -> None:
    from visioncore.checkpoint import load_pretrained_core

    donor = make_twin()
    save_twin(donor, tmp_path / "donor.safetensors", Provenance())
    same = make_twin()
    with torch.no_grad():
        for parameter in same.parameters():
            parameter.add_(1.0)
    load_pretrained_core(same, tmp_path / "donor.safetensors")
    assert donor.trunk.core is not None
    assert same.trunk.core is not None
    for name, tensor in donor.trunk.core.state_dict().items():
        assert torch.equal(same.trunk.core.state_dict()[name], tensor)

    wider = make_twin(ViViTConfig.tiny().model_copy(update={"ff_dim": 48}))
    before = {name: t.clone() for name, t in wider.state_dict().items()}
    with pytest.raises(CheckpointError, match="weights do not match"):
        load_pretrained_core(wider, tmp_path / "donor.safetensors")
    assert all(torch.equal(before[name], t) for name, t in wider.state_dict().items())


def test_the_header_names_every_unit(tmp_path: Path) -> None:
    from safetensors import safe_open

    save_twin(make_twin(), tmp_path / "t.safetensors", Provenance.from_json({"note": "x"}))
    with safe_open(tmp_path / "t.safetensors", framework="pt") as opened:
        header = json.loads(opened.metadata()["visioncore"])
    assert [s["unit_ids"] for s in header["data"]["sessions"]] == [["a", "b", "c"], ["a", "d"]]
    assert header["format_version"] == 2
