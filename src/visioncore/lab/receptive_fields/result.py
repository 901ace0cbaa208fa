"""What was found of receptive fields: kernels of several kinds, side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Bool, Float64

from visioncore.config import AsWritten
from visioncore.data.store import RecordingStore
from visioncore.lab.analysis import Analysis, Drawn
from visioncore.lab.display import Display
from visioncore.lab.receptive_fields.covariance import Axes
from visioncore.lab.receptive_fields.kernels import Fields, Kernels, measure
from visioncore.lab.rig import Rig, UnitName

KINDS = {
    "recorded_sta": "recording: triggered average",
    "recorded": "recording: decorrelated",
    "twin_sta": "twin, same frames: triggered average",
    "twin": "twin, same frames: decorrelated",
    "gradient": "twin: mean gradient",
    "white_noise": "twin: under white noise",
}
"""Kernels, in the order in which they are shown."""
MEASURED = ("recorded", "twin", "gradient", "white_noise")
"""Those whose fields stand in the table."""


@dataclass(frozen=True)
class OneKind:
    """Kernels of one kind, and what is measured of them."""

    kernels: Kernels
    fields: Fields

    @classmethod
    def of(cls, kernels: Kernels) -> Self:
        """Measured now."""
        return cls(kernels, measure(kernels))

    def where(self, known: Bool[np.ndarray, " units"]) -> Self:
        """With fields of these units alone."""
        fields = self.fields
        masked = {
            name: np.where(known.reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)
            for name, values in vars(fields).items()
        }
        return replace(self, fields=Fields(**masked))


@dataclass(frozen=True)
class Truth:
    """What is known of simulated cells; NaN where it is not."""

    centre_px: Float64[np.ndarray, "units 2"]
    sigma_px: Float64[np.ndarray, " units"]
    classes: tuple[str | None, ...]

    @classmethod
    def of(cls, rig: Rig, store: RecordingStore | None) -> Self:
        """Of the rig's units."""
        centre, sigma = np.full((len(rig.units), 2), np.nan), np.full(len(rig.units), np.nan)
        classes: list[str | None] = [None] * len(rig.units)
        for k, unit in enumerate(rig.units):
            session = None if store is None else store.sessions.get(unit.session)
            if session is None:
                continue
            own = session.unit_ids.index(unit.unit_id)
            classes[k] = session.cell_classes[own]
            known = session.unit_truth
            if "rf_row_px" in known and "rf_column_px" in known:
                centre[k] = known["rf_row_px"][own], known["rf_column_px"][own]
            if "rf_sigma_px" in known:
                sigma[k] = known["rf_sigma_px"][own]
        return cls(centre, sigma, tuple(classes))


