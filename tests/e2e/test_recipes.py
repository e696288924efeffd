"""The shipped recipes run: every one for two steps on ten-class toy data, and every command of the page that leads to them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from priorscope import models, run
from priorscope.fitting import fit
from priorscope.recipe import Recipe, find_recipe, recipe_aliases, shipped_recipes

TINY = [
    'data.source={name="shapetex",train=24,val=10,test=10}',
    "train.epochs=0",
    "train.steps=2",
    "train.batch_size=4",
    "optim.warmup=0",
    'train.track=["val"]',
    'train.device="cpu"',
]
EARLIER = sorted(name for name in shipped_recipes() if name[:2] in ("s-", "z-", "v-"))
PAGE = Path(__file__).resolve().parents[2] / "docs" / "coming-from.md"

ONE_OF_EACH_KIND = (
    "s-pretrain",
    "s-finetune-cifar100",
    "s-linear-imagenet",
    "v-mixer-tinyimagenet",
    "v-perceiver-cifar10-noaug",
    "v-perceiver-io-cifar10",
    "v-swin-tinyimagenet",
    "v-tnt-stl10",
    "z-vit-head-cifar10",
)


def at_smoke_scale(name: str, folder: Path) -> list[str]:
    """What makes a recipe small: toy data, two steps, no download; S's width, and a pre-trained file of that width."""
    if name.startswith("s-"):
        small = ["model.name=B_1-Wi_16", *TINY]
        return small if name == "s-pretrain" else [*small, f"init.published={pretrained_mlp(folder)}"]
    if "pretrained" in name or name.startswith("z-"):
        return ["model.pretrained=false", *TINY]
    return TINY


def pretrained_mlp(folder: Path) -> Path:
    """A file as S publishes them, of one narrow block and 13 classes."""
    network = models.create("B_1-Wi_16", image_size=64, num_classes=13).network
    path = folder / "small_weights"
    torch.save(network.state_dict(), path)
    about = {"model": "BottleneckMLP", "architecture": "B_1-Wi_16", "normalization": "layer", "crop_resolution": 64}
    (folder / "small_config").write_text(json.dumps(about))
    return path


def carry_out(name: str, folder: Path) -> None:
    recipe = Recipe.load(find_recipe(name), at_smoke_scale(name, folder))
    done = fit(recipe, folder / "run")
    assert done.history[-1].step == 2
    assert done.history[-1].val.n == 10
    assert run.load(folder / "run").recipe == recipe


@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_one_of_each_kind_runs(name, tmp_path):
    carry_out(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in shipped_recipes() if name not in ONE_OF_EACH_KIND])
def test_every_other_shipped_recipe_runs(name, tmp_path):
    carry_out(name, tmp_path)


def test_the_opening_comment_says_what_was_published():
    for name in EARLIER:
        first, *rest = find_recipe(name).read_text().splitlines()
        assert re.match(r"# [SZV] (pre-trains|fine-tunes|trains) ", first), name
        said = " ".join([first, *(line for line in rest if line.startswith("#"))])
        assert re.search(r"\d %|no figure|shows after fine-tuning", first), name
        assert "eviations: " in said or "deviations: " in said, name


