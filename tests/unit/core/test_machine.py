"""What this machine is, and what is asked of it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from priorscope.core.machine import forget_most_memory, most_memory

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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="page faults of glibc's allocator")
def test_freed_memory_is_found_again_without_page_faults() -> None:
    faults = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True, text=True).stdout)
        for how in ("kept", "returned")
    }
    assert faults["returned"] > 10_000
    assert faults["kept"] < 1_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets its peak of memory")
def test_the_most_memory_is_that_since_it_was_forgotten() -> None:
    held = bytearray(b"x") * (256 << 20)
    most = most_memory()
    del held
    forget_most_memory()
    assert most_memory() < most - (200 << 20)
