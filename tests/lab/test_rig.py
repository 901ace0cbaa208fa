"""The rig shows stimuli to a twin's units: side by side as one by one, in the recording's light."""

from collections.abc import Callable
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch

from twins import COMBINATIONS, SPEC, every_part, make_twin
from visioncore.data import RecordingStore
from visioncore.errors import ConfigError, DataError
from visioncore.lab import Display, Rig, units_of
from visioncore.model import Ensemble, TwinConfig
from visioncore.model.cores import CoreConfig, ViViTConfig
from visioncore.model.modulators import ModulatorConfig
from visioncore.predictor import Predictor
from visioncore.spec import Geometry

RNG = np.random.default_rng(0)
STIMULI = RNG.uniform(-0.5, 0.5, (3, 19, 14, 22)).astype(np.float32)


class Wrapped:
    """A twin of which nothing is known but that it is a predictor."""

    def __init__(self, twin: Predictor) -> None:
        self._twin = twin

    def __getattr__(self, name: str) -> object:
        return getattr(self._twin, name)


def rig_of(predictor: Predictor, **changes: Any) -> Rig:
    return Rig(
        predictor, Display.of(SPEC.with_constants(predictor.spec.sessions[0].normalisation)), **changes
    )


@every_part
def test_stimuli_side_by_side_have_the_rates_of_each_alone_after_grey(
    core: CoreConfig, modulator: ModulatorConfig
) -> None:
    twin = make_twin(core, modulator)
    rig = rig_of(twin, rest_s=0.25)
    found = rig.rates(STIMULI)
    rest = rig.resting_pixels(1)[0]
    start = 0
    for session in twin.spec.sessions:
        signals: Literal["mean"] | None = "mean" if twin.uses_behaviour else None
        for k, stimulus in enumerate(STIMULI):
            video = np.concatenate((rest, rig.display.pixels(stimulus)))
            alone = twin.predict(video, signals, session=session.id, rate="hz")[len(rest) :]
            columns = slice(start, start + len(session.unit_ids))
            np.testing.assert_allclose(found[k, :, columns], alone, rtol=2e-4, atol=1e-4)
        start += len(session.unit_ids)


def test_an_ensemble_and_any_other_predictor_are_shown_the_same() -> None:
    one, other = make_twin(*COMBINATIONS[0]), make_twin(*COMBINATIONS[0])
    with torch.no_grad():
        other.heads["one"].output.bias.add_(0.5)
    each = [rig_of(twin, rest_s=0.1).rates(STIMULI) for twin in (one, other)]
    assert not np.allclose(each[0], each[1])
    np.testing.assert_allclose(
        rig_of(Ensemble([one, other]), rest_s=0.1).rates(STIMULI), np.mean(each, 0), rtol=1e-4
    )
    wrapped: Predictor = Wrapped(one)  # type: ignore[assignment]
    np.testing.assert_allclose(rig_of(wrapped, rest_s=0.1).rates(STIMULI), each[0], rtol=1e-3, atol=1e-4)


def test_assumed_behaviour_changes_rates_and_is_told() -> None:
    twin = make_twin()
    fast = rig_of(twin, behaviour={"speed": 30.0})
    assert fast.assumed == "speed = 30; every other signal at its training mean"
    assert "training mean" in rig_of(twin).assumed
    assert not np.allclose(fast.rates(STIMULI), rig_of(twin).rates(STIMULI))
    with pytest.raises(ConfigError, match=r"no behaviour pupil; the twin was made with speed, x, y"):
        rig_of(twin, behaviour={"pupil": 1.0})


def test_units_are_named_by_id_or_by_session_and_id() -> None:
    twin = make_twin()
    assert [str(unit) for unit in units_of(twin)] == ["one:a", "one:b", "one:c", "two/β:a", "two/β:d"]
    assert [str(unit) for unit in units_of(twin, ["d", "one:a", "d"])] == ["two/β:d", "one:a"]
    assert [str(unit) for unit in units_of(twin, ["one:"])] == ["one:a", "one:b", "one:c"]
    with pytest.raises(ConfigError, match="several sessions have a unit 'a'; say one:a or two/β:a"):
        units_of(twin, ["a"])
    with pytest.raises(ConfigError, match="no unit 'z'"):
        units_of(twin, ["z"])
    assert [str(unit) for unit in rig_of(twin).only(["two/β"]).units] == ["two/β:a", "two/β:d"]
    with pytest.raises(ConfigError, match="none of the units is of session three"):
        rig_of(twin).only(["three"])
    some = rig_of(twin, units=units_of(twin, ["d", "one:b"])).rates(STIMULI)
    np.testing.assert_allclose(some, rig_of(twin).rates(STIMULI)[:, :, [4, 1]], rtol=1e-5)


