"""Loops over activations on a CPU, compiled by numba, cached on disk, and run by the threads that torch computes with.

What torch does in five passes through memory, each a parallel section, is done in one: softmax with dropout, dropout, and
gating by GELU, each forward and backward, and GELU and LayerNorm backward; and a matrix is turned in blocks. Arrays hold
float32, or bfloat16 as its 16 bits; every loop computes in float32.

torch's own threads wait for work by spinning. Threads of another pool (numba's, Python's) would share the cores with them and
take twice as long, so a loop is handed to OpenMP as torch itself hands it a loop.

All of it is one file: numba knows compiled code by the file in which it stands, and would keep what another file's change made
old.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numba import carray, cfunc, njit, types  # pyright: ignore[reportPrivateImportUsage]
from numba.extending import intrinsic
from torch import Tensor

F = cast("Callable[[float], float]", np.float32)
WHOLE = cast("Callable[[float], int]", np.int32)
BITS = cast("Callable[[Any], int]", np.uint32)
"""Makes an unsigned integer of 32 bits: numba's own grow to 64, of which a vector unit holds half as many."""

FAST = {"reassoc", "contract", "nsz"}
"""What the compiler may do to sums: take them in another order, always the same. NaN and infinity stay what they are."""


def lane(code: Callable[..., Any]) -> Callable[..., Any]:
    """Makes numba's intrinsic of a function that takes types of arguments and returns a signature and a writer of code."""
    return cast("Callable[..., Any]", intrinsic(code))


# How a loop is run ------------------------------------------------------------------------------------------------------------


JOB = types.void(types.CPointer(types.int64))
"""The signature of a loop: it finds everything in one list of integers, addresses among them."""

CLAIMED, ROWS, COLUMNS, AT_ONCE, FIRST = range(5)
"""Indices into a job's integers: rows claimed so far, rows, their length, rows claimed at a time, and the first address."""

ELEMENTS = 1 << 14
"""Elements that a thread claims at a time."""


@lane
def claim(_typing: Any, _job: Any, _rows: Any) -> Any:
    """Claims the next so many rows of a job for the calling thread, and returns the first of them."""

    def code(_context: Any, write: Any, _signature: Any, args: Any) -> Any:
        return write.atomic_rmw("add", args[0], args[1], "monotonic")

    return types.int64(types.CPointer(types.int64), types.int64), code


@lane
def _pointer(_typing: Any, _address: Any, like: Any) -> Any:
    """Turns an address into a pointer to elements of the type of `like`."""

    def code(context: Any, write: Any, signature: Any, args: Any) -> Any:
        return write.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(like)(types.int64, like), code


@njit(inline="always")
def array_at(address: int, element: Any, shape: Any) -> Any:
    """The array of a shape that begins at an address, with elements of the type of `element`."""
    return carray(_pointer(address, element), shape)


def has_team() -> bool:
    """Whether torch computes with an OpenMP that takes our loops: GNU's, as in its Linux builds."""
    return _parallel() is not None


def rows_of(values: Tensor) -> tuple[int, int]:
    """How many rows a tensor has, all its axes but the last counted together, and how long they are."""
    return values.numel() // max(values.shape[-1], 1), values.shape[-1]


