"""What this machine is: its hardware, the versions that ran, and the device a run takes."""

from __future__ import annotations

import math
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from priorscope.core.config import Plain
from priorscope.core.errors import RequestError

if TYPE_CHECKING:
    import torch


def versions() -> Plain:
    """The versions that a result depends on."""
    return {
        "priorscope": version("priorscope"),
        "torch": version("torch"),
        "numpy": version("numpy"),
        "numba": version("numba"),
        "python": platform.python_version(),
    }


@cache
def processor() -> str:
    """The processor's name, as the system has it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """The processor cores that this process may use."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = [int(words[0]) / int(words[1]) for words in _limits("cpu.max") if len(words) == 2 and words[0].isdigit()]
    return min([own, *(max(1, math.ceil(share)) for share in shares)])


def _limits(name: str) -> Iterator[list[str]]:
    """What the control groups that this process is in say under a name: containers have their memory and cores by them."""
    for group in _control_groups():
        with suppress(OSError):
            yield (group / name).read_text(encoding="ascii").split()


def _control_groups() -> list[Path]:
    """The folders of these groups, the innermost first (version 2; none elsewhere)."""
    file, root = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    own = next((root / line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::")), root)
    return [own, *(group for group in own.parents if group.is_relative_to(root))]


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Runs the block with `count` torch CPU threads and restores the previous number afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def settle(device: torch.device) -> None:
    """Waits until a device has done its work, so that the clock is read after it."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def repeatable(device: torch.device, *, tf32: bool = False) -> Iterator[None]:
    """Holds a CUDA device to float32 products (or TF32) and to repeatable kernels inside the block; no other device changes.

    Without it, convolutions in "float32" are TF32 there, and scattered parts are summed in whatever order they finish. What has
    no repeatable form warns and runs; the gradient of attention needs `plain_attention` as well.
    """
    import torch

    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is made; without it cuBLAS varies
    matmul, cudnn = cast("Any", torch.backends.cuda.matmul), cast("Any", torch.backends.cudnn)
    memory = cast("Any", torch.utils.deterministic)
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = memory.fill_uninitialized_memory
    matmul.allow_tf32 = cudnn.allow_tf32 = tf32
    cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # a kernel for each fresh tensor, which nothing reads unset
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        memory.fill_uninitialized_memory = filled


@contextmanager
def plain_attention(device: torch.device) -> Iterator[None]:
    """Attention as plain products of the values' own type inside the block on a CUDA device, wherever a gradient is taken.

    Fused kernels sum the parts of their gradient in whatever order they finish, unless torch is told to refuse every operation
    without a repeatable form.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    if device.type != "cuda":
        yield
        return
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # else half precision is multiplied in float32
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)


def memory_bytes() -> int:
    """The memory that this process may use: the machine's, or its container's."""
    import psutil

    limits = [int(words[0]) for words in _limits("memory.max") if words and words[0].isdigit()]
    return min([int(psutil.virtual_memory().total), *limits])


def most_memory() -> int:
    """The most bytes that this process has held since `forget_most_memory`, or since its start if the system cannot forget."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8", errors="replace")) if status.exists() else None
    if found:
        return int(found[1]) * 1024
    import resource  # which Windows does not have

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_most_memory() -> None:
    """Counts the most memory from now on, if the system can; what was freed and kept counts no more."""
    return_freed_memory()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def hardware() -> Plain:
    """What a measured time depends on."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"system": platform.system(), "processor": processor(), "cores": cores(), "memory": memory_bytes(), "gpus": gpus}


_MMAP_MAX, _TRIM_THRESHOLD = -4, -1  # glibc's names for mallopt


def keep_freed_memory() -> None:
    """Has the C library keep freed memory, so that the next step of a training finds it mapped.

    glibc returns blocks of megabytes to the system at once, which clears every page of them again when the next step asks:
    50,000 page faults in a step of a ViT, a sixth of its time. With this it maps no block by itself, and keeps up to 2 GiB of
    free memory at the end of its heap. With another C library nothing changes.
    """
    import ctypes

    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, -1)


def return_freed_memory() -> None:
    """Has the C library give freed memory back to the system at once, where it can: after a training it keeps much."""
    import ctypes

    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "MPS backend out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""The words of the processor's allocator, Apple's and cuBLAS's, whose errors have no class of their own."""


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out: by its class or its words."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in OUT_OF_MEMORY)


def cuda_devices() -> tuple[str, ...]:
    """The CUDA devices that this process may use, by the names that `CUDA_VISIBLE_DEVICES` takes."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(map(str, range(count)) if named is None else named.split(",")[:count])


def pick_device(wanted: str) -> str:
    """The device of a run: `auto` takes a GPU if there is one; a device that this machine does not have is refused."""
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[wanted]:
        found = ", ".join(name for name, here in there.items() if here)
        raise RequestError(f"This machine has no {wanted} device.", f"one of: {found}", "--set train.device=auto")
    return wanted


def looking_device(wanted: str) -> str:
    """Where networks are looked at: `auto` takes a CUDA device if there is one, and one that is not there is refused.

    Apple's devices are none: they have no float64, which probes compute with beside a network.
    """
    if wanted == "cpu":
        return wanted
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted != "auto":
        raise RequestError(f"This machine has no {wanted} device to look on.", "auto or cpu", "--device cpu")
    return "cpu"


def timed_on(device: str) -> str:
    """What takes the time on a device: a GPU by its own name, or the processor."""
    if device == "cpu":
        return processor()
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{device} of {processor()}"
