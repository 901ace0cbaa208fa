"""Whether a twin predicts the bins that it is to learn from and be chosen by: in blocks that are short it may not."""

import logging

from visioncore.data import RecordingStore
from visioncore.data.splits import SPLITS
from visioncore.errors import ConfigError
from visioncore.model import Twin

logger = logging.getLogger(__name__)


def require_predicted_bins(twin: Twin, store: RecordingStore) -> None:
    """Refuse a twin whose stride leaves no bin of a split, and say where it leaves less than half.

    A block's first stride - 1 bins are not predicted, however short the block is.

    Raises:
        ConfigError: naming the split, the longest block and the setting that helps.
    """
    if twin.trunk.core is None or twin.stride == 1:
        return
    remedy = f"set {twin.trunk.core.stride_setting(1)}"
    for split in SPLITS:
        lengths = [b.n_bins for s in store.sessions.values() for b in s.blocks_in(split)]
        usable = sum(max(n - store.burn_in_bins, 0) for n in lengths)
        predicted = sum(max(n - max(store.burn_in_bins, twin.first_predicted_bin), 0) for n in lengths)
        if usable and not predicted:
            raise ConfigError(
                f"the longest {split} block has {max(lengths)} bin(s), and a twin with a token every {twin.stride} "
                f"frames predicts none before bin {twin.first_predicted_bin} of a block; {remedy}"
            )
        if predicted < usable / 2:
            logger.warning(
                "of the %s split %.0f %% is predicted: a twin with a token every %d frames predicts no bin before "
                "bin %d of a block; %s",
                split,
                100 * predicted / usable,
                twin.stride,
                twin.first_predicted_bin,
                remedy,
            )