def run(loop: Any, shape: tuple[int, int], arrays: Sequence[Tensor], *numbers: int) -> None:
    """Runs a loop over `shape` (rows, their length); its job ends with the addresses of contiguous arrays, then `numbers`.

    Work that one claim covers is done by the calling thread alone, as torch does with so little.
    """
    rows, columns = shape
    if not rows * columns:
        return
    addresses = (array.data_ptr() for array in arrays)
    job = np.array([0, rows, columns, max(1, ELEMENTS // columns), *addresses, *numbers], np.int64)
    parallel = _parallel()
    if parallel is None or rows <= job[AT_ONCE]:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(loop.address)(job.ctypes.data)
    else:
        parallel(loop.address, job.ctypes.data, torch.get_num_threads(), 0)


@cache
def _parallel() -> Callable[[int, int, int, int], None] | None:
    """OpenMP's own entry to a parallel section, of the library that torch computes with, if that is GNU's."""
    for path in (Path(torch.__file__).parent / "lib").glob("libgomp*.so*"):
        entry = ctypes.CDLL(str(path)).GOMP_parallel
        entry.argtypes, entry.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
        return entry
    return None


# Numbers as one lane of a vector unit has them --------------------------------------------------------------------------------


class _Bits:
    """Writes instructions on values of 32 bits."""

    def __init__(self, context: Any, builder: Any) -> None:
        self._context, self._write = context, builder

    def number(self, value: int) -> Any:
        return self._context.get_constant(types.uint32, value)

    def of(self, value: Any) -> Any:
        """The bits of a float32."""
        return self._write.bitcast(value, self._context.get_value_type(types.uint32))

    def float_of(self, bits: Any) -> Any:
        """The float32 that has these bits."""
        return self._write.bitcast(bits, self._context.get_value_type(types.float32))

    def low_half(self, bits: Any) -> Any:
        return self._write.trunc(bits, self._context.get_value_type(types.uint16))

    def from_half(self, half: Any) -> Any:
        return self._write.zext(half, self._context.get_value_type(types.uint32))

    def from_index(self, index: Any) -> Any:
        return self._write.trunc(index, self._context.get_value_type(types.uint32))


@lane
def read(_typing: Any, stored: Any) -> Any:
    """An element of an array as float32."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        if stored == types.float32:
            return args[0]
        bits = _Bits(context, write)
        return bits.float_of(write.shl(bits.from_half(args[0]), bits.number(16)))

    return types.float32(stored), code


@lane
def rounded(_typing: Any, _value: Any, like: Any) -> Any:
    """A float32 rounded to what an array with elements like `like` stores: to the nearest, ties to even.

    Rounding would turn some NaNs into other numbers, but not those that arithmetic makes: their payload has one bit set.
    """

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        if like == types.float32:
            return args[0]
        bits = _Bits(context, write)
        x, half = bits.of(args[0]), bits.number(16)
        odd = write.and_(write.lshr(x, half), bits.number(1))
        return bits.low_half(write.lshr(write.add(write.add(x, bits.number(0x7FFF)), odd), half))

    return like(types.float32, like), code


@lane
def in_order(_typing: Any, _value: Any) -> Any:
    """An integer that is larger for a larger float32, so that a vector unit can take maxima; NaN lies at either end."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = _Bits(context, write)
        x = bits.of(args[0])
        return write.xor(x, write.lshr(write.ashr(x, bits.number(31)), bits.number(1)))

    return types.int32(types.float32), code


@lane
def from_order(_typing: Any, _place: Any) -> Any:
    """The float32 whose `in_order` this is."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = _Bits(context, write)
        return bits.float_of(write.xor(args[0], write.lshr(write.ashr(args[0], bits.number(31)), bits.number(1))))

    return types.float32(types.int32), code


@lane
def scaled(_typing: Any, _value: Any, _exponent: Any) -> Any:
    """value * 2^exponent, for results that are normal numbers."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = _Bits(context, write)
        return bits.float_of(write.add(bits.of(args[0]), write.shl(args[1], bits.number(23))))

    return types.float32(types.float32, types.int32), code


@njit(inline="always")
def exponential(x: float) -> float:
    """exp(x) for x <= 0, to 2e-7 of itself near 0 and 4e-6 at -87, below which it is exp(-87). NaN stays NaN."""
    x = F((x if x > F(-87.0) or x != x else F(-87.0)) * F(1.44269504))
    whole = WHOLE(x - F(0.5))
    part = F(x - F(whole))
    power = F(1.5403530e-4)
    power = F(power * part + F(1.3333558e-3))
    power = F(power * part + F(9.6181291e-3))
    power = F(power * part + F(5.5504109e-2))
    power = F(power * part + F(2.4022651e-1))
    power = F(power * part + F(6.9314718e-1))
    return scaled(F(power * part + F(1.0)), whole)


DRAWS = 1 << 31
"""How many random numbers there are that decide whether an element is dropped."""


def threshold_of(p: float) -> int:
    """How many of the `DRAWS` random numbers drop an element: their share is nearest to p, but neither none nor all."""
    return min(max(round(p * DRAWS), 1), DRAWS - 1)


@njit(inline="always")
def row_key(seed: int, row: int) -> int:
    """The 32-bit key of a row's random numbers: the finaliser of splitmix64 but for its last shift."""
    x = np.uint64(seed) + np.uint64(row) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return BITS(x >> np.uint64(32))


@lane
def dropped(_typing: Any, _key: Any, _column: Any, _threshold: Any) -> Any:
    """All 32 bits set where an element is dropped, else none; decided by a hash of its row's key and its column.

    The probability of being dropped is threshold / DRAWS.
    """

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = _Bits(context, write)
        key, column, threshold = args
        x = write.xor(key, write.mul(bits.from_index(column), bits.number(0x9E3779B1)))
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            x = write.mul(write.xor(x, write.lshr(x, bits.number(shift))), bits.number(factor))
        x = write.xor(x, write.lshr(x, bits.number(16)))
        return write.ashr(write.sub(write.lshr(x, bits.number(1)), threshold), bits.number(31))

    return types.uint32(types.uint32, types.int64, types.uint32), code


@lane
def unless(_typing: Any, _value: Any, _gone: Any) -> Any:
    """The value, or 0 where it is dropped."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = _Bits(context, write)
        return bits.float_of(write.and_(bits.of(args[0]), write.not_(args[1])))

    return types.float32(types.float32, types.uint32), code


@lane
def signed(_typing: Any, _value: Any, _gone: Any) -> Any:
    """The value, with its sign turned where it is dropped."""

    def code(context: Any, write: Any, _signature: Any, args: Any) -> Any:
        bits = _Bits(context, write)
        return bits.float_of(write.xor(bits.of(args[0]), write.shl(args[1], bits.number(31))))

    return types.float32(types.float32, types.uint32), code


# Attention weights and their dropout ------------------------------------------------------------------------------------------


@njit(fastmath=FAST)
def _weigh(job: Any, element: Any) -> None:
    shape = (job[ROWS], job[COLUMNS])
    scores = array_at(job[FIRST], element, shape)
    weights = array_at(job[FIRST + 1], element, shape)
    kept = array_at(job[FIRST + 2], element, shape)
    seed, threshold = job[FIRST + 3], types.uint32(job[FIRST + 4])
    scale = F(DRAWS / (DRAWS - job[FIRST + 4]))
    row = np.empty(shape[1], np.float32)
    while True:
        start = claim(job, job[AT_ONCE])
        if start >= shape[0]:
            break
        for i in range(start, min(start + job[AT_ONCE], shape[0])):
            top = in_order(F(-np.inf))
            for j in range(shape[1]):
                place = in_order(read(scores[i, j]))
                top = place if place > top else top
            most, total = from_order(top), F(0.0)
            for j in range(shape[1]):
                power = exponential(F(read(scores[i, j]) - most))
                row[j] = power
                total = F(total + power)
            share = F(F(1.0) / total)
            key = row_key(seed, i)
            for j in range(shape[1]):
                weight = F(row[j] * share)
                gone = dropped(key, j, threshold)
                weights[i, j] = rounded(signed(weight, gone), element)
                kept[i, j] = rounded(unless(F(weight * scale), gone), element)


@njit(fastmath=FAST)
def _weigh_back(job: Any, element: Any) -> None:
    shape = (job[ROWS], job[COLUMNS])
    gradient = array_at(job[FIRST], element, shape)
    weights = array_at(job[FIRST + 1], element, shape)
    of_scores = array_at(job[FIRST + 2], element, shape)
    half = F(0.5 * DRAWS / (DRAWS - job[FIRST + 3]))
    while True:
        start = claim(job, job[AT_ONCE])
        if start >= shape[0]:
            break
        for i in range(start, min(start + job[AT_ONCE], shape[0])):
            total = F(0.0)
            for j in range(shape[1]):
                weight = read(weights[i, j])
                stays = F(F(weight + abs(weight)) * half)
                total = F(total + F(stays * read(gradient[i, j])))
            for j in range(shape[1]):
                weight = read(weights[i, j])
                stays = F(F(weight + abs(weight)) * half)
                of_scores[i, j] = rounded(F(F(stays * read(gradient[i, j])) - F(total * abs(weight))), element)


@cfunc(JOB, cache=True)
def _weigh_float(job: Any) -> None:
    _weigh(job, types.float32(0))


@cfunc(JOB, cache=True)
def _weigh_bfloat(job: Any) -> None:
    _weigh(job, types.uint16(0))


@cfunc(JOB, cache=True)
def _weigh_back_float(job: Any) -> None:
    _weigh_back(job, types.float32(0))


@cfunc(JOB, cache=True)
def _weigh_back_bfloat(job: Any) -> None:
    _weigh_back(job, types.uint16(0))


def weigh_and_drop(scores: Tensor, p: float, seed: int) -> tuple[Tensor, Tensor]:
    """The weights w = softmax(scores) of each row after dropout, w / (1 - p) or 0; and w itself, negative where dropped.

    The backward pass needs the second tensor alone.
    """
    weights, kept = torch.empty_like(scores), torch.empty_like(scores)
    loop = _weigh_bfloat if scores.dtype == torch.bfloat16 else _weigh_float
    run(loop, rows_of(scores), (scores, weights, kept), seed, threshold_of(p))
    return kept, weights


def weigh_and_drop_backward(gradient: Tensor, weights: Tensor, p: float) -> Tensor:
    """The gradient of the scores from that of the weights after dropout, g: w (m g - sum(w m g)).

    Here m is 1 / (1 - p), or 0 where a weight was dropped.
    """
    result = torch.empty_like(gradient)
    loop = _weigh_back_bfloat if gradient.dtype == torch.bfloat16 else _weigh_back_float
    run(loop, rows_of(gradient), (gradient, weights, result), threshold_of(p))
    return result


# Dropout of anything else -----------------------------------------------------------------------------------------------------


ROW = 1 << 10
"""How many neighbouring elements share a key of random numbers: a row of `drop`, of which the last may end earlier."""


@njit
def _drop(job: Any, element: Any) -> None:
    count, seed, threshold = job[FIRST + 2], job[FIRST + 3], types.uint32(job[FIRST + 4])
    values = array_at(job[FIRST], element, count)
    result = array_at(job[FIRST + 1], element, count)
    scale = F(DRAWS / (DRAWS - job[FIRST + 4]))
    while True:
        start = claim(job, job[AT_ONCE])
        if start >= job[ROWS]:
            break
        for i in range(start, min(start + job[AT_ONCE], job[ROWS])):
            key = row_key(seed, i)
            here, there = values[i * ROW : (i + 1) * ROW], result[i * ROW : (i + 1) * ROW]
            for j in range(len(here)):
                there[j] = rounded(unless(F(read(here[j]) * scale), dropped(key, j, threshold)), element)


@cfunc(JOB, cache=True)
def _drop_float(job: Any) -> None:
    _drop(job, types.float32(0))


@cfunc(JOB, cache=True)
def _drop_bfloat(job: Any) -> None:
    _drop(job, types.uint16(0))


def drop(values: Tensor, p: float, seed: int) -> Tensor:
    """Each element with probability p replaced by 0, the others made larger so that the mean stays."""
    result, count = torch.empty_like(values), values.numel()
    loop = _drop_bfloat if values.dtype == torch.bfloat16 else _drop_float
    run(loop, (-(-count // ROW), ROW), (values, result), count, seed, threshold_of(p))
    return result


# Gating by GELU ---------------------------------------------------------------------------------------------------------------


@njit(inline="always", fastmath=FAST, error_model="numpy")
def _normal(x: float) -> tuple[float, float]:
    """The normal distribution up to x, to 8e-8 and float32's rounding, and its density there.

    The complementary error function is that of Abramowitz and Stegun, 7.1.26, whose exponential the density is made of.
    """
    size = F(abs(x))
    t = F(F(1.0) / F(F(1.0) + F(F(0.23164190) * size)))
    power = exponential(F(F(F(-0.5) * size) * size))
    tail = F(F(0.5) * power) * t
    series = F(F(1.061405429) * t + F(-1.453152027))
    series = F(series * t + F(1.421413741))
    series = F(series * t + F(-0.284496736))
    tail = F(tail * F(series * t + F(0.254829592)))
    return F(tail if x < F(0.0) else F(F(1.0) - tail)), F(F(0.39894228) * power)


@njit(fastmath=FAST, error_model="numpy")
def _gate(job: Any, element: Any) -> None:
    rows, width = job[ROWS], job[COLUMNS]
    packed = array_at(job[FIRST], element, (rows, 2, width))
    result = array_at(job[FIRST + 1], element, (rows, width))
    while True:
        start = claim(job, job[AT_ONCE])
        if start >= rows:
            break
        for i in range(start, min(start + job[AT_ONCE], rows)):
            for j in range(width):
                gate = read(packed[i, 1, j])
                below, _ = _normal(gate)
                result[i, j] = rounded(F(read(packed[i, 0, j]) * F(gate * below)), element)


@njit(fastmath=FAST, error_model="numpy")
def _gate_back(job: Any, element: Any) -> None:
    rows, width = job[ROWS], job[COLUMNS]
    gradient = array_at(job[FIRST], element, (rows, width))
    packed = array_at(job[FIRST + 1], element, (rows, 2, width))
    result = array_at(job[FIRST + 2], element, (rows, 2, width))
    while True:
        start = claim(job, job[AT_ONCE])
        if start >= rows:
            break
        for i in range(start, min(start + job[AT_ONCE], rows)):
            for j in range(width):
                of_result, gate = read(gradient[i, j]), read(packed[i, 1, j])
                below, density = _normal(gate)
                result[i, 0, j] = rounded(F(of_result * F(gate * below)), element)
                slope = F(below + F(gate * density))
                result[i, 1, j] = rounded(F(F(of_result * read(packed[i, 0, j])) * slope), element)


@cfunc(JOB, cache=True)
def _gate_bfloat(job: Any) -> None:
    _gate(job, types.uint16(0))


@cfunc(JOB, cache=True)
def _gate_back_bfloat(job: Any) -> None:
    _gate_back(job, types.uint16(0))


def gated(packed: Tensor) -> Tensor:
    """The first half of each row times the GELU of the second, in bfloat16."""
    result = packed.new_empty(*packed.shape[:-1], packed.shape[-1] // 2)
    run(_gate_bfloat, rows_of(result), (packed, result))
    return result


def gated_backward(gradient: Tensor, packed: Tensor) -> Tensor:
    """The gradient of `packed`, from the gradient of what `gated` returns."""
    result = torch.empty_like(packed)
    run(_gate_back_bfloat, rows_of(gradient), (gradient, packed, result))
    return result


# The gradient of GELU ---------------------------------------------------------------------------------------------------------


FLAT = 5.0
"""Beyond this GELU's slope is taken for constant: there it is 0 or 1, to 7e-6."""


@njit(inline="always", fastmath=FAST)
def _slope(x: float) -> float:
    """GELU's derivative, to 2e-5: one half plus an odd polynomial, written in x^2 brought to [-1, 1].

    Fitted to the least largest error between -FLAT and FLAT; a hundredth of what rounding to bfloat16 changes.
    """
    x = F(x if x < F(FLAT) else F(FLAT))
    x = F(x if x > F(-FLAT) else F(-FLAT))
    t = F(F(x * x) * F(2.0 / FLAT**2) - F(1.0))
    odd = F(-0.020719458)
    odd = F(odd * t + F(0.046514359))
    odd = F(odd * t + F(-0.027723545))
    odd = F(odd * t + F(0.021228819))
    odd = F(odd * t + F(-0.068446151))
    odd = F(odd * t + F(0.095119399))
    odd = F(odd * t + F(-0.085356218))
    odd = F(odd * t + F(0.077089564))
    odd = F(odd * t + F(-0.071541805))
    odd = F(odd * t + F(0.066826158))
    odd = F(odd * t + F(-0.075122786))
    odd = F(odd * t + F(0.14213058))
    return F(x * odd + F(0.5))


@njit(fastmath=FAST)
def _gelu_back(job: Any, element: Any) -> None:
    count = job[FIRST + 3]
    gradient = array_at(job[FIRST], element, count)
    x = array_at(job[FIRST + 1], element, count)
    result = array_at(job[FIRST + 2], element, count)
    while True:
        start = claim(job, job[AT_ONCE])
        if start >= job[ROWS]:
            break
        first, last = start * ROW, min((start + job[AT_ONCE]) * ROW, count)
        given, here, there = gradient[first:last], x[first:last], result[first:last]
        for j in range(len(here)):
            there[j] = rounded(F(read(given[j]) * _slope(read(here[j]))), element)


@cfunc(JOB, cache=True)
def _gelu_back_bfloat(job: Any) -> None:
    _gelu_back(job, types.uint16(0))


def gelu_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient of x from that of GELU(x), in bfloat16; both lie alike in memory, without gaps."""
    result, count = torch.empty_like(x), x.numel()
    run(_gelu_back_bfloat, (-(-count // ROW), ROW), (gradient, x, result), count)
    return result


# The gradient of LayerNorm ----------------------------------------------------------------------------------------------------


@njit(fastmath=FAST)
def _norm_back(job: Any, element: Any) -> None:
    rows, width, together = job[FIRST + 7], job[FIRST + 8], job[FIRST + 9]
    gradient = array_at(job[FIRST], element, (rows, width))
    x = array_at(job[FIRST + 1], element, (rows, width))
    mean, scale = array_at(job[FIRST + 2], types.float32(0), rows), array_at(job[FIRST + 3], types.float32(0), rows)
    weight = array_at(job[FIRST + 4], types.float32(0), width)
    of_x = array_at(job[FIRST + 5], element, (rows, width))
    sums = array_at(job[FIRST + 6], types.float32(0), (job[ROWS], 2, width))
    share = F(1.0 / width)
    normal, pulled = np.empty(width, np.float32), np.empty(width, np.float32)
    while True:
        block = claim(job, 1)
        if block >= job[ROWS]:
            break
        of_weight, of_bias = sums[block, 0], sums[block, 1]
        of_weight[:] = F(0.0)
        of_bias[:] = F(0.0)
        for i in range(block * together, min(block * together + together, rows)):
            here, there, middle, by = gradient[i], x[i], mean[i], scale[i]
            straight, along = F(0.0), F(0.0)
            for j in range(width):
                g, n = read(here[j]), F(F(read(there[j]) - middle) * by)
                of_weight[j] = F(of_weight[j] + F(g * n))
                of_bias[j] = F(of_bias[j] + g)
                pull = F(g * weight[j])
                straight = F(straight + pull)
                along = F(along + F(pull * n))
                normal[j] = n
                pulled[j] = pull
            straight, along = F(straight * share), F(along * share)
            to = of_x[i]
            for j in range(width):
                to[j] = rounded(F(by * F(F(pulled[j] - straight) - F(normal[j] * along))), element)


@cfunc(JOB, cache=True)
def _norm_back_float(job: Any) -> None:
    _norm_back(job, types.float32(0))


@cfunc(JOB, cache=True)
def _norm_back_bfloat(job: Any) -> None:
    _norm_back(job, types.uint16(0))


def norm_backward(gradient: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias, where (x - mean) * scale * weight + bias is LayerNorm over the last axis of x.

    Those of weight and bias are summed over blocks of rows that do not depend on how many threads there are.
    """
    rows, width = rows_of(x)
    together = max(1, 4 * ELEMENTS // max(width, 1))
    blocks = -(-rows // together)
    of_x, sums = torch.empty_like(x), weight.new_empty(blocks, 2, width)
    loop = _norm_back_bfloat if x.dtype == torch.bfloat16 else _norm_back_float
    run(loop, (blocks, together * width), (gradient, x, mean, scale, weight.contiguous(), of_x, sums), rows, width, together)
    of_weight, of_bias = sums.sum(0)
    return of_x, of_weight, of_bias


# Turning a matrix -------------------------------------------------------------------------------------------------------------


BLOCK = 64
"""Rows and columns of the blocks that a matrix is transposed in: 8 KiB each, which touch as few pages as possible."""


@njit(inline="always")
def _turn(job: Any, few: Any, wide: Any) -> None:
    """Packs every `few` rows into one row of 64-bit words, and writes the result column by column."""
    rows, columns = job[FIRST + 2], job[FIRST + 3]
    source = array_at(job[FIRST], types.uint16(0), (rows, columns))
    result = array_at(job[FIRST + 1], types.uint64(0), (columns, rows // few))
    words = np.empty((BLOCK // few, BLOCK + 8), np.uint64)
    while True:
        block = claim(job, 1)
        if block >= job[ROWS]:
            break
        top = block * BLOCK
        high = min(BLOCK, rows - top) // few
        for left in range(0, columns, BLOCK):
            across = min(BLOCK, columns - left)
            for i in range(high):
                word, row = words[i], top + few * i
                a, b = source[row, left : left + across], source[row + 1, left : left + across]
                if wide:
                    for j in range(across):
                        word[j] = types.uint64(a[j]) << np.uint64(16) | types.uint64(b[j]) << np.uint64(48)
                else:
                    c, d = source[row + 2, left : left + across], source[row + 3, left : left + across]
                    for j in range(across):
                        low = types.uint64(a[j]) | types.uint64(b[j]) << np.uint64(16)
                        word[j] = low | types.uint64(c[j]) << np.uint64(32) | types.uint64(d[j]) << np.uint64(48)
            for j in range(across):
                line = result[left + j, block * (BLOCK // few) : block * (BLOCK // few) + high]
                for i in range(high):
                    line[i] = words[i, j]


@cfunc(JOB, cache=True)
def _turn_bfloat(job: Any) -> None:
    _turn(job, 4, False)


@cfunc(JOB, cache=True)
def _turn_to_float(job: Any) -> None:
    _turn(job, 2, True)


def turned(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The transpose of a bfloat16 matrix of 4 n rows, row by row in memory, in bfloat16 or float32."""
    rows, columns = matrix.shape
    result = matrix.new_empty(columns, rows, dtype=dtype)
    loop = _turn_bfloat if dtype == torch.bfloat16 else _turn_to_float
    run(loop, (-(-rows // BLOCK), BLOCK * columns), (matrix, result), rows, columns)
    return result
