"""How long and in what steps a run trains, and what is looked at on the way: plain data."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, WithJsonSchema, model_validator

from priorscope.core.config import Config, Number, is_table
from priorscope.core.errors import RequestError
from priorscope.train.adversarial import AdversarialConfig
from priorscope.train.finetune import FinetuneConfig
from priorscope.train.precision import Precision

LENGTHS = ("epochs", "steps", "flops")
"""The settings that say how long a run is; one of them is given."""


class TrainConfig(Config):
    """How long and in what steps a run trains, and what is looked at on the way."""

    epochs: int = Field(
        default=10,
        ge=0,
        description="passes over the data; 0: published weights (file or timm) as they are, or a length in steps or flops",
    )
    steps: int | None = Field(default=None, ge=1, description="how many updates, in place of epochs")
    flops: Number | None = Field(
        default=None, gt=0, description="how many operations, in place of epochs: as many whole steps as they pay for"
    )
    patience: int | None = Field(
        default=None, ge=1, description="stop after this many epochs in a row that were no better on val than the best before"
    )
    batch_size: int = Field(
        default=128, ge=1, description="pictures per update, over all ranks together; at most the training set"
    )
    accumulate: int | None = Field(
        default=None,
        ge=2,
        description="in how many parts a batch goes through the network, where memory is short: still one update with the same"
        " gradient, but batch statistics are those of a part",
    )
    label_smoothing: Number = Field(
        default=0.0, ge=0, lt=1, description="the share of the target that is spread evenly over all classes"
    )
    precision: Precision = Field(
        default="auto",
        description="fp32, tf32 (CUDA alone), bf16, fp16; auto: bf16 where the processor multiplies it in hardware, else fp32",
    )
    compile: Literal["auto", "never", "always"] | None = Field(
        default=None,
        description="whether torch.compile compiles the step; auto: if a few measured steps show that it pays; not set: never",
    )
    threads: int = Field(
        default=1, ge=1, description="processor threads of this run, on any machine: part of what makes it repeatable"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="cpu", description="where it trains; auto: on a GPU if there is one"
    )
    shard: Annotated[Literal[True] | None, WithJsonSchema({"type": "boolean"})] = Field(
        default=None, description="weights, gradients and optimiser state are divided into shares, one for each rank (FSDP2)"
    )
    track: tuple[str, ...] = Field(
        default=("train", "val"), description="splits to evaluate after each epoch; val always is, and it alone chooses"
    )
    track_images: int = Field(
        default=1000, ge=1, description="how many images of each tracked split are evaluated (of val: all)"
    )
    choose: Literal["best", "last"] = Field(
        default="best", description="which epoch's weights are kept: the best on val, or the last"
    )
    keep: int | None = Field(
        default=None,
        ge=1,
        description="how many snapshots of the weights are kept, evenly spaced, the last at the end; fewer if patience ends"
        " a run early",
    )
    ema: Number | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay of a moving average of the weights; the average is what is evaluated and kept",
    )
    adversarial: AdversarialConfig | None = Field(
        default=None, description="the network learns from pictures that are moved first, so that they fool it"
    )
    finetune: FinetuneConfig | None = Field(
        default=None, description="which parts learn, and at which rate; not set, or full: all parts at the same rate"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, values: Any) -> Any:
        if not is_table(values):
            return values
        # What a recipe without the setting does anyway: one spelling, one key.
        plain = {"finetune": {"mode": "full"}, "compile": "never", "shard": False}
        given = {name: value for name, value in values.items() if name not in plain or value != plain[name]}
        otherwise = any(given.get(name) is not None for name in LENGTHS[1:])
        return {"epochs": 0, **given} if otherwise else given

    @model_validator(mode="after")
    def _nothing_ignored(self) -> Self:
        given = [f"train.{name} = {value:g}" for name in LENGTHS if (value := getattr(self, name))]
        if len(given) > 1:
            raise RequestError(
                f"{given[0]} came with {' and '.join(given[1:])}.",
                "one of them",
                "train.epochs = 0 beside train.steps or train.flops, or remove these",
            )
        if self.accumulate is not None and self.accumulate > self.batch_size:
            raise RequestError(
                f"A batch of {self.batch_size} cannot go through in {self.accumulate} parts.",
                f"at most {self.batch_size} parts",
                "a smaller train.accumulate",
            )
        most = self.epochs or self.steps
        if self.keep is not None and most is not None and self.keep > most:
            raise RequestError(
                f"train.keep = {self.keep} came with {given[0] if given else 'no training'}.",
                f"at most {most} snapshots, one after each",
                "a smaller train.keep",
            )
        return self

    @property
    def trains(self) -> bool:
        """Whether there is any step to take."""
        return any(getattr(self, name) for name in LENGTHS)

    def with_steps(self, step_flops: float) -> Self:
        """This config with a budget of operations turned into the number of steps that it pays for, at `step_flops` each."""
        if self.flops is None:
            return self
        steps = int(self.flops // step_flops)
        if steps == 0:
            raise RequestError(
                f"train.flops = {self.flops:g} does not pay for one step, which takes {step_flops:g}.",
                f"at least {step_flops:g}",
                "a larger train.flops, or a smaller train.batch_size",
            )
        return self.replace(flops=None, steps=steps)

    def total(self, steps_per_epoch: int) -> int:
        """How many updates a run makes whose length is in epochs or steps."""
        return self.epochs * steps_per_epoch if self.steps is None else self.steps

    def snapshots(self, steps_per_epoch: int, total: int) -> tuple[int, ...]:
        """After how many updates the weights are kept: evenly spaced, at the ends of epochs if those count the length."""
        if self.keep is None:
            return ()
        unit = steps_per_epoch if self.epochs else 1
        return tuple(unit * round(number * total / unit / self.keep) for number in range(1, self.keep + 1))
