"""Faults of foreign logs and training scripts: logs as their faulty code would have written them, scripts as they stood."""

from __future__ import annotations

import json
import math
import textwrap
import warnings
from pathlib import Path

import pytest
import torch

from priorscope.core.errors import RequestError
from priorscope.core.logs import Log, read_log
from priorscope.doctor import schedule
from priorscope.doctor.examination import examine


def written(folder: Path, rows: list[dict[str, float]]) -> str:
    (folder / "log.json").write_text(json.dumps(rows))
    return str(folder / "log.json")


def late_cosine(epochs: int) -> list[float]:
    """torch's own cosine, stepped at the end of each epoch with the number of the one before."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for epoch in range(epochs):
            rates.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            scheduler.step(epoch - 1) if epoch else scheduler.step()
    return rates


def test_a_cosine_that_was_stepped_with_the_epoch_before(tmp_path):
    rates = late_cosine(30)
    assert [round(rate / 1e-4, 3) for rate in rates[:5]] == [1, 0.997, 1, 0.997, 0.989]  # as published
    assert [round(late_cosine(n)[-1] / 1e-4, 2) for n in (5, 10)] == [0.65, 0.21]
    rows = [{"epoch": i, "trn_loss": 1.0, "val_loss": 1.5, "val_acc": 50, "lr": rate} for i, rate in enumerate(rates)]
    (fault, warning) = examine(written(tmp_path, rows)).findings
    assert fault.saw == "log logs the rates 0.0001, 9.973e-05, 0.0001, 9.973e-05: epoch 3 has the rate of epoch 1 again."
    assert "its last rate is 0.024 of its highest" in fault.means
    assert "would take 2 more epochs" in warning.saw


def test_a_run_one_epoch_shorter_than_its_cosine():
    full = [0.5 * (1 + math.cos(math.pi * e / 20)) for e in range(20)]
    assert not [*schedule.look_at_log(Log("log", {}, tuple(full)))]
    (finding,) = schedule.look_at_log(Log("log", {}, tuple(full[:19])))
    assert "would take 1 more epoch;" in finding.saw


@pytest.mark.parametrize(
    "rates",
    [
        [0.1] * 10,
        [0.1, 0.1, 0.1, 0.01, 0.01, 0.001],
        [0.1 * (1 - i / 10) for i in range(10)],
        [0.02, 0.06, 0.1, 0.08, 0.05, 0.02],
        [0.1 * 0.9**i for i in range(10)],
        [0.1, 0.05, 0.01, 0.1, 0.05, 0.01],
    ],
)
def test_other_schedules_are_left_alone(rates):
    assert not [*schedule.look_at_log(Log("log", {}, tuple(rates)))]


def test_the_best_epoch_on_test(tmp_path):
    (tmp_path / "result.yml").write_text(
        "num_params: 293362\ntrain_loss: [1.9, 1.5, 1.4]\n"
        "test_acc:\n- 0.55\n- 0.6617\n- 0.6614\ntest_loss:\n- 1.3\n- 1.0\n- 1.1\n"
    )
    (finding,) = examine(str(tmp_path / "result.yml")).findings
    assert finding.saw == (
        "result scores test after each of 3 epochs and no validation split; the best epoch (2) has 66.17%, the last 66.14%."
    )


def test_a_log_with_a_validation_split_may_score_test(tmp_path):
    rows = [{"val_acc": 0.5, "test_acc": 0.6, "val_loss": 1}, {"val_acc": 0.6, "test_acc": 0.5, "val_loss": 1}]
    assert examine(written(tmp_path, rows)).findings == ()


def test_a_loss_that_is_a_sum_over_batches_and_one_divided_twice(tmp_path):
    (summed,) = examine(written(tmp_path, [{"epoch": 4, "val_acc": 60.48, "val_loss": 109.35}])).findings
    assert "a loss of 109.3 stands beside an accuracy of 60.5%" in summed.saw
    batches, size, mean = 10, 1000, 1.1
    (divided,) = examine(written(tmp_path, [{"val_acc": 0.6, "val_loss": batches * mean / size}])).findings
    assert "a mean over images is at least 0.277" in divided.saw


def test_a_run_that_diverged(tmp_path):
    (tmp_path / "a.yaml").write_text("val_loss: [2.3, .nan, .nan]\nval_acc: [0.1, 0.1, 0.1]\n")
    (finding,) = examine(str(tmp_path / "a.yaml")).findings
    assert "the loss of epoch 2 is nan" in finding.saw


def test_a_loss_that_is_logged_less_often_stands_beside_the_accuracy_of_its_own_epoch(tmp_path):
    """Epoch 1 is wrong on 99 % and must have lost 0.686; 0.05 is the loss of epoch 2, which is right on 99 %."""
    (tmp_path / "a.csv").write_text("epoch,val_acc,val_loss\n1,0.01,\n2,0.99,0.05\n3,0.99,0.04\n")
    assert examine(str(tmp_path / "a.csv")).findings == ()


def test_the_bound_on_a_mean_loss_holds_for_any_answers():
    """A loss of ln 2 times the share of wrong answers cannot be undercut: the checked bound, against random logits."""
    generator = torch.Generator().manual_seed(0)
    for scale in (0.01, 1.0, 30.0):
        logits = scale * torch.randn(4000, 3, generator=generator)
        labels = torch.randint(3, (4000,), generator=generator)
        wrong = float((logits.argmax(1) != labels).float().mean())
        assert float(torch.nn.functional.cross_entropy(logits, labels)) >= wrong * math.log(2)


def test_logs_of_several_kinds_are_read(tmp_path):
    (tmp_path / "a.csv").write_text("epoch,train_loss,eval_loss,eval_top1,lr\n0,2,1.9,30,0.1\n1,1.5,1.4,50,0.05\n")
    log = read_log(tmp_path / "a.csv")
    assert log.along("val", "acc") == ((0, 0.3), (1, 0.5))
    assert log.rates == (0.1, 0.05)
    (tmp_path / "e.csv").write_text("\ufeffEpoch,Train_Loss,Val Acc,LR\n10,2,30,0.1\n20,1.5,50,0.05\n30,1.2,60,0.02\n")
    log = read_log(tmp_path / "e.csv")
    assert log.along("train", "loss") == ((10, 2), (20, 1.5), (30, 1.2))
    assert log.along("val", "acc") == ((10, 0.3), (20, 0.5), (30, 0.6))
    assert log.rates == (0.1, 0.05, 0.02)
    (tmp_path / "f.yaml").write_text("Epoch: [10, 20]\nTRAIN_LOSS: [2, 1.5]\nLearning_Rate:\n- 0.1\n- 0.05\n")
    assert read_log(tmp_path / "f.yaml") == Log("f", {("train", "loss"): ((10, 2), (20, 1.5))}, (0.1, 0.05))
    (tmp_path / "b.json").write_text(json.dumps({"train_acc": [0.1, 0.2], "note": "x"}))
    assert read_log(tmp_path / "b.json").along("train", "acc") == ((1, 0.1), (2, 0.2))
    (tmp_path / "c.json").write_text(json.dumps({"note": "x", "step": [1]}))
    with pytest.raises(RequestError, match="holds no training curve; it has: note, step"):
        read_log(tmp_path / "c.json")
    with pytest.raises(RequestError, match="There is no log"):
        read_log(tmp_path / "d.csv")


ILL = """
import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--weight_decay", type=float)
parser.add_argument("--drop-rate", type=float)
args = parser.parse_args()

