"""Print what the simulated task allows: ceiling, linear-nonlinear models, behaviour alone, a small local network.

    python docs/figures/task_limits.py [--units-per-class 3]

Models are fitted to the spikes of session A1's training trials and chosen on its validation trials. They are
scored on the test trials against the true rates, which is the expected score: no noise of single spikes.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from scipy.signal import lfilter

from visioncore.behaviour import cosine_basis_over_time
from visioncore.recording import ArrayRecording
from visioncore.simulation.cells import CELL_CLASSES
from visioncore.simulation.simulated import SimulatedConfig

BURN_IN_BINS = 60
HALF_CROP_PX = 7
BINS_PER_SAMPLE = 4


class Task:
    """Session A1 as arrays of (trials, bins, ...)."""

    def __init__(self) -> None:
        (session,) = SimulatedConfig(subjects=("A",)).build(Path()).sessions()
        assert isinstance(session, ArrayRecording)
        n_bins = session.trials[0].stop
        self.video = session.frames.reshape(-1, n_bins, *session.frames.shape[2:])
        self.rates = np.asarray(session.rates, np.float64).reshape(len(self.video), n_bins, -1)
        self.counts = session.responses.astype(np.float32).reshape(self.rates.shape)
        self.behaviour = np.asarray(session.behaviour).reshape(len(self.video), n_bins, -1)
        self.truth = session.unit_truth
        self.trials = {
            split: np.array([index for index, trial in enumerate(session.trials) if trial.split == split])
            for split in ("train", "validation", "test")
        }
        self.null = self.counts[self.trials["train"], BURN_IN_BINS:].mean((0, 1)).astype(np.float64)

    def of_class(self, name: str) -> np.ndarray:
        return np.flatnonzero(np.array(self.truth["cell_class"]) == name)

    def bits_per_spike(self, rate: np.ndarray, truth: np.ndarray, null: np.ndarray | float) -> np.ndarray:
        """Expected score of a rate, per column."""
        gain = truth * np.log2(np.maximum(rate, 1e-9) / null) - (rate - null) / np.log(2)
        return gain.mean(0) / truth.mean(0)

    def local_features(self, unit: int, split: str) -> torch.Tensor:
        """The video around the unit's field through a causal temporal basis of 0.2 s, every fourth bin."""
        half = HALF_CROP_PX
        height, width = self.video.shape[2:]
        top = int(np.clip(round(self.truth["rf_row_px"][unit]) - half, 0, height - 2 * half))
        left = int(np.clip(round(self.truth["rf_column_px"][unit]) - half, 0, width - 2 * half))
        crop = self.video[self.trials[split], :, top : top + 2 * half, left : left + 2 * half]
        contrast = (crop.astype(np.float32) - 127) / 50
        basis = cosine_basis_over_time(8, 0.2, 240.0).astype(np.float32)
        first = BURN_IN_BINS + BINS_PER_SAMPLE // 2
        past = [lfilter(kernel, [1.0], contrast, axis=1)[:, first::BINS_PER_SAMPLE] for kernel in basis]
        return torch.from_numpy(np.stack(past, 2).astype(np.float32)).flatten(0, 1).flatten(1)

    def counts_around(self, unit: int, split: str) -> torch.Tensor:
        """Mean count of the four bins about each sample of `local_features`."""
        counts = self.counts[self.trials[split], BURN_IN_BINS:, unit]
        return torch.from_numpy(counts.reshape(len(counts), -1, BINS_PER_SAMPLE).mean(2).ravel())

    def true_rate(self, unit: int) -> np.ndarray:
        first = BURN_IN_BINS + BINS_PER_SAMPLE // 2
        return self.rates[self.trials["test"], first::BINS_PER_SAMPLE, unit].ravel()


def linear_nonlinear(task: Task, unit: int) -> float:
    """Ridge filter and fitted output nonlinearity; the penalty chosen on validation."""
    past = {split: task.local_features(unit, split) for split in task.trials}
    counts = {split: task.counts_around(unit, split) for split in ("train", "validation")}
    scale = past["train"].std(0) + 1e-6
    past = {split: features / scale for split, features in past.items()}
    gram = past["train"].T @ past["train"] / len(past["train"])
    cross = past["train"].T @ (counts["train"] - counts["train"].mean()) / len(past["train"])
    best = (-np.inf, 0.0)
    for penalty in (0.02, 0.1, 0.5, 2.0, 10.0):
        weights = torch.linalg.solve(gram + penalty * torch.eye(len(gram)), cross)
        drive = {split: (features @ weights).numpy() for split, features in past.items()}
        steps = np.concatenate([np.linspace(0, 0.9, 15), np.linspace(0.92, 1, 10)])
        edges = np.quantile(drive["train"], steps)[1:-1]
        bins = np.digitize(drive["train"], edges)
        used = np.unique(bins)
        centre = np.array([drive["train"][bins == index].mean() for index in used])
        level = np.array([counts["train"].numpy()[bins == index].mean() for index in used])
        log_level = np.log(np.maximum(level, 0.02 * task.null[unit]))
        rate = {split: np.exp(np.interp(values, centre, log_level)) for split, values in drive.items()}
        seen = counts["validation"].numpy()
        score = float((seen * np.log(rate["validation"]) - rate["validation"]).mean())
        bits = task.bits_per_spike(rate["test"], task.true_rate(unit), float(task.null[unit]))
        best = max(best, (score, float(bits)))
    return best[1]


