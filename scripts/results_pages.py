"""Sets our networks beside published ones, in docs/results.

    python scripts/results_pages.py RUNS...    reads the runs in these folders, beside the stored seeds of their recipes
    python scripts/results_pages.py            writes the pages from what was read before

A seed's answers are stored with it, one bit a picture, so that seeds trained on another day make one interval with it. Of the
recipes that were read before this was so, seeds that come later take the place of all that is stored.

What others published and claimed, and why ours differs, is written in docs/results/published.toml; what our runs gave, in
docs/results/runs.json. The pages hold nothing else but these two.
"""

from __future__ import annotations

import json
import sys
import tomllib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from priorscope.core.axis import Axis
from priorscope.core.charts import interval_dots
from priorscope.core.environment import read_environment
from priorscope.core.epoch import Epoch, read_history
from priorscope.core.figure import Figure
from priorscope.core.stats import Interval, seed_by_image, wilson
from priorscope.probes import load_result
from priorscope.probes.tuning import val_accuracy
from priorscope.recipe import shipped_recipes

FOLDER = Path(__file__).parent.parent / "docs" / "results"
PUBLISHED, RUNS = FOLDER / "published.toml", FOLDER / "runs.json"
BEGIN, END = "<!-- {} -->\n", "<!-- end of {} -->"
BESIDE = "systems beside ours"
"""What the table is called that counts rows and claims of all systems."""
VERDICTS = ("supported", "contradicted", "not decidable here")
LACKS = ("data", "computing")
"""What a claim that is not decidable here lacks: data or weights that are not at hand, or a run that was not made."""
STANDINGS = ("above", "around", "below")
"""Where our 95 % interval lies by a published figure, which is taken as exact."""
VIEWS = {"test": None, "six views": "six"}
"""The columns of accuracies, and by which views of an image each was measured."""
SAME = ("network", "data", "parameters", "epochs", "images", "machine")
"""What two readings of one recipe must agree in, for their seeds to stand together."""
Record = dict[str, Any]


class Board(NamedTuple):
    """The table and the figure of what was trained on one data set."""

    data: str
    figure: str
    axis: str
    domain: tuple[float, float]
    chance: float


BOARDS = (
    Board("cifar10", "families", "accuracy on CIFAR-10 as JPEG, 10,000 test images", (0, 1), 0.1),
    Board("tiny_imagenet", "families-tiny-imagenet", "accuracy on Tiny ImageNet, 10,000 validation images", (0, 0.3), 0.005),
)


def collect(folders: Iterable[Path]) -> list[Record]:
    """One record a recipe: what it trained, for how long, and how often its checkpoints are right, where they were asked."""
    recipes: dict[str, list[Path]] = {}
    for folder in folders:
        for steps in sorted(folder.glob("*/steps.jsonl")):
            name, dash, seed = steps.parent.name.rpartition("-s")
            if dash and seed.isdigit() and name in shipped_recipes() and (steps.parent / "results" / "accuracy").exists():
                recipes.setdefault(name, []).append(steps.parent)
    return [_record(name, runs) for name, runs in sorted(recipes.items())]


def _record(name: str, runs: list[Path]) -> Record:
    made = json.loads((runs[0] / "made_from.json").read_text())["recipe"]
    environments = [read_environment(run) for run in runs]
    logs = [read_history(run) for run in runs]
    record: Record = {
        "recipe": name,
        "network": made["model"]["name"],
        "data": made["data"]["source"]["name"],
        "parameters": environments[0].network.parameters,
        "epochs": logs[0][-1].epoch,
        "images": environments[0].images_seen,
        "flops": environments[0].flops,
        "machine": f"{environments[0].hardware.processor}, {environments[0].precision}",
        "minutes": [_minutes(log) for log in logs],
        "seeds": [int(run.name.rpartition("-s")[2]) for run in runs],
        "val": [val_accuracy(*of_run) for of_run in zip((run.name for run in runs), environments, logs, strict=True)],
    }
    for column, views in VIEWS.items():
        record[column] = _accuracy([_right(run, views) for run in runs])
    return record


