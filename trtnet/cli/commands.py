"""The `trtnet` command."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from .console import command, note, out, print_text, robust_streams, say, tensorrts_log

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
        metavar="MODEL",
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
        metavar="FILE.engine|trt",
        help="The plan; its manifest goes beside it, FILE.engine.json. Left out: named after the class, its precision "
        "and the types of inputs and outputs that are not float32, here.",
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

Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="What else TensorRT's builder is told: [cyan]tf32=true[/], [cyan]workspace=256M[/], "
        "[cyan]memory_pools.tactic_dram=1G[/], [cyan]io_formats.image=hwc8[/]. [bold]--options[/] lists them.",
    ),
]
Stripped = Annotated[
    bool,
    typer.Option(
        "--refit",
        help="Weights can be given and changed later. TensorRT-RTX leaves them out of the plan, which has one target "
        "then.",
    ),
]
Workspace = Annotated[
    str | None,
    typer.Option(
        "--workspace", metavar="SIZE", help="Most scratch memory that a layer may use: [cyan]256M[/], [cyan]1G[/]."
    ),
]
Level = Annotated[
    int | None,
    typer.Option(
        "--level", metavar="0..5", min=0, max=5, help="How long to search for fast kernels; TensorRT's default is 3."
    ),
]
Builder = Annotated[
    str | None,
    typer.Option(
        "--provider",
        metavar="NAME",
        help="[cyan]tensorrt_rtx[/], which needs no GPU; or [cyan]tensorrt[/]: built on this machine's GPU, for "
        "it, and compared with the reference. Left out: tensorrt_rtx where it is installed, else tensorrt.",
    ),
]
PlanCaches = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", help="A folder of plans: the same network is not compiled again."),
]
Force = Annotated[bool, typer.Option("--force", help="Compile it though --cache has it, and replace it there.")]
TimingCache = Annotated[
    Path | None,
    typer.Option(
        "--timing-cache",
        metavar="FILE",
        help="TensorRT's timings, shared with [bold]trtexec --timingCacheFile[/]: read, added to, made where there are "
        "none. TensorRT-RTX has none.",
    ),
]


Verbose = Annotated[bool, typer.Option("--verbose", help="Print all that TensorRT logs, as trtexec does.")]
Half = Annotated[bool, typer.Option("--half", help="The network and its inputs in float16.")]

Prefix = Annotated[
    str,
    typer.Option("--prefix", metavar="TEXT", help="Take the names that begin with it, without it: [cyan]actor.[/]"),
]
Benched = Annotated[
    str, typer.Argument(metavar="MODEL|FILE.engine", help="As for [bold]build[/]; or what trtnet built and saved.")
]
InputFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=FILE.npy",
        help="An argument of forward, once for each; [cyan]x=file.npy:float32[/] converts. "
        "Or one [cyan]FILE.npz[/] with them all.",
    ),
]
Outputs = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE.npz|DIR",
        help="Keep the outputs: a .npz, a .npy (one output), or a folder of .npy.",
    ),
]
ComputeType = Annotated[
    str | None,
    typer.Option("--dtype", metavar="float64", help="Compute every float in this type, in PyTorch, to compare with."),
]
ShapesOrFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=FILE.npy|NAME=SHAPE",
        help="An argument of forward, once for each: arrays as for [bold]run[/], or shapes as for [bold]build[/], "
        "for which values are drawn, the same ones each time.",
    ),
]
Batches = Annotated[
    str | None,
    typer.Option("--batch", metavar="1,8,64", help="Sizes of a call: of the Dim, or of the first dimension."),
]
Against = Annotated[
    list[str] | None,
    typer.Option(
        "--against",
        metavar="WAYS",
        help="Other ways in the same run: [cyan]eager[/], [cyan]graph[/] (a CUDA graph) and [cyan]compile[/] of "
        "PyTorch, which run MODEL itself where it is a torch.nn.Module, else the layers that were recorded; "
        "[cyan]onnxruntime[/] on the CPU, [cyan]reference[/] on the CPU.",
    ),
]
Transfers = Annotated[
    bool, typer.Option("--transfers/--no-transfers", help="Copy inputs from the host and outputs to it.")
]
Tolerance = Annotated[
    float,
    typer.Option(
        "--tolerance",
        metavar="ERROR",
        min=0.0,
        help="The most that a value may differ, of an output's root mean square.",
    ),
]
OtherPython = Annotated[
    str,
    typer.Option("--python", metavar="PATH", help="The other Python, as in [cyan]/path/to/venv/bin/python[/]."),
]
Streams = Annotated[
    int,
    typer.Option(
        "--streams",
        metavar="N",
        min=1,
        max=256,
        help="Measure N calls at once, too: each on a stream with a context of its own.",
    ),
]
Latencies = Annotated[
    Path | None,
    typer.Option("--picture", metavar="FILE.png|svg", help="Draw how many calls took how long, by way and batch."),
]
Samples = Annotated[Path | None, typer.Option("--json", metavar="FILE.json", help="Keep it all, every sample, here.")]

SIDES = (
    "How to compute: [cyan]reference[/] (PyTorch, in the network's types), [cyan]float64[/], [cyan]tensorrt[/], "
    "[cyan]tensorrt_rtx[/], [cyan]onnxruntime[/] on the CPU, outputs that [bold]run -o FILE.npz[/], "
    "[bold]compare --save FILE.json[/] or Polygraphy kept ([cyan]FILE.json:RUNNER[/] of several), an "
    "[cyan].engine[/], or the [cyan]file.py:Class[/] of a torch.nn.Module with the same keys."
)


def _network(model: str, weights: Path | None, arguments: list[str] | None, inputs: Any = ()) -> Any:
    from .weight_files import network_of

    return network_of(model, weights, arguments or (), inputs)


def _cases(
    model: str,
    input: list[str] | None,
    weights: Path | None,
    arguments: list[str] | None,
    half: bool,
    batches: tuple[int, ...],
    provider: str | None,
    refit: bool = False,
    options: dict[str, Any] | None = None,
) -> Any:
    """MODEL or FILE.engine at each size, as `cases` makes them; networks with these build options."""
    from ..engine.plan import SUFFIXES
    from . import cases
    from .inputs import parse_shapes_and_files
    from .model import halved
    from .networks import resolve

    is_file = model.endswith(SUFFIXES)
    arrays: cases.Arrays
    inputs, arrays = parse_shapes_and_files(input or ([] if is_file else resolve(model).inputs))
    if is_file:
        shapes = [name for name in inputs if name not in arrays]
        told = {"--weights": weights, "--arg": arguments, "--half": half, "a shape": shapes, "--option": options}
        return cases.of_file(Path(model), arrays, batches, [name for name, value in told.items() if value], provider)
    network = _network(model, weights, arguments, inputs)
    if half:
        network, inputs, arrays = halved(network, inputs, arrays)
    return cases.of_network(network, inputs, arrays, batches, provider=provider, refit=refit, **(options or {}))


def _list_options(asked: bool) -> None:
    """Print every build option, and exit."""
    if asked:
        from .results import build_options

        print_text(build_options())
        raise typer.Exit


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
    print_text(graph.summary())


@app.command()
@command
def build(
    model: Model,
    input: Shapes = None,
    weights: Weights = None,
    arg: Arguments = None,
    output: PlanFile = None,
    target: Targets = None,
    refit: Stripped = False,
    half: Half = False,
    workspace: Workspace = None,
    level: Level = None,
    option: Options = None,
    provider: Builder = None,
    cache: PlanCaches = None,
    force: Force = False,
    timing_cache: TimingCache = None,
    verbose: Verbose = False,
    options: Annotated[
        bool, typer.Option("--options", is_eager=True, callback=_list_options, help="List the build options, and exit.")
    ] = False,
) -> None:
    """Compile MODEL into a TensorRT plan: ahead of time and without a GPU by TensorRT-RTX, or by TensorRT on a GPU.

    [dim]Example:[/] [bold]trtnet build models/lenet.py:LeNet --weights weights/lenet.safetensors
    --input image=1x1x28x28 --target sm86 --target sm120 -o lenet.fp32.engine[/]
    """
    from ..tensorrt.build.options import BuildOptions
    from .compiling import compiled
    from .inputs import parse_bytes, parse_inputs, parse_options
    from .model import halved, record_model
    from .networks import resolve
    from .results import check_plan_file

    if output is not None:
        check_plan_file(output)
    inputs = parse_inputs(input or resolve(model).inputs)
    told = parse_options(option or ())
    for name, value in (("workspace", parse_bytes(workspace)), ("optimization_level", level)):
        if value is not None:
            told |= parse_options([*(option or ()), f"{name}={value}"])
    BuildOptions.of(told)
    network: Any = _network(model, weights, arg, inputs)
    if half:
        network, inputs, _ = halved(network, inputs, {})
    graph = record_model(network, inputs)
    told |= {"refit": refit, "cache": cache, "force": force, "timing_cache": timing_cache}
    told["progress"] = out.is_terminal and not verbose
    with tensorrts_log(verbose):
        compiled(graph, output, provider, target or (), told)
    if weights is None:
        note("no --weights: the plan holds random initial values")


@app.command()
@command
def run(
    model: Benched,
    input: InputFiles = None,
    weights: Weights = None,
    arg: Arguments = None,
    output: Outputs = None,
    dtype: ComputeType = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Run in PyTorch even where TensorRT could run it.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Run MODEL on arrays and print what comes out: with TensorRT where a GPU can run it, else in PyTorch.

    [dim]Example:[/] [bold]trtnet run models/lenet.py:LeNet --weights weights/lenet.safetensors
    --input image=digit.npy -o answer.npz[/]
    """
    from ..building import build as build_engine
    from ..engine.engine import Engine
    from ..engine.plan import SUFFIXES
    from ..graph.graph import Input
    from ..pytorch.engine import reference as reference_engine
    from .cases import flat, opened
    from .inputs import read_arrays
    from .model import record_model
    from .results import check_output, print_results, save_results

    if output is not None:
        check_output(output)
    arrays = read_arrays(input or ())
    if model.endswith(SUFFIXES):
        told = {"--weights": weights, "--arg": arg, "--dtype": dtype}
        refused = [name for name, value in told.items() if value]
        with tensorrts_log(verbose):
            engine: Engine = opened(Path(model), refused, "reference" if reference else None)
    else:
        network = _network(model, weights, arg, arrays)
        graph = record_model(network, {name: Input(array.shape, array.dtype) for name, array in arrays.items()})
        if weights is None and graph.parameters:
            note("no --weights: these are the answers of random initial values")
        computed = dtype is not None or reference
        with tensorrts_log(verbose):
            engine = reference_engine(graph, dtype=dtype) if computed else build_engine(graph)
    given: dict[str, Any] = arrays
    with tensorrts_log(verbose):
        results = dict(zip(engine.graph.outputs, flat(engine.graph, engine(**given))))
    print_results(engine, results)
    if output is not None:
        save_results(output, results)


