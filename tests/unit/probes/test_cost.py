"""Cost: memory by hand, intervals of medians, what the log says, and what is left as it was."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from priorscope import models
from priorscope.core.config import Config
from priorscope.core.contracts import Subject
from priorscope.core.environment import Environment, Hardware
from priorscope.core.errors import RequestError
from priorscope.data.split import ArrayPixels, Split
from priorscope.doctor.instruments.planted import planted_epoch
from priorscope.evidence import Evidence
from priorscope.probes import cost as probe
from priorscope.probes import load_result
from priorscope.probes.cost import Cost, latency, measure_cost, median_interval
from priorscope.probes.cost.measured import inference_peak, training_peak

SIDE, HIDDEN = 8, 500
PIXELS = np.random.default_rng(0).integers(0, 256, (30, SIDE, SIDE, 3)).astype(np.uint8)
SPLIT = Split("made", "test", ArrayPixels(PIXELS), np.arange(30, dtype=np.int64) % 2, ("a", "b"))
IN = 3 * SIDE * SIDE
PARAMETERS = IN * HIDDEN + HIDDEN + HIDDEN * 2 + 2


def network() -> models.classifier.Classifier:
    layers = nn.Sequential(nn.Flatten(), nn.Linear(IN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2))
    return models.wrap(layers, image_size=SIDE, classes=("a", "b"))


HISTORY = [
    planted_epoch(accuracy, epoch=e, seconds=10.0 * e, images=1000 * e, macs=777_000 * e)
    for e, accuracy in ((1, 0.35), (2, 0.62), (3, 0.58), (4, 0.71))
]


def finished(model: models.classifier.Classifier) -> SimpleNamespace:
    environment = Environment(key="r", seconds=41.5, threads=1, hardware=Hardware(processor="P"))
    return SimpleNamespace(name="r", recipe=Config(), evidence=Evidence(model), history=HISTORY, environment=environment)


@pytest.fixture(scope="module")
def result() -> Cost:
    return measure_cost(finished(network()), SPLIT, batch_sizes=(8, 1), repeats=10, seconds=0.2, memory_batch=16)


def test_counts_are_those_of_two_linear_maps(result):
    assert result.parameters == PARAMETERS
    assert result.weight_bytes == 4 * PARAMETERS
    assert result.macs == result.macs_as_run == result.value == IN * HIDDEN + 2 * HIDDEN
    assert result.caveats == ()
    assert probe.CostConfig.alone is True


def test_memory_is_what_the_tensors_of_a_step_take():
    batch, model = 64, network()
    buffers = 4 * 6  # mean and deviation of three channels
    prepared, hidden = 4 * batch * IN, 4 * batch * HIDDEN
    # Images less their mean, divided: the one before is gone when the next layer runs. Then the hidden layer twice.
    assert inference_peak(model, batch) == 4 * PARAMETERS + buffers + prepared + 2 * hidden
    # A step holds AdamW's two moments, and at its peak at least all gradients, or the images and both hidden layers.
    at_least = 4 * PARAMETERS * 3 + max(4 * PARAMETERS, prepared + 2 * hidden)
    peak = training_peak(model, batch)
    assert at_least <= peak <= at_least + 4 * PARAMETERS + 3 * hidden + 2 * prepared
    assert training_peak(model, batch) == peak


def test_more_images_take_more_memory_and_the_weights_do_not():
    model = network()
    small, large, larger = (inference_peak(model, batch) for batch in (32, 64, 128))
    assert larger - large == 2 * (large - small)


def test_the_log_gives_the_first_time_at_each_accuracy(result):
    reached = {one.target: (one.seconds, one.epoch, one.images) for one in result.times.reached}
    assert reached == {
        0.3: (10.0, 1, 1000),
        0.4: (20.0, 2, 2000),
        0.5: (20.0, 2, 2000),
        0.6: (20.0, 2, 2000),
        0.7: (40.0, 4, 4000),
    }
    assert [one.macs for one in result.times.reached] == [777 * one.images for one in result.times.reached], (
        "what the log counted"
    )
    assert result.times.log[2] == (30.0, 0.58)
    assert (result.times.training_seconds, result.times.training_hardware, result.times.training_threads) == (41.5, "P", 1)


def test_without_a_run_the_log_is_left_out_and_that_is_said():
    result = measure_cost(network(), SPLIT, batch_sizes=(2,), repeats=6, seconds=0.01)
    assert result.times.reached == ()
    assert result.caveats == ("How it was trained is not known: time to accuracy is left out.",)
    assert [figure.name for figure in result.charts()] == ["latency", "memory"]


def test_the_median_lies_between_two_order_statistics():
    """Of 30 values the 10th and the 21st: P(B <= 9) = 0.0214 for B ~ Bin(30, 1/2), and P(B <= 10) = 0.0494."""
    interval = median_interval(np.random.default_rng(0).permutation(30).astype(float))
    assert (interval.low, interval.high) == (9.0, 20.0)
    assert (median_interval(np.arange(6.0)).low, median_interval(np.arange(6.0)).high) == (0.0, 5.0)
    with pytest.raises(RequestError, match="1 value has no median to be unsure of"):
        median_interval(np.array([1.0]))


def test_intervals_of_medians_cover():
    rng = np.random.default_rng(0)
    covered = sum(median_interval(rng.exponential(size=25)).contains(np.log(2)) for _ in range(400))
    assert covered >= 367  # 95 % of 400 less 3 standard deviations


def test_latency_is_the_distribution_of_calls():
    one = latency(4, np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 100]))
    assert (one.median, one.repeats, one.images_per_second) == (5.5, 10, 4 / 5.5)
    assert one.p10 == pytest.approx(1.9)


def test_measuring_leaves_the_network_as_it_was():
    model = models.create({"name": "cnn/tiny", "input_size": 16}, image_size=SIDE, num_classes=2).train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    measure_cost(model, SPLIT, batch_sizes=(1,), repeats=6, seconds=0.01, memory_batch=4)
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


def test_two_counts_that_disagree_are_named(monkeypatch):
    monkeypatch.setattr("priorscope.models.arithmetic.macs_as_run", lambda model: 7)  # noqa: ARG005
    result = measure_cost(network(), SPLIT, batch_sizes=(1,), repeats=6, seconds=0.01)
    assert result.caveats[0].startswith("Two counts of the multiply-adds disagree, 97,000 and 7:")


def test_all_but_the_times_is_the_same_again(result):
    again = measure_cost(finished(network()), SPLIT, batch_sizes=(8, 1), repeats=6, seconds=0.01, memory_batch=16)
    left_out = {"times", "correct"}
    assert again.model_dump(exclude=left_out) == result.model_dump(exclude=left_out)


def test_figures_and_storage(result, tmp_path):
    assert [figure.name for figure in result.charts()] == ["latency", "memory", "training-time"]
    back = load_result(result.save(tmp_path / "a.json"))
    assert isinstance(back, Cost)
    assert back.times == result.times
    rows = {(row.metric, row.setting): row for row in back.metrics()}
    assert rows["training time to accuracy", "val 70%"].value == 40.0
    assert rows["peak memory, training step", "batch 16, AdamW"].unit == "bytes"


def test_titles_rank_what_differs_alone(result):
    def titles(*names: str) -> list[str]:
        return [figure.title for figure in Cost.draw([(Subject(name=name, family="mlp"), result) for name in names])]

    _, latency, memory, training = titles("a", "b")
    assert latency.startswith("At a batch of 8 a and b each answer ")
    assert memory == titles("a")[1]
    assert training == "a and b each reach the 71% on val that all reach after 40 seconds"


def test_the_front_holds_whom_nobody_beats(result):
    def costing(macs: int, right: int) -> Cost:
        correct = np.arange(30) < right
        return result.model_copy(update={"macs": macs, "parameters": macs, "training_bytes": macs, "correct": correct})

    arms = [
        (Subject(name=name, family="mlp"), costing(*at)) for name, at in {"a": (10, 12), "b": (20, 25), "c": (30, 18)}.items()
    ]
    figure = Cost.draw(arms)[0]
    assert figure.name == "cost-fronts"
    front = {row["subject"] for row in figure.rows if row["cost"] == "multiply-adds an image" and row["front"]}
    assert front == {"a", "b"}
    assert figure.title == "By every one of four costs c is beaten by some other network"