def joined(stored: Record | None, read: Record) -> Record:
    """The seeds of a recipe read now, beside those that were stored with their answers when it was the same recipe."""
    if stored is None or any(stored[key] != read[key] for key in SAME) or "answers" not in stored["test"]:
        return read
    sides = [(record, i) for record in (stored, read) for i, seed in enumerate(record["seeds"])]
    latest = {record["seeds"][i]: (record, i) for record, i in sides}
    seeds = sorted(latest)
    beside = {key: [latest[seed][0][key][latest[seed][1]] for seed in seeds] for key in ("minutes", "seeds", "val")}
    accuracies = {
        column: _accuracy([_answers(record[column], i) for record, i in (latest[seed] for seed in seeds)]) for column in VIEWS
    }
    return {**read, **beside, **accuracies}


def _minutes(log: list[Epoch]) -> float:
    """As many of the run's median epoch as it has: what stood still or shared its machine for some epochs does not count."""
    ends = np.array([0.0, *(epoch.seconds for epoch in log)])
    return round(float(np.median(np.diff(ends))) * len(log) / 60, 1)


def _right(run: Path, views: str | None) -> np.ndarray | None:
    """Whether each test image is answered right, where the run was asked."""
    for path in sorted((run / "results" / "accuracy").glob("*.json")):
        asked = json.loads(path.read_text())["about"]["config"]
        if (asked.get("views") or {}).get("name") == views and asked["split"] == "test":
            return np.asarray(load_result(path).per_image(), bool)
    return None


def _answers(accuracy: Record | None, place: int) -> np.ndarray | None:
    """The same, as it was stored of one seed."""
    if accuracy is None or "answers" not in accuracy:
        return None
    return np.unpackbits(np.frombuffer(b64decode(accuracy["answers"][place]), np.uint8), count=accuracy["n"]).astype(bool)


def _accuracy(seeds: list[np.ndarray | None]) -> Record | None:
    """Right answers of each seed, their mean, and its interval: over seeds and images, or over the images of one checkpoint."""
    correct = [one for one in seeds if one is not None]
    if len(correct) != len(seeds):
        return None
    right, n = [int(one.sum()) for one in correct], len(correct[0])
    interval = wilson(right[0], n) if len(seeds) == 1 else seed_by_image(np.stack(correct).astype(float))
    answers = [b64encode(np.packbits(one).tobytes()).decode() for one in correct]
    return {"right": right, "n": n, "low": interval.low, "high": interval.high, "over": interval.over, "answers": answers}


def table(records: Iterable[Record]) -> str:
    """Our runs, most accurate first; a column that would be empty is left out."""
    rows = [_row(record) for record in _ranked(records)]
    head = [name for name in rows[0] if any(row[name] for row in rows)]
    left = ("recipe", "network", "on", "seeds")
    cells = [[row[name] for name in head] for row in rows]
    return _markdown(head, cells, right=[place for place, name in enumerate(head) if name not in left])


def _ranked(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda record: -_mean(record["test"]))


def _row(record: Record) -> dict[str, str]:
    views = record["six views"]
    return {
        "recipe": f"`{record['recipe']}`",
        "network": f"`{record['network']}`",
        "parameters": f"{record['parameters']:,}",
        "epochs": str(record["epochs"]),
        "minutes": _range(record["minutes"]),
        "on": record["machine"],
        "seeds": ", ".join(map(str, record["seeds"])),
        "test accuracy": _percent(_mean(record["test"])),
        "95 % interval": _interval(record["test"]),
        "six views": "" if views is None else _percent(_mean(views)),
    }


def picture(board: Board, records: Iterable[Record]) -> Figure:
    """How often each recipe's networks are right, most accurate first."""
    ranked = _ranked(records)
    prefix = board.data.replace("_", "-") + "-"
    rows: list[Record] = [
        {
            "subject": record["recipe"].removeprefix(prefix) + ("" if len(record["seeds"]) > 1 else " (1 seed)"),
            "family": record["network"].partition("/")[0],
            "value": _mean(record["test"]),
            "low": record["test"]["low"],
            "high": record["test"]["high"],
        }
        for record in ranked
    ]
    best, last = (f"{row['subject'].removesuffix(' (1 seed)')} is right on {row['value']:.0%}" for row in (rows[0], rows[-1]))
    return interval_dots(
        board.figure,
        f"In {_range([minutes for record in ranked for minutes in record['minutes']])} minutes on two cores {best}, "
        f"{last.replace('is right ', '')}",
        rows,
        axis=Axis(board.axis, domain=board.domain, format=".0%"),
        n=ranked[0]["test"]["n"],
        protocol="From nothing; 95 % intervals over seeds and images, of checkpoints over images.",
        alt="; ".join(f"{row['subject']} {row['value']:.1%}" for row in rows),
        reference=(board.chance, "chance"),
    )


