"""Each of the ways in which NWB files say what was shown, written by pynwb; and what of it the right bins are."""

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pynwb
import pytest
from pynwb.base import Images, TimeSeries
from pynwb.image import GrayscaleImage, IndexSeries, OpticalSeries

from nwb_files import (
    HEIGHT,
    RATE_HZ,
    WIDTH,
    add_spikes,
    counts_for,
    opened,
    read,
    screen,
    some_spikes,
    spikes_of,
    table,
    template,
    write,
)
from visioncore.errors import DataError

N = 20
"""Frames of a film."""


def _film_rows(
    n_runs: int, t0: float, n: int = N, hz: float = RATE_HZ
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts, ends and frames of a film shown `n_runs` times without a pause."""
    edges = t0 + np.arange(n_runs * n + 1) / hz
    return edges[:-1], edges[1:], np.tile(np.arange(n), n_runs).astype(float)


def _two_tables(nwb: pynwb.NWBFile) -> tuple[np.ndarray, np.ndarray]:
    """Film 'one' in two blocks, with film 'two' between them; returns the counts and the bins' starts."""
    start, stop, frame = _film_rows(2, 1.0)
    late_start, late_stop, late_frame = _film_rows(1, 5.0)
    both = [np.concatenate(pair) for pair in ((start, late_start), (stop, late_stop), (frame, late_frame))]
    columns = {"stimulus_name": ["one"] * 60, "stimulus_block": [0.0] * 40 + [2.0] * 20, "frame": both[2]}
    nwb.add_time_intervals(table("one_presentations", both[0], both[1], **columns))
    other_start, other_stop, other_frame = _film_rows(1, 3.0, n=30)
    columns = {"stimulus_name": ["two"] * 30, "stimulus_block": [1.0] * 30, "frame": other_frame}
    nwb.add_time_intervals(table("two_presentations", other_start, other_stop, **columns))
    begin = np.concatenate([start, other_start, late_start])
    counts = counts_for(len(begin))
    add_spikes(nwb, spikes_of(counts, begin, begin + 1 / RATE_HZ))
    return counts, begin


def test_tables_of_frames_are_put_in_one_order_of_time_with_their_repeats(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truth: list[np.ndarray] = []

    def fill(nwb: pynwb.NWBFile) -> None:
        truth.extend(_two_tables(nwb))
        gratings = {"orientation": [0.0, 45.0], "stimulus_name": ["gratings"] * 2}
        nwb.add_time_intervals(
            table("gratings_presentations", np.array([8.0, 9]), np.array([9.0, 10]), **gratings)
        )

    def templates(nwb: pynwb.NWBFile) -> None:
        nwb.add_stimulus_template(template("one", screen(N, 1)))
        nwb.add_stimulus_template(template("two", screen(30, 2)))

    write(tmp_path / "a.nwb", fill)
    write(tmp_path / "pictures.nwb", templates)
    how: dict[str, Any] = {"tables": ["one", "two_presentations"], "axes": "tyx"}
    recording = opened("a.nwb", tmp_path, template={"file": "pictures.nwb"}, **how)
    film, other = screen(N, 1), screen(30, 2)
    assert (read(recording, "video")[:, 0] == np.concatenate([film, film, other, film])).all()
    assert (read(recording, "responses") == truth[0]).all()
    assert read(recording, "valid").all()
    assert np.allclose(recording.bins.start_s, truth[1])
    assert [(t.start, t.stimulus_id, t.kind) for t in recording.trials] == [
        (0, "one", "one"),
        (20, "one", "one"),
        (40, "two", "two"),
        (70, "one", "one"),
    ]
    assert "left out: /intervals/gratings_presentations" in caplog.text
    late = opened("a.nwb", tmp_path, template={"file": "pictures.nwb"}, display_delay_s=0.0625, **how)
    assert np.allclose(late.bins.start_s, truth[1] + 0.0625)
    with pytest.raises(DataError, match=r"has no pictures called 'one'.*template: {file"):
        opened("a.nwb", tmp_path, **how)
    with pytest.raises(
        DataError, match=r"gratings_presentations: has no column 'frame'.*orientation.*not drawn"
    ):
        opened("a.nwb", tmp_path, tables=["gratings"], axes="tyx")


@pytest.mark.parametrize("kind", ["npy", "h5"])
def test_a_template_may_be_an_array_of_another_kind_of_file(kind: str, tmp_path: Path) -> None:
    write(tmp_path / "a.nwb", lambda nwb: _two_tables(nwb) and None)
    for name, pictures in (("one", screen(N, 1)), ("two", screen(30, 2))):
        if kind == "npy":
            np.save(tmp_path / f"{name}.npy", pictures)
        else:
            with h5py.File(tmp_path / f"{name}.h5", "w") as h5:
                h5.create_dataset("deep/down", data=pictures, **hdf5plugin.Zstd())
    where = {} if kind == "npy" else {"path": "deep/down"}
    tables = [{"name": name, "template": {"file": f"{name}.{kind}", **where}} for name in ("one", "two")]
    recording = opened("a.nwb", tmp_path, tables=tables, axes="tyx")
    assert (read(recording, "video")[40:70, 0] == screen(30, 2)).all()
    if kind == "npy":
        np.save(tmp_path / "one.npy", np.array([{"a": 1}], object), allow_pickle=True)
        with pytest.raises(DataError, match=r"template \(one.npy\).*not an intact array"):
            opened("a.nwb", tmp_path, tables=tables, axes="tyx")


def _one_table(path: Path, pictures: np.ndarray | None = None, change: Any = None, name: str = "one") -> Path:
    """Film 'one' twice, with `change` made to its columns."""
    start, stop, frame = _film_rows(2, 1.0)
    rows: dict[str, Any] = {"start": start, "stop": stop, "frame": frame, "stimulus_name": ["one"] * 40}
    if change is not None:
        rows = {key: np.asarray(values) for key, values in change(rows).items()}

    def fill(nwb: pynwb.NWBFile) -> None:
        own = {key: list(values) for key, values in rows.items() if key not in ("start", "stop")}
        nwb.add_time_intervals(table(f"{name}_presentations", rows["start"], rows["stop"], **own))
        nwb.add_stimulus_template(template("one", screen(N, 1) if pictures is None else pictures))
        some_spikes(nwb)

    return write(path, fill)


def _open_table(folder: Path, **settings: Any) -> Any:
    return opened("a.nwb", folder, **{"tables": ["one"], "axes": "tyx", **settings})


def test_rows_without_a_picture_count_for_no_unit_unless_the_grey_is_known(tmp_path: Path) -> None:
    def blank(rows: dict[str, Any]) -> dict[str, Any]:
        frame = rows["frame"].copy()
        frame[[5, 30]] = [np.nan, -1]
        return {**rows, "frame": frame}

    _one_table(tmp_path / "a.nwb", change=blank)
    recording = _open_table(tmp_path)
    assert np.flatnonzero(~read(recording, "valid").all(axis=1)).tolist() == [5, 30]
    assert [t.stimulus_id for t in recording.trials] == ["one", "one"]
    grey = _open_table(tmp_path, tables=[{"name": "one", "blank": 128}])
    assert read(grey, "valid").all()
    assert (read(grey, "video")[[5, 30]] == 128).all()
    assert (read(grey, "video")[6, 0] == screen(N, 1)[6]).all()


def test_a_row_that_was_dropped_and_a_run_cut_short_are_no_full_repeats(tmp_path: Path) -> None:
    def drop(rows: dict[str, Any]) -> dict[str, Any]:
        keep = np.delete(np.arange(40), [8, *range(35, 40)])
        return {key: np.asarray(values)[keep] for key, values in rows.items()}

    _one_table(tmp_path / "a.nwb", change=drop)
    recording = _open_table(tmp_path)
    told = [(t.stop - t.start, t.stimulus_id, t.group) for t in recording.trials]
    assert told == [
        (8, "one, frames from 0", "one"),
        (11, "one, frames from 8", "one"),
        (15, "one, frames 0 to 14", "one"),
    ]


def test_pictures_in_no_order_ask_what_a_trial_is(tmp_path: Path) -> None:
    order = np.random.default_rng(3).permutation(np.tile(np.arange(N), 2)).astype(float)
    _one_table(tmp_path / "a.nwb", change=lambda rows: {**rows, "frame": order})
    with pytest.raises(DataError, match=r"come in no order.*trial: row.*trial: block"):
        _open_table(tmp_path)
    rows = _open_table(tmp_path, tables=[{"name": "one", "trial": "row"}])
    assert len(rows.trials) == 40
    assert rows.trials[0].stimulus_id == f"one {int(order[0])}"
    block = _open_table(tmp_path, tables=[{"name": "one", "trial": "block"}])
    assert [(t.start, t.stop, t.stimulus_id) for t in block.trials] == [(0, 40, None)]
    assert (read(block, "video")[:, 0] == screen(N, 1)[order.astype(int)]).all()


def test_frames_counted_from_1_are_told_by_the_last_one(tmp_path: Path) -> None:
    _one_table(tmp_path / "a.nwb", change=lambda rows: {**rows, "frame": rows["frame"] + 1})
    with pytest.raises(DataError, match=r"one_presentations/frame: shows picture 20.*first_frame: 1"):
        _open_table(tmp_path)
    recording = _open_table(tmp_path, tables=[{"name": "one", "first_frame": 1}])
    assert (read(recording, "video")[:N, 0] == screen(N, 1)).all()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: {**rows, "start": rows["start"][::-1]}, "start_time: timestamps jump back"),
        (lambda rows: {**rows, "start": np.full(40, np.nan)}, "start_time: 40 of 40 timestamps are NaN"),
        (lambda rows: {**rows, "stop": rows["start"]}, "one_presentations: frame 0 is shown from 1.0 to 1.0"),
        (lambda rows: {**rows, "frame": np.full(40, np.nan)}, "frame: no row has the number of a picture"),
        (lambda rows: {**rows, "frame": rows["frame"] + 0.5}, "frame: holds numbers that are not whole"),
        (lambda rows: {**rows, "frame": ["a"] * 40}, "frame: is <U1; expected numbers"),
    ],
)
def test_tables_that_cannot_be_are_refused_by_their_column(change: Any, told: str, tmp_path: Path) -> None:
    _one_table(tmp_path / "a.nwb", change=change)
    with pytest.raises(DataError, match=told):
        _open_table(tmp_path)


