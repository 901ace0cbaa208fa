"""The shipped YAMLs, and how a file or a text is built into a config, for the tests of configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from visioncore.config import (
    Config,
    build_config,
    parse_yaml,
    read_yaml,
)
from visioncore.data import build_data_config
from visioncore.errors import ConfigError
from visioncore.model import TwinConfig
from visioncore.model.cores import CoreConfig
from visioncore.training.experiment import TrainingConfig

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = ROOT / "experiments"
Build = Callable[[dict[str, Any], str], Config]
BUILDERS: dict[str, Build] = {
    "model_configs": lambda raw, where: build_config(TwinConfig, raw, where),
    "data_configs": build_data_config,
    "training_configs": lambda raw, where: build_config(TrainingConfig, raw, where),
}
SHIPPED = sorted(EXPERIMENTS.glob("*_configs/*.yaml"))
every_shipped_file = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
MODEL = EXPERIMENTS / "model_configs" / "vivit_tiny.yaml"
DATA = EXPERIMENTS / "data_configs" / "simulated.yaml"
TRAINING = EXPERIMENTS / "training_configs" / "small.yaml"
CORES = " | ".join(core.tiny().type for core in get_args(get_args(CoreConfig)[0]))
ARRAYS = """
type: arrays
params:
  sampling_rate_hz: 120
  response_kind: counts
  sessions:
    - {id: a, subject: m, path: a.npz, video: v, responses: r}
"""


def build_file(path: Path) -> Config:
    return BUILDERS[path.parent.name](read_yaml(path), path.name)


def build_text(text: str, kind: str = "model_configs") -> Config:
    return BUILDERS[kind](parse_yaml(text, "my.yaml"), "my.yaml")


def message(action: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        action()
    return str(caught.value)
