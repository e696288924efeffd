"""The machine: what is told of it, and what would disturb."""

from __future__ import annotations

import os

from priorscope.core.machine import cores
from priorscope.doctor import machine
from priorscope.doctor.examination import examine

GIB = 1 << 30
QUIET = {
    "cores": os.cpu_count() or 1,
    "memory": 16 * GIB,
    "load": 0.1,
    "memory_free": 8 * GIB,
    "bf16_in_hardware": True,
    "fp32_gflops": 100,
    "bf16_gflops": 800,
    "data_folder": "/data",
    "data_folder_there": True,
    "cache_folder": "/cache",
    "cache_disk_free": 50 * GIB,
}


def checked(**changes) -> list[tuple[str, str]]:
    return [(finding.severity, finding.saw) for finding in machine.look_at_machine({**QUIET, **changes})]


def test_a_machine_with_room_is_well():
    assert checked() == []


def test_what_disturbs_is_said_in_numbers():
    assert checked(memory_free=GIB) == [("warning", "1.0 GiB of memory are free of 16.0.")]
    assert checked(cache_disk_free=3 * GIB) == [("warning", "3.0 GiB are free on the disk of /cache.")]
    assert checked(bf16_gflops=90) == [("warning", "bfloat16 products run at 90 GFLOP/s, float32 ones at 100.")]
    assert checked(bf16_gflops=90, bf16_in_hardware=False) == []
    assert checked(load=1000.0) == [("note", f"1000.0 processes want {cores()} cores.")]
    assert checked(data_folder_there=False) == [("note", "There is no data folder at /data.")]


def test_this_machine_is_told(monkeypatch):
    monkeypatch.setattr(machine, "SECONDS", 0.0)
    monkeypatch.setattr(machine, "SIDE", 64)
    told = examine()
    assert told.kind == "machine"
    assert told.facts["fp32_gflops"] >= 0
    assert {"processor", "torch", "timm", "threads", "cache_disk_free", "bf16_in_hardware"} <= set(told.facts)
    assert set(QUIET) <= set(told.facts)
