"""What this machine is, and what is asked of it."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from priorscope.core import machine
from priorscope.core.errors import RequestError
from priorscope.core.machine import (
    cores,
    cuda_devices,
    forget_most_memory,
    looking_device,
    memory_bytes,
    most_memory,
    pick_device,
    plain_attention,
    ran_out,
    repeatable,
)

FAULTS = """
import resource
import sys
from priorscope.core.machine import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def step():
    held = [bytearray(b"x") * (16 << 20) for _ in range(4)]
    del held

for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_freed_memory_is_found_again_without_page_faults() -> None:
    faults = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True, text=True).stdout)
        for how in ("kept", "returned")
    }
    if faults["returned"] < 10_000:
        pytest.skip("freed memory comes back without page faults by itself: another allocator, or huge pages")
    assert faults["kept"] < 1_000


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert [pick_device(wanted) for wanted in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(RequestError, match="This machine has no cuda device"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == "cuda"


def test_networks_are_looked_at_on_a_cuda_device_or_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on Apple's, which have no float64."""
    import torch

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [looking_device(one) for one in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(RequestError, match=r"no cuda device to look on\.\n  wanted: auto or cpu\n  try:    --device cpu"):
        looking_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [looking_device(one) for one in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]


@pytest.mark.parametrize(
    ("there", "variable", "count", "names"),
    [
        (True, None, 2, ("0", "1")),
        (True, "2,5", 2, ("2", "5")),
        (True, "2,-1,5", 1, ("2",)),
        (True, "", 0, ()),
        (False, None, 2, ()),
    ],
)
def test_cuda_devices_have_the_names_by_which_a_process_is_shown_them(monkeypatch, there, variable, count, names):
    """CUDA counts from 0 those that the variable names, up to the first that is none; torch cannot use every driver."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert cuda_devices() == names


def test_the_most_memory_is_that_since_it_was_forgotten() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("this system does not forget its peak of memory")
    held = bytearray(b"x") * (256 << 20)
    most = most_memory()
    del held
    forget_most_memory()
    assert most_memory() < most - (200 << 20)


@pytest.mark.parametrize(("system", "unit"), [("linux", 1024), ("darwin", 1)])
def test_where_the_system_does_not_forget_the_most_memory_is_that_since_the_start(
    system: str, unit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "no" / "proc")
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=7))
    monkeypatch.setattr(sys, "platform", system)
    forget_most_memory()
    assert most_memory() == 7 * unit


def _kernels() -> tuple[bool, ...]:
    """TF32 in products and convolutions, kernels by trial, repeatable ones, a warning only, fresh memory filled."""
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    repeats = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    repeats = *repeats, bool(vars(torch.utils)["deterministic"].fill_uninitialized_memory)
    return cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, *repeats


def test_a_cuda_device_is_held_to_repeatable_kernels_inside_the_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = _kernels()
    assert before[-1]
    with repeatable(torch.device("cuda"), tf32=True):
        assert _kernels() == (True, True, False, True, True, False)
        with repeatable(torch.device("cuda")):
            assert _kernels() == (False, False, False, True, True, False)
        assert _kernels() == (True, True, False, True, True, False)
    assert _kernels() == before
    with repeatable(torch.device("cpu")):
        assert _kernels() == before


def test_attention_is_plain_on_a_cuda_device_inside_the_block_alone() -> None:
    cuda = torch.backends.cuda

    def ways() -> tuple[bool, ...]:
        fused = cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled()
        return *fused, cuda.math_sdp_enabled(), cuda.fp16_bf16_reduction_math_sdp_allowed()

    before = ways()
    with plain_attention(torch.device("cuda")):
        assert ways() == (False, False, False, True, True)
    assert ways() == before
    with plain_attention(torch.device("cpu")):
        assert ways() == before


def test_the_allocators_own_words_are_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert ran_out(caught.value)
    assert not ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_container_has_the_cores_and_the_memory_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By control groups of version 2: a number, or "max" where there is no limit; an outer group may be the tighter one."""
    own, outer = tmp_path / "outer" / "own", tmp_path / "outer"
    own.mkdir(parents=True)
    monkeypatch.setattr(machine, "_control_groups", lambda: [own, outer, tmp_path])
    whole = cores(), memory_bytes()
    (own / "cpu.max").write_text("max 100000\n")
    (own / "memory.max").write_text("max\n")
    assert (cores(), memory_bytes()) == whole
    (outer / "cpu.max").write_text("50000 100000\n")
    (outer / "memory.max").write_text("1048576\n")
    assert (cores(), memory_bytes()) == (1, 1 << 20)
