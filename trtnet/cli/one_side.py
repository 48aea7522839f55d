"""A network by the TensorRT of this Python: what `trtnet upgrade-check` has each of two Pythons say.

`python -m trtnet.cli.one_side FOLDER` reads what is asked from FOLDER and writes what it finds there. A folder is for
one side; a message of trtnet's goes to stderr, with exit code 2.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..basics.errors import ProviderError, TrtnetError
from ..building import build, build_plan
from ..engine.engine import Engine
from ..graph.graph import Graph
from ..pytorch.engine import reference
from ..rewriting.composing import for_provider
from ..tensorrt import provider as providers
from ..tensorrt.provider import Provider
from ..tensorrt.run.engine import TensorRTEngine
from ..weights import npz
from .benching import Asked, timed
from .cases import Case
from .conforming import composed
from .console import print_error
from .inputs import parse_shapes_and_files
from .model import halved, record_model
from .timing import as_json, surroundings
from .weight_files import network_of

ASKED, INPUTS, OUTPUTS, FOUND = "asked.json", "inputs.npz", "outputs.npz", "found.json"


@dataclass(frozen=True)
class Question:
    """What a side is asked.

    Attributes:
        model, inputs, arguments: as the command line has them; a model of `models/` by its file.
        weights: a file.
        half: whether the network and its inputs become float16.
        duration: seconds for which calls are timed.
    """

    model: str
    inputs: list[str]
    weights: str | None
    arguments: list[str]
    half: bool
    duration: float


def answer(folder: Path) -> None:
    """Build the network, run it on the folder's inputs, time it, and write outputs and facts into the folder."""
    question = Question(**json.loads((folder / ASKED).read_text(encoding="utf-8")))
    inputs, arrays = parse_shapes_and_files(question.inputs)
    weights = None if question.weights is None else Path(question.weights)
    network = network_of(question.model, weights, question.arguments, inputs)
    if question.half:
        network, inputs, _ = halved(network, inputs, arrays)
    graph = record_model(network, inputs)
    engine, facts = _built(graph)
    case = Case(graph, engine, npz.read(folder / INPUTS), 0, {})
    npz.write(folder / OUTPUTS, dict(zip(graph.outputs, case.run(engine))), {})
    (calls,) = timed(case, Asked(duration=question.duration))
    phases = {phase: asdict(spread) for phase, spread in calls.phases().items()}
    facts |= {"phases": phases, "difference": as_json(calls.difference)} | surroundings()
    (folder / FOUND).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _built(graph: Graph) -> tuple[Engine, dict[str, Any]]:
    """An engine, of TensorRT's where it runs here; and what is known of the plan, where one could be built."""
    executing = providers.executing()
    if executing is not None:
        started = time.perf_counter()
        engine = build(graph, provider=executing.name, check=False)
        assert isinstance(engine, TensorRTEngine)
        taken = time.perf_counter() - started
        return engine, _facts(graph, executing) | {"plan": len(engine.plan), "seconds": taken, "cannot_execute": None}
    facts: dict[str, Any] = {"cannot_execute": providers.can_execute(), "provider": None, "layers": len(graph.layers)}
    try:
        found = providers.find()
    except ProviderError:
        return reference(graph), facts
    facts |= _facts(graph, found)
    if found.targets:  # it compiles without a GPU
        plan = build_plan(graph, provider=found.name)
        facts |= {"plan": len(plan), "seconds": plan.seconds}
    return reference(graph), facts


def _facts(graph: Graph, provider: Provider) -> dict[str, Any]:
    made = for_provider(graph, provider)
    return {"provider": str(provider), "layers": len(made.layers), "composed": composed(graph, made)}


if __name__ == "__main__":
    try:
        answer(Path(sys.argv[1]))
    except TrtnetError as error:
        print_error(error)
        sys.exit(2)
