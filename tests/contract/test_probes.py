"""The battery that every probe passes on every family's tiny preset: it measures, says, stores, reads back and draws."""

from __future__ import annotations

import inspect
import json
import math
import re
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from priorscope import models, probes
from priorscope.core.config import Config
from priorscope.core.contracts import About, Result, Subject
from priorscope.core.environment import Environment
from priorscope.core.errors import RequestError
from priorscope.data import open as open_source
from priorscope.evidence import Evidence
from priorscope.models import FAMILIES
from priorscope.probes import PROBES, load_result, measure_of, probe_config

SMALL = {
    "activation": {"steps": 4, "starts": 1, "images": 8},
    "corruptions": {"images": 6, "kinds": ["fog", "gaussian_noise"]},
    "cost": {"batch_sizes": [1, 4], "repeats": 6, "seconds": 0.05, "memory_batch": 4},
    "fewshot": {"draws": 2, "shots": 2},
    "generalisation": {"shots": [2], "draws": 2, "depths": 2, "train_images": 120, "test_images": 60},
    "invariance": {"images": 8, "wave_images": 2, "depths": 2, "units": 2},
    "inversion": {"images": 2, "depths": 2, "steps": 4},
    "robustness": {"images": None, "audit_images": 4, "attack": "pgd", "steps": 2},
    "similarity": {"images": 48, "batch": 16, "depth": False},
    "texture_shape": {"images": 8, "transforms": ["grayscale", "shuffle"]},
    "transfer": {"images": None, "steps": 2},
}
"""Settings that keep a measurement to a second; a probe that is not named here is asked as it is."""

READS_HISTORY = {"scaling", "tuning"}
"""Probes that are about how runs were trained and not about a network: they have batteries of their own."""

FAMILY_NAMES = [family for family in FAMILIES if family != "timm"]


@pytest.fixture(scope="module")
def world():
    return open_source({"name": "shapetex", "train": 160, "val": 40, "test": 60})


def network(family: str, world) -> Evidence:
    split = world.split("test")
    made = models.create(
        f"{family}/tiny", image_size=split.image_size, num_classes=len(split.classes), statistics=split.statistics
    )
    torch.manual_seed(0)
    torch.nn.init.normal_(made.head.weight, std=0.1)  # some heads begin at 0: all answers would be ties, which are wrong
    return Evidence(made.eval())


def measured(probe: str, family: str, world) -> Result:
    asked, one = probe_config({"name": probe, **SMALL.get(probe, {})}), network(family, world)
    subject = {"one": one, "other": network(family, world)} if asked.per == "set" else one  # both right on the same images
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    result = measure_of(probe)(subject, world, asked)
    after = one.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items()), "looking changed the network"
    assert not one.model.training
    return result


def check(probe: str, family: str, world, folder: Path) -> None:
    result = measured(probe, family, world)
    assert result.headline()[0] == result.headline()[0].upper()
    assert all(said.endswith(".") for said in (result.headline(), result.protocol()))
    rows = result.metrics()
    assert rows
    for row in rows:
        assert row.n > 0
        if row.low is not None and row.high is not None and math.isfinite(row.value):
            assert row.low <= row.high + 1e-9, row
            if "debiased" not in row.metric:  # such an estimate may lie below 0, where what it estimates cannot be
                assert row.low - 1e-9 <= row.value <= row.high + 1e-9, row
    back = load_result(result.save(folder / "result.json", About(data="here")))
    assert back.table() == result.table()
    json.dumps(back.model_dump(mode="json", exclude=set(back.arrays())), allow_nan=False)
    figures = type(back).draw([(Subject(name=family, family=family), back)])
    assert figures
    assert all(figure.title and figure.alt and figure.protocol for figure in figures)


ASKED = [probe for probe in PROBES if probe not in READS_HISTORY]


SETTINGS = [(probe, name) for probe in PROBES for name in PROBES.config(probe).model_fields]


@pytest.mark.parametrize(("probe", "setting"), SETTINGS)
def test_a_probe_refuses_what_is_not_a_setting_before_it_reads_anything(probe, setting):
    """By the path that a user types and by that of its module: the same function, which names the setting that was meant."""
    measure = measure_of(probe)
    assert measure is getattr(probes, f"measure_{probe}")
    said = rf"^'{setting}_' is not a setting in measure_{probe}\.\n(.|\n)*\b{setting} = \.\.\. \(did you mean that\?\)"
    with pytest.raises(RequestError, match=said):
        measure(None, None, **{f"{setting}_": 1})