def test_two_stimuli_at_once_are_refused(tmp_path: Path) -> None:
    def fill(nwb: pynwb.NWBFile) -> None:
        for name, t0 in (("one", 1.0), ("two", 1.2)):
            start, stop, frame = _film_rows(2, t0)
            nwb.add_time_intervals(table(f"{name}_presentations", start, stop, frame=frame))
            nwb.add_stimulus_template(template(name, screen(N)))
        some_spikes(nwb)

    write(tmp_path / "a.nwb", fill)
    with pytest.raises(
        DataError, match=r"two_presentations: a trial starts at 1\.200 s.*two stimuli cannot be"
    ):
        _open_table(tmp_path, tables=["one", "two"])


def test_templates_of_two_sizes_are_refused_with_both(tmp_path: Path) -> None:
    write(tmp_path / "a.nwb", lambda nwb: _two_tables(nwb) and None)
    np.save(tmp_path / "one.npy", screen(N))
    np.save(tmp_path / "two.npy", screen(30, height=5))
    tables = [{"name": name, "template": {"file": f"{name}.npy"}} for name in ("one", "two")]
    with pytest.raises(DataError, match=r"two_presentations: pictures are 5 x 8, and those of .*6 x 8"):
        opened("a.nwb", tmp_path, tables=tables, axes="tyx")


