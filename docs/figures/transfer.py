"""What a trunk is worth to units that it never saw: joint training, transfer, and training from nothing.

    python docs/figures/transfer.py OUT default|unseen

OUT becomes a folder of data YAMLs, stores and run folders; runs that are there are not made again. Trained are a core
on the recording's three sessions, the same with a fourth session of another subject (joint training), heads for that
session on the first core (transfer), and both transfer and a whole model on a tenth of the fourth session. Printed are
scores on the fourth session's test split with paired differences, and seconds, initialisation counted in.
"""

import subprocess
import sys
from pathlib import Path

from visioncore.checkpoint import load_twin
from visioncore.comparison import compare
from visioncore.comparison.scored_run import ScoredRun
from visioncore.data import load_data_config, prepare
from visioncore.run_folder import RunFolder

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
CORE_STEPS, JOINT_STEPS, SCRATCH_STEPS = 800, 1200, 400
"""The fourth session is a third subject, so it gets a third of the clips of joint training: 400 steps' worth."""
UNSEEN = [
    *("model.sampling_rate=120", "model.output.params.sharpness=5.0", "training.clip_frames=240"),
    *("model.convnet.params.patch_size=[24,12,12]", "model.convnet.params.stride=[4,4,4]"),
    "model.convnet.params.frames_per_tap=2",
]
"""vivit_best.yaml is written for 240 Hz; as in docs/benchmarks.md."""
RECORDINGS = {
    "default": ("type: simulated\nparams: {}\n", "type: simulated\nparams: {seed: 40, subjects: [E]}\n", []),
    "unseen": (
        "type: subunit_cascade\nparams: {seed: 20}\n",
        "type: subunit_cascade\nparams: {seed: 41, subjects: [F]}\n",
        UNSEEN,
    ),
}


def main() -> None:
    """Train what is not there yet, and print."""
    if len(sys.argv) != 3 or sys.argv[2] not in RECORDINGS:
        raise SystemExit(__doc__)
    out = Path(sys.argv[1])
    old, new, overrides = RECORDINGS[sys.argv[2]]
    out.mkdir(parents=True, exist_ok=True)
    (out / "old.yaml").write_text(old)
    (out / "new.yaml").write_text(new)
    (out / "joint.yaml").write_text("recordings: [old.yaml, new.yaml]\n")
    tenth = ["training.train_share=0.1"]
    _train(out, "core", "old.yaml", CORE_STEPS, overrides)
    _train(out, "joint", "joint.yaml", JOINT_STEPS, overrides)
    _train(out, "scratch_tenth", "new.yaml", SCRATCH_STEPS, [*overrides, *tenth])
    for name, settings in (("transfer", []), ("transfer_tenth", tenth)):
        _visioncore(out, name, ["transfer", "core", "--data", "new.yaml"], settings)
    store = prepare(load_data_config(out / "new.yaml"), out)
    names = ("joint", "transfer", "transfer_tenth", "scratch_tenth")
    runs = [ScoredRun.of(name, load_twin(out / name), store) for name in names]
    compared = compare(runs)
    for run in runs:
        _, wall_s = RunFolder(out / run.model).training_so_far()
        start_s = load_twin(out / run.model).provenance.initialise_s
        mean = run.result.overall.bits_per_spike.mean
        sys.stdout.write(f"{run.model}: {mean:.3f} bits/spike, {start_s:.0f} + {wall_s or 0:.0f} s\n")
    for one, other in (("transfer", "joint"), ("transfer_tenth", "scratch_tenth")):
        difference = compared.matrix[one][other].bits_per_spike
        sys.stdout.write(f"{one} less {other}: {difference.mean} {difference.ci95}\n")


def _train(out: Path, name: str, data: str, steps: int, overrides: list[str]) -> None:
    model, training = (
        EXPERIMENTS / kind for kind in ("model_configs/vivit_best.yaml", "training_configs/best.yaml")
    )
    command = ["train", "--model", str(model), "--data", data, "--training", str(training)]
    _visioncore(
        out, name, command, [*overrides, f"training.length={{type: steps, params: {{number: {steps}}}}}"]
    )


def _visioncore(out: Path, name: str, command: list[str], overrides: list[str]) -> None:
    sets = [word for override in overrides for word in ("--set", override)]
    subprocess.run(
        [sys.executable, "-m", "visioncore.cli", *command, "--out", name, *sets], cwd=out, check=True
    )


if __name__ == "__main__":
    main()