@app.command()
@command
def compare(
    model: Model,
    a: Annotated[str, typer.Argument(metavar="A", help=SIDES)],
    b: Annotated[str, typer.Argument(metavar="B", help="Likewise; errors are relative to it.")],
    input: ShapesOrFiles = None,
    weights: Weights = None,
    arg: Arguments = None,
    tolerance: Tolerance = 1e-4,
    half: Half = False,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="FILE.json",
            help="Keep the outputs of both sides as Polygraphy's JSON, for [bold]polygraphy run --load-outputs[/].",
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE.png|svg", help="Draw how many values are off by how much, by output."),
    ] = None,
) -> None:
    """Compute MODEL in two ways on the same inputs, and say in which outputs they differ, and from which module on.

    Where outputs are NaN or infinite, it says which module is the first to be so. Exits with 0 where both sides agree,
    with 1 where they differ, and with 2 after an error.

    [dim]Example:[/] [bold]trtnet compare models/lenet.py:LeNet tensorrt float64 --weights weights/lenet.safetensors
    --input image=8x1x28x28[/]
    """
    from .comparing import Side, drawn
    from .comparing import compare as compared
    from .inputs import parse_arguments, parse_shapes_and_files
    from .model import halved, record_model
    from .networks import resolve
    from .pictures import check_picture
    from .results import check_json

    if save is not None:
        check_json(save)
    if picture is not None:
        check_picture(picture)
    arrays: Mapping[str, Any]
    inputs, arrays = parse_shapes_and_files(input or resolve(model).inputs)
    network = _network(model, weights, arg, inputs)
    if half:
        network, inputs, arrays = halved(network, inputs, arrays)
    graph = record_model(network, inputs)
    one, other = (Side(text, graph, parse_arguments(arg or ()), half) for text in (a, b))
    agree = compared(one, other, drawn(graph) | dict(arrays), tolerance, save, picture)
    if weights is None and graph.parameters:
        note("no --weights: both sides have the same random initial values")
    if not agree:
        raise typer.Exit(1)