def test_images_that_a_table_names_are_found_by_their_name_and_flashes_stand_on_grey(tmp_path: Path) -> None:
    """Allen's Visual Behavior: names in `control_description`, a flash of 0.25 s every 0.75 s, some omitted."""
    shown = ["im8", "im2", "omitted", "im8"]
    start = 1 + np.arange(4) * 0.75

    def fill(nwb: pynwb.NWBFile) -> None:
        columns = {"image_name": shown, "stimulus_block": [0] * 4, "frame": [np.nan] * 4}
        nwb.add_time_intervals(table("images_presentations", start, start + 0.25, **columns))
        names = ["im2", "im5", "im8"]
        nwb.add_stimulus_template(
            template("set_6", screen(3), control=np.arange(3).astype(np.uint8), control_description=names)
        )
        some_spikes(nwb)

    write(tmp_path / "a.nwb", fill)
    how: dict[str, Any] = {"axes": "tyx", "rate_hz": 20.0}
    flashes = opened("a.nwb", tmp_path, tables=[{"name": "images", "trial": "block", "blank": 127}], **how)
    video = read(flashes, "video")[:, 0]
    assert flashes.n_bins == 15 * 3 + 5
    expected = np.full((50, HEIGHT, WIDTH), 127, np.uint8)
    for k, number in ((0, 2), (15, 0), (45, 2)):
        expected[k : k + 5] = screen(3)[number]
    assert (video == expected).all()
    rows = opened("a.nwb", tmp_path, tables=[{"name": "images", "trial": "row"}], **how)
    assert [t.stimulus_id for t in rows.trials] == ["images 2", "images 0", "images 2"]


def _link_to_template(path: Path, name: str, template_name: str) -> None:
    """Old files link to their template so; pynwb reads that, and writes it no more."""
    with h5py.File(path, "r+") as h5:
        series = h5[f"stimulus/presentation/{name}"]
        series.attrs["neurodata_type"] = "IndexSeries"
        series["indexed_timeseries"] = h5py.SoftLink(f"/stimulus/templates/{template_name}")


