"""What a notebook shows of a result or a run: a sentence, a table and a picture.

A notebook takes the richest form that it knows. HTML holds all three, the picture as SVG, and needs no script; a front end
that draws Vega-Lite itself finds the interactive chart beside it, one that knows pictures alone finds the SVG, and a terminal
gets text. Whatever a name says stays text: it is escaped, and the picture stands in an `<img>`, where nothing of it can run.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from priorscope.core.config import Plain, inline_toml
from priorscope.core.environment import Environment
from priorscope.core.epoch import Epoch, Score
from priorscope.core.stats import wilson

if TYPE_CHECKING:
    from priorscope.core.figure import Figure

ROWS = 30
"""How many rows of a table are shown; the rest is counted, and in the text."""


@dataclass(frozen=True)
class Shown:
    """Something as a notebook shows it: `rows` are under `head`, `notes` under the picture, `text` is for a terminal."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    text: str
    figure: Figure | None = None

    def html(self) -> str:
        """Everything, with the picture as SVG."""
        return self._html(None if self.figure is None else self.figure.svg())

    def mimebundle(self) -> dict[str, Any]:
        """Everything by its MIME type."""
        if self.figure is None:
            return {"text/html": self.html(), "text/plain": self.text}
        svg, spec = self.figure.svg(), self.figure.themed()
        return {"text/html": self._html(svg), _vega_lite(spec): spec, "image/svg+xml": svg, "text/plain": self.text}

    def _html(self, svg: str | None) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in self.head)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows[:ROWS])
        left = len(self.rows) - ROWS
        more = f"<p>and {left:,} more rows</p>" if left > 0 else ""
        notes = "".join(f"<p><small>{escape(note)}</small></p>" for note in self.notes)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if self.rows else ""
        return f"<div><p><strong>{escape(self.title)}</strong></p>{table}{more}{self._picture(svg)}{notes}</div>"

    def _picture(self, svg: str | None) -> str:
        if svg is None or self.figure is None:
            return ""
        data = base64.b64encode(svg.encode()).decode()
        return f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(self.figure.alt)}" style="max-width: 100%">'


def _vega_lite(spec: dict[str, Any]) -> str:
    """The MIME type of a spec, by the version that it names."""
    version = re.search(r"/v(\d+)", str(spec.get("$schema", "")))
    return f"application/vnd.vegalite.v{version[1] if version else 6}+json"


def shown_run(name: str, recipe: Plain, environment: Environment, history: Sequence[Epoch], said: Sequence[str] = ()) -> Shown:
    """A run: what was trained on what, how accurate it is on the splits that were looked at, and what probes `said` of it."""
    rows = list(_facts(recipe, environment, history))
    title = f"{name}: {recipe['model']['name']} on {recipe['data']['source']['name']}"
    text = "\n".join((title, *(f"  {fact}: {value}" for fact, value in rows), *said))
    return Shown(title, ("", "this run"), rows, said, text, _curves(recipe["model"]["name"], history))


def _settings(table: Plain) -> str:
    """What a model or a source was given beside its name."""
    return ", ".join(f"{key} = {inline_toml(value)}" for key, value in table.items() if key != "name")


def _facts(recipe: Plain, environment: Environment, history: Sequence[Epoch]) -> Iterator[tuple[str, str]]:
    for part, table in (("model", recipe["model"]), ("data", recipe["data"]["source"])):
        if settings := _settings(table):
            yield part, settings
    if environment.model:
        yield "parameters", f"{environment.model.parameters:,}"
    yield "seed", str(recipe.get("seed", 0))
    kept = environment.kept_epoch(history)
    yield "epochs", str(len(history)) if kept is None else f"{len(history)}, weights of epoch {kept.epoch}"
    for split, score in _shown(kept).items() if kept else ():
        interval = wilson(round(score.accuracy * score.n), score.n)
        yield f"{split} accuracy", f"{score.accuracy:.1%} [{interval.low:.1%}, {interval.high:.1%}], n = {score.n:,}"
    if environment.seconds is not None:
        yield "trained for", f"{environment.seconds:.1f} s"


def _shown(epoch: Epoch) -> dict[str, Score]:
    """The scores that are shown of an epoch: those on train, val and test, where they were tracked."""
    return {split: epoch.scores[split] for split in ("train", "val", "test") if split in epoch.scores}


def _curves(model: str, history: Sequence[Epoch]) -> Figure | None:
    """Accuracy against epoch on every split that was looked at; nothing where nothing was trained."""
    if not history:
        return None
    from priorscope.core.axis import Axis
    from priorscope.core.charts import curves_with_band

    family, last = model.partition("/")[0], history[-1]
    rows = [
        {
            "series": split,
            "family": family,
            "x": epoch.epoch,
            "y": score.accuracy,
            "low": None,
            "high": None,
            "end": split if epoch is last else None,
        }
        for epoch in history
        for split, score in _shown(epoch).items()
    ]
    ends = _shown(last)
    said = "; ".join(f"{split} {score.accuracy:.1%}" for split, score in ends.items())
    return curves_with_band(
        "curves",
        f"After {last.epoch} epochs: {said}",
        rows,
        x=Axis("epoch"),
        y=Axis("accuracy", format=".0%"),
        n="; ".join(f"{split}: {score.n:,} images" for split, score in ends.items()),
        protocol="Evaluated after each epoch in evaluation mode, without augmentation.",
        alt=f"Accuracy against epoch. At the end: {said}.",
        points=len(history) <= ROWS,
    )
