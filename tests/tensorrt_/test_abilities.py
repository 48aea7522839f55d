"""What one TensorRT can and another cannot: of the newest everything, of 8.6 what was seen of it."""

from __future__ import annotations

import functools
import inspect

from trtnet import dtypes
from trtnet.tensorrt.abilities import Abilities, Newest


class Old(Abilities):
    """8.6.1, by the few names that abilities look for."""

    NAMES = (("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH"), ("INetworkDefinition", "add_matrix_multiply"))

    def offers(self, name: str) -> bool:
        return name == "INetworkDefinition"

    def has(self, kind: str, member: str) -> bool:
        return (kind, member) in self.NAMES


ABILITIES = [n for n, one in inspect.getmembers(Abilities) if isinstance(one, functools.cached_property)]


def test_the_newest_can_everything() -> None:
    newest = Newest()
    assert len(ABILITIES) >= 11
    can = {name: getattr(newest, name) for name in ABILITIES}
    assert can.pop("shape_dtype") is dtypes.int64
    assert can.pop("highest_level_for_tensor_weights") == 5
    assert set(can.values()) == {True}, can
    assert newest.has_layer("add_cumulative")


def test_tensorrt_8_can_none_of_it() -> None:
    old = Old("tensorrt", "8.6.1")
    can = {name: getattr(old, name) for name in ABILITIES}
    assert can.pop("shape_dtype") is dtypes.int32
    assert can.pop("highest_level_for_tensor_weights") == 4
    assert set(can.values()) == {False}, can
    assert (old.has_layer("add_matrix_multiply"), old.has_layer("add_cumulative")) == (True, False)
    assert (old.stored(dtypes.int64), old.stored(dtypes.int8)) == (dtypes.int32, dtypes.int8)
    assert str(old) == "tensorrt 8.6.1"