def local_network(task: Task, unit: int) -> float:
    """A two-layer network on the same features: what this one unit's own data suffice for."""
    past = {split: task.local_features(unit, split) for split in task.trials}
    network = torch.nn.Sequential(
        torch.nn.Linear(past["train"].shape[1], 64),
        torch.nn.GELU(),
        torch.nn.Linear(64, 32),
        torch.nn.GELU(),
        torch.nn.Linear(32, 1),
    )
    counts = {split: task.counts_around(unit, split)[:, None] for split in ("train", "validation")}
    null = torch.tensor([task.null[unit]], dtype=torch.float32)
    rate = _fit(network, past, counts, null, n_epochs=6, noise=0.2)
    return float(task.bits_per_spike(rate[:, 0], task.true_rate(unit), float(task.null[unit])))


def behaviour_alone(task: Task) -> np.ndarray:
    """A two-layer network from the behavioural features to all units."""
    train = task.behaviour[task.trials["train"]].reshape(-1, task.behaviour.shape[2])
    mean, spread = train.mean(0), train.std(0)
    features, counts = {}, {}
    for split, trials in task.trials.items():
        shown = (task.behaviour[trials, BURN_IN_BINS:] - mean) / spread
        features[split] = torch.from_numpy(shown.reshape(-1, len(mean)).astype(np.float32))
        counts[split] = torch.from_numpy(
            task.counts[trials, BURN_IN_BINS:].reshape(len(shown[0]) * len(trials), -1)
        )
    n_units = task.counts.shape[2]
    network = torch.nn.Sequential(
        torch.nn.Linear(len(mean), 64), torch.nn.GELU(), torch.nn.Linear(64, n_units)
    )
    null = torch.from_numpy(task.null.astype(np.float32))
    rate = _fit(network, features, counts, null, n_epochs=4, noise=0.0)
    truth = task.rates[task.trials["test"], BURN_IN_BINS:].reshape(-1, n_units)
    return task.bits_per_spike(rate, truth, task.null)


def _fit(
    network: torch.nn.Sequential,
    features: dict[str, torch.Tensor],
    counts: dict[str, torch.Tensor],
    null: torch.Tensor,
    n_epochs: int,
    noise: float,
) -> np.ndarray:
    """Poisson fit; the test split's rates from the epoch that is best on validation."""
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.3)
    best, rate = -np.inf, np.empty(0)

    def predict(inputs: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.softplus(network(inputs) + 0.54) * null + 1e-5

    for _ in range(n_epochs):
        for batch in torch.randperm(len(features["train"])).split(512):
            inputs = features["train"][batch]
            expected = predict(inputs + noise * torch.randn_like(inputs))
            loss = ((expected - counts["train"][batch] * expected.log()) / null).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            expected = predict(features["validation"])
            score = float(((counts["validation"] * expected.log() - expected) / null).mean())
            if score > best:
                best, rate = score, predict(features["test"]).double().numpy()
    return rate


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--units-per-class", type=int, default=3)
    n_units = parser.parse_args().units_per_class
    torch.manual_seed(0)
    task = Task()
    truth = task.rates[task.trials["test"], BURN_IN_BINS:].reshape(-1, task.rates.shape[2])
    ceiling = task.bits_per_spike(truth, truth, truth.mean(0))
    mean_hz = truth.mean(0) * 240
    sys.stdout.write(
        f"mean rates {mean_hz.min():.1f} to {mean_hz.max():.1f} Hz; ceiling {ceiling.mean():.2f} bits/spike "
        f"(units {ceiling.min():.2f} to {ceiling.max():.2f})\n"
        f"behaviour alone: {behaviour_alone(task).mean() / ceiling.mean():.1%} of the ceiling\n"
    )
    totals = np.zeros(3)
    for name in CELL_CLASSES:
        units = task.of_class(name)[:n_units]
        scores = np.array(
            [(linear_nonlinear(task, u), local_network(task, u), float(ceiling[u])) for u in units]
        ).sum(0)
        totals += scores
        sys.stdout.write(
            f"{name:20} ceiling {scores[2] / len(units):.2f}; linear-nonlinear {scores[0] / scores[2]:.1%}; "
            f"local network {scores[1] / scores[2]:.1%}\n"
        )
        sys.stdout.flush()
    sys.stdout.write(
        f"{'all':20} linear-nonlinear {totals[0] / totals[2]:.1%}; local network {totals[1] / totals[2]:.1%}\n"
    )


if __name__ == "__main__":
    main()
