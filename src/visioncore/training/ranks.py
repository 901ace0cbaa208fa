"""What processes that train together share out, and tell each other."""

from collections.abc import Sequence
from typing import TypeVar

import torch.distributed as dist

T = TypeVar("T")


def dealt(n: int, rank: int, world_size: int) -> list[int]:
    """Which of `n` things are this rank's: every `world_size`-th, and as many for each rank, so that none waits.

    Where they do not divide, some are dealt twice: those whose number, `place * world_size + rank`, is `n` or more.
    """
    rounds = -(-n // world_size)
    return [number % n for number in range(rank, rounds * world_size, world_size)]


def gathered(own: T) -> Sequence[T]:
    """What each process gives, in the order of their ranks; the same on all. One that trains alone has its own.

    Every process must call it, as often as the others.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return [own]
    of_all: list[T] = [own] * dist.get_world_size()
    dist.all_gather_object(of_all, own)
    return of_all
