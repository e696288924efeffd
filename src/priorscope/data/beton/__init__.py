"""FFCV's `.beton` files, read and written in Python and numpy; docs/beton.md describes the format byte by byte."""

from __future__ import annotations

from priorscope.data.beton.fields import ArrayField, BytesField, Field, FloatField, ImageField, IntField, JSONField
from priorscope.data.beton.manifest import About, Manifest, manifest_path
from priorscope.data.beton.reader import Beton, BetonPixels
from priorscope.data.beton.verify import Verification, verify
from priorscope.data.beton.writer import write

__all__ = [
    "About",
    "ArrayField",
    "Beton",
    "BetonPixels",
    "BytesField",
    "Field",
    "FloatField",
    "ImageField",
    "IntField",
    "JSONField",
    "Manifest",
    "Verification",
    "manifest_path",
    "verify",
    "write",
]
