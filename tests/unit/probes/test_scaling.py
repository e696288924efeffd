"""Scaling laws from runs whose law is planted, and from runs that have none."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np
import pytest

from priorscope.core.config import Plain
from priorscope.core.environment import Environment, Learnt, NetworkRecord
from priorscope.core.errors import RequestError
from priorscope.core.stats import wilson
from priorscope.data.split import ArrayPixels, Split
from priorscope.doctor.instruments.planted import planted_epoch
from priorscope.evidence import Evidence
from priorscope.probes import load_result
from priorscope.probes.scaling import Best, Fit, Scaling, ScalingConfig, measure_scaling
from priorscope.probes.scaling.batches import Batch
from priorscope.probes.scaling.fit import Estimate, Points, estimate
from priorscope.probes.scaling.power_law import Law
from priorscope.recipe import Recipe

IMAGES = 20_000
TEST = Split("made", "test", ArrayPixels(np.zeros((IMAGES, 1, 1, 3), np.uint8)), np.zeros(IMAGES, np.int64), ("a", "b"))
MODEL: Any = None


class Wrong(Evidence):
    """Evidence that is wrong on a share of the images."""

    def __init__(self, error: float) -> None:
        self.error = error

    def check_classes(self, split):
        """It has two classes, as the pictures have."""

    def logits(self, split, views=None):
        assert views is None
        logits = np.zeros((len(split), 2), np.float32)
        logits[:, 0] = np.where(np.arange(len(split)) < round(self.error * len(split)), -1, 1)
        return logits


class Planted:
    """A finished run that says what it cost and how often it was wrong."""

    def __init__(
        self, name: str, error: float, *, images=1000, flops=10.0, parameters=100, samples=500, tag=None, **recipe: Any
    ) -> None:
        self.name, self.evidence = name, Wrong(error)
        values: Plain = {
            "data": {"source": "shapetex", "subset": samples},
            "model": {"name": "mlp/tiny"},
            "init": {"kind": "scratch"},
            "optim": {"lr": 0.1, "schedule": "cosine"},
            "train": {"batch_size": 10, "epochs": 1},
            "seed": 0,
        }
        if tag is not None:
            values["model"]["permute"] = {"seed": crc32(str(tag).encode())}
        for part, given in recipe.items():
            values[part] = {**values[part], **given} if isinstance(given, dict) else given
        if values["model"]["name"] == "mlp/tiny":
            values["model"]["width"] = parameters
        self.recipe = Recipe.of(values)
        steps = images // values["train"]["batch_size"]
        self.history = [planted_epoch(1 - error, step=steps, images=images)]
        self.environment = Environment(
            key=name,
            data=Learnt(source="made", train=samples),
            model=NetworkRecord(image_size=8, num_classes=2, parameters=parameters),
            images_seen=images,
            flops=round(flops * images),
        )


def law(compute, exponent=0.3, floor=0.1):
    return 0.7 * (np.asarray(compute) / 1e4) ** -exponent + floor


def ladder(decades=4.0, levels=14, noise=0.01, seeds=2, family="mlp", draw=0, **planted) -> dict[str, Planted]:
    """Runs whose error is a planted law of their compute, and as many that are worse by a third."""
    rng, runs = np.random.default_rng(draw), {}
    for at, compute in enumerate(np.geomspace(1e4, 1e4 * 10**decades, levels)):
        for seed in range(seeds):
            for worse in (1.0, 1.3):
                name = f"{family}-{at}-{worse:g}-s{seed}"
                error = min(float(law(compute, **planted) * worse * np.exp(noise * rng.normal())), 0.99)
                settings: Plain = {"model": {"name": f"{family}/tiny"}, "tag": f"{at} {worse}", "seed": seed}
                runs[name] = Planted(name, error, flops=compute / 1000, parameters=int(compute**0.5), samples=500, **settings)
    return runs


@pytest.fixture(scope="module")
def result() -> Scaling:
    return measure_scaling(ladder(), TEST, resamples=100)


def test_a_planted_law_is_identified(result):
    (fit,) = result.fits
    assert fit.identified
    assert fit.exponent.low <= 0.3 <= fit.exponent.high
    assert fit.exponent.high - fit.exponent.low < 0.15
    assert fit.floor.low <= 0.1 <= fit.floor.high
    assert len(fit.front) == 14  # what is worse by a third stands behind what is cheaper
    assert all(best.seeds == 2 and best.final for best in fit.front)
    assert (result.n, fit.recipes, result.images) == (56, 28, IMAGES)
    assert result.headline().startswith("mlp: error falls as compute^-0.")
    assert not any("not identified" in caveat for caveat in result.caveats)
    assert "exponent" in {row.metric for row in result.metrics()}


def test_the_largest_point_is_predicted_from_the_cheaper_ones(result):
    held = result.fits[0].held_out
    assert held.compute == pytest.approx(1e8)
    assert held.met
    assert held.predicted.value == pytest.approx(float(law(1e8)), rel=0.1)
    assert held.predicted.high - held.predicted.low < 0.08
    broken = ladder()
    for name, run in broken.items():
        if name.startswith("mlp-13-"):
            run.evidence.error /= 2  # a largest network that follows another law
    (other,) = measure_scaling(broken, TEST, resamples=100).fits
    assert not other.held_out.met


def test_what_compute_is_spent_on_is_read_off_the_front(result):
    grown = result.fits[0].allocation
    assert grown["parameters"].value == pytest.approx(0.5, abs=0.01)
    assert set(grown) == {"parameters"}  # all runs saw as many images of as many different ones


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"decades": 0.5}, "the front spans 0.3 decades of compute, and 1.5 are the least: runs of 4.5e+05 or more"),
        ({"exponent": 0.0, "noise": 0.05}, "error does not surely fall with compute"),
        ({"levels": 5, "noise": 0.001}, "the front has 5 points, and 7 are the least"),
        ({"levels": 8, "noise": 0.08, "seeds": 1}, "runs like these give exponents from"),
    ],
)
def test_what_is_not_identified_is_said_with_what_would_identify_it(settings, said):
    result = measure_scaling(ladder(**settings), TEST, resamples=100)
    (fit,) = result.fits
    assert not fit.identified
    assert any(f"mlp: not identified, because {said}" in caveat for caveat in result.caveats), result.caveats
    assert "the law is not identified; over" in result.headline()
    assert "exponent" not in {row.metric for row in result.metrics()}
    assert result.interval.low <= result.value <= result.interval.high
    figure = result.charts()[0]
    assert figure.title.endswith("a law is not identified")
    layers = {layer["transform"][0]["filter"]["equal"] for layer in figure.spec["layer"]}
    assert layers == {row["kind"] for row in figure.spec["datasets"]["rows"]} == {"tried", "front"}, "no layer of nothing"


def test_noise_alone_is_never_a_law():
    for draw in range(10):
        rng, runs = np.random.default_rng(draw), {}
        for at in range(24):
            compute = 10 ** rng.uniform(4, 8)
            runs[str(at)] = Planted(str(at), float(rng.uniform(0.2, 0.6)), flops=compute / 1000, tag=at)
        (fit,) = measure_scaling(runs, TEST, resamples=100).fits
        assert not fit.identified


def surface(noise: float, draw: int) -> Points:
    """Sizes x data under E = 0.05 + A / P^0.5 + A / D^0.5: at equal compute P D the least has P = D, so E - 0.05 ~ C^-0.25."""
    size, data = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e3, 1e7, 13), np.geomspace(1e3, 1e7, 13)))
    error = 0.05 + 10 * size**-0.5 + 10 * data**-0.5
    error *= np.exp(noise * np.random.default_rng(draw).normal(size=error.shape))
    rows, ones = np.arange(len(size)), np.ones(len(size))
    return Points(rows, rows, 1 + 0 * rows, 6 * size * data, error, size, data, data * ones)


def test_the_front_of_a_surface_has_its_closed_form():
    found = estimate(surface(0.0, 0), 100, 1.0, 0)
    assert found.lacking == ()
    assert found.exponent.value == pytest.approx(0.25, abs=0.02)
    assert found.allocation["parameters"].value == pytest.approx(0.5, abs=0.03)
    assert found.allocation["samples"].value == pytest.approx(0.5, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(("levels", "decades", "noise"), [(16, 4, 0.01), (12, 4, 0.03), (24, 4, 0.03), (12, 2, 0.01)])
def test_intervals_cover_the_planted_exponent(levels, decades, noise):
    """At least 88 % of 95 % intervals over 100 worlds: the simulation itself is known to 4 % or so."""
    compute, one = np.geomspace(1e4, 1e4 * 10**decades, levels), np.ones(levels)
    covered, known = 0, 0
    for draw in range(100):
        error = law(compute) * np.exp(noise * np.random.default_rng(draw).normal(size=levels))
        found = estimate(Points(*[np.arange(levels)] * 3, compute, error, one, one, one), 100, 1.0, draw)
        known += found.exponent is not None
        covered += found.exponent is not None and found.exponent.low <= 0.3 <= found.exponent.high
    assert known >= 97
    assert wilson(covered, known).high > 0.95 or covered / known > 0.95
    assert covered / known >= 0.88


def test_one_or_two_amounts_of_compute_say_nothing_of_how_error_falls():
    result = measure_scaling(ladder(levels=2), TEST, resamples=100)
    assert result.fits[0].local is None
    assert (result.interval, result.standing().leads) == (None, False)
    assert "say nothing of how error falls" in result.headline()
    assert not [row for row in result.metrics() if row.metric == "local exponent"]
    assert result.charts()


def test_families_have_fronts_of_their_own():
    runs = ladder(seeds=3) | ladder(seeds=3, family="cnn", exponent=0.45, floor=0.02)
    result = measure_scaling(runs, TEST, resamples=100)
    assert [fit.family for fit in result.fits] == ["mlp", "cnn"]
    assert [fit.exponent.value for fit in result.fits] == pytest.approx([0.3, 0.45], abs=0.02)
    assert result.charts()[0].title.startswith("The error of cnn falls fastest, as compute^-0.")
    assert result.value == result.fits[0].local.value


def fit(family: str, *errors: float, exponent: tuple[float, float, float] | None = None, **about: Any) -> Fit:
    """A family whose front has these errors, a decade of compute apart, and whose exponent has this interval."""
    front = tuple(
        Best(model="m", compute=10.0**at, error=error, parameters=1, samples=1, seen=1, seeds=1, final=True)
        for at, error in enumerate(errors)
    )
    if exponent is not None:
        value, low, high = exponent
        about["law"] = Law(amplitude=1, shift=0, exponent=value, floor=0, spread=0)
        about["exponent"] = Estimate(value=value, low=low, high=high)
    return Fit(family=family, runs=3, recipes=3, front=front, local=None, **about)


@pytest.mark.parametrize(
    ("fits", "title"),
    [
        ([fit("mlp", 0.45)], "Error does not fall with compute here; a law is not identified"),
        ([fit("mlp", 0.45, 0.2)], "Over 1.0 decades of compute the error falls to 20.0%; a law is not identified"),
        (
            [fit("mlp", 0.45), fit("cnn", 0.4, 0.1, 0.05)],
            "Over 2.0 decades of compute the error of cnn falls to 5.0%, that of mlp does not; a law is not identified",
        ),
        ([fit("a", 0.4, 0.1, exponent=(0.3, 0.2, 0.4))], "The error of a falls as compute^-0.30"),
        (
            [fit("a", 0.4, 0.1, exponent=(0.3, 0.2, 0.4)), fit("b", 0.4, 0.1, exponent=(0.6, 0.5, 0.7))],
            "The error of b falls fastest, as compute^-0.60",
        ),
        (
            [fit("a", 0.4, 0.1, exponent=(0.3, 0.2, 0.4)), fit("b", 0.4, 0.1, exponent=(0.4, 0.3, 0.7))],
            "No error falls surely fastest: from compute^-0.40 (b) to compute^-0.30 (a)",
        ),
    ],
)
def test_the_title_names_whose_error_falls_and_claims_no_more(result, fits, title):
    assert result.model_copy(update={"fits": tuple(fits)}).charts()[0].title == title


def test_what_compute_buys_is_told_of_a_family_that_learnt(result):
    flat = fit("cnn", 0.45)
    figure = result.model_copy(update={"fits": (flat, *result.fits)}).charts()[1]
    assert figure.title.startswith("On the front of mlp parameters grow as compute^")


def test_batches_that_err_alike_are_named_together(result):
    def title(*errors: float) -> str:
        told = {
            "model": "m",
            "family": "mlp",
            "held": "samples",
            "amount": 9,
            "lr": 0.1,
            "rates": 1,
            "at_edge": True,
            "seeds": 1,
        }
        batches = [Batch(**told, batch=10 * 2**at, error=e, low=e - 0.02, high=e + 0.02) for at, e in enumerate(errors)]
        return result.model_copy(update={"batches": tuple(batches)}).charts()[-1].title

    assert title(0.2, 0.2) == "At equal samples batches of 10 and 20 err alike: 20.0% (m)"
    assert title(0.2, 0.2, 0.3) == "At equal samples batches of 10 and 20 err least: 20.0% (m)"
    assert title(0.2, 0.21) == "At equal samples a batch of 10 errs least, within the intervals: 20.0% (m)"


def trained_on(name: str, schedule: str, **settings: Any) -> Planted:
    """A run of ten epochs that tells its val error at each; the rate of its last two has fallen."""
    run = Planted(name, 0.2, images=1000, optim={"schedule": schedule}, tag=name, **settings)
    run.history = [
        planted_epoch(0.05 * e, epoch=e, step=10 * e, images=100 * e, lr=0.1 if e < 9 else 0.05) for e in range(1, 11)
    ]
    return run


def test_an_earlier_epoch_counts_only_at_a_constant_rate():
    for schedule, counted in (("constant", 8), ("wsd", 8), ("cosine", 0), ("plateau", 0), ("linear", 0)):
        runs = {name: trained_on(name, schedule) for name in "abc"}
        result = measure_scaling(runs, TEST, resamples=100)
        assert (~result.final).sum() == 3 * counted
        assert len(result.compute) == 3 * (counted + 1)
    runs = {name: trained_on(name, "wsd") for name in "abc"}
    result = measure_scaling(runs, TEST, resamples=100, intermediate=False)
    assert len(result.compute) == 3
    steady = measure_scaling(runs, TEST, resamples=100)
    assert any("are earlier epochs, whose error is that on val" in caveat for caveat in steady.caveats)
    assert {row.split for row in steady.metrics() if row.metric == "error on the front"} == {"test", "val"}


def test_seeds_that_stop_at_different_steps_are_averaged_all_the_same():
    """Four sizes and three seeds each, of which early stopping ended none at another's step."""
    runs = {}
    for at, width in enumerate((10, 20, 40, 80)):
        for seed, (more, images) in enumerate(((0.02, 1000), (0.0, 900), (-0.02, 800))):
            name = f"{width}-s{seed}"
            runs[name] = Planted(name, 0.5 - 0.05 * at + more, images=images, flops=10.0**at, parameters=width, seed=seed)
    (fit,) = measure_scaling(runs, TEST, resamples=100).fits
    assert [best.error for best in fit.front] == pytest.approx([0.5, 0.45, 0.4, 0.35], abs=1e-4)
    assert [best.seeds for best in fit.front] == [3, 3, 3, 3]
    assert [best.seen for best in fit.front] == [900, 900, 900, 900]
    assert [best.compute for best in fit.front] == pytest.approx([900 * 10.0**at for at in range(4)])


