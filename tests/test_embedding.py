"""The table of units says of each unit what the twin's own parts say of it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch

from specs import data_spec
from twins import CORES
from visioncore.embedding import embed, write_embedding
from visioncore.errors import ConfigError, DataError
from visioncore.model import Twin, TwinConfig
from visioncore.model.cores import NoCoreConfig, ViViTConfig
from visioncore.model.linear import LowRankLinearConfig
from visioncore.model.readouts import DynamicGaussianReadout
from visioncore.spec import DataSpec, Geometry, Normalisation, SessionSpec


def spec_of(*n_units: int) -> DataSpec:
    sessions = tuple(
        SessionSpec(id=f"s{i}", subject="m", unit_ids=tuple(f"u{k}" for k in range(n)))
        for i, n in enumerate(n_units)
    )
    constants = Normalisation(video_mean=(0.0,), video_std=(1.0,))
    return data_spec(height=14, width=22, sampling_rate_hz=60.0, sessions=sessions, constants=constants)


@pytest.fixture
def twin() -> Twin:
    spec = spec_of(3, 2)
    first, second = spec.sessions
    first = first.model_copy(
        update={
            "geometry": Geometry(degrees_per_pixel=0.5, centre_deg=(10.0, -2.0)),
            "units": {"depth": (100, 200, 300)},
        }
    )
    second = second.model_copy(update={"geometry": Geometry(um_per_pixel=4.0)})
    spec = spec.model_copy(update={"sessions": (first, second)})
    torch.manual_seed(0)
    twin = TwinConfig(sampling_rate=spec.rate_hz, convnet=ViViTConfig.tiny()).build(spec)
    readout = twin.heads[first.id].readout
    assert isinstance(readout, DynamicGaussianReadout)
    readout.place(torch.tensor([[7.0, 11.0], [0.0, 22.0], [14.0, 0.0]]))
    return twin


def test_places_are_in_degrees_or_micrometres_where_the_geometry_says_so(twin: Twin) -> None:
    rows = embed(twin)
    assert [(row["session"], row["unit_id"]) for row in rows] == [
        (own.id, unit) for own in twin.spec.sessions for unit in own.unit_ids
    ]
    # The middle of the field, its top right corner, its bottom left one; y grows upwards.
    found = [(row["x_deg"], row["y_deg"]) for row in rows[:3]]
    np.testing.assert_allclose(found, [(10.0, -2.0), (15.5, 1.5), (4.5, -5.5)], atol=1e-5)
    assert rows[0]["width_deg"] == pytest.approx(0.5 * rows[0]["width_px"])
    assert [row["unit_depth"] for row in rows] == [100, 200, 300, None, None]
    assert rows[0]["x_um"] is rows[3]["x_deg"] is None
    assert rows[3]["x_um"] == pytest.approx(4.0 * (rows[3]["column_px"] - 11))


def test_features_are_the_readouts_weights_and_rows_have_the_same_columns(twin: Twin) -> None:
    rows = embed(twin)
    readout = twin.heads[twin.sessions[1]].readout
    assert isinstance(readout, DynamicGaussianReadout)
    n_features = readout.weight.shape[1]
    found = [[row[f"feature_{k}"] for k in range(n_features)] for row in rows[3:]]
    np.testing.assert_array_equal(np.array(found, np.float32), readout.weight.detach().numpy())
    assert len({tuple(row) for row in rows}) == 1


@pytest.mark.parametrize("core", CORES, ids=lambda core: core.type)
def test_twins_of_every_core_have_a_table(core: object, tmp_path: Path) -> None:
    spec = spec_of(2)
    linear = LowRankLinearConfig() if isinstance(core, NoCoreConfig) else None
    settings = {"sampling_rate": spec.rate_hz, "convnet": core} | ({"linear": linear} if linear else {})
    rows = embed(TwinConfig.model_validate(settings).build(spec))
    assert ("row_px" in rows[0]) is (core.type not in ("none", "blind"))  # type: ignore[attr-defined]
    write_embedding(tmp_path / "units.csv", rows)
    assert len((tmp_path / "units.csv").read_text().splitlines()) == 1 + len(rows)


def test_parquet_holds_what_was_written(twin: Twin, tmp_path: Path) -> None:
    rows = embed(twin)
    write_embedding(tmp_path / "units.parquet", rows)
    assert pyarrow.parquet.read_table(tmp_path / "units.parquet").to_pylist() == rows
    with pytest.raises(ConfigError, match=r"units.txt: expected a name that ends in \.parquet or \.csv"):
        write_embedding(tmp_path / "units.txt", rows)


def test_an_evaluation_of_another_twin_is_refused(twin: Twin, tmp_path: Path) -> None:
    from scored import setting

    result = setting().score()
    result.write_json(tmp_path / "evaluation_test.json")
    with pytest.raises(DataError, match=r"evaluation_test\.json: is of another twin"):
        embed(twin, tmp_path)
