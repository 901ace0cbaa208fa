"""Contracts T: causal to the last bit, dense, streamed as in one pass, and without a clock."""

import pytest
import torch
from torch import Tensor

from twins import (
    CORES,
    FRAMES,
    changed_bins,
    every_part,
    every_twin,
    every_twin_with_a_core,
    make_inputs,
    make_twin,
    run,
    sees_video,
)
from visioncore.model.cores import BlindConfig, CoreConfig, NoCoreConfig
from visioncore.model.modulators import (
    ModulatorConfig,
    NoModulatorConfig,
)

WALK = (0, 1, 2, 3, 5, 8, 11, 14, 17, 20, 21, 22)
"""Bins that are changed: the first and the last ones, and between them every place within a token of two or four."""


@every_twin
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_a_later_frame_never_changes_an_earlier_rate(
    core: CoreConfig, modulator: ModulatorConfig, training: bool
) -> None:
    dropouts = {"patch_dropout", "mha_dropout", "ff_dropout", "drop_path"} & set(type(core).model_fields)
    core = core.model_copy(update=dict.fromkeys(dropouts, 0.2))
    twin = make_twin(core, modulator, linear=isinstance(core, NoCoreConfig)).train(training)
    video, behaviour = make_inputs()
    before = run(twin, video, behaviour)
    for frame in WALK:
        other = video.clone()
        other[:, :, frame] = 255 - other[:, :, frame]
        changed = changed_bins(before, run(twin, other, behaviour))
        assert all(t >= frame for t in changed), f"frame {frame} changed bins {changed}"
        if not sees_video(twin):
            assert not changed
        elif frame <= FRAMES - twin.stride:
            assert changed, f"frame {frame} changed no later rate"


@every_twin
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_a_later_behaviour_sample_never_changes_an_earlier_rate(
    core: CoreConfig, modulator: ModulatorConfig, training: bool
) -> None:
    twin = make_twin(core, modulator).train(training)
    video, behaviour = make_inputs()
    before = run(twin, video, behaviour)
    for sample in WALK:
        other = behaviour.clone()
        other[:, sample] += 3.0
        changed = changed_bins(before, run(twin, video, other))
        assert all(t >= sample for t in changed), f"sample {sample} changed bins {changed}"
        if twin.uses_behaviour and sample <= FRAMES - twin.stride:
            assert changed, f"sample {sample} changed no later rate"


@every_twin
@pytest.mark.parametrize("frames", [1, 2, 7, FRAMES])
def test_every_bin_from_the_first_token_on_is_predicted(
    core: CoreConfig, modulator: ModulatorConfig, frames: int
) -> None:
    twin = make_twin(core, modulator)
    rates = run(twin, *make_inputs(frames))
    assert rates.shape == (2, frames, 3)
    covered = ~rates.isnan().any(dim=2).any(dim=0)
    assert covered.tolist() == [t >= twin.stride - 1 for t in range(frames)]


@every_twin_with_a_core
def test_the_last_step_is_the_newest_frames_entry_of_the_dense_output(
    core: CoreConfig, modulator: ModulatorConfig
) -> None:
    twin = make_twin(core, modulator, linear=False)
    video, behaviour = make_inputs()
    dense = run(twin, video, behaviour)
    with torch.no_grad():
        features, _ = twin.trunk.advance(None, twin.trunk.look(video, behaviour, "one"))
        head = twin.heads["one"]
        assert features is not None
        assert head.readout is not None
        last = head.output(head.readout(features))
        from_4d = head.output(head.readout(features[:, :, -1]))
    newest = FRAMES // twin.stride * twin.stride - 1
    torch.testing.assert_close(last, dense[:, newest])
    assert torch.equal(last, from_4d)


@every_twin
def test_any_split_into_chunks_gives_the_rates_of_one_forward(
    core: CoreConfig, modulator: ModulatorConfig
) -> None:
    twin = make_twin(core, modulator)
    frames = 41
    video, behaviour = make_inputs(frames)
    whole = run(twin, video, behaviour)
    mean = whole.nanmean(dim=(0, 1))
    for chunks in ([1] * frames, [5, 1, 1, 2, 30, 2], [frames - 1, 1], [3, 38]):
        state, pieces, start = None, [], 0
        for n in chunks:
            with torch.no_grad():
                rates, state = twin.advance(
                    state, video[:, :, start : start + n], behaviour[:, start : start + n], session="one"
                )
            pieces.append(rates)
            start += n
        streamed = torch.cat(pieces, dim=1)
        assert torch.equal(streamed.isnan(), whole.isnan())
        off = (streamed - whole).abs() - 1e-4 * (whole + mean)
        assert off.nan_to_num(-1).max() <= 0, f"chunks {chunks}"


@every_twin
def test_a_state_can_be_forked(core: CoreConfig, modulator: ModulatorConfig) -> None:
    twin = make_twin(core, modulator)
    video, behaviour = make_inputs()
    with torch.no_grad():
        _, state = twin.advance(None, video[:, :, :10], behaviour[:, :10], session="one")
        first, _ = twin.advance(state, video[:, :, 10:], behaviour[:, 10:], session="one")
        twin.advance(state, 255 - video[:, :, 10:], behaviour[:, 10:], session="one")
        again, _ = twin.advance(state, video[:, :, 10:], behaviour[:, 10:], session="one")
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    "core",
    [c for c in CORES if not isinstance(c, (NoCoreConfig, BlindConfig))],
    ids=lambda core: core.type,
)
def test_what_happened_before_the_window_is_forgotten_and_the_clock_with_it(core: CoreConfig) -> None:
    """The same history gives the same rates at minute 0 and much later: no position counts from the start."""
    twin = make_twin(core, NoModulatorConfig())
    assert twin.trunk.core is not None
    window = twin.trunk.core.history_frames()
    assert window is not None
    video, _ = make_inputs(window + FRAMES)
    late, _ = make_inputs(40 * twin.stride * 25, seed=9)
    with torch.no_grad():
        # A whole number of tokens before, so that both runs see the same tubelets.
        fresh = twin.rates(video, session="one")
        _, state = twin.advance(None, late, session="one")
        much_later, _ = twin.advance(state, video, session="one")
    tail = slice(window, None)
    torch.testing.assert_close(much_later[:, tail], fresh[:, tail], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(much_later[:, twin.stride : 4], fresh[:, twin.stride : 4])


@every_part
def test_memory_of_a_stream_does_not_grow(core: CoreConfig, modulator: ModulatorConfig) -> None:
    twin = make_twin(core, modulator)
    video, behaviour = make_inputs(1)
    state, sizes = None, []
    for _ in range(60):
        with torch.no_grad():
            _, state = twin.advance(state, video, behaviour, session="one")
        assert state is not None
        sizes.append(sum(t.numel() for t in tensors_in(state)))
    assert max(sizes[30:]) == max(sizes[10:30])


def tensors_in(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [t for item in value for t in tensors_in(item)] if isinstance(value, tuple) else []
