"""A model card: what a folder of weights says of itself, made from a finished run and the results that are stored with it.

The front matter is what the Hugging Face hub reads: tags, data, and each stored result's first number with its n and interval.
Every number is that of its file; nothing is measured here. Which licence the weights have is for their owner to say, so that
the field is left out and a comment stands in its place. Names come from users: in the card they are text, whatever they say.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from priorscope.core.config import Plain
from priorscope.core.environment import Environment
from priorscope.core.epoch import Epoch

if TYPE_CHECKING:
    from priorscope.core.contracts import About, Result


@dataclass(frozen=True)
class Trained:
    """What a card is made from: a run as plain data, and its results, each with what its file says beside it.

    `in_timm` is the network's name in timm, where the folder opens there too; `recipe_file` is the recipe as TOML.
    """

    name: str
    recipe: Plain
    recipe_file: str
    environment: Environment
    history: Sequence[Epoch]
    results: Sequence[tuple[Result, About]]
    in_timm: str | None = None

    @property
    def model(self) -> str:
        """The network's name."""
        return str(self.recipe["model"]["name"])

    @property
    def source(self) -> str:
        """The name of the data that it learnt from."""
        return str(self.recipe["data"]["source"]["name"])


def model_card(run: Trained) -> str:
    """The card's text: front matter, then what a reader needs to know before using the weights."""
    parts = (_front_matter(run), _introduction(run), _loading(run), _measured(run), _recipe(run), _machine(run), _limits(run))
    return "\n\n".join(parts) + "\n"


# What the hub reads ----------------------------------------------------------------------------------------------------------


def _front_matter(run: Trained) -> str:
    """YAML, each value in the form of JSON, which YAML holds: a string cannot end where its writer wants it to."""
    values: Plain = {
        "library_name": "timm" if run.in_timm else "priorscope",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "priorscope", run.model.partition("/")[0], *(["timm"] if run.in_timm else [])],
        "datasets": [run.source],
    }
    rows = list(_index_rows(run))
    if rows:
        values["metrics"] = list(dict.fromkeys(str(row["metrics"][0]["type"]) for row in rows))
        values["model-index"] = [{"name": run.name, "results": rows}]
    lines = [f"{key}: {_yaml(value)}" for key, value in values.items()]
    return "\n".join(("---", "# license: for you to say; the hub lists the names that it knows", *lines, "---"))


def _index_rows(run: Trained) -> Iterator[Plain]:
    """Each result's first number in the hub's form, with n and the interval's ends as its arguments."""
    for result, about in run.results:
        if not math.isfinite(result.value):
            continue
        ends = {"low": result.interval.low, "high": result.interval.high} if result.interval else {}
        data, *split = _looked_at(run, about)
        yield {
            "task": {"type": "image-classification"},
            "dataset": {"name": data, "type": data, **({"split": split[0]} if split else {})},
            "metrics": [
                {
                    "type": result.probe,
                    "name": result.measure,
                    "value": result.value,
                    "args": {"n": result.n, "unit": result.unit, **ends},
                }
            ],
        }


def _looked_at(run: Trained, about: About) -> list[str]:
    """The data that a result is about, and the split where its file names one: some probes look at several."""
    return [about.data or run.source, *([about.split] if about.split else [])]


def _yaml(value: Any) -> str:
    """JSON without the characters that a YAML reader refuses or ends a line at."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


# What people read ------------------------------------------------------------------------------------------------------------


_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;", **{mark: f"\\{mark}" for mark in "\\`*_[]#|~$"}})
"""What Markdown or HTML would read as more than a letter; an address of mail would become a link."""


def escaped(text: str) -> str:
    """Text as Markdown shows it letter by letter: no markup, no HTML, no link, no line of its own."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    line = line.translate(_MARKUP).replace("://", "&#58;//")
    return re.sub(r"\b(www)\.", r"\1&#46;", line, flags=re.IGNORECASE)