def page(system: Record, records: list[Record]) -> str:
    """One predecessor: every published figure, beside ours where there is one, and what became of its claims."""
    known = {record["recipe"]: record for record in records}
    head = ["network", "data", "published", "ours", "95 % interval", "ours is", "budget of ours", "command", "why they differ"]
    return "\n".join(
        [
            "<!-- made by scripts/results_pages.py from published.toml and runs.json -->",
            f"# {system['title']}\n",
            system["about"].strip() + "\n",
            _markdown(head, [_beside(row, known) for row in system["rows"] if _is_run(row)], right=(2, 3, 4)),
            "\nAbove and below: our 95 % interval lies wholly above or below the published figure, which is taken as exact;",
            "around: the figure lies in it.\n",
            "## Published, and not run here\n",
            _not_run([row for row in system["rows"] if not _is_run(row)]),
            "",
            "## Its claims\n",
            _tally(system["claims"]) + "\n" + system["caveats"].strip() + "\n",
            _claims(system["claims"]),
            "",
        ]
    )


def _is_run(row: Record) -> bool:
    """Whether something of ours stands beside a published figure: runs of a recipe, or what a study found (`value`)."""
    return "ours" in row or "value" in row


def _beside(row: Record, known: dict[str, Record]) -> list[str]:
    if "value" in row:
        ours = [row["value"], row.get("interval", ""), "", row["budget"], _command(row)]
        return [row["network"], row["data"], _published(row), *ours, row["why"]]
    ours = known[row["ours"]]
    budget = f"{ours['epochs']} epochs, {_range(ours['minutes'])} min, {ours['parameters'] / 1e6:.2g} M parameters"
    value = _percent(_mean(ours["test"])) + ("" if len(ours["seeds"]) > 1 else " (a checkpoint)")
    interval, command = _interval(ours["test"]), f"`priorscope train {ours['recipe']}`"
    return [row["network"], row["data"], _published(row), value, interval, standing(row, ours), budget, command, row["why"]]


def standing(row: Record, ours: Record) -> str:
    """Whether our interval lies above a published figure, around it, or below it."""
    low, high = 100 * ours["test"]["low"], 100 * ours["test"]["high"]
    return STANDINGS[0] if low > row["published"] else STANDINGS[2] if high < row["published"] else STANDINGS[1]


def _not_run(rows: list[Record]) -> str:
    cells = [[row["network"], row["data"], _published(row), _command(row), row["why"]] for row in rows]
    return _markdown(["network", "data", "published", "command", "what it takes"], cells, right=(2,))


def _command(row: Record) -> str:
    verbs = {"command": "train", "study": "study"}
    return next(f"`priorscope {verb} {row[key]}`" for key, verb in verbs.items() if key in row)


def _published(row: Record) -> str:
    figure = str(row["published"])
    return figure + (" %" if figure[-1].isdigit() else "") + (f" ({row['note']})" if "note" in row else "")


def _counts(claims: list[Record]) -> dict[str, int]:
    """How many claims came out how, those that are not decidable by what they lack; another name is refused."""
    counts: dict[str, int] = dict.fromkeys((*VERDICTS, *LACKS), 0)
    for claim in claims:
        counts[claim["verdict"]] += 1
        if claim["verdict"] == VERDICTS[2]:
            counts[claim["lacks"]] += 1
    return counts


def _tally(claims: list[Record]) -> str:
    counts = _counts(claims)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    return (
        f"Of {len(claims)} claims, {told}: {counts['data']} for want of data or weights, {counts['computing']} for want of runs"
        " that were not made, most of whose commands stand there."
    )