@pytest.mark.parametrize("probe", [*PROBES])
def test_a_probe_takes_its_config_third_and_shows_its_settings_as_keywords(probe):
    config = PROBES.config(probe)
    third = list(inspect.signature(inspect.unwrap(measure_of(probe))).parameters.values())[2]
    assert (third.name, third.annotation) == ("asked", config.__name__)
    shown = inspect.signature(measure_of(probe)).parameters
    assert {name: shown[name].default for name in config.model_fields if name != "name"} == {
        name: getattr(config(), name) for name in config.model_fields if name != "name"
    }
    assert "asked" not in shown


@pytest.mark.parametrize("probe", [name for name in PROBES if PROBES.config(name).per == "set"])
def test_a_probe_of_several_networks_asks_for_their_names(probe):
    with pytest.raises(RequestError, match=f"measure_{probe} compares networks, and was given .* without a name"):
        measure_of(probe)(models.create("mlp/tiny", image_size=8, num_classes=2), None)


def test_settings_are_checked_and_read_as_those_of_a_recipe(world):
    """By the name that a user types: `priorscope.probes.measure_invariance`."""
    with pytest.raises(RequestError, match=r"^images = 0 was refused in measure_invariance\.\n  wanted: greater than"):
        probes.measure_invariance(network("cnn", world), world, images=0)
    small = {"images": 8, "wave_images": 2, "depths": 0}
    assert probes.measure_invariance(network("cnn", world), world, amplitude="8/255", **small).amplitude == 8 / 255


def test_a_finished_run_is_asked_through_its_own_evidence(world):
    evidence = network("cnn", world)
    run = SimpleNamespace(name="a", recipe=Config(), history=[], environment=Environment(key="a"), evidence=evidence)
    told, alone = (probes.measure_accuracy(subject, world) for subject in (run, evidence))
    assert told.table() == alone.table()
    assert told.n == len(world.split("test"))


@pytest.mark.parametrize("probe", ASKED)
def test_every_probe_keeps_its_contract_on_one_family(probe, world, tmp_path):
    check(probe, "cnn", world, tmp_path)


@pytest.mark.parametrize("probe", [probe for probe in ASKED if probe != "cost"])
def test_every_probe_looks_with_repeatable_kernels(probe, world, monkeypatch):
    """On a GPU one network then gives one number, whichever probe asks; on a processor the block changes nothing."""
    inside, asked_outside = list[torch.device](), set[str]()

    @contextmanager
    def block(device):
        inside.append(device)
        yield
        inside.pop()

    def look(module, _):
        if not inside:
            asked_outside.add(type(module).__name__)

    for place in ("priorscope.models.classifier", "priorscope.attacks.victim"):
        monkeypatch.setattr(f"{place}.repeatable", block)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(look)
    try:
        measured(probe, "vit", world)
    finally:
        hook.remove()
    assert not asked_outside


@pytest.mark.slow
@pytest.mark.parametrize("family", [family for family in FAMILY_NAMES if family != "cnn"])
@pytest.mark.parametrize("probe", ASKED)
def test_every_probe_keeps_its_contract_on_every_family(probe, family, world, tmp_path):
    check(probe, family, world, tmp_path)


SUPERLATIVE = re.compile(r"\b(?:most|worst|(?!test\b|latest\b)\w+est)\b", re.IGNORECASE)
SPEAK_SO = {"accuracy", "calibration", "similarity"}
"""Probes with a picture of both networks whose title is always such a one: where it is not seen, nothing was asserted."""


@pytest.mark.parametrize("probe", ASKED)
def test_of_two_equal_networks_no_title_says_that_one_is_the_most_of_anything(probe, world):
    """A picture of both names both of them, or neither, where it says who is best, worst, hardest to break."""
    result, names = measured(probe, "cnn", world), ("one", "other")
    of_set = probe_config(probe).per == "set"
    subjects = [Subject(name="all", family="other")] if of_set else [Subject(name=name, family="cnn") for name in names]
    told: dict[str, set[str]] = {}
    for figure in type(result).draw([(subject, result) for subject in subjects]):
        shown = {value for row in figure.rows for value in row.values() if isinstance(value, str)}
        if all(any(name in value for value in shown) for name in names) and SUPERLATIVE.search(figure.title):
            told[figure.title] = {name for name in names if re.search(rf"\b{name}\b", figure.title)}
    assert told or probe not in SPEAK_SO
    assert [title for title, of in told.items() if len(of) == 1] == []