@app.command()
@command
def bench(
    model: Benched,
    input: ShapesOrFiles = None,
    weights: Weights = None,
    arg: Arguments = None,
    batch: Batches = None,
    half: Half = False,
    against: Against = None,
    graph: Annotated[bool, typer.Option("--graph", help="Each call is the replay of a CUDA graph.")] = False,
    streams: Streams = 1,
    refit: Annotated[bool, typer.Option("--refit", help="Build it refittable, and time refits, too.")] = False,
    duration: Annotated[
        float, typer.Option("--duration", metavar="S", min=0.0, max=86400.0, help="Seconds for each way.")
    ] = 3.0,
    warmup: Annotated[
        float, typer.Option("--warmup", metavar="S", min=0.0, max=86400.0, help="Seconds before them.")
    ] = 0.2,
    iterations: Annotated[
        int | None,
        typer.Option(
            "--iterations",
            metavar="N",
            min=1,
            help="Calls at least, however long they take. Left out: 10, or fewer where they take more than 3 × "
            "--duration and 10 s.",
        ),
    ] = None,
    spin: Annotated[bool, typer.Option("--spin", help="Wait for the GPU without sleeping.")] = False,
    transfers: Transfers = True,
    reference: Annotated[
        bool, typer.Option("--reference", help="In PyTorch even where TensorRT could run it.")
    ] = False,
    option: Options = None,
    json: Samples = None,
    picture: Latencies = None,
    verbose: Verbose = False,
) -> None:
    """Say how long calls of MODEL take: with TensorRT on a GPU, by phases; without one in PyTorch, on the CPU.

    Each way is compared with the reference in float64 before it is timed.

    [dim]Example:[/] [bold]trtnet bench models/lenet.py:LeNet --input image=batch=1..8..64x1x28x28 --batch 1,64
    --against eager[/]
    """
    from . import benching
    from .cases import parse_batches
    from .inputs import parse_options
    from .pictures import check_picture
    from .results import check_json

    if json is not None:
        check_json(json)
    if picture is not None:
        check_picture(picture)
    asked = benching.Asked(
        benching.parse_against(against or ()), duration, warmup, iterations, graph, spin, transfers, refit, streams
    )
    chosen, told = "reference" if reference else None, parse_options(option or ())
    cases = _cases(model, input, weights, arg, half, parse_batches(batch), chosen, refit, told)
    with tensorrts_log(verbose):
        found = [one for case in cases for one in benching.timed(case, asked)]
    benching.report(found, json, picture)