train_transform = Compose([RandomCrop(32), ToTensor()])
test_transform = Compose([RandomHorizontalFlip(), ColorJitter(0.5), ToTensor()])
test_loader = DataLoader(test_set, batch_size=128, drop_last=True)
optimizer = SGD(net.parameters(), lr=args.lr)
scheduler = CosineAnnealingLR(optimizer, 30)

def evaluate(net):
    net.eval()
    for images, labels in test_loader:
        if len(images) != args.batch_size:
            continue
        net(images)

best_acc = 0
net.train()
for epoch in range(30):
    for images, labels in train_loader:
        net(images).backward()
    test_acc = evaluate(net)
    if test_acc > best_acc:
        best_acc = test_acc
    scheduler.step(epoch - 1)
"""


def script(folder: Path, text: str) -> str:
    (folder / "train.py").write_text(textwrap.dedent(text))
    return str(folder / "train.py")


def test_every_fault_of_a_script_is_found_with_its_line(tmp_path):
    found = examine(script(tmp_path, ILL))
    said = {finding.saw.split(" ")[0].rstrip(":"): (finding.check, finding.saw) for finding in found.findings}
    assert {place: check for place, (check, _) in said.items()} == {
        "train.py:6": "options",
        "train.py:11": "evaluation_noise",
        "train.py:12": "partial_data",
        "train.py:17": "evaluation_mode",
        "train.py:19": "partial_data",
        "train.py:29": "selection",
        "train.py:31": "schedule",
    }
    assert said["train.py:6"][1] == "train.py:6 declares --weight_decay, --drop_rate; nothing reads them."
    assert said["train.py:11"][1] == "train.py:11: test_transform holds RandomHorizontalFlip, ColorJitter."


def test_the_same_script_mended_is_well(tmp_path):
    mended = (
        ILL.replace("RandomHorizontalFlip(), ColorJitter(0.5), ", "")
        .replace(", drop_last=True", "")
        .replace("        if len(images) != args.batch_size:\n            continue\n", "")
        .replace("for images, labels in train_loader", "net.train()\n    for images, labels in train_loader")
        .replace("test_acc", "val_acc")
        .replace("scheduler.step(epoch - 1)", "scheduler.step()")
        .replace("lr=args.lr)", "lr=args.lr, weight_decay=args.weight_decay, drop=args.drop_rate)")
    )
    assert examine(script(tmp_path, mended)).findings == ()


def test_options_that_are_handed_on_together_may_be_read_elsewhere(tmp_path):
    text = 'parser.add_argument("--lr")\nparser.add_argument("--mixup")\nargs = parser.parse_args()\nfit(args.lr)\nlog(%s)\n'
    for handed in ("args", "**vars(args)", "**args.__dict__"):
        (finding,) = examine(script(tmp_path, text % handed)).findings
        assert (finding.check, finding.severity) == ("options", "note")
        assert finding.saw == (
            "train.py:2 declares --mixup; nothing reads it here by name; all options are handed on together (line 5)."
        )
    here = "def log(args):\n    print(args.lr)\n" + text % "args"
    (finding,) = examine(script(tmp_path, here)).findings
    assert finding.severity == "fault"


def test_an_evaluation_that_never_leaves_training_mode(tmp_path):
    """As the Swins were scored, on a validation set that is the test set."""
    text = """
    validation_dataset = CIFAR10(root, train=False)
    for epoch in range(30):
        for inputs, labels in training_loader:
            step(model(inputs), labels)
        with torch.no_grad():
            for inputs, labels in validation_loader:
                count(model(inputs), labels)
    """
    noise, selection = examine(script(tmp_path, text)).findings
    assert noise.saw == "train.py:6 evaluates without gradients, and nothing in the script calls eval()."
    assert selection.saw == "train.py:2: validation_dataset holds the test pictures."


def test_a_best_score_inside_of_the_test_function(tmp_path):
    text = """
    def test(epoch):
        net.eval()
        acc = score(net, loader)
        if acc > best_acc:
            save(net)

    def train(epoch):
        net.train()
    """
    (finding,) = examine(script(tmp_path, text)).findings
    assert finding.saw == "train.py:5 compares acc with best_acc in test()."


SWALLOWED = """
if args.reload:
    try:
        net.load_state_dict(torch.load("checkpoints/name_of_checkpoint"))
        start = 350
    except%s:
        %s
