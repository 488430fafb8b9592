"""Slipway's folder on a machine."""

from pathlib import Path


def find_home(start: Path) -> Path:
    """The nearest `.slipway` from `start` upwards, as git finds its folder, else `~/.slipway`."""
    for folder in (start, *start.parents):
        if (found := folder / ".slipway").is_dir():
            return found.absolute()
    return Path.home() / ".slipway"
