"""Model cards: the hub's own reader understands them, numbers are those stored, and names stay text."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from markdown import markdown

from priorscope.core.contracts import About
from priorscope.core.environment import Environment, Hardware, Learnt, NetworkRecord
from priorscope.core.stats import wilson
from priorscope.doctor.instruments.planted import planted_epoch
from priorscope.models.card import Trained, escaped, model_card
from priorscope.probes.accuracy import Accuracy

HOSTILE = 'a"b\n---\nlicense: mit\n# <script>alert(1)</script> [x](javascript:y) `z` | www.evil.example @me ```'


def accuracy(right: int = 41, n: int = 60, caveats: tuple[str, ...] = ("Some doubt.",)) -> Accuracy:
    return Accuracy(
        value=right / n,
        interval=wilson(right, n),
        n=n,
        unit="share of images",
        caveats=caveats,
        split="test",
        classes=("a", "b"),
        k=1,
        top_k=right / n,
        top_k_interval=wilson(right, n),
        correct=np.arange(n) < right,
        confusion=np.zeros((2, 2), np.int64),
        confidence_right=np.zeros(5, np.int64),
        confidence_wrong=np.zeros(5, np.int64),
    )


TRAINED = Trained(
    name="mlp-s0",
    recipe={"model": {"name": "mlp/tiny"}, "data": {"source": {"name": "shapetex"}}, "seed": 3},
    recipe_file='seed = 3\nmodel = "mlp/tiny"\n',
    environment=Environment(
        key="abc",
        data=Learnt(source="shapetex", fingerprint="f00d", caveats=("Seen before.",)),
        model=NetworkRecord(image_size=32, num_classes=2, parameters=1234, classes=("a", "b")),
        hardware=Hardware(processor="Some Processor", cores=2),
        images_seen=4000,
        seconds=1.25,
        chosen_epoch=2,
        torch="2.9.0",
        numba="0.62.1",
        threads=1,
    ),
    history=[planted_epoch(epoch=1), planted_epoch(epoch=2)],
    results=[(accuracy(), About(data="shapetex", split="val"))],
)


def parsed(card: str) -> dict:
    """The front matter, by a YAML reader that knows nothing of us."""
    found = re.match(r"---\n(.*?)\n---\n", card, flags=re.DOTALL)
    assert found
    return yaml.safe_load(found[1])


def test_the_hub_reads_the_numbers_that_are_stored() -> None:
    card = ModelCard(model_card(TRAINED))  # the hub's own class
    assert card.data.library_name == "priorscope"
    assert card.data.datasets == ["shapetex"]
    assert card.data.tags == ["image-classification", "priorscope", "mlp"]
    (read,) = card.data.eval_results
    assert (read.metric_type, read.metric_value, read.dataset_split) == ("accuracy", 41 / 60, "val")
    ends = wilson(41, 60)
    assert read.metric_args == {"n": 60, "unit": "share of images", "low": ends.low, "high": ends.high}


def test_the_licence_is_left_to_its_owner() -> None:
    text = model_card(TRAINED)
    assert "license" not in parsed(text)
    assert text.startswith("---\n# license: for you to say")


def test_the_text_says_what_a_reader_needs() -> None:
    text = model_card(TRAINED)
    for told in (
        "mlp/tiny, 1,234 parameters, trained on 4,000 pictures of shapetex.",
        "| accuracy | 0.6833 | 0.5577 to 0.7869 | 60 | share of images | shapetex, val |",
        'model = load_hub(snapshot_download("OWNER/NAME")).eval()',
        "timm does not have this network",
        '```toml\nseed = 3\nmodel = "mlp/tiny"\n```',
        "| machine | Some Processor |",
        "| trained for | 1.2 s |",
        "| key of the weights | abc |",
        "| numba | 0.62.1 |",
        "one training with seed 3, the weights of epoch 2 of 2.",
        "- accuracy: Some doubt.",
        "- Seen before.",
    ):
        assert told in text, told


def test_where_timm_has_the_network_the_card_says_how() -> None:
    text = model_card(dataclasses.replace(TRAINED, in_timm="vit_tiny_patch16_224"))
    assert parsed(text)["library_name"] == "timm"
    assert "timm" in parsed(text)["tags"]
    assert 'timm.create_model("hf-hub:OWNER/NAME", pretrained=True)' in text


def test_a_run_without_results_says_so() -> None:
    text = model_card(dataclasses.replace(TRAINED, results=[]))
    assert "model-index" not in parsed(text)
    assert "Nothing was measured on this run but its log" in text


def test_a_number_that_is_not_finite_is_left_out_of_the_index() -> None:
    """JSON has no infinity, and the hub would refuse the whole card."""
    endless = accuracy().model_copy(update={"value": float("inf"), "interval": None})
    card = model_card(dataclasses.replace(TRAINED, results=[(endless, About()), *TRAINED.results]))
    _, read = model_index_to_eval_results(parsed(card)["model-index"])
    assert [result.metric_value for result in read] == [41 / 60]


def test_no_split_is_named_where_none_is_stored() -> None:
    """Some probes look at several splits, and a result saved by hand says nothing of its data."""
    for about in (About(), About(data="shapetex")):
        text = model_card(dataclasses.replace(TRAINED, results=[(accuracy(), about)]))
        assert parsed(text)["model-index"][0]["results"][0]["dataset"] == {"name": "shapetex", "type": "shapetex"}
        assert "| share of images | shapetex |" in text


def test_adopted_weights_are_not_said_to_be_trained_here() -> None:
    environment = Environment(key="abc", model=TRAINED.environment.model)
    text = model_card(dataclasses.replace(TRAINED, environment=environment, history=[]))
    assert "as published elsewhere, not trained here" in text
    assert "the weights of epoch" not in text


def test_hostile_names_stay_text() -> None:
    recipe = {"model": {"name": f"mlp/{HOSTILE}"}, "data": {"source": {"name": HOSTILE}}}
    environment = TRAINED.environment.replace(model=TRAINED.environment.network.replace(classes=(HOSTILE, "b")))
    results = [(accuracy(caveats=(HOSTILE,)), About(data=HOSTILE, split=HOSTILE))]
    text = model_card(
        dataclasses.replace(
            TRAINED, name=HOSTILE, recipe=recipe, recipe_file=f"x = '''{HOSTILE}'''", environment=environment, results=results
        )
    )
    told = parsed(text)
    assert set(told) == {"library_name", "pipeline_tag", "tags", "datasets", "metrics", "model-index"}
    assert told["model-index"][0]["name"] == HOSTILE
    assert told["datasets"] == [HOSTILE]
    body = text.partition("\n---\n")[2]
    outside = re.sub(r"^(`{3,})toml\n.*?^\1$", "", body, flags=re.DOTALL | re.MULTILINE)
    assert outside != body
    html = markdown(outside, extensions=["fenced_code", "tables"])
    for dangerous in ("<script", "href=", "<code>z", "<h1>&lt;", "<h1><"):
        assert dangerous not in html
    assert "alert(1)" in html
    assert "www." not in outside  # a reader that makes links of addresses finds none
    assert "@" not in outside
    assert html.count("<table>") == 2
    assert re.search(r"^````toml$", body, flags=re.MULTILINE)  # longer than the recipe's own backticks


@pytest.mark.parametrize("letter", ["\x00", "\x07", "\x7f", "\x85", "\u2028", "\ufeff", "\uffff", "\N{GRINNING FACE}", "é"])
def test_any_letter_may_stand_in_a_name(letter: str) -> None:
    name = f"a{letter}b"
    assert parsed(model_card(dataclasses.replace(TRAINED, name=name)))["model-index"][0]["name"] == name


def test_escaped_is_one_line_that_reads_as_it_was() -> None:
    assert markdown(escaped("a_b_c *d* #e <f> & g | h")) == "<p>a_b_c *d* #e &lt;f&gt; &amp; g | h</p>".replace("|", "\\|")
    assert escaped("a\n\n# b") == "a \\# b"