"""


@pytest.mark.parametrize("catching", ["", " Exception", " Exception as error"])
def test_a_checkpoint_that_is_not_there_and_nobody_hears_of_it(tmp_path, catching):
    (finding,) = examine(script(tmp_path, SWALLOWED % (catching, 'print("no checkpoint")'))).findings
    assert (finding.check, finding.severity) == ("resume", "fault")
    assert finding.saw == "train.py:3 loads weights, and line 6 forgets whatever error that raises."


@pytest.mark.parametrize(
    ("catching", "then"),
    [
        (" FileNotFoundError", "pass"),
        ("", "raise"),
        (" Exception", 'sys.exit("no checkpoint")'),
        (" Exception", 'net = torch.load("whole.pt")'),
    ],
)
def test_an_error_that_is_named_or_ends_the_run_is_well(tmp_path, catching, then):
    assert examine(script(tmp_path, SWALLOWED % (catching, then))).findings == ()


RESUMED = """
if args.resume:
    checkpoint = torch.load(f"checkpoint/{args.net}-ckpt.t7")
    net.load_state_dict(checkpoint["%s"])
    start_epoch = checkpoint["epoch"]

def test(epoch):
    state = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
    torch.save(state, f"checkpoint/{args.net}-ckpt.t7")
"""


def test_a_checkpoint_that_is_asked_for_what_is_never_saved(tmp_path):
    """As the study's TNT did; weights from elsewhere, or of a table that is made elsewhere, are left alone."""
    (finding,) = examine(script(tmp_path, RESUMED % "net")).findings
    assert (finding.check, finding.severity) == ("resume", "fault")
    assert finding.saw == "train.py:4 asks a checkpoint for 'net'; the script saves 'epoch', 'model', 'optimizer'."
    assert examine(script(tmp_path, RESUMED % "model")).findings == ()
    assert examine(script(tmp_path, (RESUMED % "net").replace("args.resume", "args.pretrained"))).findings == ()
    assert examine(script(tmp_path, (RESUMED % "net").replace("save(state", "save(state_of(net)"))).findings == ()


TRAINED = """
for epoch in range(9):
    net.train()
    for i, (images, labels) in enumerate(loader):
        net(images).backward()
        %s
    net.eval()
"""