def test_the_thirteen_perceivers_learn_as_published():
    """predecessors: latent sizes, rates and epochs of the 13 configurations."""
    found = {
        name.removeprefix("v-perceiver-"): Recipe.load(find_recipe(name)).plain()
        for name in EARLIER
        if name.startswith("v-perceiver-") and "-io-" not in name
    }
    assert len(found) == 13
    told = {
        name: (
            recipe["data"]["source"]["name"],
            recipe["train"]["batch_size"],
            recipe["train"]["epochs"],
            bool(recipe["data"]["augment"].get("ops")),
            recipe["optim"]["lr"],
            recipe["model"]["dropout"],
        )
        for name, recipe in found.items()
    }
    assert told == {
        "cifar10": ("cifar10", 64, 100, True, 1e-3, 0.2),
        "cifar10-large": ("cifar10", 64, 100, True, 3e-4, 0.3),
        "cifar10-xl": ("cifar10", 64, 100, True, 3e-4, 0.3),
        "cifar10-regular": ("cifar10", 64, 100, True, 1e-3, 0.2),
        "cifar10-noaug": ("cifar10", 64, 100, False, 1e-3, 0.2),
        "cifar10-noaug-nodrop": ("cifar10", 64, 100, False, 1e-3, 0.0),
        "stl10": ("stl10", 32, 200, True, 3e-4, 0.2),
        "stl10-large": ("stl10", 32, 200, True, 3e-4, 0.3),
        "stl10-xl": ("stl10", 32, 200, True, 3e-4, 0.3),
        "tinyimagenet-large": ("tiny_imagenet", 64, 100, True, 3e-4, 0.2),
        "tinyimagenet-large-noaug": ("tiny_imagenet", 64, 100, False, 3e-4, 0.2),
        "tinyimagenet-large-noaug-nodrop": ("tiny_imagenet", 64, 100, False, 3e-4, 0.0),
        "tinyimagenet-xl": ("tiny_imagenet", 64, 100, True, 3e-4, 0.2),
    }
    for recipe in found.values():
        assert (recipe["optim"]["name"], recipe["optim"]["weight_decay"]) == ("adamw", 0.01)
        assert (recipe["optim"]["schedule"], recipe["optim"]["decay_norms_and_biases"]) == ("constant", True)


def test_s_learns_as_its_readme_commands():
    before = Recipe.load(find_recipe("s-pretrain"))
    assert (before.optim.name, before.optim.lr, before.optim.schedule, before.optim.betas) == (
        "lion",
        5e-5,
        "constant",
        (0.9, 0.99),
    )
    assert (before.train.batch_size, before.train.label_smoothing, before.optim.weight_decay) == (16384, 0.3, 0)
    tuned, linear = (Recipe.load(find_recipe(f"s-{kind}-cifar10")) for kind in ("finetune", "linear"))
    assert (tuned.optim.name, tuned.optim.lr, tuned.optim.weight_decay, tuned.optim.clip) == ("sgd", 0.01, 1e-4, 1.0)
    assert (tuned.optim.betas[0], tuned.optim.looks_ahead) == (0.9, False)
    assert (tuned.train.epochs, tuned.train.batch_size, tuned.train.label_smoothing) == (100, 2048, 0.3)
    assert tuned.train.finetune is not None
    assert tuned.train.finetune.plain() == {"mode": "body", "factor": 0.1}
    assert linear.train.finetune is not None
    assert linear.train.finetune.plain() == {"mode": "head"}
    assert linear.replace(train=tuned.train.plain()) == tuned
    crop = tuned.data.augment.plain()["ops"][0]
    assert (crop["scale"], crop["ratio"]) == ([0.4, 1.0], [1.0, 1.0])


def test_the_list_groups_by_origin_and_shows_every_recipe_complete(shell):
    rows = json.loads(shell("recipes", "list", "--json"))
    assert {row["recipe"] for row in rows} == set(shipped_recipes())
    assert [row["origin"] for row in rows if row["recipe"].startswith("s-")] == ["scaling_mlps"] * 9
    assert {row["origin"] for row in rows[:2]} == {"priorscope"}
    assert sum(len(row["aliases"]) for row in rows) == len(recipe_aliases())
    listed = shell("recipes", "list")
    assert listed.startswith("priorscope\n")
    assert "\nzooming_in_on_mlps\n  z-vit-head-cifar10 " in listed
    shown = shell("recipes", "show", "perceiver_cifar10_noaug_nodrop")
    assert shown.startswith('# V trains the "Medium" Perceiver')
    (shell.folder / "shown.toml").write_text(shown)
    assert Recipe.load(shell.folder / "shown.toml") == Recipe.load(find_recipe("v-perceiver-cifar10-noaug-nodrop"))


def test_the_page_for_those_who_come_names_every_recipe_and_only_shipped_ones():
    page = PAGE.read_text()
    named = set(re.findall(r"priorscope train ([szv]-[\w-]+)", page))
    assert named <= set(EARLIER)
    assert {name for name in EARLIER if not re.search(rf"\b{name}\b", page)} == set()
