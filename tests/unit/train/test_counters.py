"""Energy from planted counters, speeds from a planted clock."""

from __future__ import annotations

import pytest

from priorscope.core.epoch import Speed
from priorscope.train import pace
from priorscope.train.energy import Meter
from priorscope.train.pace import Stopwatch


def zone(folder, name, now, most=1000):
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{now * 1_000_000}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{most * 1_000_000}\n")


def test_joules_are_summed_over_processors_and_followed_round_the_end_of_their_counters(tmp_path):
    zone(tmp_path, "intel-rapl:0", 900)
    zone(tmp_path, "intel-rapl:1", 10)
    zone(tmp_path, "intel-rapl:1:0", 5)  # a part of processor 1, counted with it
    meter = Meter(tmp_path)
    assert meter.joules() == 0
    zone(tmp_path, "intel-rapl:0", 990)
    zone(tmp_path, "intel-rapl:1:0", 700)
    assert meter.joules() == pytest.approx(90)
    zone(tmp_path, "intel-rapl:0", 40)  # past 1000, and on from 0
    zone(tmp_path, "intel-rapl:1", 12)
    assert meter.joules() == pytest.approx(90 + 50 + 2)


def test_where_nothing_counts_there_is_no_number(tmp_path):
    assert Meter(tmp_path / "nothing").joules() is None
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "max_energy_range_uj").write_text("1000\n")
    assert Meter(tmp_path).joules() is None  # the count itself may not be read


def test_a_speed_is_that_of_its_lap(monkeypatch):
    """100 images in the first 2 s, half of them waiting, at 1,000 operations an image of a rate of 200,000; then 50 in 1 s."""
    now = [0.0]
    monkeypatch.setattr(pace.time, "perf_counter", lambda: now[0])

    class Loader:
        waited = 0.0

    loader = Loader()
    watch = Stopwatch(loader, 1_000, 200_000)
    watch.count(60)
    watch.count(40)
    loader.waited, now[0] = 1.0, 2.0
    assert watch.lap() == Speed(img_per_s=50.0, data_wait_share=0.5, gemm_share=0.25)
    watch.count(50)
    now[0] = 3.0
    assert watch.seconds == 1.0
    assert watch.lap() == Speed(img_per_s=50.0, data_wait_share=0.0, gemm_share=0.25)


def test_the_yardstick_does_not_rest_on_its_first_product(monkeypatch):
    """The first takes 21 ms, as it does where kernels are still to be made, and the others 2 ms: 2 x 1024^3 in 2 ms."""
    import torch

    now, products = [0.0], []
    monkeypatch.setattr(pace.time, "perf_counter", lambda: now[0])

    def product(*factors, out):
        products.append((*factors, out))
        now[0] += 0.002 if len(products) > 1 else 0.021

    monkeypatch.setattr(torch, "mm", product)
    pace.gemm_rate.cache_clear()
    assert pace.gemm_rate(torch.device("cpu"), torch.float32, 1) == pytest.approx(2 * 1024**3 / 0.002)
    pace.gemm_rate.cache_clear()
