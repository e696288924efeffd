"""Recipes: shipped ones can be read, and go to TOML and back."""

from __future__ import annotations

import tomllib

import pytest

from priorscope.core.errors import RequestError
from priorscope.recipe import Recipe, find_recipe, shipped_recipes


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
