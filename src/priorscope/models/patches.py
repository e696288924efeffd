"""What the families that cut images into patches refuse, before any weight is made."""

from __future__ import annotations

from priorscope.core.errors import RequestError


def check_patches(name: str, image_size: int, patch: int) -> None:
    """Refuses images that patches do not tile."""
    if image_size % patch:
        fitting = patch * max(1, round(image_size / patch))
        raise RequestError(
            f"{name} cuts {image_size} pixels into patches of {patch}, which leaves a rest of {image_size % patch}.",
            f"a side that {patch} divides",
            f"input_size = {fitting} (resized inside the model), or another patch",
        )


def check_heads(name: str, width: int, heads: int) -> None:
    """Refuses attention heads that do not share the width evenly."""
    if width % heads:
        raise RequestError(f"{name} splits width {width} over {heads} heads.", "heads that divide the width", "heads = ...")
