"""A network that gives no numbers says nothing: nobody found is not nobody there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from vision.config import DEFAULT_MODEL
from vision.detector import Detector, NoNumbersError, Runtime
from vision.manifest import read_model
from vision.sharing import Network, Shared

PICTURE = np.full((240, 416, 3), 90, np.uint8)


class Spoilt(Shared):
    """Networks whose every answer lacks one number, as a broken file or chip would give it."""

    def network(self, key: tuple[str, int, str], load: Callable[[], Network]) -> Network:
        """Load it, and spoil what it says."""
        sound = load()

        class Broken:
            def run(self, output_names: Any, input_feed: Any) -> Sequence[Any]:
                found = [np.array(one) for one in sound.run(output_names, input_feed)]
                found[0].flat[-1] = np.nan
                return found

            def get_inputs(self) -> Sequence[Any]:
                return sound.get_inputs()

            def get_outputs(self) -> Sequence[Any]:
                return sound.get_outputs()

        return Broken()


def test_a_network_that_gives_no_numbers_is_an_error_and_not_an_empty_picture() -> None:
    model = read_model(DEFAULT_MODEL)
    assert len(Detector(model).feed(PICTURE, 0.3)) == 0
    broken = Detector(model, Runtime(shared=Spoilt()))
    for look in (broken.feed, broken.look, broken.see):
        with pytest.raises(NoNumbersError, match="person-nanodet-416 gives no numbers"):
            look(PICTURE, 0.3)
