"""Recipes: shipped ones can be read, and go to TOML and back."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from priorscope.core.errors import RequestError
from priorscope.models import FAMILIES, family_config, presets
from priorscope.models.swin import SwinConfig
from priorscope.recipe import Recipe, find_recipe, laid_over, recipe_aliases, shipped_recipes
from priorscope.study.study import find_study


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_says_what_it_is_and_comes_back_from_toml(name: str) -> None:
    path = find_recipe(name)
    assert path.read_text().startswith("# ")
    recipe = Recipe.load(path)
    assert Recipe.of(tomllib.loads(recipe.toml())) == recipe


def test_an_unknown_recipe_is_refused_with_the_nearest() -> None:
    assert shipped_recipes()
    with pytest.raises(RequestError, match="'shapetex-mlp' \\(did you mean that\\?\\)"):
        find_recipe("shapetex-mpl")


@pytest.mark.parametrize(
    ("kind", "find", "file", "name", "typed"),
    [
        ("recipe", find_recipe, "mine.toml", "mine", "mine.toml"),
        ("recipe", find_recipe, "mine", "mine", "./mine"),
        ("recipe", find_recipe, "a run/recipe.toml", "a run", "'a run/recipe.toml'"),
        ("study", find_study, "mine.toml", "mine", "mine.toml"),
        ("study", find_study, "mine/study.toml", "mine", "mine/study.toml"),
    ],
)
def test_a_name_of_a_file_in_this_folder_is_told_how_to_name_it(
    kind: str, find: Any, file: str, name: str, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).touch()
    with pytest.raises(RequestError) as caught:
        find(name)
    assert caught.value.came == f"No {kind} that is shipped is called {name!r}, and {file} lies here."
    assert caught.value.do == typed


def test_what_a_run_was_called_first_finds_its_recipe() -> None:
    aliases = recipe_aliases()
    assert aliases["perceiver_tinyimagenet_large_noaug_nodrop"] == "v-perceiver-tinyimagenet-large-noaug-nodrop"
    assert aliases["cifar10_tnt_lr0.0001_bs64_nepochs30_patch4_pixel2"] == "v-tnt-cifar10"
    assert find_recipe("B_12-Wi_1024_res_64_in21k").stem == "s-pretrain"
    assert not set(aliases) & set(shipped_recipes())
    assert sorted(aliases) == sorted(set(aliases))
    for alias, name in aliases.items():
        assert find_recipe(alias).stem == name


def test_a_recipe_is_laid_over_the_one_that_it_extends(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('model = "mlp/tiny"\n[data]\nsource = "shapetex"\n[optim]\nlr = 0.1\nclip = 1\n')
    (tmp_path / "wide.toml").write_text('extends = "base.toml"\naliases = ["w"]\nmodel = {width = 9}\n[optim]\nlr = 0.2\n')
    (tmp_path / "wider.toml").write_text('extends = "wide.toml"\n[data]\nsource = {train = 40}\n')
    recipe = Recipe.load(tmp_path / "wider.toml", ["optim.lr=0.3"])
    assert recipe == Recipe.of(
        {
            "model": {"name": "mlp/tiny", "width": 9},
            "data": {"source": {"name": "shapetex", "train": 40}},
            "optim": {"lr": 0.3, "clip": 1},
        }
    )
    (tmp_path / "mine.toml").write_text('extends = "shapetex-mlp"\nseed = 3\n')
    assert Recipe.load(tmp_path / "mine.toml") == Recipe.load(find_recipe("shapetex-mlp")).replace(seed=3)
    assert Recipe.of({"extends": "shapetex-mlp", "seed": 3}) == Recipe.load(tmp_path / "mine.toml")


def test_another_model_begins_anew_from_its_name(tmp_path: Path) -> None:
    """A run's recipe.toml says every setting of its model: those of its name go with it, what was said beside it stays."""
    saved = Recipe.of({"data": {"source": "shapetex"}, "model": "mlp/tiny"})
    (tmp_path / "recipe.toml").write_text(saved.toml())
    other = Recipe.load(tmp_path / "recipe.toml", ["model.dropout=0.1", "model.name=mlp/b6-w256"])
    assert other.model == family_config({"name": "mlp/b6-w256", "dropout": 0.1})
    (tmp_path / "other.toml").write_text('extends = "recipe.toml"\nmodel = {name = "mlp/b6-w256", dropout = 0.1}\n')
    assert Recipe.load(tmp_path / "other.toml") == other
    wide = Recipe.load(tmp_path / "recipe.toml", ["model.width=12", "model.input_size=16"]).plain()
    sized = {"width": 12, "input_size": 16}
    assert Recipe.of(wide, ["model.name=mlp/tiny"]).model == family_config({"name": "mlp/tiny", **sized})
    assert Recipe.of(wide, ["model.name=mlp/b6-w256"]).model == family_config({"name": "mlp/b6-w256", **sized})
    assert Recipe.of(wide, ["model.name=vit/tiny"]).model == family_config({"name": "vit/tiny", **sized})
    deep = {**wide, "model": {**wide["model"], "blocks": 9}}
    assert Recipe.of(deep, ["model.name=vit/tiny"]).model == family_config({"name": "vit/tiny", **sized}), "it has no blocks"
    timm = Recipe.of({"data": {"source": "shapetex"}, "model": "timm/mixer_b16_224"}).plain()
    assert Recipe.of(timm, ["model.name=mlp/tiny"]).model == family_config("mlp/tiny")
    shared = laid_over({"model": {"input_size": 16}}, {"model": "mlp/tiny"})
    assert shared == {"model": {"input_size": 16, "name": "mlp/tiny"}}


