"""Others' weights made a run of zero steps, so that every probe runs on them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from priorscope.core import folder, layout
from priorscope.core.config import content_key
from priorscope.core.environment import Environment, Learnt, write_environment
from priorscope.core.epoch import write_history
from priorscope.core.errors import RequestError
from priorscope.core.machine import versions
from priorscope.fitting.material import record_of
from priorscope.fitting.run_folder import check_own_files
from priorscope.recipe import Recipe
from priorscope.run import Run


def adopt(weights: Path | str, out: Path | str, data: str | None = None) -> Run:
    """Makes a run of zero steps of published weights (a file, or a folder of the hub), so that every probe runs on it.

    `data` names the source it was trained on, if the file's own name does not say.
    """
    from safetensors.torch import save as to_bytes

    from priorscope.models.published import read_published, trained_on, weights_file

    path, out = weights_file(weights), folder.at_home(out)
    model = read_published(path)
    source = data or trained_on(path)
    if source is None:
        raise RequestError(f"{path.name} does not say what it was trained on.", "the name of a source", "add --data NAME")
    if model.config is None or model.statistics is None:
        raise RequestError(f"{path.name} is no model of a family.", "a published file", "priorscope models list")
    init = {"kind": "published", "published": str(path)}
    recipe = Recipe.of({"data": {"source": source}, "model": model.config, "init": init, "train": {"epochs": 0}})
    check_own_files(out, recipe)
    with folder.locked(out):
        if (out / layout.RECIPE).exists():
            raise RequestError(f"{out} holds a run already.", "an empty folder", "choose another folder with --out")
        made_from = {"weights": hashlib.sha256(path.read_bytes()).hexdigest()}
        folder.write_json(out / layout.MADE_FROM, made_from)
        folder.write_text(out / layout.RECIPE, recipe.toml())  # after what says that a run wrote it
        write_history(out, [])
        folder.write_bytes(
            out / layout.WEIGHTS, to_bytes({name: value.contiguous() for name, value in model.state_dict().items()})
        )
        environment = Environment(
            key=content_key(made_from),
            data=Learnt(source=source),
            model=record_of(model, ()),
            threads=recipe.train.threads,
            **versions(),
        )
        write_environment(out, environment)
    return Run(out)
