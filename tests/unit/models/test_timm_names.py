"""Our names in timm's registry, whichever of the two is imported first, and no import of timm before its time."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from priorscope import models
from priorscope.core.errors import RequestError
from priorscope.models.timm_names import register, timm_names


def test_every_preset_has_a_name() -> None:
    names = timm_names()
    assert names["priorscope_b12_w1024"] == names["priorscope_mlp_b12_w1024"] == "mlp/b12-w1024"
    assert set(names.values()) == {preset for preset in models.presets() if not preset.startswith("timm/")}


def test_timm_builds_our_networks() -> None:
    import timm

    register()
    network = timm.create_model("priorscope_b6_w256", num_classes=7, img_size=16, norm="none").eval()
    peer = models.create("mlp/b6-w256", image_size=16, num_classes=7, norm="none").eval()
    peer.network.load_state_dict(network.state_dict())
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(network(x), peer(x))
    assert timm.data.resolve_model_data_config(network)["input_size"] == (3, 16, 16)
    with pytest.raises(RequestError, match="priorscope_b6_w256 came with pretrained=True"):
        timm.create_model("priorscope_b6_w256", pretrained=True)


def test_a_preset_of_one_size_is_built_for_it() -> None:
    import timm

    register()
    for asked, side in (({}, 224), ({"img_size": 64}, 64)):
        network = timm.create_model("priorscope_tnt_s_patch16_224", num_classes=7, depth=1, **asked)
        assert network.pixel_embed.img_size == (side, side)
        assert timm.data.resolve_model_data_config(network)["input_size"] == (3, side, side)
    assert timm.create_model("priorscope_mlp_tiny").pretrained_cfg["input_size"] == (3, 32, 32)


SCRIPTS = {
    "importing our models is enough": "import priorscope.models; assert 'timm' not in sys.modules; import timm",
    "ours first": "from priorscope.models.timm_names import install; install(); assert 'timm' not in sys.modules; import timm",
    "timm first": "import timm; from priorscope.models.timm_names import install; install(); install()",
}


@pytest.mark.slow
@pytest.mark.parametrize("order", SCRIPTS)
def test_whichever_comes_first(order: str) -> None:
    script = f"import sys; {SCRIPTS[order]}; n = timm.create_model('priorscope_mlp_tiny')"
    script += "; assert type(n).__name__ == 'BottleneckMLP'; assert sum('WhenImported' in repr(f) for f in sys.meta_path) == 0"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
