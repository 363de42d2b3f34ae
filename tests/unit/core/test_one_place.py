"""What has one place is neither pickled nor copied, and an ordinary object is."""

from __future__ import annotations

import copy
import pickle

import pytest

from wardline.core.one_place import OnePlace


class Secret(OnePlace):
    """A secret with a state."""

    def __init__(self) -> None:
        self.bits = b"secret"


class Open:
    """The same without protection."""

    def __init__(self) -> None:
        self.bits = b"open"


@pytest.mark.parametrize("spread", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_secret_is_not_spread(spread):
    spread(Open())
    with pytest.raises(TypeError, match="Secret cannot be pickled or copied"):
        spread(Secret())
