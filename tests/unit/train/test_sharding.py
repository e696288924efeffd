"""Weights in shares: block by block."""

from __future__ import annotations

import pytest
import torch

import priorscope as ps
from priorscope.train import sharding
from priorscope.train.config import TrainConfig
from priorscope.train.distributed import Ranks
from priorscope.train.finetune import FinetuneConfig, blocks
from priorscope.train.learner import Learner
from priorscope.train.optim import OptimConfig
from priorscope.train.sharding import whole


@pytest.mark.parametrize(
    ("preset", "number", "of_a_block"),
    [
        ("mlp/tiny", 2, ["network.layernorms.1", "network.blocks.1"]),
        ("vit/tiny", 4, ["network.blocks.1"]),
        ("swin/tiny", 4, ["network.layers.0.blocks.1"]),
        ("tnt/tiny", 2, ["network.layers.1"]),
        ("cnn/tiny", 3, ["network.stages.1"]),
    ],
)
def test_blocks_are_the_modules_that_their_taps_lie_in(preset, number, of_a_block):
    """What a block is for shares and for rates; an MLP's is two modules side by side."""
    found = blocks(ps.models.create(preset, image_size=32, num_classes=4))
    assert len(found) == number
    assert found[1] == of_a_block


def test_weights_are_shared_out_before_they_are_moved(monkeypatch):
    """So that a network that is larger than a device never lies whole on it; the device `meta` stands for a GPU here."""
    came = []

    def shard(model, ranks, device):
        came.append(({p.device.type for p in model.parameters()}, {b.device.type for b in model.buffers()}, ranks, device))
        return model.to(device)

    monkeypatch.setattr(sharding, "shard", shard)
    model = ps.models.create("cnn/tiny", image_size=32, num_classes=4)
    head_alone = FinetuneConfig(mode="head")  # batch statistics are then refused on no device
    config = TrainConfig(precision="fp32", shard=True, finetune=head_alone)
    Learner(model, config, OptimConfig(), Ranks(size=2), "meta")
    assert came == [({"cpu"}, {"cpu"}, 2, "meta")]


@pytest.fixture
def one_rank(tmp_path):
    """A group of this process alone."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_what_is_put_together_is_kept_by_the_rank_that_writes_alone(one_rank):
    from torch.distributed.tensor import Shard, distribute_tensor

    value = torch.arange(6.0).reshape(3, 2)
    state = {"state": [distribute_tensor(value, one_rank, [Shard(0)])], "lr": 0.1}
    kept = whole(state, keep=True)
    assert torch.equal(kept["state"][0], value)
    assert type(kept["state"][0]) is torch.Tensor
    assert whole(state, keep=False) == {"state": [None], "lr": 0.1}