def test_a_recipe_that_extends_itself_or_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "b.toml"\n')
    (tmp_path / "b.toml").write_text('extends = "a.toml"\n')
    with pytest.raises(RequestError, match="'a' extends itself: a -> b -> a"):
        Recipe.load(tmp_path / "a.toml")
    (tmp_path / "c.toml").write_text('extends = "shapetex-mpl"\n')
    with pytest.raises(RequestError, match="'shapetex-mlp' \\(did you mean that\\?\\)"):
        Recipe.load(tmp_path / "c.toml")


def test_a_file_may_be_called_as_the_shipped_recipe_that_it_extends(tmp_path: Path) -> None:
    (tmp_path / "shapetex-mlp.toml").write_text('extends = "shapetex-mlp"\nseed = 3\n')
    assert Recipe.load(tmp_path / "shapetex-mlp.toml") == Recipe.load(find_recipe("shapetex-mlp")).replace(seed=3)
    (tmp_path / "c.toml").write_text('extends = "../' + tmp_path.name + '/c.toml"\n')
    with pytest.raises(RequestError, match="'c' extends itself: c -> c"):
        Recipe.load(tmp_path / "c.toml")


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    """What an editor has of `priorscope schema recipe`."""
    return Draft202012Validator(Recipe.model_json_schema())


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_is_valid_by_the_schema(name: str, schema: Draft202012Validator) -> None:
    schema.validate(tomllib.loads(find_recipe(name).read_text()))


EXTENDS = 'extends = "shapetex-mlp"\n'