PLATEAU = """
def main(lr, epochs, **_):
    scheduler = ReduceLROnPlateau(optimiser(lr))
    for epoch in range(epochs):
        net.train()
        scheduler.step(epoch_loss)
        net.train(False)
        with torch.no_grad():
            net(images)

parser.add_argument("--lr")
parser.add_argument("--epochs")
%s
"""
FGSM = """
net.eval()
for line in open("names.txt"):
    if len(line) < 2:
        continue
loss = net(images).sum()
loss.backward()
"""
READOUT = """
net.eval()
with torch.no_grad():
    features = net(images)
LogisticRegression().fit(features, labels)
"""


TWO_FLAGS = """
parser.add_argument("--lr", "--learning-rate")
parser.add_argument("-V", "--version", action="version", version="1")
args = parser.parse_args()
optimiser = SGD(net.parameters(), args.lr)
"""
OPTIONAL_KEYS = """
state = {"model": net.state_dict(), "epoch": epoch}
if ema:
    state["ema"] = ema.state_dict()
torch.save(state, "last.pt")
if args.resume:
    found = torch.load("last.pt")
    net.load_state_dict(found["model"])
    ema.load_state_dict(found["ema"])
    epoch = found["epoch"]
"""
LAID_INTO_ANOTHER = """
torch.save({**state, "epoch": epoch}, "last.pt")
if args.resume:
    found = torch.load("last.pt")
    net.load_state_dict(found["model"])
"""
ONE_EPOCH_FOR_BOTH = """
def run_epoch(net, loader, train):
    net.train(train)
    with nullcontext() if train else torch.no_grad():
        for images in loader:
            loss = net(images).sum()
            if train:
                loss.backward()
                optimiser.step()

val_loss = run_epoch(net, val_loader, train=False)
"""


@pytest.mark.parametrize(
    "text",
    [
        PLATEAU % "main(**vars(parser.parse_args()))",
        PLATEAU % "args = parser.parse_args()\nmain(**vars(args))",
        FGSM,
        READOUT,
        TRAINED % "scheduler.step(val_loss_epoch)",
        TRAINED % "scheduler.step(epoch + i / len(loader))",
        TRAINED % "pass" + "    lr_scheduler.step(epoch + 1)\n",
        TRAINED % "if len(images) < 2: continue",
        TRAINED % "pass" + "values_loader = DataLoader(images, drop_last=True)\nvalue_aug = Compose([RandomCrop(32)])\n",
        TRAINED % "pass" + "retrieval = load_dataset('x', split='test')\nif len(test_names) > max_rows: pass\n",
        "def latest_checkpoint(steps, best=0):\n    for step in steps:\n        if step > best:\n            best = step\n",
        "try:\n    settings = json.load(file)\nexcept Exception:\n    settings = {}\n",
        "net = torch.load('net.pt')\nnet.eval()\nwith torch.no_grad():\n    print(net(images))\n",
        TWO_FLAGS,
        OPTIONAL_KEYS,
        LAID_INTO_ANOTHER,
        ONE_EPOCH_FOR_BOTH,
    ],
)
def test_what_is_well_is_left_alone(tmp_path, text):
    assert examine(script(tmp_path, text)).findings == ()


@pytest.mark.parametrize(
    ("text", "check"),
    [
        (TRAINED % "pass" + "    scheduler.step(epoch)\n", "schedule"),
        (TRAINED % "pass" + "    scheduler.step(self.current_epoch - 1)\n", "schedule"),
        (TRAINED % "pass" + "    for x in tqdm(loaders['val']):\n        if len(x) < 9: continue\n", "partial_data"),
        ((PLATEAU % "main(**settings)").replace("lr, epochs", "lr, steps"), "options"),
        (PLATEAU.replace("net.train(False)", "pass") % "main(**vars(parser.parse_args()))", "evaluation_noise"),
        ("for images in loader:\n    net(images).backward()\n    optimiser.step()\n    net.train(False)\n", "evaluation_mode"),
        (TRAINED % "pass" + "    for x in testloader:\n        if len(x) < 9: continue\n", "partial_data"),
        (TRAINED % "pass" + "testloader = DataLoader(testset, drop_last=True)\n", "partial_data"),
        (TRAINED % "pass" + "val_transforms = Compose([RandomCrop(32)])\n", "evaluation_noise"),
        (TRAINED % "pass" + "if test_score > max_score: save(net)\n", "selection"),
        (TRAINED % "pass" + "valset = CIFAR10(root, train=False)\n", "selection"),
        ("fit(net)\nnet.eval()\n", "evaluation_mode"),
    ],
)
def test_what_looks_alike_and_is_a_fault_is_found(tmp_path, text, check):
    assert [finding.check for finding in examine(script(tmp_path, text)).findings] == [check]


def test_what_is_no_python_is_refused(tmp_path):
    with pytest.raises(RequestError, match="is no Python"):
        examine(script(tmp_path, "def train(:\n"))
