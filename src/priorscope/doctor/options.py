"""An option that nothing reads: it is accepted, written down, and changes no number.

Scaling MLPs' fine-tuning took a weight decay, named one in its README, and handed none to its optimiser; its training took an
activation and a dropout rate that no network read.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from priorscope.data.augment.ops import Choose
from priorscope.doctor import Finding
from priorscope.doctor.scripts import Script, keyword, last_name, targets

if TYPE_CHECKING:
    from priorscope.data.augment import Augment
    from priorscope.recipe import Recipe


LOOK_OUTSIDE = {"pad-crop", "rotate", "affine", "randaugment", "trivialaugment"}
"""The operations that read `data.augment.fill`."""
RESAMPLE = LOOK_OUTSIDE - {"pad-crop"} | {"centre-crop", "resized-crop"}
"""The operations that read `data.augment.interpolation`; so does a resize by `data.augment.size`."""


def look_at_recipe(recipe: Recipe) -> Iterator[Finding]:
    """Settings that other settings leave without effect; what could never have any is refused when a recipe is read."""
    for setting, because in unread(recipe):
        yield Finding(
            check="options",
            severity="warning",
            saw=f"{setting} has no effect: {because}.",
            means="runs with and without it are the same run",
            do=f"remove {setting.partition(' ')[0]}, or change what leaves it without effect",
        )


def unread(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Each setting without effect, and why."""
    model, optim, train = recipe.model, recipe.optim, recipe.train
    if model.resize != "bilinear" and model.input_size is None:
        yield f"model.resize = {model.resize!r}", "the pictures have the backbone's own size, and nothing is resized"
    if optim.decay_norms_and_biases and optim.weight_decay == 0:
        yield "optim.decay_norms_and_biases = true", "optim.weight_decay is 0"
    if train.steps is None and train.flops is None and train.patience is not None and train.patience >= train.epochs - 1:
        yield f"train.patience = {train.patience}", f"it cannot end a run of {train.epochs} epochs early"
    if train.track_images != type(train).model_fields["track_images"].default and set(train.track) <= {"val"}:
        yield f"train.track_images = {train.track_images}", "only val is tracked, and val is always looked at whole"
    yield from _idle_sampling(recipe.data.augment)
    yield from _idle_operations(recipe.data.augment.plain().get("ops", ()))


def _idle_sampling(augment: Augment) -> Iterator[tuple[str, str]]:
    """The settings of resampling and of filling that no operation of the augmentation reads, and why."""
    done = {
        op.op for outer in augment.ops for op in (outer.ops if isinstance(outer, Choose) else (outer,)) if op.p * outer.p > 0
    }
    usual = type(augment).model_fields
    if augment.interpolation != usual["interpolation"].default and augment.size is None and not done & RESAMPLE:
        yield f"data.augment.interpolation = {augment.interpolation!r}", "no operation resizes or turns a picture"
    if augment.fill != usual["fill"].default and not done & LOOK_OUTSIDE:
        yield f"data.augment.fill = {augment.fill!r}", "no operation shows what lies outside a picture"


def _idle_operations(ops: Any) -> Iterator[tuple[str, str]]:
    for at, op in enumerate(ops):
        if op.get("p") == 0:
            yield f"data.augment.ops[{at}] ({op['op']})", "it happens with chance 0"
        elif op["op"] == "jitter" and not any(op.get(part) for part in ("brightness", "contrast", "saturation", "hue")):
            yield f"data.augment.ops[{at}] (jitter)", "none of its strengths is above 0"


def look_at_script(script: Script) -> Iterator[Finding]:
    """Options of argparse whose value is never asked for by name."""
    declared = dict(_declared(script))
    asked = {node.attr for node in ast.walk(script.tree) if isinstance(node, ast.Attribute)}
    asked |= {node.value for node in ast.walk(script.tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    asked |= {*_taken_by_name(script)}
    idle = [name for name in declared if name not in asked]
    if not idle:
        return
    told = f"{script.at(declared[idle[0]])} declares {', '.join('--' + name for name in idle)}; nothing "
    elsewhere = [script.at(call).rpartition(":")[2] for call in _handed_on(script)]
    yield Finding(
        check="options",
        severity="note" if elsewhere else "fault",
        saw=told
        + f"reads {'it' if len(idle) == 1 else 'them'}"
        + (f" here by name; all options are handed on together (line {', '.join(elsewhere[:5])})." if elsewhere else "."),
        means=("unless it is read there, " if elsewhere else "")
        + "whoever sets it believes in a difference that was never made",
        do="read it where it belongs, or remove it",
    )


def _declared(script: Script) -> Iterator[tuple[str, ast.Call]]:
    """The name under which each option is stored."""
    for name, call in script.calls():
        flags = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        if name == "add_argument" and flags and flags[0].startswith("-") and keyword(call, "action") not in ("version", "help"):
            called = next((flag for flag in flags if flag.startswith("--")), flags[0])
            stored = keyword(call, "dest") or called.lstrip("-").replace("-", "_")
            yield str(stored), call


def _taken_by_name(script: Script) -> Iterator[str]:
    """The parameters of the script's own functions that are called with a whole table: `main(**vars(args))`."""
    spread = {name for name, call in script.calls() if any(item.arg is None for item in call.keywords)}
    for node in ast.walk(script.tree):
        if isinstance(node, ast.FunctionDef) and node.name in spread:
            yield from (one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs))


def _handed_on(script: Script) -> list[ast.Call]:
    """Calls of things defined elsewhere that get all options together: `update(args)`, `f(**vars(args))`, `args.__dict__`."""
    here = {node.name for node in ast.walk(script.tree) if isinstance(node, ast.FunctionDef)}
    assigned = [node for node in ast.walk(script.tree) if isinstance(node, ast.Assign | ast.AnnAssign)]
    options = {name for node in assigned if _parsed(node.value) for name in targets(node)}
    return [
        call
        for name, call in script.calls()
        if name not in here and any(_whole(value, options) for value in (*call.args, *(item.value for item in call.keywords)))
    ]


def _whole(value: ast.expr, options: set[str]) -> bool:
    """Whether an argument is all options: the namespace itself, or its dictionary."""
    if isinstance(value, ast.Attribute) and value.attr == "__dict__":
        value = value.value
    return _parsed(value) or (isinstance(value, ast.Name) and value.id in options)


def _parsed(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Call) and last_name(value.func).startswith("parse_")
