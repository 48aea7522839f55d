"""What layers ask of their surroundings is what the Protocols list; that mypy finds them fulfilled is `make lint`'s."""

import ast
from pathlib import Path

import trtnet.layers
from trtnet.layers.targets import Features, Functions, Network
from trtnet.rewriting import functions


def _asked_of(name: str) -> set[str]:
    """The attributes that layers read of a name, or of an attribute of that name."""
    found = set()
    for path in Path(trtnet.layers.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                of = node.value
                if name == (of.id if isinstance(of, ast.Name) else of.attr if isinstance(of, ast.Attribute) else ""):
                    found.add(node.attr)
    return found


def _listed(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}


def test_layers_are_composed_of_the_functions_that_are_handed_to_them() -> None:
    assert _asked_of("F") == _listed(Functions) == set(functions.__all__)


def test_layers_ask_nothing_else_of_a_network_and_a_provider() -> None:
    assert {"has_layer", "strongly_typed", "draws_anew"} <= _asked_of("provider") <= _listed(Features)
    assert {"network", "weights", "shape_tensor", "data_type"} <= _asked_of("lowering") <= _listed(Network)
