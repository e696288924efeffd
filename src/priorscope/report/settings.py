"""Settings of recipes and probes as flat text: compared, and said as a reader wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from priorscope.core.config import flat, is_table


def world_of(source: Mapping[str, Any]) -> dict[str, str]:
    """A source as flat settings, the seed of a drawn world left out."""
    return {name: value for name, value in settings_of(source).items() if name != "seed"}


def settings_of(table: Mapping[str, Any]) -> dict[str, str]:
    """The settings of nested tables by their dotted keys, as text."""
    return {name: str(value) for name, value in flat(table).items()}


def differences_said(own: Mapping[str, str], others: Sequence[Mapping[str, str]]) -> str:
    """What sets some settings apart from others, in words; nothing where nothing does."""
    differing = [key for key in own if any(other.get(key) != own[key] for other in others)]
    return ", ".join(f"{key.rpartition('.')[2].replace('_', ' ')} {setting_said(own[key])}" for key in differing)


def setting_said(value: Any) -> str:
    """A setting as a reader wants it: 2/255, not 0.00784313725490196; 0.06275, not 0.062745098."""
    if isinstance(value, list | tuple):
        return ", ".join(setting_said(one) for one in value) or "none"
    if isinstance(value, str) and "." in value:
        try:
            value = float(value)
        except ValueError:
            return value
    if not isinstance(value, float):
        return str(value)
    short, levels = f"{value:.4g}", 255 * value
    if float(short) != value and levels <= 64 and abs(4 * levels - round(4 * levels)) < 1e-9:
        return f"{levels:g}/255"
    return short


def family_of(recipe: Mapping[str, Any]) -> str:
    """The family that a recipe names: what stands before the slash of its model's name."""
    model: Any = recipe.get("model") or "other"
    return str(model.get("name", "other") if is_table(model) else model).partition("/")[0]