@app.command()
@command
def profile(
    model: Benched,
    input: ShapesOrFiles = None,
    weights: Weights = None,
    arg: Arguments = None,
    batch: Annotated[
        int | None, typer.Option("--batch", metavar="N", min=1, help="The size of a call, as for [bold]bench[/].")
    ] = None,
    half: Half = False,
    provider: Annotated[
        str | None,
        typer.Option(
            "--provider",
            metavar="NAME",
            help="[cyan]tensorrt[/], [cyan]tensorrt_rtx[/] or [cyan]reference[/]. Left out: the TensorRT that runs "
            "here, else the reference, in PyTorch.",
        ),
    ] = None,
    option: Options = None,
    calls: Annotated[int, typer.Option("--calls", metavar="N", min=1, help="How many calls are measured.")] = 20,
    by: Annotated[
        str, typer.Option("--by", metavar="module|line|layer", help="What times are added up by.")
    ] = "module",
    depth: Annotated[
        int | None, typer.Option("--depth", metavar="N", min=1, help="Modules inside the Nth are counted with it.")
    ] = None,
    export_profile: Annotated[
        Path | None, typer.Option("--export-profile", metavar="FILE.json", help="As trtexec's --exportProfile.")
    ] = None,
    flame: Annotated[
        Path | None,
        typer.Option(
            "--flame",
            metavar="FILE",
            help="A flame graph: [cyan].svg[/], [cyan].folded[/] for flamegraph.pl, [cyan].json[/] for speedscope.app.",
        ),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", metavar="FILE.json", help="One call, for ui.perfetto.dev.")
    ] = None,
    json: Samples = None,
) -> None:
    """Say where the time of a call of MODEL goes: by module, by source line, or by TensorRT's own layers.

    [dim]Example:[/] [bold]trtnet profile models/resnet50 --depth 1 --flame resnet50.svg[/]
    """
    from . import profiling
    from .inputs import parse_options

    asked = profiling.Asked(by, depth, calls, profiling.Files(export_profile, flame, trace, json))
    asked.check()
    told = parse_options(option or ())
    batches = () if batch is None else (batch,)
    for case in _cases(model, input, weights, arg, half, batches, provider, options=told):
        profiling.profile(case, asked)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, options_metavar="MODEL [FLAGS]"
)
@command
def trtexec(context: typer.Context) -> None:
    """Take trtexec's own flags: print the commands of trtnet's that they are, and run them.

    Flags that are done otherwise here are refused, with what to do. MODEL is as for [bold]bench[/]; or it is
    [cyan]--loadEngine=FILE.engine[/].

    [dim]Example:[/] [bold]trtnet trtexec models/lenet.py:LeNet --shapes=image:8x1x28x28 --duration=1[/]
    """
    import shlex

    from .trtexec import translated

    for line in translated(context.args).lines():
        say(f"[bold]trtnet {escape(shlex.join(line))}[/]")
        if code := app(line, standalone_mode=False):
            raise typer.Exit(code)


