"""Processes that carry out one run together, each a share of every batch: `torchrun`'s, or those that SLURM started.

All of them take the same steps. Rank 0 writes. Decisions that a clock or a signal makes are shared before they are acted on,
so that no rank waits for one that has stopped.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from priorscope.core.errors import RequestError, WorkError, first_line
from priorscope.core.stopping import AGAIN

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run: the `rank`-th of `size`, the `local`-th on its machine.

    `processors` is torch's group over which the ranks' processors talk; not set: the one that all else goes over.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    processors: Any = field(default=None, compare=False)

    @property
    def first(self) -> bool:
        """Whether this process is rank 0, which alone writes."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a value over all ranks, the same bits on each."""
        if self.size == 1:
            return value
        return self.sum(value) / self.size

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a value over all ranks, the same bits on each."""
        if self.size > 1:
            import torch.distributed as dist

            value = value.clone()
            dist.all_reduce(value, group=self.processors if value.device.type == "cpu" else None)
        return value

    def any(self, *here: bool) -> tuple[bool, ...]:
        """For each question whether any rank answers yes; asked over the processors, so that no device is waited for."""
        if self.size == 1:
            return here
        import torch

        return tuple(bool(count) for count in self.sum(torch.tensor(here, dtype=torch.int64)).tolist())

    def check_one_folder(self, folder: Path, *seen: int) -> None:
        """Refuses on all ranks a run's folder in which they have not all seen the same: each must ask at once.

        Where each machine has a disk of its own, the others would begin at the first step while rank 0 resumes.
        """
        if self.size == 1:
            return
        import torch

        total = self.sum(torch.tensor(seen, dtype=torch.int64)).tolist()
        if any(self.any(*(of_all != self.size * own for of_all, own in zip(total, seen, strict=True)))):
            raise RequestError(
                f"The ranks of this run do not see one folder: {folder} holds other files on other ranks.",
                "a folder on a disk that all machines share",
                "choose one with --out",
            )

    def wait(self) -> None:
        """Returns once every rank has come this far."""
        self.any(True)

    def syncing(self, forward: Any, last: bool) -> AbstractContextManager[Any]:
        """The block of one part of a batch: gradients are exchanged at the last part alone."""
        if self.size == 1:
            return nullcontext()
        if hasattr(forward, "set_requires_gradient_sync"):  # sharded
            forward.set_requires_gradient_sync(last)
            return nullcontext()
        return nullcontext() if last else forward.no_sync()


ALONE = Ranks()


def replicated(forward: Any, device: str) -> Any:
    """The network with a copy on every rank, whose gradients are averaged over the ranks during the backward pass.

    Buffers need not be sent round: they are constants, or batch statistics that are taken over all ranks.
    """
    import torch
    from torch.nn.parallel import DistributedDataParallel

    known = inspect.signature(DistributedDataParallel).parameters  # newer versions of torch name the setting differently
    sent_round = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    buffers: dict[str, Any] = {sent_round: False}
    own = [torch.device(device).index] if device.startswith("cuda") else None
    return DistributedDataParallel(forward, device_ids=own, **buffers)


def own_device(device: str, ranks: Ranks) -> str:
    """The device of this rank: each has a GPU of its own.

    torchrun shows every rank all GPUs of the machine; SLURM may show each its own alone (`--gpus-per-task 1`), which is then
    the first that is seen.
    """
    import torch

    if device != "cuda" or ranks.size == 1:
        return device
    seen = torch.cuda.device_count()
    index = 0 if seen == 1 and "LOCAL_RANK" not in os.environ else ranks.local
    if index >= seen:
        raise WorkError(
            f"Rank {ranks.local} of this machine has no GPU: there are {seen}.",
            "one GPU a rank",
            f"torchrun --nproc-per-node {seen}",
        )
    torch.cuda.set_device(index)
    return f"cuda:{index}"


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The ranks of this run: those that the launcher names, or one alone. They part again after the block.

    If torch's process group is set up already, it is used, and left as it is.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        local = int(os.environ.get("LOCAL_RANK", dist.get_rank()))
        processors = dist.new_group(backend="gloo")  # theirs may be for GPUs alone
        try:
            yield Ranks(dist.get_rank(), dist.get_world_size(), local, processors)
        finally:
            dist.destroy_process_group(processors)
        return
    launch = launch_of(os.environ)
    if launch is None:
        yield ALONE
        return
    os.environ.update(launch.variables)
    ranks = launch.ranks
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", rank=ranks.rank, world_size=ranks.size)
    try:
        with naming_a_lost_rank():
            yield ranks
    finally:
        dist.destroy_process_group()


class LostRankError(WorkError):
    """Another rank is gone: it has said itself what happened."""


LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting", "NCCL", "recv timed out")


@contextmanager
def naming_a_lost_rank() -> Iterator[None]:
    """Says in one way what torch says in a dozen when another rank is gone."""
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in LOST):
            raise
        raise LostRankError(
            f"Another rank of this run has ended ({first_line(error)}).",
            "every rank alive until the end",
            f"see what that rank said; {AGAIN} goes on from the last checkpoint",
        ) from error


@dataclass(frozen=True)
class Launch:
    """This process's rank as the launcher set it, and the variables torch needs to find the others."""

    ranks: Ranks
    variables: Mapping[str, str]


def launch_of(environment: Mapping[str, str]) -> Launch | None:
    """What `torchrun` or SLURM's `srun` says of this process; None if it is alone.

    A batch script's own process is not a rank, although SLURM sets a rank's variables for it: only steps, which `srun` starts,
    count.
    """
    if "RANK" in environment and int(environment.get("WORLD_SIZE", "1")) > 1:
        ranks = Ranks(int(environment["RANK"]), int(environment["WORLD_SIZE"]), int(environment.get("LOCAL_RANK", "0")))
        return Launch(ranks, {})
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "SLURM_PROCID" in environment:
        ranks = Ranks(
            int(environment["SLURM_PROCID"]),
            int(environment["SLURM_STEP_NUM_TASKS"]),
            int(environment.get("SLURM_LOCALID", "0")),
        )
        job, step = int(environment.get("SLURM_JOB_ID", "0")), int(environment.get("SLURM_STEP_ID", "0"))
        first = first_host(environment.get("SLURM_STEP_NODELIST", "localhost"))
        return Launch(ranks, {"MASTER_ADDR": first, "MASTER_PORT": str(20_000 + (17 * job + step) % 20_000)})
    return None


def first_host(nodes: str) -> str:
    """The first machine of a list as SLURM writes it: `gpu[03-06,9],login1` -> `gpu03`."""
    match = re.match(r"([^,\[]+)(?:\[([0-9]+)[^\]]*\]([^,\[]*))?", nodes.strip())
    return "".join(part or "" for part in match.groups()) if match else nodes