def systems_beside(systems: Record, records: list[Record]) -> str:
    """One line a system: how its figures stand beside ours, and what became of its claims."""
    known = {record["recipe"]: record for record in records}
    placed = [*(f"ours {name}" for name in STANDINGS), "beside a study", "not run here"]
    head = ["system", "rows", *placed, "claims", *VERDICTS[:2], "want data", "want a run"]
    rows: list[list[str]] = []
    for name, system in systems.items():
        stood = [standing(row, known[row["ours"]]) for row in system["rows"] if "ours" in row]
        studied, left = sum("value" in row for row in system["rows"]), sum(not _is_run(row) for row in system["rows"])
        counts = _counts(system["claims"])
        figures = [len(system["rows"]), *(stood.count(one) for one in STANDINGS), studied, left]
        told = [len(system["claims"]), *(counts[one] for one in (*VERDICTS[:2], *LACKS))]
        rows.append([f"[{system['short']}]({name}.md)", *map(str, (*figures, *told))])
    return _markdown(head, rows, right=range(1, len(head)))


def _claims(claims: list[Record]) -> str:
    """What was said, chapters in the order of their first claims, and the number that bears it out or does not."""
    chapters = list(dict.fromkeys(claim["chapter"] for claim in claims))
    ranked = sorted(claims, key=lambda claim: chapters.index(claim["chapter"]))
    head = ["chapter", "claim", "verdict", "by what number, or what would decide it"]
    return _markdown(head, [[claim[key] for key in ("chapter", "claim", "verdict", "by")] for claim in ranked])


def pages() -> Iterator[tuple[Path, str]]:
    """Every page with its text."""
    records: list[Record] = json.loads(RUNS.read_text(encoding="utf-8"))
    systems = tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))
    for name, system in systems.items():
        yield FOLDER / f"{name}.md", page(system, records)
    tables = {f"runs on {board.data}": table(_on(board, records)) for board in BOARDS} | {
        BESIDE: systems_beside(systems, records)
    }
    for name in ("index", "trainings"):
        path = FOLDER / f"{name}.md"
        yield path, filled(path.read_text(encoding="utf-8"), tables)


def filled(text: str, tables: dict[str, str]) -> str:
    """A page with each table between its marks, where it has them."""
    for name, told in tables.items():
        begin, end = BEGIN.format(name), END.format(name)
        if begin in text:
            text = text.split(begin)[0] + begin + told + "\n" + end + text.split(end)[1]
    return text


def _on(board: Board, records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record["data"] == board.data]


def _mean(accuracy: Record) -> float:
    return sum(accuracy["right"]) / len(accuracy["right"]) / accuracy["n"]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(accuracy: Record) -> str:
    interval = Interval(low=accuracy["low"], high=accuracy["high"], level=0.95, method="", over=accuracy["over"])
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}, {interval.over.replace(' x ', ' and ')}"


def _range(values: list[float]) -> str:
    low, high = round(min(values)), round(max(values))
    return str(low) if low == high else f"{low} to {high}"


def _markdown(head: list[str], rows: list[list[str]], right: Iterable[int] = ()) -> str:
    marks = ["---:" if place in set(right) else "---" for place in range(len(head))]
    return "\n".join("| " + " | ".join(" ".join(cell.split()) for cell in cells) + " |" for cells in (head, marks, *rows))


def main(folders: list[str]) -> None:
    """Reads runs, where folders are given, and writes every page."""
    if folders:
        known = {record["recipe"]: record for record in json.loads(RUNS.read_text(encoding="utf-8"))}
        known |= {record["recipe"]: joined(known.get(record["recipe"]), record) for record in collect(map(Path, folders))}
        RUNS.write_text(json.dumps(list(known.values()), indent=1) + "\n", encoding="utf-8")
    for path, text in pages():
        path.write_text(text, encoding="utf-8")
    records: list[Record] = json.loads(RUNS.read_text(encoding="utf-8"))
    for board in BOARDS:
        picture(board, _on(board, records)).save(FOLDER / f"{board.figure}.svg")


if __name__ == "__main__":
    main(sys.argv[1:])