def _fenced(text: str, language: str) -> str:
    """A block of code whose fence is longer than any row of backticks in it."""
    longest = max((len(row) for row in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _introduction(run: Trained) -> str:
    made = run.environment.network
    classes = [escaped(name) for name in made.classes]
    named = f" ({', '.join(classes)})" if 0 < len(classes) <= 20 else ""
    seen = run.environment.images_seen
    learnt = f"trained on {seen:,} pictures of {escaped(run.source)}" if seen else "as published elsewhere, not trained here"
    side = made.image_size
    return "\n\n".join(
        (
            f"# {escaped(run.name)}",
            f"{escaped(run.model)}, {made.parameters:,} parameters, {learnt}. It takes pictures of {side} x {side} pixels"
            f" and gives {made.num_classes:,} classes{named}.",
            "Trained and measured with Priorscope, which wrote this card from the run's files.",
        )
    )


def _loading(run: Trained) -> str:
    ours = (
        "from huggingface_hub import snapshot_download\n"
        "from priorscope.models.hub import load_hub\n\n"
        'model = load_hub(snapshot_download("OWNER/NAME")).eval()  # or load_hub("FOLDER")\n'
        "logits = model(images)  # float, (N, 3, height, width), in [0, 1]: resizing and normalisation are inside"
    )
    if run.in_timm is None:
        theirs = "timm does not have this network: it opens with Priorscope alone."
    else:
        code = (
            "import timm\n\n"
            'model = timm.create_model("hf-hub:OWNER/NAME", pretrained=True).eval()  # or "local-dir:FOLDER"\n'
            "settings = timm.data.resolve_model_data_config(model)  # size, mean and std: timm wants pictures normalised"
        )
        theirs = f"timm opens the same folder, as its `{run.in_timm}` with other settings:\n\n{_fenced(code, 'python')}"
    return f"## Loading\n\n{_fenced(ours, 'python')}\n\n{theirs}"


def _measured(run: Trained) -> str:
    if not run.results:
        told = (
            "Nothing was measured on this run but its log: `priorscope probe accuracy RUN` before exporting adds to this card."
        )
        return f"## Results\n\n{told}"
    head = "| | value | 95 % interval | n | unit | data |\n| --- | --- | --- | --- | --- | --- |"
    rows = [
        f"| {escaped(result.measure)} | {result.value:.4g} | {_between(result)} | {result.n:,} | {escaped(result.unit)} |"
        f" {escaped(', '.join(_looked_at(run, about)))} |"
        for result, about in run.results
    ]
    told = [f"- **{escaped(result.headline())}** {escaped(result.protocol())}" for result, _ in run.results]
    return "\n\n".join(("## Results", "\n".join((head, *rows)), "\n".join(told)))


def _between(result: Result) -> str:
    return "" if result.interval is None else f"{result.interval.low:.4g} to {result.interval.high:.4g}"


def _recipe(run: Trained) -> str:
    said = "`priorscope train recipe.toml --out RUN` carries it out again."
    return f"## Recipe\n\n{said}\n\n{_fenced(run.recipe_file, 'toml')}"


def _machine(run: Trained) -> str:
    known = run.environment
    facts = {
        "machine": known.hardware.named,
        "cores": known.hardware.cores,
        "threads": known.threads,
        "ranks": known.ranks,
        "trained for": f"{known.seconds:.1f} s" if known.seconds else None,
        "multiply-adds of training": f"{known.macs:.3g}" if known.macs else None,
        "data's fingerprint": known.data.fingerprint if known.data else None,
        "key of the weights": known.key,
        "priorscope": known.priorscope,
        "torch": known.torch,
        "numpy": known.numpy,
        "numba": known.numba,
        "python": known.python,
    }
    rows = [f"| {escaped(name)} | {escaped(str(fact))} |" for name, fact in facts.items() if fact not in (None, "")]
    return "\n".join(("## Machine and environment", "", "| | |", "| --- | --- |", *rows))


def _limits(run: Trained) -> str:
    """What everything above is worth, first in general, then as each result says it of itself."""
    epoch, seed = run.environment.chosen_epoch, run.recipe.get("seed", 0)
    chosen = f", the weights of epoch {epoch} of {len(run.history)}" if run.history else ""
    general = [
        f"One checkpoint: one training with seed {seed}{chosen}. Intervals are over pictures; another seed gives another"
        " network, and nothing here speaks for an architecture.",
        "Numbers hold for the data, split and settings named beside them. On other pictures nothing is known.",
        f"The classes are those of {escaped(run.source)}: every picture is given one of them, whatever it shows.",
    ]
    own = [
        f"{escaped(result.measure)}: {escaped(caveat)}" for result, _ in run.results for caveat in dict.fromkeys(result.caveats)
    ]
    data = [escaped(caveat) for caveat in (run.environment.data.caveats if run.environment.data else ())]
    return "\n".join(("## Limits", "", *(f"- {line}" for line in (*general, *data, *own))))