@pytest.mark.parametrize(
    "text",
    [
        EXTENDS + "data = {source = {train = 40}}\nmodel = {width = 9}",
        EXTENDS + 'aliases = ["m"]\ndata = {augment = "flip"}',
        EXTENDS + 'train = {adversarial = {eps = "8/255"}, label_smoothing = "1/10"}',
        EXTENDS + 'train = {finetune = {mode = "full"}, shard = false, compile = "never"}',
        EXTENDS + 'data = {shuffle = "chunks"}',
        EXTENDS + "data = {shuffle = true}",
        EXTENDS + 'model = "B_6-Wi_256"',
        EXTENDS + 'model = {name = "vit/d6-w192-p4", pool = "avg", permute = {seed = 1}}',
        EXTENDS + 'model = {name = "timm/resnet18", args = {zero_init_last = true}}',
        EXTENDS + 'data = {source = "hf://owner/name"}',
        EXTENDS + 'data = {source = {name = "pictures.beton", label = "fine"}}',
        EXTENDS + 'data = {augment = {ops = ["flip", {op = "choose", ops = ["jitter", {op = "erase", p = "1/3"}]}], size = 8}}',
    ],
)
def test_the_schema_takes_what_a_file_may_say(text: str, tmp_path: Path, schema: Draft202012Validator) -> None:
    (tmp_path / "r.toml").write_text(text)
    assert Recipe.load(tmp_path / "r.toml")
    schema.validate(tomllib.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "[optim]\nlr = -1",
        '[optim]\nlr = "much"',
        "[train]\nepoch = 3",
        "seeds = [0]",
        "[data]\nshuffle = false",
        "model = 3",
        'model = "cnn/tinny"',
        "model = {widht = 9}",
        'model = {name = "vit/tiny", window = 4}',
        'model = {name = "vit/tiny", permute = {patches = 4}}',
        'data = {source = {name = "shapetex", res = 64}}',
        'data = {source = {name = "shapetex", salience = 2}}',
        'data = {augment = "flip-corp"}',
        'data = {augment = {ops = ["flop"]}}',
        'data = {augment = {ops = [{op = "flip", scale = [0.5, 1]}]}}',
        "data = {augment = {ops = [{p = 0.5}]}}",
    ],
)
def test_the_schema_flags_what_is_refused(text: str, schema: Draft202012Validator) -> None:
    assert not schema.is_valid(tomllib.loads(text))


def test_the_schema_describes_what_a_model_and_a_source_can_be(schema: Draft202012Validator) -> None:
    """What an editor offers: the presets, and each family's own settings with what they mean."""
    parts = schema.schema["$defs"]
    names, *families = parts["FamilyConfig"]["anyOf"]
    assert "perceiver/v-cifar10" in names["anyOf"][0]["enum"]
    assert families == [{"$ref": f"#/$defs/{FAMILIES.config(family).__name__}"} for family in FAMILIES]
    swin, shapetex = parts["SwinConfig"]["properties"], parts["ShapetexConfig"]["properties"]
    assert swin["window"]["description"] == SwinConfig.model_fields["window"].description
    assert swin["name"]["anyOf"] == [{"enum": [name for name in presets() if name.startswith("swin/")]}]
    assert shapetex["seed"]["description"] == "Draws the pairing pi and every picture."


@pytest.mark.parametrize("name", ["dropout", "drop_path"])
def test_a_rate_that_a_frozen_body_cannot_honour_is_refused(name: str) -> None:
    values = {"data": {"source": "shapetex"}, "model": {"name": "vit/tiny", name: 0.2}}
    assert Recipe.of({**values, "train": {"finetune": {"mode": "body", "factor": 0.1}}})
    with pytest.raises(RequestError, match=rf"^model\.{name} = 0\.2 came with train\.finetune\.mode = 'head'\."):
        Recipe.of({**values, "train": {"finetune": {"mode": "head"}}})


def test_a_permutation_that_val_would_not_see_is_refused() -> None:
    with pytest.raises(RequestError, match="would hold in training alone") as caught:
        Recipe.of({"data": {"source": "shapetex", "augment": "permuted"}, "model": "mlp/tiny"})
    assert caught.value.do == "model.permute = {}"


@pytest.mark.parametrize(("name", "momentum", "beta2"), [("lion", 0.9, 0.99), ("muon", 0.95, 0.999), ("timm/lion", None, None)])
def test_another_optimiser_over_a_complete_recipe_has_its_own_defaults(tiny, name, momentum, beta2):
    """A run's recipe.toml says what AdamW had; what was set otherwise stays."""
    complete = tiny.plain()
    assert (complete["optim"]["momentum"], complete["optim"]["beta2"]) == (0.9, 0.999)
    other = Recipe.of(complete, [f"optim.name={name}"]).optim
    assert (other.momentum, other.beta2) == (momentum, beta2)
    complete["optim"]["momentum"] = 0.7
    assert Recipe.of(complete, [f"optim.name={name}"]).optim.momentum == 0.7


