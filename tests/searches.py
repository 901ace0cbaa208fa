"""A small search: its YAML, and trials that take no time and have their best where it is planted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flawed import LINEAR, RATE_HZ
from visioncore.config import dump_yaml
from visioncore.search import SearchConfig, Study, Watched
from visioncore.search import worker as worker_module
from visioncore.search.study import Work

SPACE: dict[str, dict[str, Any]] = {
    "model.linear.params.rank": {"type": "int", "low": 1, "high": 3},
    "training.optimiser.params.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "training.optimiser.type": {"type": "choice", "values": ["adamw", "muon"]},
}


def written(folder: Path, **changes: Any) -> Path:
    """A search YAML beside its model, data and training."""
    folder.mkdir(parents=True, exist_ok=True)
    session = {"id": "s0", "subject": "m", "path": "0.npz", "video": "stim", "responses": "spikes"}
    session |= {"trial_start": "starts", "split": "split"}
    params = {"sampling_rate_hz": RATE_HZ, "response_kind": "counts", "sessions": [session]}
    search = {
        "model": "model.yaml",
        "data": "data.yaml",
        "training": "training.yaml",
        "space": SPACE,
        "trials": 4,
        "steps_per_trial": 8,
        "epochs_per_trial": 4,
        "objective": "validation",
        "confirm_seeds": 0,
    }
    for name, raw in {
        "model": {"sampling_rate": RATE_HZ, **LINEAR},
        "data": {"type": "arrays", "params": params, "burn_in_s": 0.2},
        "training": {"clip_frames": 96, "batch_size": 1, "optimiser": {"type": "adamw"}},
        "search": {key: value for key, value in (search | changes).items() if value is not None},
    }.items():
        (folder / f"{name}.yaml").write_text(dump_yaml(raw))
    return folder / "search.yaml"


OPTIMUM = {"rank": 2, "learning_rate": 0.01, "optimiser": "muon"}


def planted(chosen: dict[str, Any]) -> float:
    """Best at the optimum, and nowhere flat."""
    rank, rate, optimiser = (chosen[key] for key in SPACE)
    return float(
        -abs(rank - OPTIMUM["rank"]) - abs(np.log10(rate / OPTIMUM["learning_rate"])) + (optimiser == "muon")
    )


def quick_trials(monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """Trials whose value is `planted`, reported over ten tenths; by number, what came of each."""
    outcome: dict[int, str] = {}

    def carry_out(
        mine: Work,
        config: SearchConfig,
        base: Path,
        out: Path,
        watch: Callable[[Watched], None],
        *,
        early: bool,
    ) -> None:
        value = planted(start() | mine.chosen)
        if early and mine.chosen["model.linear.params.rank"] == 3:
            outcome[mine.number] = "failed"
            return mine.fail("rank 3 needs more memory than there is")
        for tenth in range(1, 11):
            watch(Watched(mine.number, tenth / 10, value))
            if mine.report(tenth, value * tenth / 10) and early:
                outcome[mine.number] = "stopped"
                return mine.stop()
        outcome[mine.number] = "finished"
        return mine.finish(value)

    monkeypatch.setattr(worker_module, "carry_out", carry_out)
    return outcome


def start() -> dict[str, Any]:
    return dict(zip(SPACE, (1, 0.001, "adamw"), strict=True))


def nothing(study: Study, told: Watched | None) -> None:
    """Watches nothing."""
