"""Why timm could not build a network: its settings, its size, the hub, or the machine's memory."""

from __future__ import annotations

from typing import Any

import pytest
import timm

from priorscope import models
from priorscope.core.errors import RequestError, WorkError


def fail(error: Exception, monkeypatch: pytest.MonkeyPatch, *, of_weights: bool = False) -> None:
    """Has timm fail: always, or where published weights are asked for."""
    make = timm.create_model

    def create_model(name: str, *, pretrained: bool, **settings: Any) -> Any:
        if pretrained or not of_weights:
            raise error
        return make(name, **settings)

    monkeypatch.setattr(timm, "create_model", create_model)


@pytest.mark.parametrize("pretrained", [True, False])
def test_a_setting_that_timm_does_not_know_is_named_whether_weights_are_asked_for_or_not(pretrained: bool) -> None:
    with pytest.raises(RequestError) as refused:
        models.create("timm/resnet18", image_size=32, num_classes=3, pretrained=pretrained, args={"blok": 1})
    assert refused.value.came.startswith("timm's 'resnet18' does not take {'blok': 1} (TypeError: ")
    assert refused.value.do == "other args, or none"


def test_weights_that_cannot_be_had_are_blamed_where_the_network_can_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    fail(RuntimeError('invalid hash value (expected "5c106cde", got "e3b0c442")'), monkeypatch, of_weights=True)
    with pytest.raises(WorkError) as failed:
        models.create("timm/resnet18", image_size=32, num_classes=3, pretrained=True)
    assert failed.value.came.startswith("The published weights of timm/resnet18 could not be had (RuntimeError: invalid hash")


@pytest.mark.parametrize("pretrained", [True, False])
def test_memory_that_ran_out_is_neither(pretrained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(MemoryError(), monkeypatch)
    with pytest.raises(MemoryError):
        models.create("timm/resnet18", image_size=32, num_classes=3, pretrained=pretrained)


def test_a_folder_that_holds_no_network_is_said_to(tmp_path: Any) -> None:
    with pytest.raises(RequestError) as refused:
        models.create(f"timm/local-dir:{tmp_path}", image_size=32, num_classes=3)
    assert refused.value.came.startswith(f"{tmp_path} holds no network of timm's (FileNotFoundError: ")
