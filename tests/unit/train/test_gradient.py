"""Memory that runs out: more parts, the same gradient; or the reason why not."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

import priorscope as ps
from priorscope.core.errors import RequestError, WorkError
from priorscope.data.loader import Batch
from priorscope.train.config import TrainConfig
from priorscope.train.gradient import Gradient, check_parts
from priorscope.train.precision import make_scaler

CPU = torch.device("cpu")


def batch_of(count=8) -> Batch:
    images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return Batch(images, torch.arange(count) % 3, torch.arange(count))


def small(**settings):
    return ps.models.create("mlp/tiny", image_size=8, num_classes=3, **settings).train()


class Cramped:
    """A network in a memory that holds so many pictures at once, and tells how many it was asked for."""

    def __init__(self, model, most, error):
        self.model, self.most, self.error, self.asked = model, most, error, []

    def __call__(self, images):
        self.asked.append(len(images))
        if len(images) > self.most:
            raise self.error
        return self.model(images)


def gradient_of(model, forward=None, config=None, batch=None):
    config = config or TrainConfig(precision="fp32")
    gradient = Gradient(model, config, make_scaler("fp32", CPU), forward=forward)
    loss = gradient(batch or batch_of(), 5, 0.0)
    return gradient, float(loss), torch.cat([p.grad.flatten() for p in model.parameters()])


def test_a_step_goes_through_the_network_with_plain_attention(monkeypatch):
    model, inside, seen = small(), [], []

    @contextmanager
    def block(device):
        inside.append(device.type)
        yield
        inside.pop()

    def forward(images):
        seen.append(list(inside))
        return model(images)

    monkeypatch.setattr("priorscope.train.gradient.plain_attention", block)
    gradient_of(model, forward)
    assert seen == [["cpu"]]


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"),
    MemoryError(),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB, other allocations: 1.00 GB, max allowed: 18.13 GB)."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_where_memory_runs_out_the_step_is_made_again_in_more_parts_with_the_same_gradient(error):
    _, wanted, exact = gradient_of(small())
    model = small()
    cramped = Cramped(model, 2, error)
    gradient, loss, got = gradient_of(model, cramped)
    assert gradient.parts == 4
    assert cramped.asked == [8, 4, 2, 2, 2, 2]
    assert loss == pytest.approx(wanted, rel=1e-6)
    torch.testing.assert_close(got, exact, rtol=1e-5, atol=1e-6 * float(exact.abs().max()))
    gradient(batch_of(), 6, 0.0)
    assert cramped.asked[6:] == [2, 2, 2, 2]  # the next step does not try what failed


def test_what_was_added_before_memory_ran_out_is_forgotten():
    """The second of two parts fails: its first part's gradient must not count twice."""
    _, _, exact = gradient_of(small())
    model, calls = small(), []

    def forward(images):
        calls.append(len(images))
        if len(calls) == 2:
            raise MemoryError
        return model(images)

    _, _, got = gradient_of(model, forward, TrainConfig(precision="fp32", accumulate=2))
    assert calls == [4, 4, 2, 2, 2, 2]
    torch.testing.assert_close(got, exact, rtol=1e-5, atol=1e-6 * float(exact.abs().max()))


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError, match="a bug"):
        gradient_of(small(), Cramped(small(), 0, RuntimeError("a bug")))


@pytest.mark.parametrize(
    ("norm", "config", "reason"),
    [
        ("batch", {}, "this network normalises by batch statistics, which a smaller part would change"),
        ("layer", {"accumulate": 8}, "even one picture at a time does not fit"),
    ],
)
def test_a_batch_that_may_not_be_split_further_ends_in_words(norm, config, reason):
    model = small(norm=norm)
    with pytest.raises(WorkError) as caught:
        gradient_of(model, Cramped(model, 0, MemoryError("no room")), TrainConfig(precision="fp32", **config))
    parts = config.get("accumulate", 1)
    assert caught.value.came == f"Memory ran out in a step of 8 pictures in {parts} parts: no room."
    assert caught.value.wanted == f"room for a part; it is not made smaller by itself, because {reason}"


@pytest.mark.parametrize(("accumulate", "asked"), [(7, [2, 2, 2, 1, 1, 1, 1]), (4, [3, 3, 2, 2]), (20, [1] * 10)])
def test_a_batch_goes_through_in_as_many_parts_as_asked(accumulate, asked):
    _, _, exact = gradient_of(small(), batch=batch_of(10))
    model = small()
    seen = Cramped(model, 10, MemoryError())
    _, _, got = gradient_of(model, seen, TrainConfig(precision="fp32", accumulate=accumulate), batch_of(10))
    assert seen.asked == asked
    torch.testing.assert_close(got, exact, rtol=1e-5, atol=1e-6 * float(exact.abs().max()))


@pytest.mark.parametrize("batch", [8, 9, 10, 19, 33])
@pytest.mark.parametrize("parts", [1, 2, 4, 5, 8])
@pytest.mark.parametrize("ranks", [2, 3])
def test_a_batch_goes_through_in_as_many_parts_on_every_rank_or_is_refused(batch, parts, ranks):
    shares = [torch.arange(batch)[rank::ranks] for rank in range(ranks)]
    pieces = [[len(part) for part in share.tensor_split(parts) if len(part)] for share in shares]
    if len({len(sizes) for sizes in pieces}) > 1:
        with pytest.raises(RequestError, match="as many parts on every rank"):
            check_parts(batch, parts, ranks, statistics=False)
        return
    check_parts(batch, parts, ranks, statistics=False)
    if min(map(sum, zip(*pieces, strict=True))) > 1:
        check_parts(batch, parts, ranks, statistics=True)


def test_batch_statistics_of_one_picture_are_refused():
    check_parts(10, 5, 1, statistics=True)
    with pytest.raises(RequestError) as caught:
        check_parts(10, 7, 1, statistics=True)
    assert caught.value.came == "A batch of 10 pictures in 7 parts came with a network that normalises by batch statistics."
    assert (caught.value.wanted, caught.value.do) == ("two pictures or more in each part", "train.accumulate = 5")


def test_a_frozen_body_with_batch_statistics_may_be_split():
    """In evaluation mode a picture's answer does not depend on the others."""
    model = small(norm="batch").eval()
    config = TrainConfig.parse({"precision": "fp32", "finetune": {"mode": "head"}})
    gradient, _, _ = gradient_of(model, Cramped(model, 4, MemoryError()), config)
    assert gradient.parts == 2
