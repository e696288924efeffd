"""`timm/<name>`: the head and taps that timm says, and published weights from a hub on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models import save_for_hf

from priorscope import models
from priorscope.core.errors import RequestError


@pytest.mark.parametrize(
    ("name", "tap"),
    [
        ("test_vit", "blocks/0/attention"),
        ("test_resnet", "layer1/0/conv1"),
        ("test_convnext", "stages/0/blocks/0"),
        ("test_efficientnet", "blocks/0/0/conv"),
    ],
)
def test_small_networks_of_timm(name: str, tap: str) -> None:
    model = models.create(f"timm/{name}", image_size=64, num_classes=7).eval()
    peer = timm.create_model(name, num_classes=7, **({"img_size": 64} if name == "test_vit" else {})).eval()
    peer.load_state_dict(model.network.state_dict())
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(x), peer(x))
        features = peer.forward_head(peer.forward_features(x), pre_logits=True)
        torch.testing.assert_close(model.features(x), features)
        assert tap in model.taps()
        read = model.activations(x, model.taps()[-2:])
    assert torch.equal(read["head/in"], model.features(x))
    assert torch.equal(read["logits"], peer(x))


def test_a_vision_transformer_of_timms_takes_another_size() -> None:
    model = models.create("timm/test_vit2", image_size=64, num_classes=3).eval()
    taken = models.at_size(model, 96)
    peer = model.network
    peer.set_input_size(img_size=(96, 96))
    x = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(taken(x), peer(x), rtol=1e-5, atol=1e-5)


def test_a_tnt_of_timms_takes_another_size() -> None:
    """Its table of positions is timm's own at that size."""
    small = {"embed_dim": 32, "inner_dim": 8, "depth": 1, "num_heads_outer": 2, "num_heads_inner": 2}
    model = models.create({"name": "timm/tnt_b_patch16_224", "args": small}, image_size=64, num_classes=3, seed=0).eval()
    with torch.no_grad():
        model.network.patch_pos.normal_(generator=torch.Generator().manual_seed(0))
    taken = models.at_size(model, 96)
    state = model.network.state_dict()
    at_96 = resample_abs_pos_embed(state["patch_pos"], [6, 6], num_prefix_tokens=1)
    peer = timm.create_model("tnt_b_patch16_224", img_size=96, num_classes=3, **small).eval()
    peer.load_state_dict({**state, "patch_pos": at_96})
    x = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(taken(x), peer(x))


def test_names_that_timm_has_not_are_refused() -> None:
    with pytest.raises(RequestError) as refused:
        models.create("timm/resnet18x", image_size=32, num_classes=10)
    assert refused.value.came == "timm has no network 'resnet18x'."
    assert refused.value.do.startswith("'timm/resnet18")
    with pytest.raises(RequestError, match=r"timm has no weights 'test_vit.nobody'"):
        models.create("timm/test_vit.nobody", image_size=32, num_classes=10)


def test_networks_without_published_weights_say_so() -> None:
    with pytest.raises(RequestError) as refused:
        models.create("timm/vit_base_patch16_18x2_224", image_size=224, num_classes=10, pretrained=True)
    assert str(refused.value) == (
        "timm has no published weights for 'vit_base_patch16_18x2_224'.\n"
        "  wanted: a network with published weights, or a random start\n"
        "  try:    pretrained = false"
    )


