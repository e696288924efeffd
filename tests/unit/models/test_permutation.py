"""A backbone that sees its pixels in a fixed random order: inside the classifier, the same for every picture, for ever."""

from __future__ import annotations

import pytest
import torch

from priorscope.core.errors import RequestError
from priorscope.models import Permutation, create
from priorscope.models.building import at_size
from priorscope.models.classifier import pixel_order


def test_an_mlp_with_a_permuted_first_layer_is_the_plain_one():
    """Its sum runs over pixels in another order, which is all that changes."""
    plain = create("mlp/tiny", image_size=8, num_classes=3).eval()
    permuted = create("mlp/tiny", image_size=8, num_classes=3, permute={"seed": 5}).eval()
    order = permuted.pixel_order
    state = plain.state_dict()
    (first,) = (key for key, value in state.items() if value.ndim == 2 and value.shape[1] == 3 * 64)
    state[first] = state[first].view(-1, 3, 64)[:, :, order].flatten(1)
    permuted.load_state_dict(state)
    x = torch.rand(5, 3, 8, 8)
    torch.testing.assert_close(permuted(x), plain(x), rtol=1e-5, atol=1e-6)


def test_a_cnn_is_another_function_of_permuted_pixels():
    plain = create("cnn/tiny", image_size=16, num_classes=3).eval()
    permuted = create("cnn/tiny", image_size=16, num_classes=3, permute={}).eval()
    x = torch.rand(5, 3, 16, 16)
    assert not torch.allclose(permuted(x), plain(x))
    order = permuted.pixel_order
    torch.testing.assert_close(permuted(x), plain(x.flatten(2)[:, :, order].view_as(x)))


@pytest.mark.parametrize(("patch", "side"), [(None, 12), (4, 12), (2, 8)])
def test_every_pixel_stands_somewhere_and_within_its_patch(patch, side):
    order = pixel_order(Permutation(patch=patch), side)
    assert sorted(order.tolist()) == list(range(side * side))
    assert order.tolist() != list(range(side * side))
    cut = patch or side
    for place, came in enumerate(order.tolist()):
        assert (place // side // cut, place % side // cut) == (came // side // cut, came % side // cut)


def test_every_patch_has_the_same_order():
    order = pixel_order(Permutation(patch=4), 8).view(8, 8)
    first, last = order[:4, :4], order[4:, 4:] - 4 * 8 - 4
    assert torch.equal(first, last)


def test_a_patch_that_does_not_fit_is_refused():
    with pytest.raises(RequestError, match="within patches of 5, and the backbone sees 8x8"):
        create("mlp/tiny", image_size=8, num_classes=3, permute={"patch": 5})


def test_a_network_of_permuted_pixels_keeps_the_size_of_its_order():
    """Another size would have another order, which the weights have not learnt."""
    made = create("cnn/tiny", image_size=16, num_classes=3, permute={})
    with pytest.raises(RequestError, match="cannot go from 16 to 24 pixels: they would stand in another order"):
        at_size(made, 24)
    inside = create("cnn/tiny", image_size=16, num_classes=3, permute={}, input_size=16)
    assert torch.equal(at_size(inside, 24).pixel_order, inside.pixel_order)


def test_weights_of_a_permuted_network_are_those_of_its_recipe(tmp_path):
    from safetensors.torch import save_file

    made = create("mlp/tiny", image_size=8, num_classes=3, permute={"seed": 1}).eval()
    save_file(made.state_dict(), tmp_path / "w.safetensors")
    back = create("mlp/tiny", image_size=8, num_classes=3, permute={"seed": 1}, weights=tmp_path / "w.safetensors").eval()
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(back(x), made(x))