def test_another_way_to_move_pictures_takes_its_own_defaults():
    """A complete recipe holds the defaults of its kind, filled in; another kind has others."""
    adversarial = {"kind": "fgsm", "eps": "8/255"}
    saved = Recipe.of({"data": {"source": "shapetex"}, "model": "mlp/tiny", "train": {"adversarial": adversarial}}).plain()
    assert saved["train"]["adversarial"]["steps"] == 1
    assert Recipe.of(saved, ["train.adversarial.kind=pgd"]).train.adversarial.walk == (10, 0.25)
    own = Recipe.of({**saved, "train": {"adversarial": {**adversarial, "kind": "pgd", "steps": 3}}}).plain()
    assert Recipe.of(own, ["train.adversarial.kind=trades"]).train.adversarial.steps == 3


@pytest.mark.parametrize(
    ("setting", "came"),
    [
        ("model=1", "1 does not name a model family."),
        ("data.source=nan", "nan does not name a data source."),
        ("data.source=2024-01-01", "datetime.date(2024, 1, 1) does not name a data source."),
        ("data.source=[1, 2]", "[1, 2] does not name a data source."),
        ("data.augment=3", "3 was refused in augment."),
    ],
)
def test_a_value_where_a_name_or_a_table_belongs_is_refused(setting: str, came: str) -> None:
    with pytest.raises(RequestError) as caught:
        Recipe.load(find_recipe("shapetex-mlp"), [setting])
    assert caught.value.came == came


def test_an_order_of_all_pictures_has_one_spelling_and_unshuffled_training_is_refused(tiny: Recipe) -> None:
    """So that a recipe that does not say it has the key that it always had, and one in chunks can be laid over."""
    chunks = Recipe.of(tiny.plain(), ["data.shuffle=chunks"])
    assert "shuffle" not in tiny.plain()["data"]
    assert chunks.plain()["data"]["shuffle"] == "chunks"
    assert chunks.digest() != tiny.digest()
    assert Recipe.of(chunks.plain(), ["data.shuffle=true"]).digest() == tiny.digest()
    with pytest.raises(RequestError) as caught:
        Recipe.of(tiny.plain(), ["data.shuffle=false"])
    assert caught.value.came == "data.shuffle = False was refused in the recipe with --set data.shuffle=false."


def test_a_recipe_is_loaded_by_its_shipped_name_too() -> None:
    assert Recipe.load("shapetex-mlp", ["seed=1"]) == Recipe.load(find_recipe("shapetex-mlp")).replace(seed=1)
    assert Recipe.load("B_12-Wi_1024_res_64_in21k") == Recipe.load(find_recipe("s-pretrain"))
    with pytest.raises(RequestError, match="'shapetex-mpl' is not a recipe"):
        Recipe.load("shapetex-mpl")


def test_settings_in_one_text_are_refused() -> None:
    with pytest.raises(RequestError) as caught:
        Recipe.load("shapetex-mlp", "seed=1")
    assert caught.value.came == "The settings came as one text, 'seed=1'."
    assert caught.value.do == "['seed=1']"


def test_a_setting_without_its_table_is_told_its_whole_name() -> None:
    for setting, meant in {"lr=0.1": "optim.lr", "epochs=3": "train.epochs", "steps=3": "train.steps"}.items():
        with pytest.raises(RequestError) as caught:
            Recipe.load(find_recipe("shapetex-mlp"), [setting])
        assert caught.value.do == f"{meant} = ... (did you mean that?)"


def test_a_part_s_setting_is_told_with_its_place() -> None:
    values = {"data": {"source": {"name": "folder", "path": "pictures"}}, "model": "mlp/tiny"}
    for setting, do in {
        "model.permute=3": "--set 'model.permute.NAME=VALUE' for one of its settings, "
        "or --set 'model.permute={NAME = VALUE, ...}' for all, in quotes",
        "model.widht=3": "model.width = ... (did you mean that?)",
        "data.augment.ops=flip": "data.augment.ops = [{NAME = VALUE, ...}]",
        "data.source.val=x": "change data.source.val",
    }.items():
        with pytest.raises(RequestError) as caught:
            Recipe.of(values, [setting])
        assert caught.value.do == do


def test_a_recipe_may_lie_and_extend_one_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "below.toml").write_text('extends = "shapetex-mlp"\nseed = 3\n')
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "above.toml").write_text('extends = "~/below.toml"\n')
    assert Recipe.load("~/deep/above.toml").seed == 3
    assert Recipe.load(Path("~/below.toml")).seed == 3
