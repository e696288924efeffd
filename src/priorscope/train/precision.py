"""In which number type a step multiplies, and what holds a device to the same numbers each time."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal

from priorscope.core.errors import RequestError
from priorscope.core.machine import repeatable

if TYPE_CHECKING:
    import torch
    from torch.amp.grad_scaler import GradScaler

Precision = Literal["auto", "fp32", "tf32", "bf16", "fp16"]


def chosen_precision(precision: Precision, device: torch.device) -> Precision:
    """The precision itself; `auto` is bfloat16 if the device multiplies it in hardware, else float32."""
    if precision != "auto":
        return precision
    return "bf16" if has_fast_bf16(device) else "fp32"


def compute_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The type that matrix products are computed in; TF32 is a way to multiply float32."""
    import torch

    return {"fp16": torch.float16, "bf16": torch.bfloat16}.get(chosen_precision(precision, device), torch.float32)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products are faster than float32 there: by hardware, not by emulation."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())  # pyright: ignore[reportPrivateUsage]


def make_scaler(precision: Precision, device: torch.device) -> GradScaler:
    """Holds gradients within float16's range; at any other precision it does nothing."""
    import torch

    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def check_precision(precision: Precision, device: torch.device) -> None:
    """Refuses TF32 on a device without it: it would be float32 under another name."""
    if precision == "tf32" and device.type != "cuda":
        raise RequestError(
            f"train.precision = 'tf32' came with the device {device.type}, which has no such products.",
            "a CUDA device, or another precision",
            'train.precision = "fp32"',
        )


def numerics(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """A CUDA device held to the precision and to repeatable kernels inside the block; elsewhere nothing is to be done."""
    return repeatable(device, tf32=precision == "tf32")
