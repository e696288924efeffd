"""Contact sheets of augmentations: a row for each, its picture untouched and then as it comes in one epoch after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from priorscope.data.augment import PRESETS, Augment
from priorscope.data.augment.ops import OPS, Choose, Op

if TYPE_CHECKING:
    from PIL import Image

    from priorscope.data.split import Split

NAME_WIDTH = 104
"""Pixels left of each row for its name."""
GAP = 2


def operations() -> dict[str, Augment]:
    """Every operation alone, always happening; `choose` with three operations to choose from."""
    sheets = {name: op() for name, op in OPS.items() if name != "choose"}
    choose = Choose(k=2, ops=(OPS["rotate"](), OPS["jitter"](brightness=0.6), OPS["cutout"]()))  # type: ignore[arg-type]
    return {name: _alone(op) for name, op in {**sheets, "choose": choose}.items()}


def _alone(op: Op) -> Augment:
    shown = {"jitter": {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.1}, "affine": {"degrees": [-15, 15]}}
    more = {"affine": {"translate": [0.2, 0.2], "scale": [0.8, 1.2], "shear": [-15, 15]}, "mixup": {"alpha": 1}}
    values = {**op.plain(), "p": 1}
    values |= shown.get(str(values["op"]), {}) | more.get(str(values["op"]), {})
    return Augment.parse({"ops": [values]})


def sheet(split: Split, augments: Mapping[str, Augment] = PRESETS, *, wide: int = 10, seed: int = 0) -> Image.Image:
    """One picture: for each augmentation its name, a picture of the split, and that picture in epochs 0 to `wide` - 1."""
    from PIL import Image, ImageDraw

    from priorscope.data.loader import Loader

    side = split.image_size
    few = split.choose(np.arange(min(2 * len(augments), len(split))))
    page = Image.new("RGB", (NAME_WIDTH + (wide + 1) * (side + GAP), len(augments) * (side + GAP)), "white")
    write = ImageDraw.Draw(page)
    for row, (name, augment) in enumerate(augments.items()):
        top, index = row * (side + GAP), (2 * row) % len(few)
        write.text((4, top + side // 2 - 6), name, fill="black")
        page.paste(Image.fromarray(few[index][0]), (NAME_WIDTH, top))
        loader = Loader(few, batch_size=len(few), augment=augment.replace(size=side), seed=seed)
        for epoch in range(wide):
            levels = (loader.batch(epoch, 0).images[index] * 255).round().byte().permute(1, 2, 0).numpy()
            page.paste(Image.fromarray(levels), (NAME_WIDTH + (epoch + 1) * (side + GAP), top))
    return page


def operations_table() -> str:
    """Every operation as a Markdown table: name, settings with their defaults, what it does."""
    lines = ["| operation | settings and defaults | what it does |", "| --- | --- | --- |"]
    for name, op in OPS.items():
        fields = op.model_fields
        settings = ", ".join(
            f"`{key} = {_shown(field.default)}`" if not field.is_required() else f"`{key}`"
            for key, field in fields.items()
            if key != "op"
        )
        what = " ".join((op.__doc__ or "").split())
        lines.append(f"| `{name}` | {settings} | {what} |")
    return "\n".join(lines)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return "[" + ", ".join(_shown(each) for each in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
