"""Carries out runs on ranks that are forked from one process which has imported everything: seconds each, instead of minutes.

Requests come as lines of JSON on stdin, answers go as lines of JSON to stdout. A request names the recipe and the folder, how
many `ranks` there are, and what is to happen: `cut` raises an error after so many steps on every rank; `kill` {rank, step} and
`signal` {rank, step} send SIGKILL or SIGTERM; `moment` kills all ranks after so many seconds. With `own` each rank has a
folder of its own there. Nothing here may start a thread before it forks.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

import torch

import priorscope as ps
from priorscope.fitting import attempt

NEEDED = (
    "torch._dynamo",
    "torch.distributed.fsdp",
    "torch.distributed.tensor",
    "torch.utils.flop_counter",
    "timm.layers",
    "priorscope.data.loader",
    "priorscope.models.counting",
    "priorscope.models.networks.cnn",
    "priorscope.models.networks.mlp",
    "priorscope.train.compilation",
    "priorscope.train.counters",
    "priorscope.train.learner",
    "priorscope.train.sharding",
)
"""What a run imports on its way, which takes seconds."""


class CutError(Exception):
    """Stands for a kill at some step."""


PORTS = iter(range(20_000 + 500 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]), 32_000))
"""Below those that a system gives to whoever binds port 0, as other tests do meanwhile; each worker begins with its own."""


def free_port() -> int:
    for port in PORTS:
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


def work(request: dict, rank: int, answer: Path) -> int:
    """One rank's part; gives its exit status and leaves what it says in a file."""
    losses: list[float] = []
    out = Path(request["out"], str(rank)) if request.get("own") else request["out"]
    attempt.SHOW_EVERY_SECONDS = 0.0
    attempt.SAVE_EVERY_SECONDS = request.get("save_every", 1e9)

    def watch(status: attempt.Status) -> None:
        losses.append(status.pace.loss)
        for name, number in (("kill", signal.SIGKILL), ("signal", signal.SIGTERM)):
            event = request.get(name)
            if event and event["rank"] == rank and event["step"] == len(losses):
                os.kill(os.getpid(), number)
        if request.get("cut") == len(losses):
            raise CutError

    status, said = 0, ""
    try:
        extend = request.get("extend")
        ps.fit(ps.Recipe.of(request["recipe"]), out, watch=watch, extend=extend)
    except ps.PriorscopeError as error:
        status, said = error.exit_status, str(error)
    except CutError:
        status = 3
    except BaseException:
        status, said = 4, traceback.format_exc()
    answer.write_text(json.dumps({"said": said, "losses": losses}))
    return status


def forked(request: dict, folder: Path) -> list[dict]:
    """All ranks at once; gives what became of each."""
    ranks, port = request["ranks"], free_port()
    pids = []
    for rank in range(ranks):
        pid = os.fork()
        if pid == 0:
            if ranks > 1:
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os._exit(work(request, rank, folder / str(rank)))
        pids.append(pid)
    if "moment" in request:
        time.sleep(request["moment"])
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    found = []
    for rank, pid in enumerate(pids):
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        told = folder / str(rank)
        found.append({"status": status, **(json.loads(told.read_text()) if told.exists() else {})})
        told.unlink(missing_ok=True)
    return found


if __name__ == "__main__":
    for name in NEEDED:
        importlib.import_module(name)
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # imports more
    ps.data.open({"name": "shapetex", "train": 10, "val": 10, "test": 10}).split("train")  # makes tables that are kept
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(forked(json.loads(line), Path(sys.argv[1]))), file=answers, flush=True)
