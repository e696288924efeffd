"""The machine: what is told of it, and what would disturb."""

from __future__ import annotations

import os

import torch

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
    monkeypatch.setattr(machine, "SIDE", 256)
    told = examine()
    assert told.kind == "machine"
    assert told.facts["fp32_gflops"] > 0.1
    assert {"processor", "torch", "timm", "threads", "cache_disk_free", "bf16_in_hardware"} <= set(told.facts)
    assert set(QUIET) <= set(told.facts)


def test_a_rate_below_ten_is_not_told_as_none():
    assert [machine.giga(rate) for rate in (4e8, 9.96e9, 83.2e9)] == [0.4, 10.0, 83]


def test_a_type_that_takes_seconds_is_measured_for_a_few_alone(monkeypatch):
    """Of a clock on which each product takes two seconds: the first one is not timed, and two others are enough."""
    clock, calls = iter(range(1000)), []
    monkeypatch.setattr(machine.time, "perf_counter", lambda: 2.0 * next(clock))
    monkeypatch.setattr(torch, "mm", lambda a, _: calls.append(a.dtype))
    assert machine.matrix_rate(torch.bfloat16) == 2 * machine.SIDE**3 / 2.0
    assert 2 <= len(calls) <= 4
