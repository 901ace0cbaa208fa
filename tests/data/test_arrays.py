"""The arrays format: what it accepts, and that a mistake is named with session, key and remedy."""

import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from visioncore.config import dump_config
from visioncore.data import DataConfig, build_data_config, load_data_config, prepare
from visioncore.errors import DataError, VisionCoreError
from visioncore.model.adapters import Adapter

N_BINS = 2400
N_UNITS = 3
Prepared = Callable[..., tuple[DataConfig, Path]]

_COUNTS = np.ones((N_BINS, N_UNITS), np.int64)
_VIDEO = np.random.default_rng(0).integers(0, 256, (N_BINS, 5, 7), dtype=np.uint8)
_STARTS = np.arange(0, N_BINS, 240)
_REPEATED = np.tile(_VIDEO[:240], (10, 1, 1))


def _with(array: np.ndarray, index: Any, value: float) -> np.ndarray:
    changed = array.copy()
    changed[index] = value
    return changed


_FLOAT_VIDEO = _VIDEO.astype(np.float32)
_ALL_VALID = np.ones(N_BINS, bool)

MISTAKES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    # name: (changed arrays, changed session keys, what the message must match besides the session)
    "video with five axes": (
        {"stim": _VIDEO[None, None]},
        {},
        r"'stim'.*\(1, 1, 2400, 5, 7\).*\(time, height",
    ),
    "video with channels last": (
        {"stim": np.zeros((N_BINS, 5, 7, 3), np.uint8)},
        {},
        "'stim'.*channels last",
    ),
    "video of integers": ({"stim": _VIDEO.astype(np.int32)}, {}, "'stim'.*int32.*uint8.*float"),
    "video of another length": ({"stim": _VIDEO[:-1]}, {}, "'stim'.*2399 video frames but 2400.*'spikes'"),
    "video without frames": ({"stim": _VIDEO[:0]}, {}, "'stim'.*empty"),
    "a video frame of NaN": (
        {"stim": _with(_FLOAT_VIDEO, 77, np.nan), "ok": _ALL_VALID},
        {},
        "'stim'.*bin 77",
    ),
    "responses of one axis": ({"spikes": _COUNTS[:, 0]}, {}, r"'spikes'.*\(2400,\).*\(time, units\)"),
    "an empty session": ({"spikes": _COUNTS[:0]}, {}, r"'spikes'.*\(0, 3\).*at least one bin"),
    "no units": ({"spikes": _COUNTS[:, :0]}, {}, "'spikes'.*at least one bin and one unit"),
    "negative counts": (
        {"spikes": _with(_COUNTS, (5, 1), -2), "ok": _ALL_VALID},
        {},
        "'spikes'.*negative.*-2 at",
    ),
    "fractional counts": (
        {"spikes": _with(_COUNTS.astype(float), (9, 2), 0.5), "ok": _ALL_VALID},
        {},
        "'spikes'.*not whole.*0.5 at bin 9.*response_kind: trace",
    ),
    "NaN in a valid bin": (
        {"spikes": _with(_COUNTS.astype(float), (9, 2), np.nan), "ok": _ALL_VALID},
        {},
        "'spikes'.*NaN.*bin 9, column 2.*valid",
    ),
    "complex responses": ({"spikes": _COUNTS.astype(complex)}, {}, "'spikes'.*complex128"),
    "behaviour of another length": (
        {"eye": np.zeros((N_BINS + 1, 2))},
        {},
        r"'eye'.*\(2401, 2\).*\(2400, 2\)",
    ),
    "behaviour of one axis": ({"eye": np.zeros(N_BINS)}, {}, r"'eye'.*\(2400,\).*\(time, signals\)"),
    "behaviour with a name missing": ({}, {"behaviour_names": ["x"]}, "'eye'.*2 signals.*lists 1"),
    "behaviour with a name twice": ({}, {"behaviour_names": ["x", "x"]}, "'eye'.*twice"),
    "names without behaviour": ({}, {"behaviour": None}, "behaviour_names but no behaviour"),
    "infinite behaviour": (
        {"eye": _with(np.zeros((N_BINS, 2)), (3, 1), np.inf), "ok": _ALL_VALID},
        {},
        "'eye'.*bin 3",
    ),
    "valid of another shape": (
        {"ok": np.ones((N_BINS, 2), bool)},
        {},
        r"'ok'.*\(2400, 2\).*\(2400,\) or \(2400, 3\)",
    ),
    "valid of numbers": ({"ok": np.full(N_BINS, 0.5)}, {}, "'ok'.*float64.*bool"),
    "nothing valid": ({"ok": np.zeros(N_BINS, bool)}, {}, "'ok'.*no bin is valid"),
    "too few unit ids": ({"ids": np.arange(2)}, {}, "'ids'.*2 unit ids for 3 units"),
    "a unit id twice": ({"ids": np.array(["u", "v", "u"])}, {}, "'ids'.*'u' appears 2 times"),
    "an empty unit id": ({"ids": np.array(["u", "v", ""])}, {}, "'ids'.*1 unit ids are empty"),
    "objects as unit ids": ({"ids": np.array([1, "v", None], dtype=object)}, {}, "'ids'.*Python objects"),
    "rates of another shape": ({"truth": np.ones((N_BINS, 2))}, {}, r"'truth'.*\(2400, 2\)"),
    "negative rates": ({"truth": np.full((N_BINS, 3), -0.1)}, {}, "'truth'.*-0.1"),
    "a missing key": ({}, {"video": "stimm"}, "no key 'stimm'; did you mean 'stim'.*eye, ids, ok"),
    "a missing file": ({}, {"path": "onee.npz"}, "no such file.*did you mean 'one.npz'"),
    "trials given twice": ({"s": _STARTS}, {"trial_start": "s", "trial": "s"}, "both trial_start and trial"),
    "a trial start outside": (
        {"s": np.array([0, 2400])},
        {"trial_start": "s"},
        "'s'.*2400 is outside.*0 to 2399",
    ),
    "edges as trial starts": (
        {"s": np.append(_STARTS, N_BINS)},
        {"trial_start": "s"},
        "'s'.*2400 is outside.*end of the last trial",
    ),
    "a negative trial start": ({"s": np.array([-1, 5])}, {"trial_start": "s"}, "'s'.*-1 is outside"),
    "trial starts going back": (
        {"s": np.array([0, 500, 400])},
        {"trial_start": "s"},
        "'s'.*trial 1 .*500.*400",
    ),
    "trial starts of fractions": (
        {"s": np.array([0.5])},
        {"trial_start": "s"},
        "'s'.*whole numbers.*float64",
    ),
    "a label too few": ({"t": np.zeros(9, int)}, {"trial": "t"}, "'t'.*9 labels for 2400 bins"),
    "a label that comes back": (
        {"t": np.repeat([4, 5, 4], 800)},
        {"trial": "t"},
        "'t'.*'4' ended at bin 800 and comes back at bin 1600",
    ),
    "no trial at all": ({"t": np.full(N_BINS, -1)}, {"trial": "t"}, "'t'.*no bin belongs to a trial"),
    "an unknown split": (
        {"s": _STARTS, "p": np.array(["train"] * 9 + ["testing"])},
        {"trial_start": "s", "split": "p"},
        "'p'.*trial 9.*'testing'.*train | validation | test",
    ),
    "a split too few": (
        {"s": _STARTS, "p": np.array(["train"] * 9)},
        {"trial_start": "s", "split": "p"},
        "'p'.*9.*10",
    ),
    "fractional stimulus ids": (
        {"s": _STARTS, "i": np.linspace(0, 1, 10)},
        {"trial_start": "s", "stimulus_id": "i"},
        "'i'.*not whole",
    ),
    "equal ids, different video": (
        {
            "stim": _with(_REPEATED, np.s_[500:540, 2, 2], 9),
            "s": _STARTS,
            "i": np.array([0, 1, 0, *range(2, 9)]),
        },
        {"trial_start": "s", "stimulus_id": "i"},
        "stimulus_id '0' names different videos: bins 20 and 500",
    ),
    "a stimulus in two given splits": (
        {
            "stim": _REPEATED,
            "s": _STARTS,
            "i": np.array([0] * 2 + [1] * 8),
            "p": np.array(["train", "test"] * 5),
        },
        {"trial_start": "s", "stimulus_id": "i", "split": "p"},
        r"bins 0 to 240 \(train\).*bins 240 to 480 \(test\) share stimulus_id '0'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_names_the_session_the_key_and_what_was_found(mistake: str, one_session: Prepared) -> None:
    arrays, session, expected = MISTAKES[mistake]
    with pytest.raises(DataError) as caught:
        prepare(*one_session(arrays, session))
    message = str(caught.value)
    assert "session 'one'" in message
    assert re.search(expected, message), message


def test_a_session_id_given_twice_is_refused(one_session: Prepared) -> None:
    config, folder = one_session()
    raw = dump_config(config)
    raw["params"]["sessions"] *= 2
    with pytest.raises(DataError, match="session id 'one' appears 2 times"):
        prepare(build_data_config(raw, "twice.yaml"), folder)


@pytest.mark.parametrize("content", [b"", b"not a zip", np.random.default_rng(0).bytes(4096)])
def test_a_file_that_is_no_npz_is_refused(content: bytes, one_session: Prepared) -> None:
    config, folder = one_session()
    (folder / "one.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"session 'one' \(one.npz\): is not an intact NPZ"):
        prepare(config, folder)


def test_any_changed_byte_of_an_npz_is_refused_or_changes_nothing(one_session: Prepared) -> None:
    config, folder = one_session()
    path = folder / "one.npz"
    intact = path.read_bytes()
    expected = _everything(config, folder)
    rng = np.random.default_rng(1)
    with zipfile.ZipFile(path) as archive:
        headers = [member.header_offset + k for member in archive.infolist() for k in range(0, 200, 41)]
    directory = range(len(intact) - 420, len(intact), 19)
    refused = 0
    for position in [*headers, *directory, *rng.integers(len(intact), size=15)]:
        damaged = bytearray(intact)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        shutil.rmtree(folder / "stores", ignore_errors=True)
        try:
            found = _everything(config, folder)
        except VisionCoreError:
            refused += 1
            continue
        assert all(np.array_equal(found[name], expected[name]) for name in expected), position
    assert refused > 20


def _everything(config: DataConfig, folder: Path) -> dict[str, np.ndarray]:
    session = prepare(config, folder).sessions["one"]
    behaviour, rates = session.behaviour(0, N_BINS), session.rates(0, N_BINS)
    assert behaviour is not None
    assert rates is not None
    return {
        "video": session.video(0, N_BINS),
        "responses": session.responses(0, N_BINS),
        "behaviour": behaviour,
        "valid": session.valid(0, N_BINS),
        "rates": rates,
        "unit_ids": np.array(session.unit_ids),
    }


@pytest.mark.parametrize("fortran_order", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_video_keeps_its_values_and_gains_a_channel(
    dtype: type, fortran_order: bool, one_session: Prepared
) -> None:
    video: np.ndarray = np.asarray(_VIDEO.astype(dtype), order="F" if fortran_order else "C")
    stored = prepare(*one_session({"stim": video})).sessions["one"].video(0, N_BINS)
    assert stored.dtype == (np.uint8 if dtype == np.uint8 else np.float32)
    np.testing.assert_array_equal(stored, _VIDEO[:, None])


def test_colour_video_keeps_its_channels(one_session: Prepared) -> None:
    video = np.random.default_rng(0).integers(0, 256, (N_BINS, 2, 5, 7), dtype=np.uint8)
    store = prepare(*one_session({"stim": video}))
    assert (store.spec.sampling.channels, store.spec.sampling.height, store.spec.sampling.width) == (2, 5, 7)
    np.testing.assert_array_equal(store.sessions["one"].video(100, 200), video[100:200])


def test_what_is_missing_in_invalid_bins_never_reaches_the_store(one_session: Prepared) -> None:
    arrays = {
        "stim": _with(_FLOAT_VIDEO, slice(100, 110), np.nan),
        "spikes": _with(_COUNTS.astype(float), slice(100, 110), np.nan),
        "eye": _with(np.arange(2.0 * N_BINS).reshape(-1, 2), slice(100, 110), np.nan),
        "truth": _with(np.ones((N_BINS, 3)), slice(100, 110), np.nan),
        "ok": _with(_ALL_VALID, slice(100, 110), False),
    }
    session = prepare(*one_session(arrays)).sessions["one"]
    held = np.broadcast_to(_FLOAT_VIDEO[99], (10, 5, 7))
    np.testing.assert_array_equal(session.video(100, 110)[:, 0], held)
    np.testing.assert_array_equal(session.video(110, 120)[:, 0], _FLOAT_VIDEO[110:120])
    assert not session.responses(100, 110).any()
    assert not session.valid(100, 110).any()
    behaviour = session.behaviour(99, 111)
    assert behaviour is not None
    np.testing.assert_array_equal(behaviour[:11], np.tile([198.0, 199.0], (11, 1)))
    np.testing.assert_array_equal(behaviour[11], [220.0, 221.0])


@pytest.mark.parametrize(("start", "stop"), [(0, 30), (0, 2000), (1000, 1100), (990, 2400)])
def test_missing_frames_and_behaviour_hold_the_last_or_else_the_first_known_across_pieces(
    start: int, stop: int, one_session: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visioncore.data.stored_array._CHUNK_BYTES", 50 * 5 * 7 * 4)
    video, eye = _FLOAT_VIDEO.copy(), np.arange(2.0 * N_BINS).reshape(-1, 2)
    video[start:stop, 2, 3] = np.nan  # one pixel spoils its frame
    video[1500:1510] = np.inf if start <= 1500 < stop else video[1500:1510]
    eye[start:stop] = np.nan
    arrays = {"stim": video, "eye": eye, "ok": _with(_ALL_VALID, slice(start, stop), False)}
    splits = np.array(["train", "validation", "test"] * 80)
    arrays |= {"s": np.arange(0, N_BINS, 10), "p": splits}
    config, folder = one_session(arrays, {"trial_start": "s", "split": "p"}, burn_in_s=0.0)
    session = prepare(config, folder).sessions["one"]
    index = np.arange(N_BINS)
    index[start:stop] = stop if start == 0 else start - 1
    np.testing.assert_array_equal(session.video(0, N_BINS)[:, 0], _FLOAT_VIDEO[index])
    np.testing.assert_array_equal(session.behaviour(0, N_BINS), np.arange(2.0 * N_BINS).reshape(-1, 2)[index])


def test_behaviour_goes_by_its_name_and_what_a_session_lacks_stands_at_its_mean(
    tiny_config: tuple[DataConfig, Path],
) -> None:
    config, folder = tiny_config
    raw = dump_config(config)
    _, second, third = raw["params"]["sessions"]
    second["behaviour_names"] = ["y", "x"]
    third.update(behaviour=None, behaviour_names=None)
    store = prepare(build_data_config(raw, "mixed.yaml"), folder)
    assert store.spec.behaviour_names == ("x", "y")
    one, two, three = (session.normalisation for session in store.spec.sessions)
    assert one.behaviour_mean == two.behaviour_mean[::-1]
    assert three.behaviour_mean == ()
    adapter = Adapter(store.spec.sessions, store.spec.behaviour_names)
    video = torch.zeros(1, 1, 4, 1, 1)
    samples = torch.randn(1, 4, 2)
    straight, crossed = (
        adapter(video, samples, "a")[1],
        adapter(video, samples.flip(-1), "b")[1],
    )
    torch.testing.assert_close(straight, crossed)
    assert torch.equal(adapter(video, None, "c")[1], torch.zeros(1, 4, 2))


def test_a_trace_may_be_negative_and_fractional_and_has_no_floor(one_session: Prepared) -> None:
    config, folder = one_session(
        {"spikes": np.full((N_BINS, N_UNITS), -0.25)}, {"rates": None, "valid": None}
    )
    raw = dump_config(config)
    raw["params"]["response_kind"] = "trace"
    session = prepare(build_data_config(raw, "trace.yaml"), folder).sessions["one"]
    np.testing.assert_array_equal(session.responses(0, 10), np.full((10, N_UNITS), -0.25))
    np.testing.assert_allclose(session.train_mean, -0.25)


def test_labels_per_bin_and_trial_starts_describe_the_same_trials(one_session: Prepared) -> None:
    splits = np.array((["train"] * 3 + ["test", "validation"]) * 2)
    from_starts = prepare(*one_session({"s": _STARTS, "p": splits}, {"trial_start": "s", "split": "p"}))
    labels = np.repeat(np.arange(10), 240)
    from_labels = prepare(*one_session({"t": labels, "p": splits}, {"trial": "t", "split": "p"}))
    assert from_starts.sessions["one"].blocks == from_labels.sessions["one"].blocks
    assert [b.split for b in from_starts.sessions["one"].blocks] == splits.tolist()


def test_bins_with_a_negative_label_are_in_no_block(one_session: Prepared) -> None:
    labels = np.repeat(np.arange(10), 240)
    labels[230:250] = -1
    splits = np.array((["train"] * 3 + ["test", "validation"]) * 2)
    session = prepare(*one_session({"t": labels, "p": splits}, {"trial": "t", "split": "p"})).sessions["one"]
    assert [(b.start, b.stop) for b in session.blocks[:2]] == [(0, 230), (250, 480)]


def test_repeats_of_different_lengths_agree_over_their_common_length(one_session: Prepared) -> None:
    starts = np.array([0, 240, 440, *range(480, N_BINS, 240)])
    arrays = {"stim": _REPEATED, "s": starts, "i": np.array([0, 0, -1, *range(1, 9)])}
    session = prepare(*one_session(arrays, {"trial_start": "s", "stimulus_id": "i"})).sessions["one"]
    assert [b.split for b in session.blocks[:2]] == ["test", "test"]
    assert [b.stimulus_id for b in session.blocks[:3]] == ["0", "0", None]


def test_a_refused_recording_leaves_no_file_open(one_session: Prepared) -> None:
    config, folder = one_session({"stim": _with(_FLOAT_VIDEO, 77, np.nan), "ok": _ALL_VALID})
    with pytest.raises(DataError) as caught:
        prepare(config, folder)
    opened = [os.path.realpath(descriptor) for descriptor in Path("/proc/self/fd").iterdir()]
    assert str(folder / "one.npz") not in opened
    del caught  # until here it kept the frames of prepare alive, and with them the source


def test_the_yaml_of_the_how_to_prepares_what_its_text_describes(tmp_path: Path) -> None:
    guide = Path(__file__).parents[2] / "docs/how_to/your_own_arrays.md"
    text = guide.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
    arrays: dict[str, Any] = {
        "stim": _VIDEO,
        "spikes": _COUNTS,
        "eye": np.ones((N_BINS, 2)),
        "ok": _ALL_VALID,
    }
    np.savez(tmp_path / "rgc1.npz", allow_pickle=False, **arrays, starts=_STARTS, repeats=np.arange(10))
    store = prepare(load_data_config(tmp_path / "data.yaml"), tmp_path)
    assert store.spec.rate_hz == 120
    assert store.spec.sessions[0].geometry.degrees_per_pixel == 0.05
    assert len(store.sessions["rgc-1"].blocks) == 10
