"""The `trtnet` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from .console import command, note, out, robust_streams, say

app = typer.Typer(
    name="trtnet",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Write TensorRT networks the way PyTorch modules are written, and change their weights while they run.\n\n"
    "[bold]trtnet demo[/] shows it all in half a minute; [bold]trtnet doctor[/] says what works on this machine. "
    "Every command has an example: [bold]trtnet build --help[/].",
)

Model = Annotated[
    str,
    typer.Argument(
        help="[cyan]path/to/file.py:Class[/] or [cyan]package.module:Class[/]. Without [cyan]:Class[/], the only "
        "module there. A function that makes a module will do too. Or [cyan]models/NAME[/], of those that "
        "[bold]trtnet models[/] lists.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights", "-w", metavar="FILE", help=".safetensors, .npz, .pt or .wts. Left out: random initial values."
    ),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=SHAPE",
        help="An argument of forward, once for each. [cyan]image=1x1x28x28[/] is float32; "
        "[cyan]tokens=1x77:int64[/] says the type; "
        "[cyan]image=batch=1..8..64x1x28x28[/] has a dynamic size (its name, smallest, best, largest; "
        "[cyan]side=32..512/32[/]: multiples of 32). "
        "The name alone means the same size again: [cyan]mask=batch,77:bool[/].",
    ),
]
Arguments = Annotated[
    list[str] | None,
    typer.Option(
        "--arg", "-a", metavar="NAME=VALUE", help="An argument of the constructor: [cyan]--arg classes=10[/]."
    ),
]

PlanFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE.engine",
        help="The plan; its manifest goes beside it, FILE.engine.json. "
        "Left out: named after the class and its precision, here.",
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        metavar="SM",
        help="The GPU that will run it, by compute capability: [cyan]sm86[/] (RTX 30), "
        "[cyan]sm89[/] (RTX 40), [cyan]sm120[/] (RTX 50). Several make one plan for all. "
        "Left out: TensorRT-RTX's own default.",
    ),
]


def _network(model: str, weights: Path | None, arguments: list[str] | None, inputs: Any = ()) -> Any:
    from ..nn.module import Module
    from .inputs import parse_arguments
    from .model import load_model
    from .networks import resolve

    network = load_model(resolve(model).model, parse_arguments(arguments or ()), inputs)
    if weights is not None and isinstance(network, Module):
        network.load_weights(weights)
    return network


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-V", help="Print trtnet's version and exit.")] = False,
) -> None:
    if version:
        from .. import __version__

        out.print(f"trtnet {__version__}")
        raise typer.Exit


@app.command()
@command
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.png", help="Where the picture of the digits goes.")
    ] = Path("demo-output/trtnet-demo.png"),
) -> None:
    """LeNet reads real handwritten digits: from module to TensorRT plan, to answers, to other weights.

    Needs no GPU and no files; TensorRT runs it where there is a GPU that it supports.

    [dim]Example:[/] [bold]trtnet demo[/]
    """
    from .demo import run_demo

    run_demo(out, output)


@app.command()
@command
def summary(model: Model, input: Shapes = None, weights: Weights = None, arg: Arguments = None) -> None:
    """Record MODEL and print its layers: one row for each layer that TensorRT will get.

    Needs neither TensorRT nor PyTorch.

    [dim]Example:[/] [bold]trtnet summary models/lenet.py:LeNet --input image=batch=1..8..64x1x28x28[/]
    """
    from .inputs import parse_inputs
    from .model import record_model
    from .networks import resolve

    inputs = parse_inputs(input or resolve(model).inputs)
    graph = record_model(_network(model, weights, arg, inputs), inputs)
    out.print(graph.summary(), markup=False, soft_wrap=True)


@app.command()
@command
def build(
    model: Model,
    input: Shapes = None,
    weights: Weights = None,
    arg: Arguments = None,
    output: PlanFile = None,
    target: Targets = None,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit", help="Leave the weights out of the plan, to be given and changed later. One target only."
        ),
    ] = False,
    workspace: Annotated[
        str | None,
        typer.Option(
            "--workspace", metavar="SIZE", help="Most scratch memory that a layer may use: [cyan]256M[/], [cyan]1G[/]."
        ),
    ] = None,
    level: Annotated[
        int | None,
        typer.Option(
            "--level",
            metavar="0..5",
            min=0,
            max=5,
            help="How long to search for fast kernels; TensorRT's default is 3.",
        ),
    ] = None,
) -> None:
    """Compile MODEL into a TensorRT plan, ahead of time and without a GPU (TensorRT-RTX).

    [dim]Example:[/] [bold]trtnet build models/lenet.py:LeNet --weights weights/lenet.safetensors
    --input image=1x1x28x28 --target sm86 --target sm120 -o lenet.fp32.engine[/]
    """
    from ..building import build_plan
    from ..engine.plan import precision
    from .inputs import parse_bytes, parse_inputs
    from .model import record_model
    from .networks import resolve
    from .results import check_plan_file

    if output is not None:
        check_plan_file(output)
    inputs = parse_inputs(input or resolve(model).inputs)
    limit = parse_bytes(workspace)
    graph = record_model(_network(model, weights, arg, inputs), inputs)
    plan = build_plan(
        graph, target or None, refit=refit, workspace=limit, optimization_level=level, progress=out.is_terminal
    )
    path = plan.save(output or Path(f"{graph.title.lower()}.{precision(graph)}.engine"))
    if weights is None:
        note("no --weights: the plan holds random initial values")
    targets = ", ".join(plan.targets) or "its default targets"
    say(f"[bold]{escape(str(path))}[/]  {len(plan):,} bytes for {targets}, in {plan.seconds:.1f} s, by {plan.provider}")
    say(f"{escape(str(path))}.json  the manifest")
    if plan.stripped:
        say(f"{escape(str(path))}.safetensors  the weights, which the plan itself does not hold")


@app.command()
@command
def run(
    model: Model,
    input: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="NAME=FILE.npy",
            help="An argument of forward, once for each; [cyan]x=file.npy:float32[/] converts. "
            "Or one [cyan]FILE.npz[/] with them all.",
        ),
    ] = None,
    weights: Weights = None,
    arg: Arguments = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.npz|DIR",
            help="Keep the outputs: a .npz, a .npy (one output), or a folder of .npy.",
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype", metavar="float64", help="Compute every float in this type, in PyTorch, to compare with."
        ),
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Run in PyTorch even where TensorRT could run it.")
    ] = False,
) -> None:
    """Run MODEL on arrays and print what comes out: with TensorRT where a GPU can run it, else in PyTorch.

    [dim]Example:[/] [bold]trtnet run models/lenet.py:LeNet --weights weights/lenet.safetensors
    --input image=digit.npy -o answer.npz[/]
    """
    from ..building import build as build_engine
    from ..engine.engine import Engine
    from ..graph.graph import Input
    from ..pytorch.engine import reference as reference_engine
    from .inputs import read_arrays
    from .model import record_model
    from .results import check_output, print_results, save_results

    if output is not None:
        check_output(output)
    arrays = read_arrays(input or ())
    network = _network(model, weights, arg, arrays)
    graph = record_model(network, {name: Input(array.shape, array.dtype) for name, array in arrays.items()})
    if weights is None and graph.parameters:
        note("no --weights: these are the answers of random initial values")
    if dtype is not None or reference:
        engine: Engine = reference_engine(graph, dtype=dtype)
    else:
        engine = build_engine(graph)
    given: dict[str, Any] = arrays
    answer = engine(**given)
    several = answer.values() if isinstance(answer, dict) else answer if isinstance(answer, tuple) else (answer,)
    results = dict(zip(graph.outputs, several))
    print_results(engine, results)
    if output is not None:
        save_results(output, results)


@app.command()
@command
def models() -> None:
    """List the networks that come with trtnet: each is MODEL for the other commands, as models/NAME.

    Without --input, [bold]summary[/] and [bold]build[/] take the inputs that are listed.

    [dim]Example:[/] [bold]trtnet models[/], then [bold]trtnet summary models/resnet50[/]
    """
    from .networks import listing

    out.print(listing(), markup=False, soft_wrap=True)


@app.command()
@command
def doctor() -> None:
    """Say which TensorRT, PyTorch, driver and GPU are here, what works with them, and what to install for the rest.

    [dim]Example:[/] [bold]trtnet doctor[/]
    """
    from .doctor import print_report

    print_report(out)


@app.command()
@command
def preload(
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="DIR", help="Where it is kept. Left out: with the user's caches.")
    ] = None,
) -> None:
    """Print the path of a library for LD_PRELOAD that makes refits faster where the driver is slow; Linux only.

    TensorRT asks the driver for the GPU's clock rates at every refit; the library remembers the answers. It is compiled
    when that has not been done. [bold]trtnet doctor[/] says whether the driver is slow here.

    [dim]Example:[/] [bold]trtnet preload[/], as in [bold]LD_PRELOAD=$(trtnet preload) python train.py[/]
    """
    from .preload import library

    print(library(folder))


def main() -> None:
    """The entry point of the `trtnet` script."""
    robust_streams()
    app(prog_name="trtnet")
