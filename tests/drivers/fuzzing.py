"""Hostile input for parsers, made from a seed: 20,000 times in a test, a million in `make fuzz`."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Mapping

Parse = Callable[[random.Random], None]
"""Makes one input, feeds it, and raises where the parser does anything but take or refuse it."""


def feed(name: str, parse: Parse, frames: int, seed: int) -> None:
    """Feed one parser; what it raises names the random numbers that broke it."""
    for number in range(frames):
        try:
            parse(random.Random(f"{seed}-{number}"))
        except Exception as error:
            error.add_note(f'{name}: random.Random("{seed}-{number}")')
            raise


def campaign(what: str, parsers: Mapping[str, Parse]) -> None:
    """Feed all of them, as the command line says."""
    parser = argparse.ArgumentParser(description=f"Hostile {what}.")
    parser.add_argument("--frames", type=int, default=1_000_000, help="how many for each parser")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name, parse in parsers.items():
        feed(name, parse, options.frames, options.seed)
        print(f"{name}: {options.frames} {what}, nothing wrong", flush=True)
