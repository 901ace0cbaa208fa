"""What was found of representations, as it is kept and drawn."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from visioncore.config import AsWritten
from visioncore.lab.analysis import Analysis, Drawn
from visioncore.lab.representation.measures import Spectrum

TARGETS = ("light", "edges", "change")
"""What is read from populations: the mean pixel, and the logarithms of its differences over places and over frames."""


@dataclass(frozen=True)
class Population:
    """Recorded or predicted responses of one session's units."""

    decoded: Float64[np.ndarray, " targets"]
    """R² of each of `TARGETS` in each cell of the frame, one target after the other."""
    spectrum: Spectrum
    similarity: Float64[np.ndarray, "units units"]

    def of_target(self, target: str) -> Float64[np.ndarray, " cells"]:
        """R² in each cell of the frame."""
        return np.split(self.decoded, len(TARGETS))[TARGETS.index(target)]


@dataclass(frozen=True)
class SessionView:
    """What was found of one session."""

    session: str
    unit_ids: tuple[str, ...]
    populations: Mapping[str, Population]
    """`recorded`, `twin`, and `other` where there is a second predictor."""
    with_recorded: Float64[np.ndarray, " units"]
    """Correlation of each unit's prediction with its recorded responses."""
    with_other: Float64[np.ndarray, " units"] | None
    """And with the other's prediction."""
    alike: Mapping[str, float]
    """How much the twin's similarity matrix is like that of the others."""
    alignment: float | None
    """Linear CKA with the other."""
    bins: int


@dataclass(frozen=True)
class Representation(Analysis):
    """How populations represent the video; see `SessionView`."""

    name: ClassVar[str] = "representation"
    title: ClassVar[str] = "Representation"
    twin_digest: str
    behaviour: str
    other_digest: str | None
    bin_s: float
    sessions: tuple[SessionView, ...]

    def sentences(self) -> list[str]:
        names = {"recorded": "recorded responses", "twin": "the twin's rates", "other": "the other's rates"}
        told = []
        for target in TARGETS:
            each = [
                f"{self._decoded(name, target):.2f} from {label}"
                for name, label in names.items()
                if name in self.sessions[0].populations
            ]
            told.append(
                f"{target.capitalize()} in a cell of the frame can be read with an R² of {', '.join(each)} (means)."
            )
        spectra = [
            f"{label}: slope {self._of_spectrum(name, 'slope'):.2f}, "
            f"{self._of_spectrum(name, 'dimensions'):.1f} dimensions"
            for name, label in names.items()
            if name in self.sessions[0].populations
        ]
        told.append(f"Spectra: {'; '.join(spectra)} (medians over sessions).")
        told.append(
            "Which units are alike agrees between twin and recording with a correlation of "
            f"{self._alike('recorded'):.2f} (noise in what is recorded lowers it)."
        )
        if self.other_digest is not None:
            of_units = np.concatenate([v.with_other for v in self.sessions if v.with_other is not None])
            aligned = _mean(np.array([v.alignment for v in self.sessions if v.alignment is not None]))
            told.append(
                "The other predictor says the same of a unit with a correlation of "
                f"{np.nanmedian(of_units):.2f} (median; lowest {np.nanmin(of_units):.2f}); linear CKA {aligned:.2f}; "
                f"which units are alike agrees with {self._alike('other'):.2f}."
            )
        return told

    def facts(self) -> AsWritten:
        return {
            "bin_ms": 1e3 * self.bin_s,
            "other_digest": self.other_digest,
            "sessions": {
                view.session: {
                    "bins": view.bins,
                    "alignment_with_other": view.alignment,
                    "alike": dict(view.alike),
                    "populations": {
                        name: {
                            **{f"{target}_r2": _known(_mean(own.of_target(target))) for target in TARGETS},
                            "spectrum_slope": _known(own.spectrum.slope),
                            "dimensions": _known(own.spectrum.dimensions),
                        }
                        for name, own in view.populations.items()
                    },
                }
                for view in self.sessions
            },
        }

    def arrays(self) -> dict[str, np.ndarray]:
        arrays = {}
        for view in self.sessions:
            arrays[f"{view.session}_units"] = np.array(view.unit_ids)
            for name, own in view.populations.items():
                arrays[f"{view.session}_{name}_decoded_r2"] = own.decoded
                arrays[f"{view.session}_{name}_spectrum"] = own.spectrum.variances
                arrays[f"{view.session}_{name}_similarity"] = own.similarity
        return arrays

    def rows(self) -> list[AsWritten]:
        rows: list[AsWritten] = []
        for view in self.sessions:
            for k, unit in enumerate(view.unit_ids):
                row: AsWritten = {"session": view.session, "unit_id": unit}
                row["correlation_with_recorded"] = _known(float(view.with_recorded[k]))
                if self.other_digest is not None:
                    other = view.with_other
                    row["correlation_with_other"] = None if other is None else _known(float(other[k]))
                rows.append(row)
        return rows

    def figures(self) -> Iterator[Drawn]:
        from visioncore.lab.representation import drawn

        yield from drawn.figures(self)

    def _decoded(self, name: str, target: str) -> float:
        return _mean(np.concatenate([view.populations[name].of_target(target) for view in self.sessions]))

    def _of_spectrum(self, name: str, attribute: str) -> float:
        each = np.array([getattr(view.populations[name].spectrum, attribute) for view in self.sessions])
        return float(np.nanmedian(each)) if np.isfinite(each).any() else float("nan")

    def _alike(self, name: str) -> float:
        return _mean(np.array([view.alike[name] for view in self.sessions]))


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
