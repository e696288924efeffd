"""The matrix products of a training step, and how long the machine takes for them alone.

They are read off a real step, forward and backward, as shapes, memory order and number type; convolutions and fused attention
count as the products that they are made of. Multiplied again, each in a loop of its own into memory that is there already,
they show the rate that the machine reaches on these shapes: as they lie in memory in a step of torch's own layers (where the
gradient of the weights has a factor that lies column by column), and with every operand in the faster order.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from priorscope.core.machine import settle

SHORTEST = 0.02
"""Seconds that each product is repeated for."""


class Product(NamedTuple):
    """`batch` products of rows x inner by inner x columns. An operand that is `turned` lies in memory column by column."""

    batch: int
    rows: int
    inner: int
    columns: int
    dtype: torch.dtype
    left_turned: bool = False
    right_turned: bool = False

    @property
    def flops(self) -> int:
        return 2 * self.batch * self.rows * self.inner * self.columns


class Recorder(TorchDispatchMode):
    """Counts the matrix products that run while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.products: Counter[Product] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read = _READERS.get(str(func.overloadpacket).removeprefix("aten."))
        if read is not None:
            self.products.update(read(args, result))
        return result


def _matrices(left: Tensor, right: Tensor) -> Product:
    batch = left.shape[0] if left.ndim == 3 else 1
    rows, inner = left.shape[-2:]
    return Product(batch, rows, inner, right.shape[-1], left.dtype, _turned(left), _turned(right))


def _turned(matrix: Tensor) -> bool:
    return matrix.stride(-1) != 1 and matrix.stride(-2) == 1


def _convolution(args: tuple[Any, ...], result: Tensor) -> list[Product]:
    return [_as_product(result, args[1], args[8])]


def _convolution_backward(args: tuple[Any, ...], _result: Any) -> list[Product]:
    """The gradients of the input and of the weights, where each is asked for."""
    forward = _as_product(args[0], args[2], args[9])
    batch, rows, inner, columns, dtype = forward[:5]
    each = (Product(batch, rows, columns, inner, dtype), Product(batch, inner, rows, columns, dtype, left_turned=True))
    return [product for product, wanted in zip(each, args[10], strict=False) if wanted]


def _as_product(output: Tensor, weight: Tensor, groups: int) -> Product:
    """A convolution on the matrix of its patches."""
    places = output.numel() // output.shape[1]
    return Product(groups, places, weight[0].numel(), weight.shape[0] // groups, weight.dtype, right_turned=True)


def _attention(args: tuple[Any, ...], _result: Any) -> list[Product]:
    scores, mixed = _of_attention(args[0], args[1], args[2])
    return [scores, mixed]


def _attention_backward(args: tuple[Any, ...], _result: Any) -> list[Product]:
    """The gradients of values, weights, queries and keys. Scores that a kernel computes again do not count."""
    scores, mixed = _of_attention(args[1], args[2], args[3])
    return [
        mixed._replace(rows=mixed.inner, inner=mixed.rows, left_turned=True),
        mixed._replace(inner=mixed.columns, columns=mixed.inner, right_turned=True),
        scores._replace(inner=scores.columns, columns=scores.inner, right_turned=False),
        scores._replace(rows=scores.columns, inner=scores.rows, columns=scores.inner, left_turned=True, right_turned=False),
    ]


def _of_attention(query: Tensor, key: Tensor, value: Tensor) -> tuple[Product, Product]:
    """Queries by keys, and weights by values, of tensors (batch, heads, tokens, channels)."""
    batch = query.shape[0] * query.shape[1]
    asked, known = query.shape[2], key.shape[2]
    return (
        Product(batch, asked, query.shape[3], known, query.dtype, right_turned=True),
        Product(batch, asked, known, value.shape[3], query.dtype),
    )


Reader = Callable[[tuple[Any, ...], Any], Iterable[Product]]

_FUSED = ("flash_attention", "efficient_attention", "cudnn_attention")
_READERS: dict[str, Reader] = {
    "mm": lambda args, _: [_matrices(args[0], args[1])],
    "bmm": lambda args, _: [_matrices(args[0], args[1])],
    "addmm": lambda args, _: [_matrices(args[1], args[2])],
    "baddbmm": lambda args, _: [_matrices(args[1], args[2])],
    "mkldnn._linear_pointwise": lambda args, _: [_matrices(args[0].reshape(-1, args[0].shape[-1]), args[1].T)],
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
    **{f"_scaled_dot_product_{kind}": _attention for kind in _FUSED},
    **{f"_scaled_dot_product_{kind}_backward": _attention_backward for kind in _FUSED},
}


def flops(products: Mapping[Product, int]) -> int:
    """The floating-point operations of some products: a multiplication and an addition for each multiply-add."""
    return sum(product.flops * count for product, count in products.items())


class Alone(NamedTuple):
    """Seconds that a step's products take alone: lying in memory as in the step, and in whichever order is the fastest."""

    lying: float
    best: float


class Replay:
    """Products to be multiplied again in a number type, their operands made once."""

    def __init__(self, products: Mapping[Product, int], dtype: torch.dtype, device: torch.device) -> None:
        self._device = device
        self._products = {product._replace(dtype=dtype): count for product, count in products.items()}
        orders = {order: None for product in self._products for order in (product, _plain(product))}
        self._operands = {order: _operands(order, device) for order in orders}
        self._repeats = {order: max(1, round(SHORTEST / max(self._timed(order, 2), 1e-7))) for order in orders}

    def seconds(self) -> Alone:
        """How long all products of one step take now."""
        taken = {order: self._timed(order, repeats) for order, repeats in self._repeats.items()}
        lying = sum(count * taken[product] for product, count in self._products.items())
        best = sum(count * min(taken[product], taken[_plain(product)]) for product, count in self._products.items())
        return Alone(lying, best)

    def _timed(self, product: Product, repeats: int) -> float:
        left, right, out = self._operands[product]
        settle(self._device)
        begun = time.perf_counter()
        for _ in range(repeats):
            torch.matmul(left, right, out=out)
        settle(self._device)
        return (time.perf_counter() - begun) / repeats


def _plain(product: Product) -> Product:
    """The product with both operands lying row by row in memory."""
    return product._replace(left_turned=False, right_turned=False)


def _operands(product: Product, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    batch, rows, inner, columns, dtype, left_turned, right_turned = product
    left = _matrix(batch, rows, inner, left_turned, dtype, device)
    right = _matrix(batch, inner, columns, right_turned, dtype, device)
    if batch == 1:
        left, right = left[0], right[0]
    return left, right, torch.empty((*left.shape[:-1], columns), dtype=dtype, device=device)


def _matrix(batch: int, rows: int, columns: int, turned: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    shape = (batch, columns, rows) if turned else (batch, rows, columns)
    values = torch.rand(shape, device=device).to(dtype)
    return values.transpose(1, 2) if turned else values
