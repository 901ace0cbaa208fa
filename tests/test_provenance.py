"""What a twin's file tells of its making, whichever version wrote it."""

import json
import math
from pathlib import Path

import pytest
from safetensors import safe_open

from visioncore.checkpoint import load_twin, save_twin
from visioncore.provenance import Epoch, Provenance

OLD = Path(__file__).parent / "format_1" / "twin.safetensors"


def kept(path: Path) -> object:
    with safe_open(path, framework="np") as opened:
        return json.loads(opened.metadata()["visioncore"])["provenance"]


def test_nothing_of_an_older_file_is_lost_when_its_twin_is_saved_again(tmp_path: Path) -> None:
    twin = load_twin(OLD)
    assert twin.provenance.experiment is not None
    assert twin.provenance.experiment.training.train_share == 1.0
    save_twin(twin, tmp_path / "again.safetensors", twin.provenance)
    assert kept(tmp_path / "again.safetensors") == kept(OLD)


def test_keys_of_another_version_are_kept_and_what_is_not_known_is_not_written() -> None:
    raw = {
        "seed": 3,
        "note": ["x"],
        "metrics": {"step": 2, "novelty": 0.5},
        "experiment": {"length": {"epochs": 2}},
    }
    assert Provenance.from_json(raw).to_json() == raw
    assert Provenance().to_json() == {}


def test_a_row_of_the_history_is_an_epoch_and_what_it_lacks_is_not_known() -> None:
    epoch = Epoch.from_row(
        {"step": "20", "wall_s": "", "validation_score": "nan", "clips": "80", "mood": "good"}
    )
    assert (epoch.step, epoch.clips, epoch.seconds) == (20, 80, None)
    assert math.isnan(epoch.validation_score)
    assert epoch.without_nan().to_json() == {"step": 20, "clips": 80}
    with pytest.raises(ValueError, match="step"):
        Epoch.from_row({"train_loss": "0.5"})
