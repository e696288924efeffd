"""Makes the pictures and the table of docs/augmentation.md: `python scripts/augmentation_page.py`."""

from __future__ import annotations

from pathlib import Path

from priorscope import data
from priorscope.data.augment import PRESETS
from priorscope.data.augment.sheet import operations, operations_table, sheet

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- operations -->\n", "<!-- end of operations -->"


def main() -> None:
    """Writes both sheets (in 128 colours, which keeps them small) and puts the table between its marks."""
    split = data.open({"name": "shapetex", "image_size": 40, "test": 100}).split("test")
    images = DOCS / "images"
    images.mkdir(exist_ok=True)
    for name, augments in (("operations", operations()), ("presets", PRESETS)):
        sheet(split, augments).quantize(128).save(images / f"augmentation-{name}.png", optimize=True)
    page = DOCS / "augmentation.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(before + BEGIN + operations_table() + "\n" + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
