"""NWB files of the cases, through `prepare`; and files that must be refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pynwb
import pytest

from nwb_files import add_spikes, opened, screen, series, some_spikes, template, write
from shared_cases import CASES, needs_cases
from visioncore.data import build_data_config, prepare
from visioncore.data.inspection.nwb import inspect_nwb
from visioncore.errors import ConfigError, DataError


@needs_cases
@pytest.mark.parametrize("name", ["nwb_movie_table", "nwb_optical_series"])
def test_a_case_is_prepared_to_its_truth_by_what_inspect_says_and_a_user_knows(
    name: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(CASES / name, tmp_path / name)
    knows = json.loads((folder / "case.json").read_text())["user_knows"]
    truth = np.load(folder / "truth.npz")
    found = inspect_nwb(folder / ("session.nwb" if name == "nwb_movie_table" else "movie.nwb"))
    assert found is not None
    proposal: dict[str, Any] = json.loads(json.dumps(found.proposal))
    session = proposal["params"]["sessions"][0]
    assert session["axes"] is None
    session.update(subject="m", axes=knows["axes"])
    assert session.get("tables") == knows.get("tables")
    proposal["params"]["sampling_rate_hz"] = float(knows["display_rate_hz"])
    store = prepare(build_data_config({**proposal, "burn_in_s": 0.1}, "data.yaml"), folder)
    session_store = store.sessions["session" if name == "nwb_movie_table" else "movie"]
    assert session_store.n_bins == len(truth["bin_start_s"])
    n = session_store.n_bins
    assert (session_store.video(0, n)[:, 0] == truth["video"]).all()
    assert (session_store.responses(0, n) == truth["counts"]).all()
    valid = truth["valid"] if truth["valid"].ndim == 2 else truth["valid"][:, None]
    assert (session_store.valid(0, n) == valid).all()
    assert session_store.spec.behaviour_names == tuple(truth["behaviour_names"])
    behaviour = session_store.behaviour(0, n)
    assert behaviour is not None
    assert np.abs(behaviour - truth["behaviour"]).max() < truth["behaviour_tolerance"]
    assert session_store.spec.unit_ids == tuple(truth["unit_ids"])
    assert "quality" in session_store.spec.units
    assert [trial.start for trial in session_store.trials] == truth["trial_start"].tolist()
    if "trial_stimulus" in truth:
        assert [t.stimulus_id for t in session_store.trials] == truth["trial_stimulus"].tolist()
    if "pixels_per_degree" in truth:
        degrees = session_store.spec.geometry.degrees_per_pixel
        assert degrees == pytest.approx(1 / truth["pixels_per_degree"], rel=1e-6)


@needs_cases
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("timestamps_backwards.nwb", r"movie/timestamps: timestamps jump back by 1\.48"),
        ("timestamps_nan.nwb", "movie/timestamps: 5 of 300 timestamps are NaN"),
        ("timestamps_short.nwb", "movie/timestamps: 300 frames, but 299 timestamps"),
        ("spikes_in_samples.nwb", "/units/spike_times: spike times are whole numbers"),
        ("spikes_in_ms.nwb", "/units/spike_times: .*milliseconds"),
        ("external_missing.nwb", r"movie/external_file: there is no file videos/gone\.mp4"),
        ("running_two_rows.nwb", r"running_speed.*\(2, 300\)"),
        ("nwb1.nwb", r"nwb_version is NWB-1\.0\.6"),
        ("truncated.nwb", "truncated"),
    ],
)
def test_a_broken_file_of_the_cases_is_refused_once_by_file_and_field(
    name: str, told: str, tmp_path: Path
) -> None:
    shutil.copy(CASES / "errors" / name, tmp_path)
    behaviour = ["running_speed"] if name.startswith("running") else []
    session = {
        "id": "s",
        "subject": "m",
        "path": name,
        "stimulus": "movie",
        "axes": "tyx",
        "behaviour": behaviour,
    }
    raw = {"type": "nwb", "params": {"sampling_rate_hz": 60.0, "sessions": [session]}}
    with pytest.raises(DataError, match=told) as caught:
        prepare(build_data_config(raw, "data.yaml"), tmp_path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.json"))


def _movie(nwb: pynwb.NWBFile, **settings: Any) -> None:
    shown = {"timestamps": np.arange(100) / 50, **settings}
    nwb.add_stimulus(pynwb.image.ImageSeries(name="movie", data=screen(100), unit="n.a.", **shown))
    some_spikes(nwb, 2.0)


def _write_movie(path: Path, **settings: Any) -> Path:
    return write(path, lambda nwb: _movie(nwb, **settings))


def test_axes_that_nobody_gives_are_asked_for_with_both_shapes(tmp_path: Path) -> None:
    _write_movie(tmp_path / "a.nwb")
    with pytest.raises(DataError, match=r"6 high and 8 wide.*axes: tyx.*8 high and 6 wide.*axes: txy"):
        opened("a.nwb", tmp_path, stimulus="movie")
    assert opened("a.nwb", tmp_path, stimulus="movie", axes="tyx").read("video", 0, 1).shape == (1, 1, 6, 8)
    turned = opened("a.nwb", tmp_path, stimulus="movie", axes="txy").read("video", 0, 1)
    assert (turned[0, 0] == screen(100)[0].T).all()


def _change(path: Path, change: Any) -> None:
    with h5py.File(path, "r+") as h5:
        change(h5)


def _replace(h5: h5py.File, name: str, values: Any) -> None:
    attributes = dict(h5[name].attrs)
    del h5[name]
    h5[name] = values
    h5[name].attrs.update(attributes)


_MOVIE = "stimulus/presentation/movie"
BROKEN: dict[str, tuple[Any, dict[str, Any], str]] = {
    # name: (what is changed, other settings, what the message must match besides the file)
    "no index of spikes": (
        lambda h5: h5.__delitem__("units/spike_times_index"),
        {},
        "/units: has spike_times but no spike_times_index",
    ),
    "an index beyond the spikes": (
        lambda h5: _replace(h5, "units/spike_times_index", np.array([200, 400, 700])),
        {},
        "/units/spike_times_index: ends at 700",
    ),
    "an index that goes back": (
        lambda h5: _replace(h5, "units/spike_times_index", np.array([400, 200, 600])),
        {},
        "/units/spike_times_index",
    ),
    "an id twice": (
        lambda h5: _replace(h5, "units/id", np.array([1, 1, 2])),
        {},
        "/units/id: 1 ids.*such as 1",
    ),
    "a spike of NaN": (
        lambda h5: _replace(h5, "units/spike_times", np.full(600, np.nan)),
        {},
        "/units/spike_times: spike time 0 is nan",
    ),
    "no units": (lambda h5: h5.__delitem__("units"), {}, "has no /units with spike_times"),
    "coarse times": (
        lambda h5: _replace(h5, f"{_MOVIE}/timestamps", (20_000 + np.arange(100) / 50).astype(np.float32)),
        {},
        "movie/timestamps: is float32, which tells times apart by 0.002 s",
    ),
    "times that are numbers of samples": (
        lambda h5: _replace(h5, f"{_MOVIE}/timestamps", np.arange(100) * 600),
        {},
        "movie/timestamps: is int64",
    ),
    "times in milliseconds by their unit": (
        lambda h5: h5[f"{_MOVIE}/timestamps"].attrs.__setitem__("unit", "milliseconds"),
        {},
        "its unit is milliseconds",
    ),
    "no times": (lambda h5: h5.__delitem__(f"{_MOVIE}/timestamps"), {}, "movie: has neither timestamps nor"),
    "a stimulus of another name": (lambda _: None, {"stimulus": "movies"}, "did you mean 'movie'"),
    "a behaviour of another name": (lambda _: None, {"behaviour": ["speed"]}, "has no series 'speed'"),
    "a table of another name": (
        lambda _: None,
        {"tables": ["movie_two"]},
        "has no interval table 'movie_two'",
    ),
    "a filter by another column": (
        lambda _: None,
        {"unit_filter": {"columns": {"snr": {"minimum": 2}}}},
        "/units: unit_filter asks for the column 'snr'",
    ),
    "a filter of other ids": (
        lambda _: None,
        {"unit_filter": {"ids": [7]}},
        "names units that are not there: 7",
    ),
    "Allen's filter without its columns": (lambda _: None, {"unit_filter": "allen"}, "'presence_ratio'"),
    "pictures of texts": (
        lambda h5: _replace(h5, f"{_MOVIE}/data", np.zeros((100, 6, 8), "S3")),
        {},
        r"movie/data: is \|S3; expected uint8",
    ),
    "a film of seven colours": (
        lambda h5: _replace(h5, f"{_MOVIE}/data", np.zeros((100, 6, 8, 7), np.uint8)),
        {},
        r"movie/data: has shape \(100, 6, 8, 7\)",
    ),
    "no version": (lambda h5: h5.attrs.__delitem__("nwb_version"), {}, "has no nwb_version"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_in_one_message_that_names_file_and_field(name: str, tmp_path: Path) -> None:
    change, settings, told = BROKEN[name]
    _change(_write_movie(tmp_path / "broken.nwb"), change)
    with pytest.raises(DataError, match=told) as caught:
        opened("broken.nwb", tmp_path, **{"stimulus": "movie", "axes": "tyx", **settings})
    assert "session 's' (broken.nwb)" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (None, "no such file"),
    ],
)
def test_what_is_no_file_of_hdf5_is_refused(content: bytes | None, told: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.nwb").write_bytes(content)
    with pytest.raises(DataError, match=told):
        opened("a.nwb", tmp_path, stimulus="movie", axes="tyx")


def test_a_session_that_shows_nothing_and_trials_of_tables_are_mistakes_of_the_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither tables nor stimulus"):
        opened("a.nwb", tmp_path)
    with pytest.raises(ConfigError, match="trials of `tables` are their runs"):
        opened("a.nwb", tmp_path, tables=["film"], trials="trials")
    with pytest.raises(ConfigError, match="axes"):
        opened("a.nwb", tmp_path, stimulus="movie", axes="yxt")


def test_times_of_single_precision_that_are_good_enough_are_taken_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _write_movie(tmp_path / "a.nwb")
    _change(path, lambda h5: _replace(h5, f"{_MOVIE}/timestamps", (np.arange(100) / 50).astype(np.float32)))
    assert opened("a.nwb", tmp_path, stimulus="movie", axes="tyx").n_bins == 100
    assert "movie/timestamps: is float32: times are good to" in caplog.text


def test_a_fingerprint_is_of_content_and_settings_and_not_of_places(tmp_path: Path) -> None:
    from visioncore.config import build_config
    from visioncore.data.sources.nwb import NwbConfig

    (tmp_path / "there").mkdir()
    write(tmp_path / "a.nwb", lambda nwb: _movie(nwb))
    shutil.copy(tmp_path / "a.nwb", tmp_path / "there" / "b.nwb")

    def fingerprint(path: str, **settings: Any) -> str:
        session = {"id": "s", "subject": "m", "path": path, "stimulus": "movie", "axes": "tyx", **settings}
        raw = {"type": "nwb", "params": {"sampling_rate_hz": 50.0, "sessions": [session]}}
        return build_config(NwbConfig, raw, "x").build(tmp_path).fingerprint("s")

    one = fingerprint("a.nwb")
    assert fingerprint("there/b.nwb") == one
    assert fingerprint("a.nwb", axes="txy") != one
    assert fingerprint("a.nwb", display_delay_s=0.01) != one
    _change(tmp_path / "a.nwb", lambda h5: h5["units/spike_times"].__setitem__(0, 0.001))
    assert fingerprint("a.nwb") != one


def test_inspect_leaves_other_files_to_others_and_names_version_1(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as h5:
        h5["x"] = 1
    (tmp_path / "notes.txt").write_text("hello")
    assert inspect_nwb(tmp_path / "other.h5") is None
    assert inspect_nwb(tmp_path / "notes.txt") is None
    assert inspect_nwb(tmp_path) is None
    with h5py.File(tmp_path / "old.nwb", "w") as h5:
        h5["nwb_version"] = "NWB-1.0.6"
    with pytest.raises(DataError, match=r"NWB-1\.0\.6"):
        inspect_nwb(tmp_path / "old.nwb")


def test_inspect_lists_all_there_is_and_shows_a_frame_both_ways(tmp_path: Path) -> None:
    def fill(nwb: pynwb.NWBFile) -> None:
        nwb.add_stimulus_template(template("film", screen(40)))
        _movie(nwb)
        module = nwb.create_processing_module("running", "wheel")
        module.add(series("running_speed", np.zeros(50), np.arange(50) / 25, "cm/s"))
        nwb.add_acquisition(series("lfp", np.zeros((50, 4)), np.arange(50) / 25, "V"))

    found = inspect_nwb(write(tmp_path / "a.nwb", fill))
    assert found is not None
    session = found.proposal["params"]["sessions"][0]
    assert (session["stimulus"], session["behaviour"], session["axes"]) == (
        ["movie"],
        ["running_speed"],
        None,
    )
    assert found.proposal["params"]["sampling_rate_hz"] == 50.0
    listed = {one.name: one for one in found.listed}
    assert {"/stimulus/templates/film", "/units", "/acquisition/lfp"} <= set(listed)
    assert "cm/s" in listed["/processing/running/running_speed"].note
    assert [picture.pixels.shape for picture in found.pictures] == [(6, 8), (8, 6)]
    assert "params.sessions.0.axes" in found.comments


def test_columns_of_units_reach_the_recording_and_filters_choose_by_them(tmp_path: Path) -> None:
    def fill(nwb: pynwb.NWBFile) -> None:
        _place_electrodes(nwb)
        nwb.add_stimulus(
            pynwb.image.ImageSeries(name="movie", data=screen(100), unit="n.a.", rate=50.0, starting_time=0.0)
        )
        times = np.linspace(0.01, 1.9, 30)
        columns: dict[str, Any] = {
            "quality": ["good", "noise", "good", "good"],
            "presence_ratio": [0.99, 0.99, 0.2, np.nan],
            "isi_violations": [0.1, 0.1, 0.1, 0.1],
            "amplitude_cutoff": [0.01, 0.1, 0.01, 0.01],
            "peak_channel_id": [12, 10, 11, 99],
        }
        add_spikes(nwb, [times, times + 0.001, times + 0.002, times + 0.003], [5, 6, 7, 8], **columns)

    write(tmp_path / "a.nwb", fill)
    how: dict[str, Any] = {"stimulus": "movie", "axes": "tyx"}
    spec = opened("a.nwb", tmp_path, **how).spec
    assert spec.unit_ids == ("5", "6", "7", "8")
    assert spec.units["location"] == ("VISl", "VISp", "LGd", None)
    assert spec.units["presence_ratio"] == (0.99, 0.99, 0.2, None)
    assert opened("a.nwb", tmp_path, unit_filter="allen", **how).spec.unit_ids == ("5", "6")
    chosen = {"columns": {"quality": "good", "presence_ratio": {"minimum": 0.1}}, "ids": [5, "7", 6]}
    assert opened("a.nwb", tmp_path, unit_filter=chosen, **how).spec.unit_ids == ("5", "7")
    assert opened("a.nwb", tmp_path, unit_filter={"ids": [8, "6"]}, **how).spec.unit_ids == ("6", "8")
    listed = {"columns": {"location": ["VISp", "LGd"]}}
    some = opened("a.nwb", tmp_path, unit_filter=listed, **how)
    assert (some.spec.unit_ids, some.spec.units["quality"]) == (("6", "7"), ("noise", "good"))
    with pytest.raises(DataError, match=r"none of 4 units meets unit_filter .quality is good, noise"):
        opened("a.nwb", tmp_path, unit_filter={"columns": {"quality": "mua"}}, **how)


def _place_electrodes(nwb: pynwb.NWBFile) -> None:
    device = nwb.create_device("probe")
    group = nwb.create_electrode_group("probeA", "a probe", "brain", device)
    for own, place in ((10, "VISp"), (11, "LGd"), (12, "VISl")):
        nwb.add_electrode(id=own, x=0.0, y=0.0, z=0.0, imp=0.0, location=place, filtering="", group=group)
