"""Small files such as the tutorials speak of, under the names that their pages give them.

Units follow a pixel each, two frames late, so that what is read in another order is not predicted.
"""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pynwb
from pynwb.base import TimeSeries

from array_writers import save_in_matlab
from experanto_folders import SHOWN, tarred, write_experiment
from mice import N_UNITS, padded, save, write_images, write_mouse, zipped
from nwb_files import add_spikes, screen, series, spikes_of, table, template, write
from pages import ROOT, code_blocks
from video_files import write as write_film

HEIGHT, WIDTH, UNITS, LATE = 9, 12, 4, 2


def film(n: int, seed: int = 0) -> np.ndarray:
    """(time, rows, columns)."""
    return screen(n, seed, HEIGHT, WIDTH)


def followed(video: np.ndarray) -> np.ndarray:
    """(time, units): whether the pixel of each unit was bright two frames before."""
    pixels = np.stack([video[:, 2 + k, 3 + 2 * k] for k in range(UNITS)], axis=1)
    return np.roll(pixels, LATE, axis=0) > 140


def counts_of(video: np.ndarray, seed: int = 1) -> np.ndarray:
    """(time, units)."""
    return np.random.default_rng(seed).poisson(np.where(followed(video), 0.7, 0.05))


def traces_of(video: np.ndarray, seed: int = 1) -> np.ndarray:
    """(time, units)."""
    return followed(video) + 0.2 * np.random.default_rng(seed).gamma(1.0, 1.0, (len(video), UNITS))


