"""The verbs about data: what there is, what is in it, and how it becomes a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from priorscope.cli.printing import AsJson, application, print_json, print_table, setting
from priorscope.core.errors import RequestError

if TYPE_CHECKING:
    from priorscope.data.describe import SplitInfo

data_app = application("Data: what there is, what is in it, how it becomes a store.")

What = Annotated[
    str, typer.Argument(metavar="NAME|PATH", help="A source, a store, a parquet file or folder, images, hf://owner/name.")
]

OwnSetting = Annotated[list[str], setting("min_per_class=100", "one setting of the source")]


@data_app.command("list")
def list_sources(as_json: AsJson = False) -> None:
    """The sources there are, and whether they can be opened here at once."""
    from priorscope.data import all_sources

    print_table(
        ("source", "here", "what"), [(each.name, "yes" if each.here else "no", each.about) for each in all_sources()], as_json
    )


@data_app.command()
def info(
    source: What,
    sheet: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Write a contact sheet there.")] = None,
    split: Annotated[str | None, typer.Option(help="The split of the contact sheet (default: train).")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Compute statistics where none are stored.")] = False,
    settings: OwnSetting = [],  # noqa: B006  typer reads the default
    as_json: AsJson = False,
) -> None:
    """Counts, sizes, classes, statistics and origin; a contact sheet where one is asked for."""
    from priorscope.core.config import assign
    from priorscope.data import info as describe
    from priorscope.data import named
    from priorscope.data import open as open_source
    from priorscope.data.contact_sheet import check_sheet_name, save_contact_sheet

    if split is not None and sheet is None:
        raise RequestError("--split came without --sheet.", "a file for that split's contact sheet", "--sheet sheet.png")
    if sheet is not None:
        check_sheet_name(sheet)
    asked = assign(named(source), *settings)
    if sheet is not None:
        save_contact_sheet(open_source(asked).split(split or "train"), sheet)
    told = describe(asked, measure=measure)
    if as_json:
        return print_json({**told.plain(), **({} if sheet is None else {"sheet": str(sheet)})})
    print(
        f"{told.name}: {len(told.classes)} classes: {', '.join(told.classes[:12])}{', ...' if len(told.classes) > 12 else ''}"
    )
    print_table(("split", "images", "size", "a class", "mean", "std"), [_split_row(each) for each in told.splits])
    for line in (told.origin, *told.caveats, sheet):
        if line:
            print(line)
    return None


def _split_row(split: SplitInfo) -> tuple[str, ...]:
    size = "differs" if split.image_size is None else "x".join(map(str, split.image_size))
    a_class = f"{split.fewest:,}" if split.fewest == split.most else f"{split.fewest:,} to {split.most:,}"
    moments = (split.statistics.mean, split.statistics.std) if split.statistics else ((), ())
    return (split.name, f"{split.count:,}", size, a_class, *(" ".join(f"{value:.4f}" for value in each) for each in moments))


@data_app.command()
def get(name: Annotated[str, typer.Argument(help="A source with an official address.")], as_json: AsJson = False) -> None:
    """Download a source from its official address, checked and resumable, and unpack it."""
    from priorscope.data import get as fetch

    paths = [str(path) for path in fetch(name)]
    if as_json:
        return print_json({"paths": paths})
    print("\n".join(paths))
    return None


@data_app.command()
def convert(
    source: Annotated[str | None, typer.Argument(metavar="SRC", help="As for `info`; left out with --from.")] = None,
    target: Annotated[Path | None, typer.Argument(metavar="DST.beton", help="The store to write.")] = None,
    factory: Annotated[
        str | None, typer.Option("--from", metavar="PKG.MOD:FACTORY", help="Makes a torch-style dataset.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val, test or all")] = "all",
    res: Annotated[int | None, typer.Option(min=1, help="Every picture as its central square of this side.")] = None,
    quality: Annotated[int | None, typer.Option(min=1, max=100, help="Store JPEG of this quality, not pixels.")] = None,
    jpeg_above: Annotated[
        int | None, typer.Option(min=1, metavar="BYTES", help="With --quality: JPEG for pictures alone whose pixels take more.")
    ] = None,
    subset: Annotated[int | None, typer.Option(min=1, help="A class-balanced, nested part of the first split (train).")] = None,
    on_broken: Annotated[Literal["refuse", "skip"], typer.Option(help="What to do with a broken image.")] = "refuse",
    workers: Annotated[int | None, typer.Option(min=1, help="Threads.")] = None,
    settings: OwnSetting = [],  # noqa: B006  typer reads the default
    as_json: AsJson = False,
) -> None:
    """Write a store, one file a split; a conversion that was killed goes on where it stopped."""
    from priorscope.core.config import assign
    from priorscope.data import convert as write
    from priorscope.data import named

    if factory is not None and source is not None and target is None:
        source, target = None, Path(source)
    if source is not None and factory is not None:
        raise RequestError(
            f"convert got two sources, {source!r} and --from {factory!r}.",
            "one of them",
            "priorscope data convert SRC DST.beton",
        )
    if target is None or (source is None and factory is None):
        raise RequestError("convert got no source or no target.", "both", "priorscope data convert SRC DST.beton")
    asked = assign({"name": "dataset", "factory": factory} if source is None else named(source), *settings)
    done = write(
        asked,
        target,
        split=split,
        res=res,
        quality=quality,
        jpeg_above=jpeg_above,
        subset=subset,
        workers=workers,
        on_broken=on_broken,
    )
    if as_json:
        return print_json(done.plain())
    print_table(("split", "images", "bytes", "file"), [(f.split, f"{f.count:,}", f"{f.bytes:,}", f.path) for f in done.files])
    for skipped in done.skipped:
        print(f"left out {skipped.where}: {skipped.reason}")
    print(f"{done.seconds:.1f} s")
    return None


@data_app.command()
def verify(path: Annotated[Path, typer.Argument(help="A store.")], as_json: AsJson = False) -> None:
    """Check a store against its manifest, page by page."""
    from priorscope.data import verify as check

    told = check(path)
    if as_json:
        return print_json({"path": str(path), "samples": told.samples, "bytes": told.bytes, "pages": told.pages})
    pages = "its structure alone: it has no manifest" if told.pages is None else f"{told.pages:,} pages"
    print(f"{path} is whole: {told.samples:,} samples, {told.bytes:,} bytes, {pages}.")
    return None