def test_whether_error_falls_does_not_depend_on_the_order_of_the_runs():
    """Three amounts of compute, three recipes each, whose ranks by compute are equal."""
    errors = [0.5, 0.4, 0.45, 0.42, 0.38, 0.44, 0.41, 0.36, 0.43]
    runs = [Planted(f"r{at}", error, flops=10.0 ** (at // 3), parameters=100 + at) for at, error in enumerate(errors)]
    said = {
        fit.lacking
        for order in (1, -1)
        for fit in measure_scaling({run.name: run for run in runs[::order]}, TEST, resamples=100).fits
    }
    assert len(said) == 1


def test_a_transfer_counts_what_it_began_with():
    runs = {f"pre-{at}": Planted(f"pre-{at}", 0.9, flops=100.0 * 4**at, tag=at) for at in range(6)}
    for at in range(6):
        own = {"kind": "run", "run": f"runs/pre-{at}"}
        runs[f"head-{at}"] = Planted(f"head-{at}", 0.5 - 0.05 * at, flops=1.0, tag=at, init=own)
    result = measure_scaling(runs, TEST, resamples=100)
    assert result.transfer
    assert result.n == 6  # the runs begun with are no points: their error is about something else
    np.testing.assert_allclose(sorted(result.compute), [1000 * (100 * 4**at + 1) for at in range(6)])
    with pytest.raises(RequestError, match=r"head-0 began with weights \(init.kind = 'run'\) whose training is not among"):
        measure_scaling({name: run for name, run in runs.items() if name != "pre-0"}, TEST)
    study = Planted("lin-s3", 0.4, init={"kind": "recipe", "recipe": "pre"}, seed=3)
    others = {f"lin-s{n}": Planted("x", 0.4, init={"kind": "recipe", "recipe": "pre"}, seed=n) for n in (1, 2)}
    sources = {f"pre-s{n}": Planted("y", 0.9, seed=n) for n in (1, 2, 3)}
    assert measure_scaling({"lin-s3": study} | others | sources, TEST, resamples=100).n == 3


def test_s_counts_three_forward_passes_an_image():
    import priorscope as ps

    network = ps.models.create("mlp/tiny", image_size=8, num_classes=2)
    runs = {name: Planted(name, 0.3, flops=1.0, tag=name) for name in "abc"}
    for run in runs.values():
        run.evidence.model = network
    result = measure_scaling(runs, TEST, resamples=100, count="s")
    assert set(result.compute.tolist()) == {3.0 * ps.models.info(network).macs * 1000}


def test_batch_sizes_are_compared_at_equal_samples_and_at_equal_steps():
    """At equal images the small batch is better, at equal steps the large one; each at the rate that val likes."""
    runs: dict[str, Planted] = {}
    for batch, images, error, lr in [
        (10, 1000, 0.20, 0.1), (10, 1000, 0.30, 0.2), (40, 1000, 0.28, 0.1), (40, 1000, 0.25, 0.2), (40, 4000, 0.10, 0.2),
    ]:  # fmt: skip
        for seed in range(2):
            name = f"b{batch}-{images}-{lr}-s{seed}"
            own: Plain = {"optim": {"lr": lr}, "train": {"batch_size": batch}, "seed": seed}
            runs[name] = Planted(name, error, images=images, **own)
    result = measure_scaling(runs, TEST, resamples=100)
    said = [(one.held, one.amount, one.batch, one.lr, round(one.error, 3), one.seeds) for one in result.batches]
    assert said == [
        ("samples", 1000, 10, 0.1, 0.2, 2), ("samples", 1000, 40, 0.2, 0.25, 2),
        ("steps", 100, 10, 0.1, 0.2, 2), ("steps", 100, 40, 0.2, 0.1, 2),
    ]  # fmt: skip
    assert any("The best learning rate is the largest or smallest tried" in caveat for caveat in result.caveats)
    model = "mlp/tiny (blocks 2, width 100, expansion 2)"
    assert any(f"One learning rate alone was tried: {model} at 40." in caveat for caveat in result.caveats)
    assert result.charts()[-1].title == f"At equal samples a batch of 10 errs least: 20.0% ({model})"


def test_a_rate_is_chosen_by_the_epoch_whose_weights_are_scored():
    """The larger rate was better at the epoch that was kept, and had fallen behind at the last one."""
    runs: dict[str, Planted] = {}
    for batch in (10, 40):
        for lr, kept, last, error in ((0.1, 0.70, 0.70, 0.30), (0.2, 0.80, 0.50, 0.20)):
            run = Planted("x", error, images=1000, optim={"lr": lr}, train={"batch_size": batch})
            steps = 1000 // batch
            run.history = [
                planted_epoch(kept, epoch=1, step=steps // 2, images=500),
                planted_epoch(last, epoch=2, step=steps, images=1000),
            ]
            run.environment = run.environment.replace(chosen_epoch=1)
            runs[f"b{batch}-{lr}"] = run
    result = measure_scaling(runs, TEST, resamples=100)
    at_equal_samples = [one for one in result.batches if one.held == "samples"]
    assert [(one.batch, one.lr, round(one.error, 2)) for one in at_equal_samples] == [(10, 0.2, 0.2), (40, 0.2, 0.2)]


def test_it_is_stored_and_drawn(result, tmp_path):
    back = load_result(result.save(tmp_path / "a.json"))
    assert isinstance(back, Scaling)
    assert back.table() == result.table()
    assert back.fits[0].law == result.fits[0].law
    assert [figure.name for figure in back.charts()] == ["scaling", "scaling-allocation"]
    for figure in back.charts():
        assert figure.svg().startswith("<svg")
    assert measure_scaling(ladder(), TEST, resamples=100).fits == result.fits


def test_wrong_requests_are_refused():
    runs = ladder(levels=2, seeds=1)
    with pytest.raises(RequestError, match="2 runs came with an error to compare"):
        measure_scaling(dict(list(runs.items())[:2]), TEST)
    other = Planted("other", 0.3, data={"source": "cifar10"})
    with pytest.raises(RequestError, match="mlp-0-1-s0 and other have different data"):
        measure_scaling(runs | {"other": other}, TEST)
    idle = Planted("idle", 0.3, images=0)
    with pytest.raises(RequestError, match="idle took no step"):
        measure_scaling(runs | {"idle": idle}, TEST)
    with pytest.raises(RequestError, match="a does not say how it was trained"):
        measure_scaling({"a": Wrong(0.1)}, TEST)  # pyright: ignore[reportArgumentType]
    assert ScalingConfig().resamples == 400


def test_runs_of_another_warm_up_are_no_further_seeds():
    """The warm-up that is worse on val is no seed of the better one."""
    runs: dict[str, Planted] = {}
    for batch, warmup, error in ((10, 0, 0.2), (10, 5, 0.4), (40, 0, 0.3), (40, 5, 0.25)):
        for seed in range(2):
            own: Plain = {"optim": {"lr": 0.1, "warmup": warmup}, "train": {"batch_size": batch}, "seed": seed}
            runs[f"b{batch}-w{warmup}-s{seed}"] = Planted("x", error, images=1000, **own)
    result = measure_scaling(runs, TEST, resamples=100)
    told = [(one.batch, round(one.error, 2), one.seeds, one.rates) for one in result.batches if one.held == "samples"]
    assert told == [(10, 0.2, 2, 1), (40, 0.25, 2, 1)]