@app.command()
@command
def check(
    model: Model,
    input: Shapes = None,
    weights: Weights = None,
    arg: Arguments = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(
            "--provider",
            metavar="NAME[==VERSION]",
            help="[cyan]tensorrt==10.13[/], [cyan]tensorrt_rtx[/]; several are checked one by one. Left out: every "
            "version that trtnet knows.",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", metavar="SM", help="A GPU, by its compute capability: [cyan]sm86[/]."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the same as JSON.")] = False,
) -> None:
    """Say which TensorRTs take MODEL, what each gets composed of other layers, and why others refuse it.

    Every call is judged by the signatures of that version's bindings; nothing is compiled, and neither TensorRT nor a
    GPU is needed. Exits with 0 where all take it, with 1 where one does not, and with 2 after an error.

    [dim]Example:[/] [bold]trtnet check models/llama --provider tensorrt==8.6.1 --provider tensorrt==10.13
    --target sm86[/]
    """
    from .conforming import check as checked
    from .inputs import parse_inputs
    from .model import record_model
    from .networks import resolve

    inputs = parse_inputs(input or resolve(model).inputs)
    graph = record_model(_network(model, weights, arg, inputs), inputs)
    if not checked(graph, provider or (), target or (), json):
        raise typer.Exit(1)


@app.command()
@command
def upgrade_check(
    model: Model,
    python: OtherPython,
    input: ShapesOrFiles = None,
    weights: Weights = None,
    arg: Arguments = None,
    half: Half = False,
    tolerance: Tolerance = 1e-3,
    duration: Annotated[
        float, typer.Option("--duration", metavar="S", min=0.0, max=86400.0, help="Seconds for which calls are timed.")
    ] = 1.0,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE.json", help="Keep it all here.")] = None,
) -> None:
    """Build and run MODEL with this Python's TensorRT and with another Python's, and say what changes between them.

    Outputs on the same inputs with the same weights, times, the plan's size, layers that are composed of others. Where
    no TensorRT runs, PyTorch computes and is timed, which is said; TensorRT-RTX compiles all the same. The other Python
    has trtnet, too. Of an .engine, which is of one TensorRT, give the network that it was built from.

    Exits with 0 where outputs agree, with 1 where they differ, and with 2 after an error.

    [dim]Example:[/] [bold]trtnet upgrade-check models/lenet --python ~/tensorrt-11/bin/python
    --weights weights/lenet.safetensors[/]
    """
    import tempfile

    from .comparing import drawn
    from .inputs import parse_shapes_and_files
    from .model import halved, record_model
    from .networks import resolve
    from .one_side import Question
    from .results import check_json
    from .upgrading import require_python, save_weights
    from .upgrading import upgrade_check as checked

    other = require_python(python)
    if json is not None:
        check_json(json)
    found = resolve(model)
    arrays: Mapping[str, Any]
    inputs, arrays = parse_shapes_and_files(input or found.inputs)
    network = _network(model, weights, arg, inputs)
    with tempfile.TemporaryDirectory() as folder:
        kept = weights or save_weights(network, Path(folder))
        asked = Question(
            found.model, [*(input or found.inputs)], None if kept is None else str(kept), arg or [], half, duration
        )
        if half:
            network, inputs, arrays = halved(network, inputs, arrays)
        graph = record_model(network, inputs)
        agree = checked(graph, drawn(graph) | dict(arrays), asked, other, tolerance, json)
    if weights is None and graph.parameters:
        note("no --weights: both have the same random initial values")
    if not agree:
        raise typer.Exit(1)


