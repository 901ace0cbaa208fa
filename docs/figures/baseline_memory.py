"""Peak memory of one training step of the guide's baseline on one clip, and of a readout of 8,000 units on its output.

Each case runs in a process of its own, since a process's peak never falls:  python docs/figures/baseline_memory.py
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from visioncore.config import apply_overrides, build_config, read_yaml
from visioncore.describe import guide_spec
from visioncore.model import InputClips, TwinConfig
from visioncore.model.readouts import GaussianReadoutConfig
from visioncore.shapes import FeatureShape, VideoShape
from visioncore.spec import Normalisation

MODEL = Path(__file__).parents[2] / "experiments" / "model_configs" / "vivit_baseline.yaml"


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def training_step(checkpointing: str) -> None:
    override = f"convnet.params.grad_checkpointing={checkpointing}"
    config = build_config(TwinConfig, apply_overrides(read_yaml(MODEL), [override]), str(MODEL))
    constants = Normalisation(
        video_mean=(127.0,), video_std=(50.0,), behaviour_mean=(0.0,) * 42, behaviour_std=(1.0,) * 42
    )
    twin = config.build(guide_spec(config).with_constants(constants))
    optimizer = torch.optim.AdamW(twin.parameters(), lr=1e-4)
    video = torch.randint(0, 256, (1, 1, 300, 36, 64), dtype=torch.uint8)
    start_gb = peak_gb()
    start = time.perf_counter()
    (rates,) = twin([InputClips("session", video, torch.randn(1, 300, 42))])
    predicted = rates[:, twin.stride - 1 :]
    (predicted - 0.1 * predicted.log()).mean().backward()
    optimizer.step()
    seconds = time.perf_counter() - start
    sys.stdout.write(
        f"grad_checkpointing {checkpointing}: {peak_gb():.2f} GB peak ({start_gb:.2f} GB before), {seconds:.0f} s\n"
    )


def readout(n_units: str) -> None:
    features = FeatureShape(384, 9, 16, 4, (0.0, 36.0), (0.0, 64.0))
    module = GaussianReadoutConfig().build(features, VideoShape(1, 36, 64), int(n_units))
    core_output = torch.randn(1, 384, 75, 9, 16, requires_grad=True)
    start_gb = peak_gb()
    module.dense(core_output).square().mean().backward()
    sys.stdout.write(
        f"readout of {n_units} units, dense, forward and backward: {peak_gb() - start_gb:.2f} GB more\n"
    )


CASES = {"step": training_step, "readout": readout}

if __name__ == "__main__":
    if len(sys.argv) == 3:
        CASES[sys.argv[1]](sys.argv[2])
    else:
        for case in (("step", "true"), ("step", "false"), ("readout", "8000")):
            subprocess.run([sys.executable, __file__, *case], check=True)
