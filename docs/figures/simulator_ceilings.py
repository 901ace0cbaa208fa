"""Print what the truth behind prepared simulated recordings scores on their test split.

    python docs/figures/simulator_ceilings.py experiments/data_configs/white_noise_small.yaml ...

Counts: expected bits/spike of the true rates, which has no noise of single spikes, over the training mean. Traces:
correlation of the expected trace with the recorded one.
"""

import sys
from pathlib import Path

import numpy as np

from visioncore import metrics
from visioncore.data import load_data_config, prepare
from visioncore.data.store import RecordingStore, SessionStore


def ceilings(store: RecordingStore, session: SessionStore) -> np.ndarray:
    """The truth's score, per unit."""
    pieces = [(b.start + store.burn_in_bins, b.stop) for b in session.blocks_in("test")]
    pieces = [(start, stop) for start, stop in pieces if start < stop]
    truth = np.concatenate([_rates(session, *piece) for piece in pieces])
    if store.spec.response_kind == "trace":
        recorded = np.concatenate([session.responses(*piece) for piece in pieces])
        return metrics.correlation(truth, recorded)[0]
    # Linear in the counts, so that their expectation in their place gives the expected score.
    return metrics.bits_per_spike(truth, truth, session.train_mean)


def _rates(session: SessionStore, start: int, stop: int) -> np.ndarray:
    rates = session.rates(start, stop)
    if rates is None:
        raise SystemExit(f"session '{session.id}': the truth is not known")
    return rates.astype(np.float64)


def main() -> None:
    """Measure and print."""
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    for path in map(Path, sys.argv[1:]):
        store = prepare(load_data_config(path), path.parent)
        counts = store.spec.response_kind == "counts"
        by_class: dict[str, list[float]] = {}
        means: list[float] = []
        for session in store.sessions.values():
            means += (session.train_mean * (store.spec.rate_hz if counts else 1)).tolist()
            values = ceilings(store, session).tolist()
            for name, value in zip(session.unit_truth["cell_class"], values, strict=True):
                by_class.setdefault(name, []).append(value)
        together = np.concatenate(list(by_class.values()))
        sys.stdout.write(
            f"{path.stem}: {len(together)} units, ceiling {together.mean():.2f} "
            f"{'bits/spike' if counts else 'correlation'} ({together.min():.2f} to {together.max():.2f}); "
            f"training means {min(means):.3g} to {max(means):.3g}{' Hz' if counts else ''}\n"
        )
        for name, own in by_class.items():
            sys.stdout.write(f"    {name:20} {len(own):3} units, {np.mean(own):.2f}\n")


if __name__ == "__main__":
    main()