@pytest.mark.parametrize("link", ["indexed_timeseries", "indexed_images", "template"])
def test_numbers_of_pictures_show_a_template_by_whatever_link(link: str, tmp_path: Path) -> None:
    """Allen's 2-photon files; the last frame lasts as long as the others."""
    index = np.tile(np.arange(N), 3).astype(np.uint32)
    times = 2 + np.arange(60) / RATE_HZ
    counts = counts_for(60)
    pictures = screen(N, 4)
    order = np.random.default_rng(2).permutation(N)

    def fill(nwb: pynwb.NWBFile) -> None:
        if link == "indexed_images":
            images = [GrayscaleImage(name=f"im{order[k]:02d}", data=pictures[k]) for k in range(N)]
            by_name = sorted(images, key=lambda image: image.name)
            references = pynwb.base.ImageReferences(name="order_of_images", data=images)
            shown: Any = Images(name="film", images=by_name, order_of_images=references)
        else:
            shown = template("film", pictures)
        nwb.add_stimulus_template(shown if link != "template" else template("film", np.zeros_like(pictures)))
        how: dict[str, Any] = {"name": "film_stimulus", "data": index, "unit": "N/A", "timestamps": times}
        if link == "indexed_images":
            nwb.add_stimulus(IndexSeries(indexed_images=shown, **how))
        else:
            nwb.add_stimulus(TimeSeries(**how))
        add_spikes(nwb, spikes_of(counts, times, times + 1 / RATE_HZ))

    write(tmp_path / "a.nwb", fill)
    if link != "indexed_images":
        _link_to_template(tmp_path / "a.nwb", "film_stimulus", "film")
    np.save(tmp_path / "film.npy", pictures)
    other: dict[str, Any] = {"template": {"file": "film.npy"}} if link == "template" else {}
    recording = opened("a.nwb", tmp_path, stimulus="film_stimulus", axes="tyx", **other)
    assert (read(recording, "video")[:, 0] == pictures[index]).all()
    assert (read(recording, "responses") == counts).all()
    assert [(t.start, t.stimulus_id) for t in recording.trials] == [
        (k * N, "film_stimulus") for k in range(3)
    ]


def test_a_number_beyond_the_template_is_refused(tmp_path: Path) -> None:
    def fill(nwb: pynwb.NWBFile) -> None:
        nwb.add_stimulus_template(template("film", screen(N)))
        index = np.arange(1, N + 1, dtype=np.uint32)
        nwb.add_stimulus(TimeSeries(name="shows", data=index, unit="N/A", rate=50.0))
        some_spikes(nwb)

    write(tmp_path / "a.nwb", fill)
    _link_to_template(tmp_path / "a.nwb", "shows", "film")
    with pytest.raises(DataError, match=r"shows/data: shows picture 20, and .*/data has 20 \(0 to 19\)"):
        opened("a.nwb", tmp_path, stimulus="shows", axes="tyx")


def test_a_series_of_colours_lies_either_way_and_trials_give_repeats(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (60, WIDTH, HEIGHT, 3), dtype=np.uint8)

    def fill(nwb: pynwb.NWBFile) -> None:
        nwb.add_stimulus(
            TimeSeries(name="film", data=pictures, unit="n.a.", rate=RATE_HZ, starting_time=-0.5)
        )
        for column in ("movie", "contrast"):
            nwb.add_trial_column(column, column)
        for k in range(3):
            nwb.add_trial(start_time=-0.5 + k * 0.4, stop_time=-0.1 + k * 0.4, movie=k % 2, contrast=0.5 * k)
        some_spikes(nwb)

    write(tmp_path / "a.nwb", fill)
    trials = {"table": "trials", "stimulus_id": "movie"}
    recording = opened("a.nwb", tmp_path, stimulus=["film"], axes="txy", trials=trials)
    assert (read(recording, "video") == pictures.transpose(0, 3, 2, 1)).all()
    assert [(t.start, t.stimulus_id) for t in recording.trials] == [(0, "0"), (20, "1"), (40, "0")]
    assert recording.trial_columns == {"contrast": (0.0, 0.5, 1.0)}
    late = opened("a.nwb", tmp_path, stimulus="film", axes="txy", trials=trials, display_delay_s=0.01)
    assert np.allclose(late.bins.start_s - recording.bins.start_s, 0.01)
    assert [t.start for t in late.trials] == [0, 20, 40]


def test_a_field_of_view_gives_the_size_of_a_pixel(tmp_path: Path) -> None:
    def fill(nwb: pynwb.NWBFile) -> None:
        nwb.add_stimulus(
            OpticalSeries(
                name="film",
                data=screen(50),
                unit="n.a.",
                rate=RATE_HZ,
                distance=0.2,
                field_of_view=[0.4, 0.3],
                orientation="top left",
            )
        )
        some_spikes(nwb)

    write(tmp_path / "a.nwb", fill)
    geometry = opened("a.nwb", tmp_path, stimulus="film", axes="tyx").spec.geometry
    assert geometry.degrees_per_pixel == pytest.approx(90.0 / WIDTH)
    own = opened("a.nwb", tmp_path, stimulus="film", axes="tyx", geometry={"degrees_per_pixel": 0.5})
    assert own.spec.geometry.degrees_per_pixel == 0.5
