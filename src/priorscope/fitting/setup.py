"""A recipe made ready on this machine: what it learns from, what learns, and how long. Nothing here says how far a run is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from priorscope.core.environment import NetworkRecord
from priorscope.core.machine import pick_device
from priorscope.data.stamp import data_stamp
from priorscope.fitting.material import Material, first_model, record_of
from priorscope.recipe import Recipe
from priorscope.train.config import TrainConfig
from priorscope.train.distributed import Ranks, own_device
from priorscope.train.init import InitialWeights
from priorscope.train.schedule import check_warmup

if TYPE_CHECKING:
    from priorscope.train.learner import Learner
    from priorscope.train.watched import WatchedLoader


@dataclass(frozen=True)
class Setup:
    """What a run's steps are made with, and how many they are.

    `files` is the stamp of its data's files, `network` what builds the model again, `began_with` the stamp of the weights that
    it begins with; `config` has its length in steps, and `snapshots` are the steps after which weights are kept.
    """

    recipe: Recipe
    out: Path
    ranks: Ranks
    device: str
    files: str | None
    material: Material
    learner: Learner
    network: NetworkRecord
    began_with: str | None
    config: TrainConfig
    image_flops: int
    total: int
    snapshots: frozenset[int]

    @classmethod
    def of(cls, recipe: Recipe, out: Path, ranks: Ranks, init: InitialWeights | None) -> Setup:
        """Opens the data, builds the network, and counts the steps."""
        from priorscope.train.budget import image_flops
        from priorscope.train.learner import Learner

        device = own_device(pick_device(recipe.train.device), ranks)
        files = data_stamp(recipe.data.source)  # before they are opened: what changes later was not learnt from
        material = Material.of(recipe, ranks, device)
        model = first_model(recipe, material.data, init)
        network = record_of(model, material.data.classes)
        flops, per_epoch = image_flops(model, recipe.train, recipe.optim), len(material.loader)
        config = recipe.train.with_steps(flops * material.loader.batch_size)
        total = config.total(per_epoch)
        check_warmup(recipe.optim, total, per_epoch)
        return cls(
            recipe=recipe,
            out=out,
            ranks=ranks,
            device=device,
            files=files,
            material=material,
            learner=Learner(model, config, recipe.optim, ranks, device),
            network=network,
            began_with=init.stamp if init else None,
            config=config,
            image_flops=flops,
            total=total,
            snapshots=frozenset(config.snapshots(per_epoch, total)),
        )

    @property
    def loader(self) -> WatchedLoader:
        """What hands out its batches."""
        return self.material.loader
