"""Whatever is broken among the files of a lab is told in one message that names file and field."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from event_files import LABELS, ONSETS, SPIKES_S, N, Raw, make_lab, opened
from visioncore.errors import VisionCoreError

Spoil = Callable[[Path], Any]
INDEXED: Raw = {"frames": {"times_s": "flips.npy", "index": "i.npy"}}
TRIGGERED: Raw = {"frames": {"times_s": "flips.npy", "frames_per_trigger": 50}}
LOOSE: Raw = {"spikes": {"times": "t.npy", "clusters": "c.npy"}}


def save(name: str, array: np.ndarray) -> Spoil:
    return lambda folder: np.save(folder / name, array)


def text(name: str, content: str) -> Spoil:
    return lambda folder: (folder / name).write_text(content)


def both(*spoilt: Spoil) -> Spoil:
    return lambda folder: [one(folder) for one in spoilt]


def gone(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def _pickled(path: Path) -> None:
    np.save(path, np.array([[1, 2], [3]], dtype=object), allow_pickle=True)


BROKEN: dict[str, tuple[Callable[[Path], Any], Raw, str]] = {
    # name: (what is spoilt, changes of the session, the message)
    "no folder": (
        lambda d: None,
        {"spikes": {"phy": "ks5"}},
        r"spikes\.phy \(ks5\): there is no such folder",
    ),
    "no spikes": (gone("ks4/spike_times.npy"), {}, r"spikes\.phy \(ks4\): holds neither spike_times"),
    "no clusters": (gone("ks4/spike_clusters.npy"), {}, r"spike_clusters\.npy\): there is no such file"),
    "pickled times": (
        lambda d: _pickled(d / "ks4/spike_times.npy"),
        {},
        r"spike_times\.npy\): holds pickled Python objects",
    ),
    "pickled flips": (
        lambda d: _pickled(d / "flips.npy"),
        {},
        r"frames\.times_s \(flips\.npy\): holds pickled",
    ),
    "pickled film": (lambda d: _pickled(d / "film.npy"), {}, r"video\.path \(film\.npy\): .*pickled"),
    "cut array": (
        lambda d: (d / "flips.npy").write_bytes((d / "flips.npy").read_bytes()[:900]),
        {},
        r"frames\.times_s \(flips\.npy\): is damaged",
    ),
    "no rate": (text("ks4/params.py", "n_channels_dat = 3"), {}, r"params\.py: sample_rate is None"),
    "rate to be run": (
        text("ks4/params.py", "sample_rate = int('30000')"),
        {},
        r"params\.py: sample_rate is \"int\('30000'\)\"; expected a plain number",
    ),
    "no python": (text("ks4/params.py", "sample_rate = = 3"), {}, r"params\.py: cannot be parsed"),
    "no params": (gone("ks4/params.py"), {}, r"has no params\.py.*sample_rate_hz"),
    "no such group": (
        lambda d: None,
        {"spikes": {"phy": "ks4", "groups": ["great"]}},
        r"no cluster of group great; there are good \(2\), mua \(1\)",
    ),
    "a cluster twice": (
        text("ks4/cluster_group.tsv", "cluster_id\tgroup\n2\ta\n2\tb\n"),
        {},
        r"cluster_group\.tsv\): cluster 2 appears twice",
    ),
    "ragged table": (
        text("ks4/cluster_group.tsv", "cluster_id\tgroup\n2\n"),
        {},
        r"cluster_group\.tsv\): row 1 has 1 entries for 2 columns",
    ),
    "one time short": (
        save("flips.npy", ONSETS[:-1]),
        {},
        r"frames\.times_s \(flips\.npy\): 1199 times of frames, and the film has 1200",
    ),
    "times go back": (
        save("flips.npy", np.r_[ONSETS[:600], ONSETS[600:] - 5]),
        {},
        r"flips\.npy.*jump back by 4.98",
    ),
    "NaN": (
        save("flips.npy", np.where(np.arange(N) == 7, np.nan, ONSETS)),
        {},
        r"flips\.npy.*NaN or infinite, the first is number 7",
    ),
    "float32": (
        save("flips.npy", (ONSETS + 5000).astype(np.float32)),
        {},
        r"flips\.npy\): times are float32",
    ),
    "starts and ends": (
        save("flips.npy", np.stack([ONSETS, ONSETS])),
        {},
        r"flips\.npy\): has shape \(2, 1200\).*starts and ends",
    ),
    "spikes as samples": (
        both(save("t.npy", np.round(SPIKES_S * 3e4)), save("c.npy", LABELS)),
        LOOSE,
        r"spikes\.times \(t\.npy\).*whole numbers, as sample numbers are",
    ),
    "spikes elsewhere": (
        both(save("t.npy", SPIKES_S + 900), save("c.npy", LABELS)),
        LOOSE,
        r"spikes\.times \(t\.npy\): 0 of",
    ),
    "seconds as samples": (
        save("ks4/spike_times.npy", SPIKES_S),
        {},
        r"spike_times\.npy: spike 0 is at .*are these seconds",
    ),
    "index too high": (
        save("i.npy", np.arange(N) + 1),
        INDEXED,
        r"frames\.index \(i\.npy\): names picture 1200 .*index_starts_at: 1",
    ),
    "index short": (
        save("i.npy", np.arange(N - 1)),
        INDEXED,
        r"1200 times, and frames\.index \(i\.npy\) has 1199",
    ),
    "a doubled flip": (
        save("flips.npy", np.sort(np.r_[ONSETS, ONSETS[50] + 0.001])),
        {},
        r"flips\.npy\): 1 times come too soon after the one before.*number 51",
    ),
    "other pulses": (
        save("flips.npy", np.r_[np.arange(8.0), np.arange(8.0, 24.0) - 0.6]),
        TRIGGERED,
        r"trigger 8 \(7\.40+ s\) comes 0\.4 s after the one before",
    ),
    "film too short": (
        save("flips.npy", ONSETS[::20]),
        TRIGGERED,
        r"flips\.npy\): triggers of 3000 frames \(50 each\), and the film has 1200",
    ),
    "no trial here": (
        text("t.csv", "start_s,stop_s\n900,901\n"),
        {"trials": "t.csv"},
        r"trials \(t\.csv\): no trial has a frame",
    ),
    "no stop": (
        text("t.csv", "start_s,end\n9,10\n"),
        {"trials": "t.csv"},
        r"trials \(t\.csv\): has no column stop_s; it has start_s, end",
    ),
    "unknown split": (
        text("t.csv", "start_s,stop_s,split\n4,10,oracle\n"),
        {"trials": "t.csv"},
        r"trials \(t\.csv\), split: row 0 has 'oracle'",
    ),
    "trial backwards": (
        text("t.csv", "start_s,stop_s\n9,4\n"),
        {"trials": "t.csv"},
        r"trials \(t\.csv\): interval 0 runs from 9",
    ),
    "no such array": (
        lambda d: savemat(d / "t.mat", {"a": ONSETS}),
        {"frames": {"times_s": "t.mat:b"}},
        r"frames\.times_s \(t\.mat\): has no array 'b'; it holds a",
    ),
    "several arrays": (
        lambda d: savemat(d / "t.mat", {"a": ONSETS, "b": 1}),
        {"frames": {"times_s": "t.mat"}},
        r"frames\.times_s \(t\.mat\): holds 2 arrays \(a, b\); name one",
    ),
    "words": (
        text("t.txt", "1\ntwo\n"),
        {"frames": {"times_s": "t.txt"}},
        r"frames\.times_s \(t\.txt\): row 1 holds 'two'",
    ),
    "four axes": (
        save("film.npy", np.zeros((N, 4, 5, 6), np.uint8)),
        {},
        r"video\.path \(film\.npy\): has shape \(1200, 4, 5, 6\).*axes",
    ),
    "gaze short": (
        both(save("g.npy", np.zeros((90, 2))), save("gt.npy", ONSETS)),
        {"gaze": {"times_s": "gt.npy", "xy_deg": "g.npy"}},
        r"gaze\.times_s \(gt\.npy\): 90 samples, but 1200 timestamps",
    ),
    "two ways": (
        lambda d: None,
        {"spikes": {"phy": "ks4", "times": "t.npy", "clusters": "c.npy"}},
        r"either phy \(a folder\), or times and clusters",
    ),
    "no film": (lambda d: None, {"video": {}}, r"either a path or a generator"),
    "a pickle": (
        lambda d: (d / "s.pkl").write_bytes(b"\x80\x04."),
        {"spikes": {"times": "s.pkl", "clusters": "s.pkl"}},
        r"spikes\.times \(s\.pkl\): files '\.pkl' are not read here",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_one_message(tmp_path: Path, name: str) -> None:
    spoil, changes, message = BROKEN[name]
    lab = make_lab(tmp_path)
    spoil(lab)
    with pytest.raises(VisionCoreError, match=message):
        opened(lab, **changes)
