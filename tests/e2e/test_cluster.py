"""A study on a cluster of two nodes, of which one is killed in the middle, ends like one on one machine, byte for byte."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from priorscope.report.tidy import write_tidy
from priorscope.study.run import run_study
from priorscope.study.study import Study

ABLATION = Path(__file__).with_name("ablation.toml")
CELLS = 24

STUDY = """
question = "Does a lost node change a number?"
seeds = [0]
[base.data]
source = {name = "shapetex", train = 600, val = 40, test = 90}
[base.train]
epochs = 30
batch_size = 20
[recipes.mlp]
model = {name = "mlp/tiny", width = 16, blocks = 1}
[recipes.deep]
model = {name = "mlp/tiny", width = 16, blocks = 2}
[recipes.cnn]
model = "cnn/tiny"
[recipes.longer]
extends = "mlp"
init = {kind = "recipe", recipe = "mlp"}
[[probes]]
name = "accuracy"
[[probes]]
name = "transfer"
images = 20
"""


def runs_under_way(out: Path) -> list[Path]:
    """Runs that have been through an epoch and are not finished."""
    begun = {path.parent for path in out.glob("runs/*/steps.jsonl")}
    return sorted(begun - {path.parent for path in out.glob("runs/*/environment.json")})


def stored(out: Path) -> dict[str, bytes]:
    """What a study stores, measured times aside."""
    write_tidy(out)
    places = ("runs/*/weights.safetensors", "runs/*/results/*/*", "joint/*/*", "results.*")
    found = {path.relative_to(out).as_posix(): path.read_bytes() for place in places for path in out.glob(place)}
    for path in out.glob("runs/*/steps.jsonl"):
        rows = [{**json.loads(line), "seconds": 0, "measured": 0} for line in path.read_text().splitlines()]
        found[path.relative_to(out).as_posix()] = json.dumps(rows).encode()
    return found


def finished(out: Path) -> int:
    """How many runs are there."""
    return len(list(out.glob("runs/*/environment.json")))


def lose_a_node(study: Study, out: Path, when: Callable[[], bool]) -> list[str]:
    """Carries out a study on a cluster of two nodes of one core, of which one is killed; gives the steps begun again."""
    from ray.cluster_utils import Cluster

    from priorscope.study.cluster import ClusterExecutor

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    killed = threading.Event()
    try:
        node = cluster.add_node(num_cpus=1)

        def kill() -> None:
            while not when():
                time.sleep(0.05)
            cluster.remove_node(node, allow_graceful=False)
            killed.set()

        threading.Thread(target=kill, daemon=True).start()
        executor = ClusterExecutor(cluster.address, out)
        run_study(study, out, executor=executor).check()
    finally:
        cluster.shutdown()
    assert killed.is_set(), "the study ended before a node could be lost"
    return executor.begun_again


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_a_study_on_two_nodes_one_of_which_is_killed_ends_like_one_on_one_machine(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed (the extra `cluster`)")
    (tmp_path / "s.toml").write_text(STUDY)
    study = Study.load(str(tmp_path / "s.toml"))
    there, here = tmp_path / "there", tmp_path / "here"
    begun_again = lose_a_node(study, there, when=lambda: len(runs_under_way(there)) == 2)
    assert [name.partition(" ")[0] for name in begun_again] == ["train"]
    run_study(study, here, workers=1).check()
    assert len(stored(here)) == 4 + 8 + 2 + 2 + 4  # weights, accuracies and transfer with their arrays, tables, curves
    assert stored(there) == stored(here)
    rows = (there / "runs" / begun_again[0].removeprefix("train ") / "steps.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == list(range(1, 31))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_an_ablation_of_24_cells_loses_a_node_and_ends_like_one_on_one_machine(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed (the extra `cluster`)")
    study = Study.load(str(ABLATION))
    there, here = tmp_path / "there", tmp_path / "here"
    lose_a_node(study, there, when=lambda: finished(there) >= CELLS // 3 and len(runs_under_way(there)) == 2)
    run_study(study, here, workers=2).check()
    found = stored(here)
    assert sum(name.endswith("weights.safetensors") for name in found) == CELLS
    assert stored(there) == found
