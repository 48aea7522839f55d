"""What bindings.py says of TensorRT's objects is what the bindings of some version have."""

import ast
import inspect
import json
from pathlib import Path

from trtnet.tensorrt import bindings

API = json.loads((Path(__file__).parents[1] / "bindings" / "api.json").read_text())["api"]
OF_SEVERAL = {"Recording", "IPlugin"}
HERE = {"INetworkTensor": "ITensor", "ITypedLayer": "ILayer"}


def members(one):
    """The members of a class as it is written: whether each is an attribute, and whether it is set."""
    for node in one.body:
        if isinstance(node, ast.AnnAssign):
            yield node.target.id, True, True
        elif isinstance(node, ast.FunctionDef) and node.name != "__buffer__":  # of buffers in C
            yield node.name, bool(node.decorator_list), False


def test_every_member_is_one_of_the_bindings():
    classes = [node for node in ast.parse(inspect.getsource(bindings)).body if isinstance(node, ast.ClassDef)]
    assert len(classes) > 20
    for one in classes:
        if one.name in OF_SEVERAL:
            continue
        known = API[HERE.get(one.name, one.name)]
        for name, is_attribute, is_set in members(one):
            assert name in known["props" if is_attribute else "methods"], f"{one.name}.{name}"
            assert not is_set or any("w" in access for access in known["props"][name].values()), f"{one.name}.{name}"