def write_mat(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """As MATLAB's save -v7.3; `arrays` with axes as MATLAB shows them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            save_in_matlab(file, name, array)
    with path.open("r+b") as raw:
        raw.write(
            b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 12:00:00 2024 HDF5 schema 1.00 ."
        )


# --- One for each page --------------------------------------------------------------------------------------------


def write_nwb(folder: Path) -> None:
    """Two films in tables, as the Allen Institute has them: pictures in a second file, running and a pupil."""
    one, three, hz = film(600, 1), film(900, 3), 30.0
    shown = [
        ("natural_movie_one", one, 5.0),
        ("natural_movie_three", three, 26.0),
        ("natural_movie_one", one, 57.0),
    ]

    def fill(nwb: pynwb.NWBFile) -> None:
        starts, counts = [], []
        rows: dict[str, dict[str, list[Any]]] = {}
        for block, (name, pictures, begin_s) in enumerate(shown):
            start_s = begin_s + np.arange(len(pictures)) / hz
            own = rows.setdefault(name, {"start": [], "frame": [], "stimulus_block": [], "stimulus_name": []})
            own["start"] += start_s.tolist()
            own["frame"] += np.arange(float(len(pictures))).tolist()
            own["stimulus_block"] += [float(block)] * len(pictures)
            own["stimulus_name"] += [name] * len(pictures)
            starts.append(start_s)
            counts.append(counts_of(pictures, block))
        for name, own in rows.items():
            start_s = np.array(own.pop("start"))
            nwb.add_time_intervals(table(f"{name}_presentations", start_s, start_s + 1 / hz, **own))
        begin = np.concatenate(starts)
        quality: dict[str, Any] = {
            "presence_ratio": [1.0] * 3 + [0.5],
            "isi_violations": [0.1] * 4,
            "amplitude_cutoff": [0.01] * 4,
        }
        add_spikes(nwb, spikes_of(np.concatenate(counts), begin, begin + 1 / hz), **quality)
        times_s = 4.0 + np.arange(80 * 60) / 60
        rng = np.random.default_rng(9)
        running = nwb.create_processing_module("running", "how fast")
        running.add(series("running_speed", rng.gamma(1, 2, len(times_s)), times_s, unit="cm/s"))
        eye = nwb.create_processing_module("pupil_tracking", "the eye")
        eye.add(series("area", rng.gamma(9, 2, len(times_s)), times_s))
        eye.add(TimeSeries(name="likely_blink", data=times_s % 13 < 0.2, timestamps=times_s, unit="n.a."))

    def pictures(nwb: pynwb.NWBFile) -> None:
        nwb.add_stimulus_template(template("natural_movie_one", one))
        nwb.add_stimulus_template(template("natural_movie_three", three))

    write(folder / "session.nwb", fill)
    write(folder / "session_image.nwb", pictures)


def write_phy(folder: Path) -> None:
    """Kilosort's folder, pulses on two clocks, flips, a film, gaze and trials, all in FOLDER."""
    lab, hz, n = folder / "FOLDER", 59.94, 2400
    pictures = np.random.default_rng(0).integers(0, 256, (n, 16, 24), dtype=np.uint8)
    flips_s = 3.0 + np.arange(n) / hz
    starts = np.arange(0, n, 300)
    counts = counts_of(pictures)
    ephys_s = 1.00002 * (flips_s + 0.008) + 11.0
    times = spikes_of(counts, ephys_s, ephys_s + 1 / hz)
    labels = np.repeat(np.arange(UNITS), [len(own) for own in times])
    order = np.argsort(np.concatenate(times), kind="stable")
    save(
        lab / "ks4/spike_times.npy",
        np.round(np.concatenate(times)[order] * 30_000).astype(np.uint64)[:, None],
    )
    save(lab / "ks4/spike_clusters.npy", labels[order].astype(np.int32)[:, None])
    (lab / "ks4/params.py").write_text("dat_path = r'raw.bin'\nsample_rate = 30000.\n")
    (lab / "ks4/cluster_group.tsv").write_text("cluster_id\tgroup\n0\tgood\n1\tgood\n2\tmua\n3\tgood\n")
    pulses_s = np.arange(0.0, 130.0, 1.0)
    save(lab / "ttl_display.npy", pulses_s)
    save(lab / "ttl_ephys.npy", 1.00002 * pulses_s + 11.0)
    save(lab / "flips.npy", flips_s)
    save(lab / "frame_ids.npy", np.arange(n))
    save(lab / "eye_t.npy", flips_s)
    save(lab / "eye_xy.npy", np.cumsum(np.random.default_rng(3).normal(0, 0.01, (n, 2)), axis=0))
    save(lab / "eye_valid.npy", np.arange(n) % 2000 > 30)
    rows = "\n".join(f"{flips_s[start] - 1e-3},{flips_s[start] - 1e-3 + 300 / hz}" for start in starts)
    (lab / "trials.csv").write_text(f"start_s,stop_s\n{rows}\n")
    write_film(lab / "movie.mp4", pictures, "libx264", "gray", {"crf": "0", "preset": "ultrafast"})


def write_checkerboard(folder: Path) -> None:
    """A checkerboard of ran1 with a trigger every 50 frames, all in FOLDER."""
    from visioncore.data.sources.checkerboard import Checkerboard, CheckerboardConfig

    lab, n_triggers = folder / "FOLDER", 60
    hz = 59.9417 / 2
    n = 50 * n_triggers
    board = Checkerboard(CheckerboardConfig(name="ran1", seed=10000, rows=12, columns=18))
    pictures = board.read(np.arange(n))[:, 0]
    start_s = 7.0 + np.arange(n) / hz
    times = spikes_of(counts_of(pictures), start_s, start_s + 1 / hz)
    labels = np.repeat(np.arange(UNITS), [len(own) for own in times])
    order = np.argsort(np.concatenate(times), kind="stable")
    save(lab / "spike_times_s.npy", np.concatenate(times)[order])
    save(lab / "spike_cells.npy", labels[order])
    save(lab / "triggers_s.npy", start_s[::50])


def write_sensorium(folder: Path) -> None:
    """A mouse of 2023 as a zip, whose neurons follow the film."""
    root = write_mouse(folder, ["train"] * 20 + ["oracle"] * 6 + ["live_test_main"] * 4 + ["none"])
    for path in sorted((root / "data/videos").iterdir()):
        shown = np.load(path)
        n = int(np.isfinite(shown[0, 0]).sum())
        bright = (
            np.roll(np.stack([shown[1 + k % 2, 1 + k, :n] for k in range(N_UNITS - 1)]), LATE, axis=1) > 140
        )
        rng = np.random.default_rng(int(path.stem))
        answers = np.concatenate([bright, bright[:1]]) + 0.2 * rng.gamma(1.0, 1.0, (N_UNITS, n))
        save(root / "data/responses" / path.name, padded(answers))
    zipped(root)


def write_sensorium_images(folder: Path) -> None:
    """A mouse of 2022, as a folder."""
    root = write_images(folder, 80)
    for path in sorted((root / "data/responses").iterdir()):
        shown = np.load(root / "data/images" / path.name)[0]
        rng = np.random.default_rng(int(path.stem))
        save(path, shown[1, 1:4] / 128 + 0.1 * rng.gamma(1.0, 1.0, 3))


def write_experanto(folder: Path) -> None:
    """A tar of one experiment."""
    root = write_experiment(folder, "mouse17_session4", [*SHOWN * 3, *[("video", 60, "train")] * 6], 4)
    tarred(root)
    shutil.rmtree(root)


def write_matlab(folder: Path) -> None:
    """As the page's own lines of MATLAB save it."""
    video = film(3600)
    arrays = {
        "stim": video.transpose(1, 2, 0),
        "spikes": counts_of(video).T.astype(float),
        "valid": (np.arange(3600) % 1000 > 20)[None],
        "starts": 1.0 + np.arange(0, 3600, 300)[None],
        "names": np.array([f"u{k}" for k in range(UNITS)]),
    }
    write_mat(folder / "mouse1.mat", arrays)


def write_open_retina(folder: Path) -> None:
    """Two sessions that share their stimuli, of two channels."""
    lengths = {"chirp_test": 300, **{f"mov_{k}": 300 for k in range(6)}}
    for seed, (name, n) in enumerate(lengths.items()):
        shown = film(n, seed)
        save(folder / f"my_retina/stimuli/{name}.npy", np.stack([shown, 255 - shown]).astype(np.float32))
        for day in (1, 2):
            with h5py.File(folder / f"my_retina/day{day}.h5", "a") as file:
                file[f"responses_{name}"] = traces_of(shown, 10 * seed + day).T.astype(np.float32)


def write_baccus(folder: Path) -> None:
    """Six films joined for training, and single repeats of a test, at 100 Hz."""
    train, test = film(3600), film(300, 1)
    path = folder / "15-10-07/naturalscene.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        for part, shown in (("train", train), ("test", test)):
            file[f"{part}/stimulus"] = shown
            file[f"{part}/time"] = 20 + np.arange(len(shown)) / 100
        file["train/response/binned"] = counts_of(train).T.astype(float)
        repeats = np.stack([counts_of(test, 20 + k) for k in range(4)])
        file["test/response/binned"] = repeats.mean(axis=0).T
        for cell in range(UNITS):
            file[f"test/repeats/cell{cell + 1}"] = repeats[:, :, cell].astype(float)


def write_fixations(folder: Path) -> None:
    """Jumps over two images: blocks of the running movie, and a frozen one shown four times, at 75 Hz."""
    rng = np.random.default_rng(0)
    blocks, n, frozen, trials = 6, 240, 150, 4
    coarse = {"running": rng.integers(0, 256, (30, 40, 2)), "frozen": rng.integers(0, 256, (30, 40, 3))}
    images = {part: np.kron(own, np.ones((40, 40, 1))).astype(np.uint8) for part, own in coarse.items()}

    def fixations(frames: int, of: int) -> np.ndarray:
        jumps = rng.permuted(np.tile(np.arange(frames // 15), (3, 1)), axis=1)
        image = 1 + jumps[0] % of
        return np.repeat(np.stack([image, 400 + 40 * jumps[1], 320 + 40 * jumps[2]]), 15, axis=1)

    def counts(part: str, jumps: np.ndarray) -> np.ndarray:
        image, x, y = jumps
        bright = np.stack([images[part][y + 20 + 40 * k, x + 20 + 40 * k, image - 1] for k in range(UNITS)])
        return rng.poisson(np.where(np.roll(bright, LATE, axis=1) > 140, 0.9, 0.05)).astype(float)

    running = [fixations(n, 2) for _ in range(blocks)]
    shown = fixations(frozen, 3)
    arrays = {
        "runningbin": np.stack([counts("running", own) for own in running], axis=2),
        "frozenbin": np.stack([counts("frozen", shown) for _ in range(trials)], axis=2),
        "runningImages": images["running"],
        "frozenImages": images["frozen"],
        "runningfixations": np.stack(running, axis=2).astype(float),
        "frozenfixations": shown.astype(float),
    }
    write_mat(folder / "day1_fixationmovie_data.mat", arrays)


def run_notebook(folder: Path) -> None:
    """The notebook's own first cell."""
    page = ROOT / "docs" / "tutorials" / "notebook.md"
    with contextlib.chdir(folder):
        exec(compile(code_blocks(page, "python")[0], str(page), "exec"), {})
