"""`trtnet demo`: LeNet from module to TensorRT plan, to answers about real handwritten digits, to other weights."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...basics.bundled import bundled
from ...basics.errors import ArgumentError, ProviderError, TrtnetError
from .digits import Digits, load_digits

if TYPE_CHECKING:
    from rich.console import Console

    from ...engine.engine import Engine
    from ...graph.graph import Graph
    from .drawing import Answer

TARGETS = {"sm86": "GeForce RTX 30 (Ampere)", "sm89": "GeForce RTX 40 (Ada)", "sm120": "GeForce RTX 50 (Blackwell)"}
BATCH = 64


def run_demo(console: Console, picture: Path) -> None:
    """Everything that `trtnet demo` does. Raises ProviderError where a package is missing."""
    if picture.suffix != ".png":
        raise ArgumentError("the picture is a PNG", expected="a file name that ends in .png", found=str(picture))
    _need("torch", "sklearn", "PIL")
    started = time.perf_counter()
    console.print("\n[bold]trtnet demo[/]: a small network reads real handwritten digits.\n")
    graph = _record(console)
    _compile(console, graph)
    digits = load_digits()[1]
    engine = _engine(console, graph, digits)
    prob = _read(console, engine, digits, picture)
    _refit(console, engine, digits, prob)
    _next(console, time.perf_counter() - started)


def _need(*modules: str) -> None:
    import importlib

    packages = {"sklearn": "scikit-learn", "PIL": "pillow"}
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ProviderError(
                f"the demo needs {packages.get(module, module)}",
                found=f"{type(error).__name__}: {error}",
                remedy="pip install 'trtnet[demo]'",
            ) from None


def _heading(console: Console, number: int, text: str) -> None:
    console.rule(f"[bold]{number}  {text}", align="left", style="dim")


# --- the steps --------------------------------------------------------------------------------------------------------


def _record(console: Console) -> Graph:
    import inspect

    from rich.padding import Padding
    from rich.syntax import Syntax

    from ... import Dim, Input, record
    from ..model import load_file

    path = bundled("models/lenet.py")
    network = load_file(path).LeNet()
    network.load_weights(bundled("weights/lenet.safetensors"))
    _heading(console, 1, "A network, written like a PyTorch module")
    console.print(f"{_short(path)}:\n")
    source = inspect.getsource(type(network).forward)
    code = Syntax(source.rstrip(), "python", theme="ansi_dark", background_color="default", dedent=True)
    console.print(Padding(code, (0, 0, 1, 2)))
    console.print(
        "Recording runs forward once, on symbols instead of numbers. What comes of it is a list of TensorRT's layers:\n"
    )
    graph = record(network, image=Input((Dim("batch", min=1, opt=8, max=BATCH), 1, 28, 28)))
    if console.is_terminal:
        console.print(graph.summary(), markup=False, no_wrap=True, overflow="ellipsis")
    else:
        console.print(graph.summary(), markup=False, soft_wrap=True)
    console.print()
    return graph


def _compile(console: Console, graph: Graph) -> None:
    from rich import box
    from rich.table import Table

    from ... import build_plan
    from ...tensorrt import provider

    _heading(console, 2, "Compiled for GPUs that need not be here")
    try:
        version = str(provider.load("tensorrt_rtx"))
    except TrtnetError:
        console.print(
            "TensorRT-RTX compiles plans without a GPU, on Linux and Windows. It is not installed here, so this step "
            "is left out. Where there are wheels for it: [bold]pip install 'trtnet\\[rtx]'[/]\n"
        )
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for column in ("target", "runs on", "plan", "compiled in"):
        table.add_column(column, justify="right" if column in ("plan", "compiled in") else "left")
    for target, cards in TARGETS.items():
        with console.status(f"compiling for {target} …"):
            plan = build_plan(graph, targets=[target])
        table.add_row(target, cards, f"{len(plan):,} bytes", f"{plan.seconds:.1f} s")
    console.print(f"{version} turned the layers into a plan for each kind of GPU, on this machine's CPU:")
    console.print(table)


def _engine(console: Console, graph: Graph, digits: Digits) -> Engine:
    from rich.markup import escape

    from ... import build, reference
    from ...tensorrt import provider
    from ...tensorrt.device import capability

    _heading(console, 3, "Reading digits that it has never seen")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said below, in other words
        engine = build(graph, refit=True)
    reason = provider.can_execute()
    if reason is None:
        expected, found = (_probabilities(e, digits.images) for e in (reference(graph), engine))
        same = int((expected.argmax(1) == found.argmax(1)).sum())
        console.print(
            f"{provider.executing()} runs them on this machine's GPU. The reference engine, which runs the same layers "
            f"in PyTorch, gives the same answer for [bold]{same} of {len(found)}[/] digits; "
            f"largest difference of a probability: {np.abs(expected - found).max():.1e}.\n"
        )
    else:
        why = "There is no NVIDIA GPU here"
        if capability() is not None:
            why = f"No TensorRT can run here ({escape(reason)})"
        console.print(f"{why}, so the reference engine runs the same layers in PyTorch.\n")
    return engine


def _read(console: Console, engine: Engine, digits: Digits, picture: Path) -> np.ndarray:
    from rich.markup import escape

    from .drawing import draw_answers, save_picture

    started = time.perf_counter()
    prob = _probabilities(engine, digits.images)
    seconds = time.perf_counter() - started
    right = prob.argmax(1) == digits.labels
    score = f"{int(right.sum())} of {len(right)} right: {right.mean():.1%}"
    console.print(
        "scikit-learn brings 1,797 digits that people wrote; half of them were kept from LeNet's training. "
        f"It reads those now: [bold green]{score}[/], in {seconds:.2f} s.\n"
    )
    answers = list(_answers(digits, prob))
    examples, mistakes = _one_of_each(answers), [a for a in answers if not a.right]
    shown = [examples[digit] for digit in (3, 5, 8)[: 3 if mistakes else 4]] + mistakes[:1]
    if console.width >= 3 * 40 - 1:
        shown = [examples[2], examples[7], *shown]
    draw_answers(console, shown)
    size = save_picture(
        picture,
        "LeNet reads handwritten digits",
        f"{score}. One of each digit, then some that it read wrong.",
        [*examples, *mistakes[:5]],
    )
    console.print(f"More of them in a picture: [bold]{escape(str(picture))}[/] ({size[0]}×{size[1]})\n", soft_wrap=True)
    return prob


def _refit(console: Console, engine: Engine, digits: Digits, before: np.ndarray) -> None:
    _heading(console, 4, "Other weights, same engine")
    kept = engine.snapshot()
    original = {name: value.copy() for name, value in engine.graph.state_dict().items()}
    # class k now answers with the weights of class k - 1
    rotated = {name: np.roll(original[name], 1, axis=0) for name in ("fc2.weight", "fc2.bias")}
    report = engine.refit(rotated)
    after = _probabilities(engine, digits.images)
    right = (after.argmax(1) == digits.labels).mean()
    where = [answer.place for answer in _one_of_each(list(_answers(digits, before)))]
    console.print(
        "The rows of the last layer, moved down by one: each digit goes by the name of the next. "
        f"[bold]engine.refit(new_weights)[/] {report}; nothing was compiled again.\n"
    )
    rows = ("  ".join(str(prob[i].argmax()) for i in where) for prob in (before, after))
    console.print("  it read {}\n  now     [bold yellow]{}[/]   {:.1%} right".format(*rows, right))
    same = []
    engine.refit(original)
    same.append(np.array_equal(_probabilities(engine, digits.images), before))
    engine.refit(rotated)
    engine.restore(kept)
    same.append(np.array_equal(_probabilities(engine, digits.images), before))
    words = ["the same bits as before" if s else "[bold red]not the same bits as before[/]" for s in same]
    console.print(
        f"\nAnd back. [bold]engine.refit(old_weights)[/]: all {before.size:,} probabilities have {words[0]}. "
        f"[bold]engine.restore(snapshot)[/]: {words[1]}.\n"
    )


def _next(console: Console, seconds: float) -> None:
    model = f"{_short(bundled('models/lenet.py'))}:LeNet"
    weights = _short(bundled("weights/lenet.safetensors"))
    console.rule(f"[bold]That was all, in {seconds:.0f} s. To go on:", align="left", style="dim")
    for line, what in (
        (f"trtnet summary {model} --input image=1x1x28x28", "its layers again"),
        (f"trtnet build {model} --weights {weights} --input image=1x1x28x28 --target sm86", "a plan to keep"),
        ("trtnet doctor", "what works on this machine"),
    ):
        console.print(f"  [dim]# {what}[/]\n  {line}", soft_wrap=True)


# --- helpers ----------------------------------------------------------------------------------------------------------


def _probabilities(engine: Engine, images: np.ndarray) -> np.ndarray:
    batches = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
    return np.concatenate([engine(image=batch)["prob"] for batch in batches])


def _answers(digits: Digits, prob: np.ndarray) -> Iterator[Answer]:
    from .drawing import Answer

    for place, (image, row, label) in enumerate(zip(digits.images, prob, digits.labels)):
        yield Answer(image[0], row, int(label), place)


def _one_of_each(answers: list[Answer]) -> list[Answer]:
    """For each digit one that was read rightly, and not with the greatest ease."""
    chosen = []
    for digit in range(10):
        right = sorted((a for a in answers if a.right and a.label == digit), key=lambda a: float(a.prob.max()))
        chosen.append(right[len(right) // 8])
    return chosen


def _short(path: Path) -> str:
    """Relative to the current folder where it lies inside."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
