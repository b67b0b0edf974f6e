"""Several processes that train one model: who am I, and sums over all. One process needs none of it.

Started by ``accelerate launch`` or ``torchrun``, each process has a copy of the model and a part of each
step's prompts. Gradients are added up once per update instead of by a wrapper around the model: the loss is
already divided by the number of tokens of all processes, so the sum is exactly the gradient of the whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


def launched() -> int:
    """How many processes a launcher has announced in the environment."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among ``count``, the first of which (``rank`` 0) writes files."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"  # where this group's sums are made

    @classmethod
    def here(cls) -> Processes:
        """Join the group that a launcher has announced in the environment, if any."""
        if launched() < 2:
            return cls()
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes, str(state.device))

    @property
    def first(self) -> bool:
        return self.rank == 0

    def mine(self, count: int) -> list[int]:
        """The numbers below ``count`` that are this process's part."""
        return list(range(self.rank, count, self.count))

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, on each of them."""
        if self.count == 1:
            return value
        summed = value.to(self.device, copy=True)
        torch.distributed.all_reduce(summed)
        return summed.to(value.device)

    def any(self, here: bool) -> bool:
        """Whether it is so in any process; all must ask."""
        return here if self.count == 1 else bool(self.sum(torch.tensor(float(here))) > 0)

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its sum over all processes."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            torch.distributed.barrier()
