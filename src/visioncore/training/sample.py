"""What the estimates before training read: a session's training blocks, slowed down and seen coarsely.

One piece in five is held out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from visioncore.data import SessionStore
from visioncore.data.trace_statistics import TraceStatistics
from visioncore.model import Twin
from visioncore.model.linear import SHORTEST_WINDOW_S
from visioncore.spec import DataSpec
from visioncore.training.ridge import LagMoments

ESTIMATE_RATE_HZ = 60.0
"""Frames are averaged, and responses summed, down to about this rate for the estimates."""
MAX_PIXELS = 2500
"""Larger frames are averaged down to about this many pixels for the filters."""
ENERGY_CELLS = 160
"""About how many places contrast energy is measured at."""
UNITS_AT_ONCE, WEIGHTS_AT_ONCE = 512, 16_000_000
"""More units are worked on in groups: each takes a filter of all pixels and lags, several times over."""
FEWEST_PIECES = 5
"""One in five stretches of recording is held out; with fewer there is none."""


@dataclass(frozen=True)
class Grain:
    """How coarsely the estimates see a recording, and how far back."""

    step: int
    """Bins of the twin in one of the sample."""
    lags: int
    shrink: int
    """Pixels of a frame along one of the sample's."""
    cell: int
    """The same for places of contrast energy."""
    pixels: int
    cells: int

    @classmethod
    def of(cls, spec: DataSpec, window_s: float) -> "Grain":
        """Of filters that see `window_s` of a recording."""
        frame = spec.sampling
        step = max(round(spec.bins_per_s / ESTIMATE_RATE_HZ), 1)
        # An image has no past.
        lags = 1 if frame.rate_hz is None else max(round(window_s * spec.bins_per_s / step), 1)
        shrink = max(round((frame.channels * frame.height * frame.width / MAX_PIXELS) ** 0.5), 1)
        cell = max(round((frame.height * frame.width / ENERGY_CELLS) ** 0.5), 1)
        pixels, cells = (-(-frame.height // side) * -(-frame.width // side) for side in (shrink, cell))
        return cls(step, lags, shrink, cell, frame.channels * pixels, cells)

    @property
    def energy_lags(self) -> int:
        """What telling where units look takes."""
        return min(self.lags, round(SHORTEST_WINDOW_S * ESTIMATE_RATE_HZ))

    @property
    def units_at_once(self) -> int:
        """Of a group of units."""
        return max(min(UNITS_AT_ONCE, WEIGHTS_AT_ONCE // (self.lags * self.pixels)), 1)

    def bins(self, spec: DataSpec, train_bins: int, max_minutes: float) -> int:
        """What `take_sample` keeps of so many training bins; images have no minutes."""
        most = train_bins if spec.sampling.rate_hz is None else round(max_minutes * 60 * spec.bins_per_s)
        return min(train_bins, most) // self.step

    def numbers(self, bins: int, n_units: int) -> int:
        """What a `Sample` holds, where its units share their masks; and once more its stimulus, while it is joined."""
        return bins * (2 * (self.pixels + self.cells) + n_units + 2)


@dataclass
class Sample:
    """Training blocks at the estimates' rate, concatenated."""

    pixels: Float[Tensor, "time pixels"]
    pixel_grid: tuple[int, int, int]
    energy: Float[Tensor, "time cells"]
    energy_grid: tuple[int, int]
    responses: Float[Tensor, "time units"]
    fitted: Float[Tensor, "time some"]
    """1 for bins that estimates are fitted on; one column where it is the same for all units, else one for each."""
    tested: Float[Tensor, "time some"]
    """1 for bins that they are judged by."""
    grain: Grain
    minutes: float

    def groups(self) -> Iterator[tuple[slice, "Sample"]]:
        """The sample of some units after the other."""
        n_units, at_once = self.responses.shape[1], self.grain.units_at_once
        for start in range(0, n_units, at_once):
            units = slice(start, start + at_once)
            yield units, self.of_units(units)

    def of_units(self, units: slice) -> "Sample":
        """The sample of some units."""
        fitted, tested = (
            mask if mask.shape[1] == 1 else mask[:, units] for mask in (self.fitted, self.tested)
        )
        return replace(self, responses=self.responses[:, units], fitted=fitted, tested=tested)

    def of_pixels(self) -> LagMoments | None:
        """What regressions of the responses on the pixels need of the data."""
        return LagMoments.of(
            self.pixels, self.pixel_grid, self.grain.lags, self.responses, self.fitted, self.tested
        )

    def of_energy(self) -> LagMoments | None:
        """The same for contrast energy, which tells where units look, and for no more lags than that takes."""
        grid, lags = (1, *self.energy_grid), self.grain.energy_lags
        return LagMoments.of(self.energy, grid, lags, self.responses, self.fitted, self.tested)


def take_sample(
    twin: Twin, session: SessionStore, traces: TraceStatistics | None, max_minutes: float, window_s: float
) -> Sample | None:
    """The session as `twin` sees it, with what each bin needs of the past; None if it is too short or broken up."""
    spec = twin.spec
    grain = Grain.of(spec, window_s)
    step, shrink, cell = grain.step, grain.shrink, grain.cell
    # Bins at the start of a piece of video lack their past.
    without_past = 0 if spec.sampling.rate_hz is None else grain.lags
    pixels, energies, usable = [], [], []
    held_out: list[Tensor] = []
    stretches = _stretches(twin, session, max_minutes)
    # Of 8,000 units a gigabyte: filled as it is read, and never there twice.
    responses = torch.empty(sum((stop - start) // step for start, stop in stretches), len(session.unit_ids))
    bins = 0
    for video, counts, valid in _blocks(twin, session, stretches):
        n = len(video) // step * step
        if n < step * (without_past + 1):
            continue
        slow = video[:n].unflatten(0, (-1, step)).mean(1)
        small = functional.avg_pool2d(slow, shrink, ceil_mode=True) if shrink > 1 else slow
        pixels.append(small.flatten(1))
        energies.append(_contrast_energy(slow, cell))
        if traces is not None:
            counts = counts.clamp(*(torch.from_numpy(end).float() for end in (traces.low, traces.high)))
        responses[bins // step : (bins + n) // step] = (counts * valid)[:n].unflatten(0, (-1, step)).sum(1)
        held_out.append(torch.full((n // step, 1), float(len(held_out) % 5 == 4)))
        good = valid[:n].unflatten(0, (-1, step)).amin(1)
        good[:without_past] = 0
        usable.append(_one_column_where_equal(good))
        bins += n
    if len(pixels) < FEWEST_PIECES:
        return None
    _, channels, rows, columns = small.shape
    height, width = slow.shape[-2:]
    held, good = torch.cat(held_out), _in_one(usable)
    return Sample(
        pixels=torch.cat(pixels),
        pixel_grid=(channels, rows, columns),
        energy=torch.cat([e.flatten(1) for e in energies]),
        energy_grid=(-(-height // cell), -(-width // cell)),
        responses=responses[: bins // step],
        fitted=good * (1 - held),
        tested=good * held,
        grain=grain,
        minutes=bins / spec.bins_per_s / 60,
    )


def _stretches(twin: Twin, session: SessionStore, max_minutes: float) -> list[tuple[int, int]]:
    """Of the training blocks, spread over the recording, cut where they are long."""
    rate = twin.spec.bins_per_s
    # Short enough for ten stretches, so that some can be held out however few the blocks are.
    total = sum(block.stop - block.start for block in session.blocks_in("train"))
    longest = max(min(round(20 * rate), total // 10), round(rate))
    stretches = [
        (start, min(start + longest, block.stop))
        for block in session.blocks_in("train")
        for start in range(block.start, block.stop, longest)
    ]
    allowed = max(round(max_minutes * 60 * rate / max(float(np.mean([b - a for a, b in stretches])), 1.0)), 5)
    # Minutes are of time, which images do not have.
    every = 1 if twin.spec.sampling.rate_hz is None else max(-(-len(stretches) // allowed), 1)
    return stretches[::every]


def _blocks(
    twin: Twin, session: SessionStore, stretches: Sequence[tuple[int, int]]
) -> Iterator[tuple[Float[Tensor, "time channels height width"], Tensor, Tensor]]:
    """Stretches as the model sees them: video, responses, and which of them count."""
    for start, stop in stretches:
        frames = torch.from_numpy(session.video(start, stop))
        with torch.no_grad():
            raw = frames.transpose(0, 1)[None].to(twin.device)
            video = twin.trunk.look(raw, _behaviour(twin, session, start, stop), session.id).video
        counts = torch.from_numpy(session.responses(start, stop))
        valid = torch.from_numpy(session.valid(start, stop)).float()
        yield video[0].transpose(0, 1).cpu(), counts, valid


def _behaviour(
    twin: Twin, session: SessionStore, start: int, stop: int
) -> Float[Tensor, "batch time behaviours"] | None:
    if not (twin.uses_behaviour and session.spec.behaviour_names):
        return None
    samples = np.array(session.behaviour(start, stop), dtype=np.float32)
    return torch.from_numpy(samples).to(twin.device)[None]


def _one_column_where_equal(mask: Float[Tensor, "time units"]) -> Float[Tensor, "time some"]:
    """A mask that all units share once instead of per unit: of 8,000 units it would be as large as their responses."""
    return mask[:, :1] if bool((mask == mask[:, :1]).all()) else mask


def _in_one(masks: Sequence[Float[Tensor, "time some"]]) -> Float[Tensor, "all some"]:
    """One after the other; with one column where all of them have one."""
    columns = max(mask.shape[1] for mask in masks)
    return torch.cat([mask.expand(-1, columns) for mask in masks])


def _contrast_energy(
    frames: Float[Tensor, "time channels height width"], cell: int
) -> Float[Tensor, "time rows columns"]:
    """Local r.m.s. gradient in square cells of `cell` pixels."""
    down = functional.pad(frames.diff(dim=2), (0, 0, 0, 1))
    across = functional.pad(frames.diff(dim=3), (0, 1))
    square = (down.square() + across.square()).sum(1, keepdim=True)
    return functional.avg_pool2d(square, cell, ceil_mode=True)[:, 0].sqrt()
