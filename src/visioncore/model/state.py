"""State is a value: `advance(state, chunk) -> (output, state)` returns a new one and never changes the old.

So a state can be kept, forked and replayed. `None` is the state at the start of a video. Every component with time
in it has its own small NamedTuple of tensors; the batch is always the first axis.
"""

from jaxtyping import Shaped
from torch import Tensor


def last_steps(sequence: Shaped[Tensor, "batch time ..."], n: int) -> Shaped[Tensor, "batch kept ..."]:
    """The newest `n` steps (all of them when there are fewer)."""
    return sequence[:, max(sequence.shape[1] - n, 0) :]