TABLE = (0.0, 5.0, 20.0, 60.0, 100.0)


@pytest.mark.parametrize(
    ("geometry", "light"),
    [
        (Geometry(), lambda p: p),
        (Geometry(gamma=2.2), lambda p: (p / 255) ** 2.2),
        (Geometry(luminance=TABLE), lambda p: np.interp(p, np.linspace(0, 255, 5), TABLE)),
    ],
    ids=["linear", "gamma", "table"],
)
def test_contrast_is_michelsons_of_light(geometry: Geometry, light: Callable[[Any], Any]) -> None:
    display = Display(1, 2, 2, 60.0, (0.0,), (100.0,), (255.0,), False, geometry)
    contrast = np.broadcast_to(np.array([0.3, -0.3, 0.0, -1.0])[:, None, None], (4, 2, 2))
    shown = light(display.pixels(contrast)[:, 0, 0, 0].astype(np.float64))
    low, high = sorted(shown[:2])
    assert (high - low) / (high + low) == pytest.approx(0.3, rel=1e-4)
    assert shown[2] == pytest.approx(light(np.float64(100.0)), rel=1e-5)
    assert shown[3] == pytest.approx(0, abs=1e-9)


def test_a_bright_recording_says_which_contrast_fits() -> None:
    display = Display(1, 2, 2, 60.0, (0.0,), (170.0,), (255.0,), True)
    assert display.max_contrast == pytest.approx(0.5)
    assert display.pixels(np.full((1, 2, 2), 0.5)).max() == 255


def test_positions_are_told_as_the_eye_sees_them() -> None:
    display = Display(
        1,
        20,
        40,
        60.0,
        (0.0,),
        (127.0,),
        (255.0,),
        True,
        Geometry(degrees_per_pixel=0.5, centre_deg=(3.0, -1.0)),
    )
    np.testing.assert_allclose(display.position(np.array([10.0, 20.0])), (3.0, -1.0))
    np.testing.assert_allclose(display.position(np.array([0.0, 40.0])), (13.0, 4.0))
    unknown = Display(1, 20, 40, 60.0, (0.0,), (127.0,), (255.0,), True)
    assert unknown.unit == "px"
    np.testing.assert_allclose(unknown.position(np.array([0.0, 40.0])), (20.0, 10.0))


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(DataError, match=r"expected \(stimuli, time, 14, 22\)"):
        rig_of(make_twin()).rates(STIMULI[:, :, :5])
    twin = make_twin()
    spec = twin.spec.with_constants(
        twin.spec.sessions[0].normalisation.model_copy(update={"video_mean": (0.01,)})
    )
    with pytest.raises(DataError, match="not in bytes"):
        Display.of(spec)


def test_what_is_predicted_of_a_recording_once_is_not_predicted_again(tiny_store: RecordingStore) -> None:
    calls: list[int] = []

    class Counting(Wrapped):
        def predict(self, video: np.ndarray, *args: object, **kwargs: object) -> np.ndarray:
            calls.append(len(video))
            return self._twin.predict(video, *args, **kwargs)  # type: ignore[arg-type]

    twin = TwinConfig(sampling_rate=60.0, convnet=ViViTConfig.tiny()).build(tiny_store.spec)
    session = tiny_store.sessions["a"]
    block, other = session.blocks_in("train")[:2]
    rig = Rig.of(cast("Predictor", Counting(twin)), tiny_store, ["a:"])
    whole = rig.during(session).rates(block)
    summed = rig.during(session, burn_in_bins=5, bins_summed=3)(block).prediction
    np.testing.assert_allclose(summed[0], whole[5:8].sum(0), rtol=1e-5)
    assert calls == [block.n_bins]
    rig.during(session).rates(other)
    assert calls == [block.n_bins, other.n_bins]
    # Where not all fit, the newest stay.
    rig._predicted.most_bytes = whole.nbytes
    rig.during(session).rates(session.blocks_in("train")[2])
    rig.during(session).rates(session.blocks_in("train")[2])
    rig.during(session).rates(block)
    assert calls[2:] == [session.blocks_in("train")[2].n_bins, block.n_bins]
    # Of fewer units, in another order, there are other columns.
    two = Rig.of(twin, tiny_store, [f"a:{unit}" for unit in session.unit_ids[1::-1]])
    np.testing.assert_array_equal(two.during(session).rates(block), whole[:, 1::-1])
