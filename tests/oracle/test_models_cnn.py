"""CNNs against timm's, against a plain reading of their definition, and on real images with published weights."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from priorscope import models
from priorscope.core.contracts import Statistics

IMAGENET = Statistics(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("name", "side", "count"), [("resnet18", 40, 11_173_962), ("resnet34", 32, None), ("resnet50", 32, None)]
)
def test_resnets_equal_timms_with_a_small_stem(name: str, side: int, count: int | None) -> None:
    peer = timm.create_model(name, num_classes=10)
    peer.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    peer.maxpool = nn.Identity()
    model = models.create(f"cnn/{name}", image_size=side, num_classes=10).eval()
    peer.load_state_dict(model.network.state_dict())
    x = torch.rand(2, 3, side, side)
    with torch.no_grad():
        torch.testing.assert_close(model(x), peer.eval()(x), rtol=1e-5, atol=1e-5)
    assert count is None or model.parameter_count() == count


def test_the_imagenet_stem_equals_timms() -> None:
    peer = timm.create_model("resnet18", num_classes=10)
    model = models.create("cnn/resnet18", image_size=64, num_classes=10, stem="imagenet").eval()
    peer.load_state_dict(model.network.state_dict())
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(x), peer.eval()(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("depth", "count"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018)])
def test_parameters_of_he_resnets(depth: int, count: int) -> None:
    assert models.create(f"cnn/resnet{depth}", image_size=32, num_classes=10).parameter_count() == count


def test_option_a_takes_every_other_pixel_and_pads_channels() -> None:
    from priorscope.models.networks.cnn import PadShortcut

    x = torch.rand(2, 16, 5, 5)
    out = PadShortcut(16, 32, 2)(x)
    assert out.shape == (2, 32, 3, 3)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


def _air(w: dict[str, Tensor], x: Tensor, stride: int, last: int) -> Tensor:
    """The net of the paper at 32 pixels (stride 1), with its 3x3 max-pool at the end."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        x = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        return x * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]

    x = F.gelu(F.conv2d(x, w["stem.weight"], w["stem.bias"], stride))
    for stage in range(3):
        x = F.max_pool2d(F.conv2d(x, w[f"stages.{stage}.convs.0.weight"], padding=1), 2)
        x = F.gelu(norm(x, f"stages.{stage}.norms.0"))
        x = F.gelu(norm(F.conv2d(x, w[f"stages.{stage}.convs.1.weight"], padding=1), f"stages.{stage}.norms.1"))
    return F.max_pool2d(x, last).flatten(1) @ w["head.weight"].T / 9


@pytest.mark.parametrize(("stride", "last"), [(1, 3), (2, 2)])
def test_air_nets_are_what_the_paper_says(stride: int, last: int) -> None:
    model = models.create("cnn/tiny", image_size=32, num_classes=10, stem_stride=stride).train()
    model(torch.rand(8, 3, 32, 32))  # running statistics that are not the initial ones
    model.eval()
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(x), _air(model.network.state_dict(), x, stride, last), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("name", ["cnn/tiny", "cnn/resnet20"])
def test_norms(name: str, norm: str) -> None:
    model = models.create(name, image_size=32, num_classes=10, norm=norm)
    kinds = {type(module) for module in model.modules()} & {nn.BatchNorm2d, nn.GroupNorm}
    assert kinds == {"batch": {nn.BatchNorm2d}, "group": {nn.GroupNorm}, "none": set()}[norm]
    assert model(torch.rand(2, 3, 32, 32)).isfinite().all()


def _real(file: str) -> tuple[Tensor, Tensor]:
    path = Path(os.environ.get("PRIORSCOPE_DATA", "")) / "cifar10" / file
    if not path.is_file():
        pytest.skip("PRIORSCOPE_DATA does not hold the real images")
    table = pq.read_table(path)
    pixels = [np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in table["img"].to_pylist()]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    return images, torch.tensor(table["label"].to_pylist())


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file", "test", "train"),
    [("cnn/resnet20", "resnet20-12fca82f.th", 91.64, 99.80), ("cnn/resnet56", "resnet56-4bfd9763.th", 92.72, 100.00)],
)
def test_published_resnets_reach_their_accuracy(name: str, file: str, test: float, train: float) -> None:
    for images, expected in ((_real("test_lossless_1017.parquet"), test), (_real("train_lossless_4000.parquet"), train)):
        weights = Path(os.environ["PRIORSCOPE_DATA"]) / "weights" / file
        model = models.create(name, image_size=32, num_classes=10, statistics=IMAGENET, weights=weights).eval()
        with torch.no_grad():
            right = sum((model(x).argmax(1) == y).sum().item() for x, y in zip(*(t.split(250) for t in images), strict=True))
        assert 100 * right / len(images[0]) == pytest.approx(expected, abs=0.1)
