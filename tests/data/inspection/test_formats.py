"""Which format a file is of, and what is proposed for it; what is of none, or broken."""

from pathlib import Path

import numpy as np
import pytest

from forked import visioncore_command
from shared_cases import CASES, needs_cases
from visioncore.config import read_yaml
from visioncore.data.inspection.formats import inspect
from visioncore.errors import DataError


@needs_cases
@pytest.mark.parametrize(
    ("path", "format"),
    [
        ("arrays_elsewhere/luke.h5", "arrays"),
        ("arrays_elsewhere/luke.zarr", "arrays"),
        ("baccus/ganglion_cell_data/15-10-07/naturalscene.h5", "retina"),
        ("checkerboard_ran1", "events"),
        ("experanto_spikes/mouse17_session4", "experanto"),
        ("nwb_movie_table/session.nwb", "nwb"),
        ("nwb_optical_series/movie.nwb", "nwb"),
        ("open_retina", "retina"),
        (
            "sensorium_2022_static/static26872-17-20-GrayImageNet-94c6ff995dac583098847cfecd43e7b6",
            "sensorium",
        ),
        ("sensorium_2023/dynamic29999-1-1-Video-0123456789abcdef0123456789abcdef.zip", "sensorium"),
    ],
)
def test_every_case_is_known_by_its_format_and_paths_count_from_a_folder(path: str, format: str) -> None:
    found = inspect(CASES / path)
    assert found.format == found.proposal["type"] == format
    assert found.base.is_dir()
    for session in found.proposal["params"]["sessions"]:
        if "path" in session:
            assert (found.base / session["path"]).exists()


@needs_cases
@pytest.mark.parametrize(
    "name",
    sorted(
        path.name
        for path in ((CASES / "errors").iterdir() if CASES.exists() else ())
        if path.name not in ("case.json", "truth.npz")
    ),
)
def test_a_broken_file_is_one_message_or_a_proposal_never_a_traceback(name: str) -> None:
    try:
        told = [item.name for item in inspect(CASES / "errors" / name).listed]
    except DataError as error:
        told = str(error).splitlines()
    assert told
    assert any(name.partition(".")[0] in line for line in told) or len(told) > 1


def test_what_no_format_knows_says_which_are_known(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"of no format that is known here \(notes\.txt\).*NWB, Sensorium"):
        inspect(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        inspect(tmp_path / "nowhere")


def test_paths_of_a_proposal_count_from_where_the_yaml_is_written(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "yamls").mkdir()
    video = np.zeros((50, 4, 4), np.uint8)
    np.savez(tmp_path / "lab" / "one.npz", video=video, responses=np.zeros((50, 2), np.uint8))
    done = visioncore_command(tmp_path, "inspect", "lab/one.npz", "--out", "yamls/data.yaml")
    assert done.returncode == 0, done.stderr
    raw = read_yaml(tmp_path / "yamls" / "data.yaml")
    assert raw["base"] == "../lab"
    assert raw["params"]["sessions"][0]["path"] == "one.npz"
