"""Makes docs/models.md: `python scripts/models_page.py`. Every word and figure of a family comes from its code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from settings_pages import options, table

from priorscope import models
from priorscope.core.config import Plain
from priorscope.models import FAMILIES, FamilyConfig

PAGE = Path(__file__).parent.parent / "docs" / "models.md"

INTRODUCTION = """# Models

Every family has one file, whose text, presets and settings this page shows. `priorscope models list` names all presets, and
[How to add a family](add-a-family.md) says what a file holds. One preset, at any size and with any of its settings changed, is
counted by

```bash
priorscope models info vit/d6-w128-p4 --image-size 64 --num-classes 200 --set depth=4
```

Parameters, multiply-adds (MACs) and floating-point operations (FLOPs, two for each multiply-add) are those of one image
more in a batch, at the side and with the classes given; memory is what one image's training step in float32 keeps for its
backward pass. `timm/*` and `tnt/s-patch16-224` work at 224 pixels inside: their figures hold for images of any side.

The last column says who trained a network before:

- S: [scaling_mlps](https://github.com/gregorbachmann/scaling_mlps), the code of "Scaling MLPs";
- Z: [zooming_in_on_mlps](https://github.com/angeline-pouget/zooming_in_on_mlps), which compared one of its networks with a
  ResNet-18 and a ViT-S/16;
- V: [a study of vision transformers](https://github.com/395t/coding-assignment-week-8-vit-2) on CIFAR-10, STL-10 and
  Tiny ImageNet.

[Weights for the hub](hub.md) tells how a run's weights become a folder for the hub, and published weights a run. The
[notebooks](notebooks/index.md) look at networks with one probe after another.

timm builds our presets, too, once `priorscope.models` is imported: there `swin/shifted-s` is `priorscope_swin_shifted_s`, and
so on (`timm/*` is timm's own). What it returns is the bare network, which takes normalised images as timm's do.

```python
import timm

from priorscope import models

network = timm.create_model("priorscope_vit_tiny", num_classes=10, img_size=32, dropout=0.1)
```

## Settings

A setting stands beside the name, `model = {name = "vit/tiny", dropout = 0.1}`, or is set by `--set model.dropout=0.1`. What a
name says itself, as `d6-w192-p4` does, or what its preset has set, holds in place of the default; "by the name" is what has
none. `ps.models.family_config("swin/shifted").plain()` shows all. One that a network would not read is refused. Each family's
own stand under its presets; these are those of every family:
"""

COLUMNS = ("model", "image", "classes", "parameters", "MACs", "FLOPs", "memory", "before")
HEAD = f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}"

BEFORE = {
    "mlp/b12-w1024": "S, Z",
    **{f"mlp/{name}": "S" for name in ("b6-w512", "b12-w512", "b6-w1024", "b6-w256", "b12-w256", "s6-w1024", "s6-w2048")},
    "cnn/resnet18": "Z",
    "mixer/s16": "V",
    **{f"tnt/{name}": "V" for name in ("p4-x2", "p8-x1", "p8-x2", "p8-x4", "p16-x2", "p16-x4", "p16-x8", "p32-x4")},
    "timm/vit_small_patch16_224": "Z",
    "timm/swin_base_patch4_window7_224": "V",
    "timm/tnt_s_patch16_224": "V",
    "timm/mixer_b16_224": "V",
}
"""Who trained a preset, beside the `v-*`, which say it themselves."""

LARGE = ("vit/s16", "vit/b16", "mixer/b16", "swin/b")
"""Published for images of 224 pixels."""


def natural(name: str) -> tuple[int, int]:
    """The side of a preset's images and its classes: those that it was published or is meant for."""
    if "stl10" in name:
        return 96, 10
    if "tinyimagenet" in name or name == "perceiver_io/v-tiny":
        return 64, 200
    if name in LARGE:
        return 224, 10
    if name == "tnt/p32-x4":
        return 96, 10
    return (64, 10) if name.startswith("mlp/") and name != "mlp/tiny" else (32, 10)


def row(name: str) -> str:
    """A preset's line of the table."""
    side, classes = natural(name)
    start: Plain = {"pretrained": False} if name.startswith("timm/") else {}
    told = models.info(models.create({"name": name, **start}, image_size=side, num_classes=classes))
    counted = (f"{told.parameters:,}", short(told.macs), short(told.flops), f"{short(told.activation_bytes)}B")
    before = BEFORE.get(name, "V" if "/v-" in name else "")
    return f"| `{name}` | {side} | {classes} | {' | '.join(counted)} | {before} |"


def short(number: int) -> str:
    """Three digits and a unit: 1.23 G, 45.6 M."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} "


def section(family: str) -> str:
    """A family's text, as its file has it."""
    title, _, rest = inspect.cleandoc(FAMILIES.load(family).__doc__ or "").partition("\n")
    return f"## {family}\n\n{title}\n{re.sub(' +$', '', rest, flags=re.MULTILINE)}\n"


def shared() -> str:
    """The settings that every family has."""
    return table((name, field) for name, field in options(FamilyConfig) if name != "name")


def own(family: str) -> str:
    """A family's own settings."""
    every = {name for name, _ in options(FamilyConfig)}
    return table(((name, field) for name, field in options(FAMILIES.config(family)) if name not in every), "by the name")


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, f"{shared()}\n"]
    for family in FAMILIES:
        rows = [row(f"{family}/{preset}") for preset in FAMILIES.load(family).PRESETS]
        parts.append("\n".join([section(family), HEAD, *rows, "", own(family), ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