def test_own_weights_take_the_place_of_published_ones(tmp_path: Path) -> None:
    """A run that began with published weights opens without a hub."""
    from safetensors.torch import save_file

    trained = models.create("timm/test_vit", image_size=32, num_classes=3, input_size=64, seed=4).eval()
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    model = models.create(
        "timm/test_vit",
        image_size=32,
        num_classes=3,
        input_size=64,
        pretrained=True,
        weights=tmp_path / "w.safetensors",
    ).eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(x), trained(x))
    assert model.config is not None
    assert model.config.plain()["pretrained"] is True


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, loopback: Callable[..., str]) -> tuple[str, Path]:
    """A hub of two repositories that timm itself saved: one under timm's own name for a network, one under somebody's."""
    root = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_vit"), root / "timm" / "test_vit.r160_in1k", safe_serialization=True)
    save_for_hf(timm.create_model("test_resnet", num_classes=5), root / "somebody" / "small", safe_serialization=True)

    def answer(address: str, _: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        owner, name, verb, _revision, *file = address.strip("/").split("/")
        path = root / owner / name / "/".join(file)
        if verb != "resolve" or not path.is_file():
            code = "EntryNotFound" if (root / owner / name).is_dir() else "RepoNotFound"
            return 404, {"X-Error-Code": code}, b""
        content = path.read_bytes()
        return 200, {"X-Repo-Commit": "0" * 40, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}, content

    return loopback(answer), root


SCRIPT = """
import json, sys, torch
from priorscope import models
from priorscope.core.contracts import Statistics
from priorscope.core.errors import PriorscopeError
name, side, classes, settings, inside = json.loads(sys.argv[1])
try:
    model = models.create(name, image_size=side, num_classes=classes, pretrained=True,
                          statistics=Statistics(mean=(.1, .1, .1), std=(.9, .9, .9)), **settings).eval()
except PriorscopeError as error:
    print(json.dumps([error.came, error.wanted, error.do]))
    sys.exit(3)
with torch.no_grad():
    logits = model(torch.full((1, 3, side, side), 0.7))
print(json.dumps([logits.tolist(), list(model.statistics.mean), model.network.state_dict()[inside].sum().item()]))
"""


def run(endpoint: str, cache: Path, *request: Any) -> tuple[int, Any]:
    """In a process of its own, because the hub's client reads HF_ENDPOINT when it is imported."""
    surroundings = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    surroundings = {key: value for key, value in surroundings.items() if not key.lower().endswith("_proxy")}
    command = [sys.executable, "-c", SCRIPT, json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings)
    assert done.returncode in (0, 3), done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_published_weights_come_from_the_hub(hub: tuple[str, Path], tmp_path: Path) -> None:
    endpoint, root = hub
    from safetensors.torch import load_file

    stored = load_file(root / "timm" / "test_vit.r160_in1k" / "model.safetensors")
    status, (logits, mean, total) = run(endpoint, tmp_path, "timm/test_vit", 32, 1000, {"input_size": 160}, "cls_token")
    assert status == 0
    assert total == pytest.approx(stored["cls_token"].sum().item())
    assert mean == list(timm.get_pretrained_cfg("test_vit").mean)
    peer = timm.create_model("test_vit").eval()
    peer.load_state_dict(stored)
    flat = (torch.full((1, 3, 160, 160), 0.7) - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(
        timm.get_pretrained_cfg("test_vit").std
    ).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(torch.tensor(logits), peer(flat), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_somebodys_repository_with_other_classes(hub: tuple[str, Path], tmp_path: Path) -> None:
    endpoint, root = hub
    from safetensors.torch import load_file

    stored = load_file(root / "somebody" / "small" / "model.safetensors")
    status, (logits, _mean, total) = run(endpoint, tmp_path, "timm/hf-hub:somebody/small", 32, 3, {}, "conv1.0.weight")
    assert status == 0
    assert len(logits[0]) == 3
    assert total == pytest.approx(stored["conv1.0.weight"].sum().item(), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm/test_vit", "timm/hf-hub:somebody/small"])
def test_a_hub_out_of_reach_is_said_to_be(name: str, tmp_path: Path) -> None:
    status, (came, wanted, do) = run("http://127.0.0.1:1", tmp_path, name, 32, 3, {}, "")
    assert status == 3
    assert came.startswith(f"The published weights of {name} could not be had (")
    assert wanted == "a reachable model hub (HF_ENDPOINT, default the Hugging Face hub), or the weights in its cache (HF_HOME)"
    assert do == "go online once, or pretrained = false for a random start, or weights = FILE for your own copy"


@pytest.mark.slow
def test_a_repository_that_is_not_there_is_said_to_be(hub: tuple[str, Path], tmp_path: Path) -> None:
    status, (came, _wanted, _do) = run(hub[0], tmp_path, "timm/hf-hub:nobody/nothing", 32, 3, {}, "")
    assert status == 3
    assert "RepositoryNotFoundError" in came
