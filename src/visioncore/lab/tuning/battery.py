"""The battery that a lab runs in vivo, in silico."""

from visioncore.data.store import RecordingStore
from visioncore.lab.rig import Rig
from visioncore.lab.tuning.gratings import show_gratings
from visioncore.lab.tuning.measured import Rest
from visioncore.lab.tuning.result import Tuning
from visioncore.lab.tuning.settings import Battery
from visioncore.lab.tuning.showing import Told, untold
from visioncore.lab.tuning.truth import Truth


def tune(
    rig: Rig, store: RecordingStore | None = None, battery: Battery | None = None, told: Told = untold
) -> Tuning:
    """Show the battery to the rig's units.

    Args:
        store: the recording, for what it knows of the units; nothing of it is shown.
        told: hears what is being shown, and how many of how many frames have been.

    Raises:
        ConfigError: the display's frames are too small for gratings.
    """
    battery = battery or Battery()
    rest = Rest.of(rig)
    return Tuning(
        twin_digest=rig.predictor.digest,
        behaviour=rig.assumed,
        units=rig.units,
        display=rig.display,
        battery=battery,
        rest=rest,
        gratings=show_gratings(rig, battery, rest, told),
        truth=None if store is None else Truth.of(store, rig.units),
    )
