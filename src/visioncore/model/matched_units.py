"""Units that two twins have in common: what belongs to a unit is carried from the one to the other."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from visioncore.errors import DataError
from visioncore.model.twin import Twin
from visioncore.provenance import UnitMatch
from visioncore.spec import SessionSpec


def take_over(twin: Twin, origin: Twin, matches: Sequence[UnitMatch]) -> None:
    """Give units of `twin` what their matches in `origin` have, in place: where they look, their weights and filters.

    What all units of a session share (how a token's bins differ) comes from the session that most of its matches are
    in.

    Raises:
        DataError: a session or unit is not there, or the heads of the two are not built alike.
    """
    for session in dict.fromkeys(match.session for match in matches):
        own = [match for match in matches if match.session == session]
        (most, _), *_ = Counter(match.matched_session for match in own).most_common(1)
        axes = unit_axes(twin, session)
        for of_session in dict.fromkeys(match.matched_session for match in own):
            some = [match for match in own if match.matched_session == of_session]
            _take_over(twin, origin, some, axes, shared=of_session == most)


def _take_over(
    twin: Twin, origin: Twin, matches: Sequence[UnitMatch], axes: Mapping[str, int | None], *, shared: bool
) -> None:
    """Of one session of each. `shared`: whether what no unit owns is taken over too."""
    session, of_session = matches[0].session, matches[0].matched_session
    head, theirs = twin.heads[session].state_dict(), origin.heads[of_session].state_dict()
    _require_alike(head, theirs, axes, session, of_session)
    to = torch.as_tensor(twin.columns(session, [match.unit_id for match in matches]))
    place = torch.as_tensor(origin.columns(of_session, [match.matched_unit_id for match in matches]))
    for name, tensor in head.items():
        axis = axes[name]
        if axis is not None:
            taken = theirs[name].index_select(axis, place.to(theirs[name].device))
            tensor.index_copy_(axis, to.to(tensor.device), taken.to(tensor))
        elif shared:
            tensor.copy_(theirs[name])


def unit_axes(twin: Twin, session: str) -> dict[str, int | None]:
    """For every tensor of a session's head, the axis that counts units; None where the units share it.

    It is the axis that is longer in a head of one more unit, so no part has to say it.
    """
    spec = twin.spec.session(session)
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        one, more = (_shapes(twin, _with_units(spec, len(spec.unit_ids) + extra)) for extra in (0, 1))
    return {
        name: next((axis for axis, (a, b) in enumerate(zip(shape, more[name], strict=True)) if a != b), None)
        for name, shape in one.items()
    }


def _with_units(spec: SessionSpec, n_units: int) -> SessionSpec:
    assert spec.constants is not None
    scales = (1.0,) * n_units if spec.constants.count_scale else ()
    constants = spec.constants.model_copy(update={"count_scale": scales})
    ids = tuple(map(str, range(n_units)))
    units = {name: (1.0,) * n_units for name in spec.units}
    return spec.model_copy(update={"unit_ids": ids, "units": units, "constants": constants})


def _shapes(twin: Twin, spec: SessionSpec) -> dict[str, tuple[int, ...]]:
    alone = twin.spec.model_copy(
        update={"sessions": (spec,), "trunk_behaviour_names": twin.spec.behaviour_names}
    )
    return {name: tuple(t.shape) for name, t in twin.config.build(alone).heads[spec.id].state_dict().items()}


def _require_alike(
    head: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    axes: Mapping[str, int | None],
    session: str,
    of_session: str,
) -> None:
    def shape(tensors: Mapping[str, Tensor], name: str) -> Sequence[int]:
        return [n for axis, n in enumerate(tensors[name].shape) if axis != axes[name]]

    different = sorted(head.keys() ^ theirs.keys()) or [
        name for name in sorted(head) if shape(head, name) != shape(theirs, name)
    ]
    if different:
        raise DataError(
            f"the heads of sessions {session!r} and {of_session!r} are not built alike ({different[0]}); units can be "
            "matched between twins of one model"
        )