@app.command()
@command
def inspect(file: Annotated[Path, typer.Argument(metavar="FILE", help="An .engine, or a file of weights.")]) -> None:
    """Say what FILE is: an engine's network, TensorRT, GPU and weights, and whether it runs here; weights, one by one.

    Every file of an engine is compared with its SHA-256. Needs neither TensorRT nor a GPU.

    [dim]Example:[/] [bold]trtnet inspect lenet.fp32.engine[/], [bold]trtnet inspect weights/lenet.safetensors[/]
    """
    from .inspecting import described

    print_text(described(file))


@app.command()
@command
def convert(
    source: Annotated[Path, typer.Argument(metavar="FROM", help="A file of weights.")],
    target: Annotated[Path, typer.Argument(metavar="TO", help="The new file; its suffix says the format.")],
    prefix: Prefix = "",
) -> None:
    """Write the weights of one file into another of any format: .safetensors, .npz, .pt, .pth, .bin or .wts.

    [dim]Example:[/] [bold]trtnet convert checkpoint.pth weights.safetensors --prefix actor.[/]
    """
    from .weight_files import convert as converted

    say(f"[bold]{escape(str(target))}[/]  {escape(converted(source, target, prefix))}")


@app.command()
@command
def refit(
    engine: Annotated[Path, typer.Argument(metavar="FILE.engine", help="What trtnet built and saved, refittable.")],
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="A file of weights; a part of them will do.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OTHER.engine", help="Left out: FILE.engine itself."),
    ] = None,
    prefix: Prefix = "",
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", help="The trainer's number of these weights.")
    ] = None,
) -> None:
    """Give the files of an engine other weights, all or nothing.

    A plan that holds no weights of its own ([bold]build --refit[/]) needs neither TensorRT nor a GPU for it; another
    one is loaded, refitted and saved.

    [dim]Example:[/] [bold]trtnet refit policy.fp32.engine step-900.safetensors --version 900[/]
    """
    from .results import check_plan_file
    from .weight_files import refit as refitted

    target = output or engine
    check_plan_file(target)
    say(f"[bold]{escape(str(target))}[/]  {escape(refitted(engine, weights, target, prefix, version))}")


@app.command()
@command
def models() -> None:
    """List the networks that come with trtnet: each is MODEL for the other commands, as models/NAME.

    Without --input, [bold]summary[/] and [bold]build[/] take the inputs that are listed.

    [dim]Example:[/] [bold]trtnet models[/], then [bold]trtnet summary models/resnet50[/]
    """
    from .networks import listing

    print_text(listing())


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
