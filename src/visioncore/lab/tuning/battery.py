"""The battery that a lab runs in vivo, in silico."""

from visioncore.data.store import RecordingStore
from visioncore.lab.rig import Rig
from visioncore.lab.tuning.bars import show_bars
from visioncore.lab.tuning.centres import Centres
from visioncore.lab.tuning.contrasts import show_contrasts
from visioncore.lab.tuning.flashes import show_flashes
from visioncore.lab.tuning.gabors import show_gabors
from visioncore.lab.tuning.gratings import show_gratings
from visioncore.lab.tuning.measured import Rest
from visioncore.lab.tuning.plaids import show_plaids
from visioncore.lab.tuning.recorded import recorded_tuning
from visioncore.lab.tuning.result import Tuning
from visioncore.lab.tuning.settings import Battery
from visioncore.lab.tuning.showing import Told, untold
from visioncore.lab.tuning.sizes import show_sizes
from visioncore.lab.tuning.spots import show_spots
from visioncore.lab.tuning.truth import Truth


def tune(
    rig: Rig, store: RecordingStore | None = None, battery: Battery | None = None, told: Told = untold
) -> Tuning:
    """Show the battery to the rig's units.

    Args:
        store: the recording, for what it knows of the units, and for the gratings that it showed, in all splits.
        told: hears what is being shown, and how many of how many frames have been.

    Raises:
        ConfigError: the display's frames are too small for gratings.
        DataError, CheckpointError: the recording showed gratings, and is not one that the predictor was made for.
    """
    battery = battery or Battery()
    rest = Rest.of(rig)
    gratings = show_gratings(rig, battery, rest, told)
    spots = show_spots(rig, rest, told)
    gabors = show_gabors(rig, battery, gratings.contrast, told)
    centres = Centres.of(rig, spots, gabors)
    return Tuning(
        twin_digest=rig.predictor.digest,
        behaviour=rig.assumed,
        units=rig.units,
        display=rig.display,
        battery=battery,
        rest=rest,
        gratings=gratings,
        spots=spots,
        gabors=gabors,
        sizes=show_sizes(rig, battery, gratings, centres, told),
        contrasts=show_contrasts(rig, battery, gratings, told),
        plaids=show_plaids(rig, battery, gratings, told),
        bars=show_bars(rig, rest, gratings, told),
        flashes=show_flashes(rig, rest, told),
        recorded=None if store is None else recorded_tuning(rig, store, told),
        truth=None if store is None else Truth.of(store, rig.units),
    )
