"""The rig: a predictor, the display that its units watch, and the behaviour that is assumed while they do."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor
from torch.utils._pytree import tree_map

from visioncore.data.store import RecordingStore, SessionStore
from visioncore.errors import ConfigError, DataError
from visioncore.evaluation.prediction import BlockPredictor, KeptRates
from visioncore.lab.display import Display
from visioncore.model import Ensemble, Twin
from visioncore.model.trunk import Seen
from visioncore.model.twin import evaluating
from visioncore.predictor import Predictor
from visioncore.spec import SessionSpec

REST_S = 1.0
"""Of grey before each stimulus, so that a rate depends on the stimulus alone."""
FRAMES_AT_ONCE = 2048
"""Of all stimuli that are shown side by side."""
KEPT_BYTES = 2**30
"""Of what was predicted of a recording, so that no analysis predicts what another has."""
Progress = Callable[[int, int], None]
"""Told how many of how many frames have been shown."""


class UnitName(NamedTuple):
    """A unit: units of different sessions may have one id."""

    session: str
    unit_id: str

    def __str__(self) -> str:
        return f"{self.session}:{self.unit_id}"


def units_of(predictor: Predictor, asked: Sequence[str] = ()) -> tuple[UnitName, ...]:
    """The units that are asked for, as `UNIT`, `SESSION:UNIT` or `SESSION:`; all of them where none is.

    Raises:
        ConfigError: there is no such unit, or several sessions have one of that id.
    """
    every = [UnitName(s.id, unit) for s in predictor.spec.sessions for unit in s.unit_ids]
    if not asked:
        return tuple(every)
    found: dict[UnitName, None] = {}
    for name in asked:
        mine = [unit for unit in every if name in (unit.unit_id, str(unit), f"{unit.session}:")]
        if not mine:
            raise ConfigError(
                f"no unit {name!r}; expected a unit id, SESSION:UNIT or SESSION: (sessions: "
                f"{', '.join(predictor.sessions)}; units such as {', '.join(map(str, every[:3]))})"
            )
        if len(mine) > 1 and not name.endswith(":"):
            raise ConfigError(f"several sessions have a unit {name!r}; say {' or '.join(map(str, mine))}")
        found |= dict.fromkeys(mine)
    return tuple(found)


class Rig:
    """Shows stimuli to some of a predictor's units.

    Args:
        units: in the order of the rates' columns; all when left out.
        behaviour: raw values of signals by name; those left out stand at the training data's mean.

    Raises:
        ConfigError: these are static images, or no session has such a signal.
    """

    def __init__(
        self,
        predictor: Predictor,
        display: Display,
        units: Sequence[UnitName] | None = None,
        behaviour: Mapping[str, float] | None = None,
        rest_s: float = REST_S,
    ) -> None:
        self.predictor, self.display, self.rest_s = predictor, display, rest_s
        self.units = units_of(predictor) if units is None else tuple(units)
        self.behaviour = dict(behaviour or {})
        known = {name for session in predictor.spec.sessions for name in session.behaviour_names}
        if unknown := [name for name in self.behaviour if name not in known]:
            raise ConfigError(
                f"no behaviour {', '.join(unknown)}; the twin was made with {', '.join(sorted(known)) or 'none'}"
            )
        if self.behaviour and not predictor.uses_behaviour:
            raise ConfigError("behaviour is given, and this twin's predictions do not use any")
        self._predicted = KeptRates(KEPT_BYTES)
        # Where the units of each session stand: in its predictions, and among `units`.
        self._columns: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for session in dict.fromkeys(unit.session for unit in self.units):
            places = [k for k, unit in enumerate(self.units) if unit.session == session]
            ids = [self.units[k].unit_id for k in places]
            self._columns[session] = (predictor.columns(session, ids), np.array(places))

    @classmethod
    def of(
        cls,
        predictor: Predictor,
        store: RecordingStore | None = None,
        units: Sequence[str] = (),
        behaviour: Mapping[str, float] | None = None,
    ) -> "Rig":
        """A rig with the recording's display."""
        return cls(predictor, Display.of(predictor.spec, store), units_of(predictor, units), behaviour)

    def only(self, sessions: Collection[str]) -> "Rig":
        """The rig with the units of these sessions.

        Raises:
            ConfigError: none of its units is of them.
        """
        kept = [unit for unit in self.units if unit.session in sessions]
        if not kept:
            raise ConfigError(
                f"none of the units is of session {' or '.join(sessions)}; they are of {', '.join(self.sessions)}"
            )
        return Rig(self.predictor, self.display, kept, self.behaviour, self.rest_s)

    def during(self, session: SessionStore, *, burn_in_bins: int = 0, bins_summed: int = 1) -> BlockPredictor:
        """Predicts the blocks of a recorded session, with the behaviour of that time, and keeps predictions.

        Its units are the rig's of this session, in the rig's order.
        """
        return BlockPredictor(
            self.predictor,
            session.with_units(self.unit_ids(session.id)),
            burn_in_bins=burn_in_bins,
            bins_summed=bins_summed,
            scale_was_said=True,
            kept=self._predicted,
        )

    def unit_ids(self, session: str) -> list[str]:
        """The rig's units of a session."""
        return [unit.unit_id for unit in self.units if unit.session == session]

    @property
    def sessions(self) -> tuple[str, ...]:
        """Those that some of the units are of."""
        return tuple(self._columns)

    @property
    def assumed(self) -> str:
        """Which behaviour was assumed, in words."""
        if not self.predictor.uses_behaviour:
            return "no behaviour: this twin does not use any"
        if not self.behaviour:
            return "every behavioural signal at its training mean"
        given = ", ".join(f"{name} = {value:g}" for name, value in self.behaviour.items())
        return f"{given}; every other signal at its training mean"

    @property
    def rate_unit(self) -> str:
        """In which rates are told."""
        return "spikes/s" if self.predictor.spec.response_kind == "counts" else "response"

    def signals(self, session: SessionSpec, n_bins: int) -> Float32[np.ndarray, "time behaviours"] | None:
        """The assumed behaviour of a session, raw; None where predictions use none."""
        if not self.predictor.uses_behaviour or not session.behaviour_names:
            return None
        mean = session.normalisation.behaviour_mean
        value = [
            self.behaviour.get(name, own) for name, own in zip(session.behaviour_names, mean, strict=True)
        ]
        return np.broadcast_to(np.array(value, np.float32), (n_bins, len(value)))

    def rates(
        self,
        contrast: Float[np.ndarray, "stimuli time height width"],
        progress: Progress | None = None,
    ) -> Float32[np.ndarray, "stimuli time units"]:
        """Rates in every bin of each stimulus, which follows `rest_s` of grey: spikes per second, or the trace.

        Raises:
            DataError: the frames are not of the display's size.
        """
        size = (self.display.height, self.display.width)
        if contrast.ndim != 4 or contrast.shape[2:] != size:
            raise DataError(
                f"stimuli have shape {contrast.shape}; expected (stimuli, time, {size[0]}, {size[1]})"
            )
        n, n_bins = contrast.shape[:2]
        found = np.empty((n, n_bins, len(self.units)), np.float32)
        at_once = max(FRAMES_AT_ONCE // max(n_bins, 1), 1)
        for start in range(0, n, at_once):
            some = contrast[start : start + at_once]
            found[start : start + at_once] = self._rates(self.predictor, self.display.pixels(some))
            if progress is not None:
                progress(min(start + at_once, n) * n_bins, n * n_bins)
        return found

    def _rates(
        self, predictor: Predictor, pixels: Shaped[np.ndarray, "stimuli time channels height width"]
    ) -> Float32[np.ndarray, "stimuli time units"]:
        per = self.display.rate_hz if predictor.spec.response_kind == "counts" else 1.0
        if isinstance(predictor, Ensemble):
            # Members may have their units in another order.
            each_member = [self._with(member)._rates(member, pixels) for member in predictor.members]
            return np.stack(each_member).mean(axis=0)
        found = np.empty((*pixels.shape[:2], len(self.units)), np.float32)
        each = (
            self._of_twin(predictor, pixels)
            if isinstance(predictor, Twin)
            else self._of_any(predictor, pixels)
        )
        for session, rates in each:
            columns, places = self._columns[session]
            found[:, :, places] = rates[:, :, columns]
        return found * np.float32(per)

    def _with(self, member: Twin) -> "Rig":
        behaviour = self.behaviour if member.uses_behaviour else None
        return Rig(member, self.display, self.units, behaviour, self.rest_s)

    def _of_any(
        self, predictor: Predictor, pixels: Shaped[np.ndarray, "stimuli time channels height width"]
    ) -> Iterator[tuple[str, np.ndarray]]:
        rest = self.resting_pixels(1)[0]
        for session in self.sessions:
            signals = self.signals(predictor.spec.session(session), len(rest) + pixels.shape[1])
            yield (
                session,
                np.stack(
                    [
                        predictor.predict(np.concatenate((rest, own)), signals, session=session)[len(rest) :]
                        for own in pixels
                    ]
                ),
            )

    def _of_twin(
        self, twin: Twin, pixels: Shaped[np.ndarray, "stimuli time channels height width"]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """The trunk runs once for all sessions that see a stimulus alike, and rests once for all stimuli."""
        with torch.no_grad(), evaluating(twin):
            yield from self._watched(twin, pixels)

    def _watched(self, twin: Twin, pixels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        resting = self._seen(twin, self.resting_pixels(1))
        shown = self._seen(twin, pixels)
        for group in _alike(resting, shown):
            first = group[0]
            features, state = twin.trunk.advance(None, resting[first])
            heads = {
                session: twin.heads[session].advance(None, resting[session].video, features)[1]
                for session in group
            }
            features, _ = twin.trunk.advance(_repeated(state, len(pixels)), shown[first])
            for session in group:
                before = _repeated(heads[session], len(pixels))
                rates, _ = twin.heads[session].advance(before, shown[session].video, features)
                yield session, rates.float().cpu().numpy()

    def resting_pixels(self, n: int) -> Shaped[np.ndarray, "stimuli time channels height width"]:
        """Grey for as long as the rig rests before a stimulus."""
        display = self.display
        frames = display.frames(self.rest_s)
        return display.pixels(np.zeros((n, frames, display.height, display.width), np.float32))

    def _seen(
        self, twin: Twin, pixels: Shaped[np.ndarray, "stimuli time channels height width"]
    ) -> dict[str, Seen]:
        video = torch.from_numpy(pixels).to(twin.device).transpose(1, 2)
        return {
            session: twin.trunk.look(video, self.behaviour_of(twin, session, *pixels.shape[:2]), session)
            for session in self.sessions
        }

    def behaviour_of(
        self, twin: Twin, session: str, n: int, n_bins: int
    ) -> Float[Tensor, "stimuli time behaviours"] | None:
        """The assumed behaviour as a twin takes it."""
        signals = self.signals(twin.spec.session(session), n_bins)
        if signals is None:
            return None
        return torch.from_numpy(signals.copy()).to(twin.device).expand(n, -1, -1)


def _alike(*seen: Mapping[str, Seen]) -> list[list[str]]:
    """Sessions in groups that see the same."""
    groups: list[list[str]] = []
    for session in seen[0]:
        for group in groups:
            if all(_equal(each[session], each[group[0]]) for each in seen):
                group.append(session)
                break
        else:
            groups.append([session])
    return groups


def _equal(one: Seen, other: Seen) -> bool:
    behaviours = one.behaviour, other.behaviour
    if None in behaviours:
        return behaviours == (None, None) and torch.equal(one.video, other.video)
    assert one.behaviour is not None
    assert other.behaviour is not None
    return torch.equal(one.video, other.video) and torch.equal(one.behaviour, other.behaviour)


def _repeated(state: Any, n: int) -> Any:
    """A state of one video as that of a batch of n; the batch is the outermost of every tensor's first dimension."""
    return tree_map(lambda t: t.repeat(n, *[1] * (t.ndim - 1)) if isinstance(t, Tensor) else t, state)
