"""Keeps the whole dependency tree pinned in pyproject.toml: `uv lock`, read back, written to [tool.uv] constraint-dependencies.

    uv run python scripts/pin.py            newest versions that fit, pinned
    uv run python scripts/pin.py --check    exit 1 if what is pinned is not what uv would choose

uv.lock itself is not kept in git: it names the hosts that this machine downloads from. A package that two groups need in
two versions (the groups conflict and are never installed together) is pinned to the range between them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = ROOT / "pyproject.toml"
LOCK = ROOT / "uv.lock"


def version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def constraints(lock: dict) -> list[str]:
    """One line a package and Python version, in alphabetical order."""
    versions: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for package in lock["package"]:
        if "version" in package and package["source"].keys() & {"registry"}:
            versions[package["name"]][package["version"]] = package.get("resolution-markers", [])
    return [line for name in sorted(versions) for line in lines_of(name, versions[name])]


def lines_of(name: str, found: dict[str, list[str]]) -> list[str]:
    if len(found) == 1:
        return [f"{name}=={next(iter(found))}"]
    if all(len(markers) == 1 for markers in found.values()):
        return [
            f"{name}=={version} ; {markers[0]}"
            for version, markers in sorted(found.items(), key=lambda item: version_key(item[0]))
        ]
    low, *_, high = sorted(found, key=version_key)
    return [f"{name}>={low},<={high}"]


def block(lines: list[str]) -> str:
    return "constraint-dependencies = [\n" + "".join(f'  "{line}",\n' for line in lines) + "]\n"


def without_block(text: str) -> str:
    return re.sub(r"constraint-dependencies = \[\n.*?^\]\n", "", text, flags=re.DOTALL | re.MULTILINE)


def main() -> int:
    before = PYPROJECT.read_text()
    check = "--check" in sys.argv[1:]
    if not check:
        PYPROJECT.write_text(without_block(before))
        LOCK.unlink(missing_ok=True)
    try:
        subprocess.run(["uv", "lock", "--quiet"], cwd=ROOT, check=True)
    except BaseException:  # the versions that were pinned stay, whatever went wrong
        PYPROJECT.write_text(before)
        raise
    pinned = block(constraints(tomllib.loads(LOCK.read_text())))
    after = without_block(before).replace("[tool.uv]\n", f"[tool.uv]\n{pinned}", 1)
    if check and after != before:
        print("What is pinned is not what uv chooses: run scripts/pin.py", file=sys.stderr)
        return 1
    PYPROJECT.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
