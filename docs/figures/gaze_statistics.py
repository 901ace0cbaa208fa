"""Draw gaze_statistics.png and print its table: simulated gaze beside recorded marmoset traces.

    python docs/figures/gaze_statistics.py EYE_TRACES.npz

The recorded traces hold `traces` (trials, samples, 2) in degrees at 120 Hz, padded, and `durations`.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from visioncore.simulation.gaze import GazeConfig, simulate_gaze
from visioncore.simulation.randomness import stream

RATE_HZ = 120.0
LAGS_S = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]) / RATE_HZ


def smoothed_velocity(trace: np.ndarray) -> np.ndarray:
    """Engbert & Kliegl's (2003) five-point velocity, which also averages the tracker's noise."""
    return (trace[4:] + trace[3:-1] - trace[1:-3] - trace[:-4]) * (RATE_HZ / 6)


def saccades(trace: np.ndarray) -> list[tuple[int, int, float, float]]:
    """(start, stop, amplitude, peak speed) where the speed leaves 6 robust standard deviations."""
    velocity = smoothed_velocity(trace)
    spread = np.sqrt(np.median(velocity**2, 0) - np.median(velocity, 0) ** 2)
    fast = ((velocity / (6 * np.maximum(spread, 1e-9))) ** 2).sum(1) > 1
    edges = np.flatnonzero(np.diff(np.concatenate([[0], fast.astype(int), [0]])))
    found = []
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if stop - start < 2:
            continue
        piece = trace[start : stop + 4]
        amplitude = float(np.hypot(*np.ptp(piece, 0)))
        found.append((start, stop + 4, amplitude, float(np.hypot(*velocity[start:stop].T).max())))
    return found


def statistics(traces: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Saccades, the drift between them, and the power of the whole trace."""
    amplitudes, peaks, drifts, speeds, powers = [], [], [], [], []
    for trace in traces:
        found = saccades(trace)
        amplitudes += [amplitude for _, _, amplitude, _ in found]
        peaks += [peak for _, _, _, peak in found]
        bounds = [0, *(edge for start, stop, _, _ in found for edge in (start, stop)), len(trace)]
        for start, stop in zip(bounds[::2], bounds[1::2], strict=True):
            if stop - start >= 12:
                drifts.append(trace[start:stop])
                speeds.append(np.hypot(*smoothed_velocity(trace[start:stop]).T))
        for start in range(0, len(trace) - 127, 128):
            piece = trace[start : start + 128]
            spectrum = np.abs(np.fft.rfft((piece - piece.mean(0)) * np.hanning(128)[:, None], axis=0)) ** 2
            powers.append(spectrum.mean(1) / (RATE_HZ * np.square(np.hanning(128)).sum()))
    displacement = [
        np.concatenate([np.square(d[lag:] - d[:-lag]).sum(1) for d in drifts if len(d) > lag]).mean()
        for lag in np.rint(LAGS_S * RATE_HZ).astype(int)
    ]
    seconds = sum(len(trace) for trace in traces) / RATE_HZ
    return {
        "amplitude": np.array(amplitudes),
        "peak": np.array(peaks),
        "drift_speed": np.concatenate(speeds),
        "displacement": np.array(displacement),
        "power": np.mean(powers, 0),
        "rate": np.array(len(amplitudes) / seconds),
    }


def median_peak(values: dict[str, np.ndarray], smallest_deg: float, largest_deg: float) -> float:
    """Median peak speed of the saccades between two amplitudes."""
    inside = (values["amplitude"] > smallest_deg) & (values["amplitude"] < largest_deg)
    return float(np.median(values["peak"][inside]))


def simulated(n_trials: int, noise_deg: float) -> list[np.ndarray]:
    """Trials of the default gaze at the recording's rate, with its tracker noise when asked for."""
    traces = []
    for trial in range(n_trials):
        generator = stream(0, "gaze figure", trial)
        trace = simulate_gaze(GazeConfig(), 960, 240.0, generator)[::2]
        traces.append(trace + generator.normal(0, noise_deg, trace.shape))
    return traces


def main() -> None:
    """Read the traces, draw the figure beside this file, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("traces", type=Path)
    data = np.load(parser.parse_args().traces)
    recorded = [trace[:n].astype(float) for trace, n in zip(data["traces"], data["durations"], strict=True)]
    frequency_hz = np.fft.rfftfreq(128, 1 / RATE_HZ)
    # Over two samples the eye has hardly drifted: what differs is the noise of two samples on two axes.
    noise_deg = float(np.sqrt(statistics(recorded)["displacement"][1] / 4))
    sets = {
        "recorded (fixation)": statistics(recorded),
        "simulated": statistics(simulated(400, 0.0)),
        "simulated + tracker noise": statistics(simulated(400, noise_deg)),
    }

    figure, axes = plt.subplots(2, 2, figsize=(9, 7))
    for (name, values), colour in zip(sets.items(), ("black", "tab:blue", "tab:orange"), strict=True):
        axes[0, 0].loglog(LAGS_S * 1e3, values["displacement"], "o-", ms=3, color=colour, label=name)
        axes[0, 1].loglog(frequency_hz[1:], values["power"][1:], color=colour, label=name)
        axes[1, 0].loglog(values["amplitude"], values["peak"], ".", ms=2, alpha=0.4, color=colour)
        axes[1, 1].hist(
            values["amplitude"], np.geomspace(0.05, 6, 40), histtype="step", density=True, color=colour
        )
    axes[0, 0].set(
        xlabel="lag (ms)", ylabel="mean squared displacement (deg²)", title="drift between saccades"
    )
    axes[0, 1].set(xlabel="frequency (Hz)", ylabel="power (deg²/Hz)", title="whole traces")
    axes[1, 0].set(xlabel="amplitude (deg)", ylabel="peak speed (deg/s)", title="main sequence")
    axes[1, 1].set(xlabel="amplitude (deg)", ylabel="density", xscale="log", title="saccade amplitudes")
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)

    lines = [f"tracker noise: {noise_deg:.4f} deg per axis", f"{'':38}" + "".join(f"{n:>27}" for n in sets)]
    rows: dict[str, Callable[[dict[str, np.ndarray]], float]] = {
        "saccades per second": lambda s: float(s["rate"]),
        "median amplitude (deg)": lambda s: float(np.median(s["amplitude"])),
        "median peak speed, 0.3-0.6 deg (deg/s)": lambda s: median_peak(s, 0.3, 0.6),
        "median peak speed, 0.6-1.2 deg (deg/s)": lambda s: median_peak(s, 0.6, 1.2),
        "median drift speed (deg/s)": lambda s: float(np.median(s["drift_speed"])),
        "drift: r.m.s. displacement, 100 ms": lambda s: float(np.sqrt(s["displacement"][6])),
        "drift: r.m.s. displacement, 400 ms": lambda s: float(np.sqrt(s["displacement"][10])),
    }
    lines += [
        f"{name:38}" + "".join(f"{of(values):27.3f}" for values in sets.values()) for name, of in rows.items()
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
