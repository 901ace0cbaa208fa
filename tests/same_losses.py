"""Whether two versions of VisionCore train alike: the losses of the first steps, side by side, to the last digit.

    python tests/same_losses.py OLD/src NEW/src [MODEL ...] [--steps 50]

Each version trains its own `experiments/model_configs/MODEL.yaml` on its own embedded default, seed 0, in a process of
its own. Stores are kept in a temporary folder, or in the one that SAME_LOSSES_OUT names, so that a second run is quick.
"""

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

MODELS = ("vivit_best", "resnet_small", "x3d_small", "ln")
TRAINING = (
    *("training.steps_per_epoch=1", "training.validation_minutes=0.1", "training.warmup_steps=5"),
    "training.initialise.max_minutes_per_session=2.0",
)
FOR_LN = ("training.optimiser=adamw", "training.muon_learning_rate=null", "training.learning_rate=5.0e-4")


def losses(source: Path, model: str, steps: int, out: Path) -> list[str]:
    """The training loss of every step, as it was written down."""
    experiments, run = source.parent / "experiments", out / model
    store = out.parent / f"stores-{out.name}"
    settings = [*TRAINING, f"training.max_epochs={steps}", f"data.store={store}"]
    settings += FOR_LN if model == "ln" else ()
    arguments = ["--model", str(experiments / "model_configs" / f"{model}.yaml")]
    arguments += ["--data", str(experiments / "data_configs" / "simulated.yaml")]
    arguments += ["--training", str(experiments / "training_configs" / "best.yaml"), "--out", str(run)]
    arguments += [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "visioncore.cli", "train", *arguments]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True)
    with (run / "logs" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [row["train_loss"] for row in csv.DictReader(file)]


def main() -> None:
    """Train, compare, and end with 1 where a loss differs."""
    arguments = sys.argv[1:]
    steps = 50
    if "--steps" in arguments:
        at = arguments.index("--steps")
        steps = int(arguments[at + 1])
        del arguments[at : at + 2]
    if len(arguments) < 2:
        raise SystemExit(__doc__)
    old, new = (Path(argument).resolve() for argument in arguments[:2])
    out = Path(os.environ.get("SAME_LOSSES_OUT") or tempfile.mkdtemp())
    differs = False
    for model in arguments[2:] or MODELS:
        before, after = (
            losses(source, model, steps, out / name) for source, name in ((old, "old"), (new, "new"))
        )
        first = next(
            (i for i, pair in enumerate(zip(before, after, strict=True)) if len(set(pair)) > 1), None
        )
        differs |= first is not None
        told = "equal" if first is None else f"differ from step {first}: {before[first]} and {after[first]}"
        sys.stdout.write(f"{model}: {len(before)} losses {told}\n")
        sys.stdout.flush()
    sys.exit(differs)


if __name__ == "__main__":
    main()