@dataclass(frozen=True)
class ReceptiveFields(Analysis):
    """Kernels and fields of every unit; see `KINDS`."""

    name: ClassVar[str] = "receptive_fields"
    title: ClassVar[str] = "Receptive fields, recorded and predicted"
    twin_digest: str
    behaviour: str
    rig_units: tuple[UnitName, ...]
    display: Display
    rate_unit: str
    kinds: Mapping[str, OneKind]
    p: Float64[np.ndarray, " units"]
    """Of the recorded triggered average, against shuffled spikes; NaN without a recording."""
    axes: Mapping[str, Sequence[Axes | None]]
    """Triggered covariance, `recorded` and `twin`; empty without a recording."""
    readout_px: Float64[np.ndarray, "units 2"]
    truth: Truth

    @property
    def fields(self) -> Fields:
        """Where the twin's units look, by its gradient; by its kernels under white noise where it has none."""
        return self.kinds["gradient" if "gradient" in self.kinds else "white_noise"].fields

    def distance_px(self, to: Float64[np.ndarray, "units 2"]) -> Float64[np.ndarray, " units"]:
        """From the fields' centres."""
        return np.asarray(np.linalg.norm(self.fields.centre_px - to, axis=1))

    def similarity(self, one: str, other: str) -> Float64[np.ndarray, " units"]:
        """Correlation of two kinds of kernels on the same grid, unit by unit."""
        a, b = (self.kinds[name].kernels.values.reshape(len(self.rig_units), -1) for name in (one, other))
        a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
        size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        return np.asarray((a * b).sum(1) / np.where(size > 0, size, np.nan), np.float64)

    # --- As an analysis -------------------------------------------------------------------------------------------

    def sentences(self) -> list[str]:
        unit, per = self.display.unit, self.display.unit_per_px
        n = len(self.rig_units)
        found = self.fields.found
        told = [
            f"{int(found.sum())} of {n} units have a field in the twin; median size (standard deviation of the "
            f"envelope) {_median(self.fields.sigma_px) * per:.3g} {unit}, latency "
            f"{_median(self.fields.latency_ms):.0f} ms, separability {_median(self.fields.separability):.2f}."
        ]
        if "recorded" in self.kinds:
            certain = self.p < 0.05
            told.append(
                f"{int(certain.sum())} of {n} units have a recorded triggered average that shuffled spikes do not give "
                f"(p < 0.05); {0.05 * n:.0f} would by chance."
            )
            if certain.any():
                same = self.similarity("recorded_sta", "twin_sta")[certain]
                told.append(
                    f"For these, the twin's average over the same frames correlates {_median(same):.2f} with the "
                    "recorded one (median; 1 cannot be reached, since spikes are noisy)."
                )
        if np.isfinite(self.readout_px).any():
            told.append(
                f"Fields lie {_median(self.distance_px(self.readout_px)) * per:.3g} {unit} from the readout's places "
                "(median)."
            )
        if np.isfinite(self.truth.centre_px).any():
            told.append(
                f"Fields lie {_median(self.distance_px(self.truth.centre_px)):.2f} px from the cells' true places "
                "(median)."
            )
        for name, axes in self.axes.items():
            known = [a for a in axes if a is not None]
            if known:
                excitatory = sum(a.excitatory > 0 for a in known)
                suppressive = sum(a.suppressive > 0 for a in known)
                whose = "recorded" if name == "recorded" else "the twin's"
                told.append(
                    f"Triggered covariance, {whose}: {excitatory} of {len(known)} units have axes with more variance "
                    f"than any shuffle, {suppressive} axes with less."
                )
        return told

    def facts(self) -> AsWritten:
        return {
            "display": self.display.to_json(),
            "rate_unit": self.rate_unit,
            "units": len(self.rig_units),
            "with_a_field": int(self.fields.found.sum()),
            "median_sigma": _known(_median(self.fields.sigma_px) * self.display.unit_per_px),
            "median_latency_ms": _known(_median(self.fields.latency_ms)),
            "median_px_to_readout": _known(_median(self.distance_px(self.readout_px))),
            "median_px_to_truth": _known(_median(self.distance_px(self.truth.centre_px))),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        arrays = {"units": np.array([str(unit) for unit in self.rig_units]), "p": self.p}
        for name, kind in self.kinds.items():
            arrays[name] = kind.kernels.values
            arrays[f"{name}_lag_s"] = np.array(kind.kernels.lag_s)
            arrays[f"{name}_px"] = np.array(kind.kernels.px)
            if kind.kernels.power is not None:
                # Over lags: it is as large as the kernels, and is looked at as a map.
                arrays[f"{name}_power_map"] = kind.kernels.power.sum(1)
        return arrays

    def rows(self) -> list[AsWritten]:
        columns: dict[str, np.ndarray] = {"recorded_p": self.p}
        for name in MEASURED:
            if name in self.kinds:
                columns |= self.kinds[name].fields.columns(self.display, name)
        readout = self.display.position(self.readout_px)
        columns |= {f"readout_{axis}_{self.display.unit}": readout[:, i] for i, axis in enumerate("xy")}
        if np.isfinite(self.truth.centre_px).any():
            columns["px_to_truth"] = self.distance_px(self.truth.centre_px)
        for name, axes in self.axes.items():
            for kind in ("excitatory", "suppressive"):
                columns[f"{name}_{kind}_axes"] = np.array(
                    [np.nan if a is None else getattr(a, kind) for a in axes], np.float64
                )
        return [
            {"session": unit.session, "unit_id": unit.unit_id, "cell_class": self.truth.classes[k]}
            | {name: _known(float(values[k])) for name, values in columns.items()}
            for k, unit in enumerate(self.rig_units)
        ]

    def figures(self) -> Iterator[Drawn]:
        from visioncore.lab.receptive_fields import drawn

        yield from drawn.figures(self)


def _median(values: np.ndarray) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
