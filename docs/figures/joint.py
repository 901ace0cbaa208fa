"""What joint training is worth to a subject with little recording, and what it costs the others.

    python docs/figures/joint.py OUT

OUT becomes a folder of data YAMLs, stores and run folders; runs that are there are not made again. Six sessions of
three subjects are simulated: A and B have 34 training trials a session, C has 3. Trained are one twin of all of them,
and one of each subject alone, with as many passes over its recording; and C alone again, for as many steps as A.
Printed are scores on each subject's test split with paired differences.
"""

import subprocess
import sys
from pathlib import Path

from visioncore.checkpoint import load_twin
from visioncore.comparison import compare
from visioncore.comparison.scored_run import ScoredRun
from visioncore.data import load_data_config, prepare

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
PASSES, TRIAL_CLIPS = 4, 2
"""A trial of 4 s holds two clips of `best.yaml`, and a step takes one."""
LARGE = "{{seed: {seed}, subjects: [{subject}, {subject}], minutes_per_session: 6.0}}"
SMALL = "{seed: 52, subjects: [C, C], minutes_per_session: 4.667, validation_fraction: 0.33}"
SUBJECTS = {
    "A": (LARGE.format(seed=50, subject="A"), 68),
    "B": (LARGE.format(seed=51, subject="B"), 68),
    "C": (SMALL, 6),
}
"""Settings of the recording, and its training trials."""


def main() -> None:
    """Train what is not there yet, and print."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    steps = {subject: PASSES * TRIAL_CLIPS * trials for subject, (_, trials) in SUBJECTS.items()}
    for subject, (params, trials) in SUBJECTS.items():
        (out / f"{subject}.yaml").write_text(f"type: simulated\nparams: {params}\nbalance: none\n")
        store = prepare(load_data_config(out / f"{subject}.yaml"), out)
        found = sum(len(session.blocks_in("train")) for session in store.sessions.values())
        if found != trials:
            raise SystemExit(f"subject {subject} has {found} training trials, not {trials}")
    files = ", ".join(f"{subject}.yaml" for subject in SUBJECTS)
    (out / "all.yaml").write_text(f"recordings: [{files}]\nbalance: none\n")
    for subject in SUBJECTS:
        _train(out, f"alone_{subject}", f"{subject}.yaml", steps[subject])
    _train(out, "alone_C_longer", "C.yaml", steps["A"])
    _train(out, "joint", "all.yaml", sum(steps.values()))
    joint = load_twin(out / "joint")
    for subject in SUBJECTS:
        store = prepare(load_data_config(out / f"{subject}.yaml"), out)
        names = [f"alone_{subject}", *(["alone_C_longer"] if subject == "C" else [])]
        runs = [ScoredRun.of("joint", joint, store)]
        runs += [ScoredRun.of(name, load_twin(out / name), store) for name in names]
        compared = compare(runs)
        for run in runs:
            sys.stdout.write(
                f"{subject}: {run.model} {run.result.overall.bits_per_spike.mean:.3f} bits/spike\n"
            )
        for name in names:
            difference = compared.matrix["joint"][name].bits_per_spike
            sys.stdout.write(f"{subject}: joint less {name}: {difference.mean} {difference.ci95}\n")


def _train(out: Path, name: str, data: str, steps: int) -> None:
    model, training = (
        EXPERIMENTS / kind for kind in ("model_configs/vivit_best.yaml", "training_configs/best.yaml")
    )
    settings = [
        f"training.length={{type: steps, params: {{number: {steps}}}}}",
        f"training.steps_per_epoch={max(steps // 8, 8)}",
    ]
    command = ["train", "--model", str(model), "--data", data, "--training", str(training), "--out", name]
    sets = [word for setting in settings for word in ("--set", setting)]
    subprocess.run([sys.executable, "-m", "visioncore.cli", *command, *sets], cwd=out, check=True)


if __name__ == "__main__":
    main()
