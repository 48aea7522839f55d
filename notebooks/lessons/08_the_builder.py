# %% [en]
# # Lesson 8: The builder: targets, workspace, level
#
# A TensorRT **network** is a list of layers. The **builder** compiles it, by the settings of a *config*, into a
# **plan**: a block of bytes that an **engine** is made of. What you tell the builder decides where the plan runs, how
# much memory it may take, and how long you wait.
#
# In this lesson you set its three most important knobs, read what it says when it refuses, and find the smallest
# workspace with which it builds LeNet. You need PyTorch's basics and nothing of trtnet. No GPU is needed either:
# TensorRT-RTX, the TensorRT for RTX cards, compiles on the CPU.

# %% [zh]
# # 第 8 课：builder：target、workspace、level
#
# TensorRT 的**网络**（network）是一串 layer。**builder** 按照 *config* 里的设置把它编译成 **plan**，也就是一段字节，
# 再由它得到 **engine**。你对 builder 说的话，决定了 plan 在哪里运行、可以用多少内存，以及你要等多久。
#
# 这一课里，你会用到它最重要的三个设置，读懂它拒绝时说的话，并找出能编译 LeNet 的最小 workspace。你需要懂一点
# PyTorch，不需要了解 trtnet，也不需要 GPU：TensorRT-RTX（面向 RTX 显卡的 TensorRT）可以在 CPU 上编译。

# %%
import json
import sys
import time
from pathlib import Path

import trtnet
from trtnet import Dim, Input

root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "models").is_dir())
sys.path.insert(0, str(root))  # so that `models` is found from notebooks/ too
from models.lenet import LeNet

trtnet.manual_seed(0)


def recorded(largest=64):
    """LeNet as a list of layers, for batches of up to `largest` digits."""
    return trtnet.record(LeNet(), image=Input((Dim("batch", min=1, opt=1, max=largest), 1, 28, 28)))


graph = recorded()
graph  # shows itself as a picture; modules open and close with a click

# %% [en]
# ## What a build is
#
# `graph.to_script` writes the same network as a program in TensorRT's own API. Its function `build` has all that the
# builder is told:

# %% [zh]
# ## 构建一次是做什么
#
# `graph.to_script` 用 TensorRT 自己的 API 把同一个网络写成一个程序。其中的函数 `build` 包含了对 builder 说的一切：

# %%
script = graph.to_script(provider="tensorrt_rtx")
print(script[script.index("def build") : script.index("def check")].strip())

# %% [en]
# - `create_network` gives an empty network, `define` adds the layers, as in lesson 2.
# - The config has flags. TensorRT may compute float32 in TF32, which has fewer digits, unless one says otherwise.
#   trtnet does say otherwise, unless you ask (`tf32=True`).
# - An **optimization profile** says which sizes each input may have: smallest, best, largest.
# - `build_serialized_network` compiles. What it returns is the plan, or `None`, with the reasons in a log.
#
# `trtnet.build_plan` makes these calls. Where TensorRT returns `None`, it raises, with the reasons.

# %% [zh]
# - `create_network` 得到一个空的 network，`define` 往里加 layer，和第 2 课一样。
# - config 里有一些标志。TensorRT 默认可以用有效数字更少的 TF32 来计算 float32；trtnet 会把它关掉，除非你要求打开
#   （`tf32=True`）。
# - **optimization profile** 说明每个输入可以有哪些大小：最小、最佳、最大。
# - `build_serialized_network` 进行编译。它返回 plan；不成功就返回 `None`，原因写在日志里。
#
# `trtnet.build_plan` 做的就是这些调用。如果 TensorRT 返回 `None`，它就报错，并写明原因。

# %%
plan = trtnet.build_plan(graph, targets=["sm86"])
print(plan)
weights = sum(value.nbytes for value in graph.state_dict().values())
print(f"{weights:,} of these bytes are weights")

# %% [en]
# ## Targets
#
# `sm86` is a *compute capability*, 8.6: the kind of GPU that a GeForce RTX 30 has. `sm89` is RTX 40, `sm120` RTX 50.
# A plan runs where it was compiled for.
#
# **Predict:** most of a plan is weights. One plan for three targets: about as large as for one, or three times as
# large?

# %% [zh]
# ## target
#
# `sm86` 是一种*计算能力*（compute capability），即 8.6：GeForce RTX 30 的 GPU 就是这种。`sm89` 是 RTX 40，`sm120` 是
# RTX 50。plan 是为哪种 GPU 编译的，就在哪种上运行。
#
# **预测：** plan 的大部分是权重。一个 plan 支持三个 target，大小和只支持一个差不多，还是三倍？

# %%
for targets in (["sm86"], ["sm89"], ["sm120"], ["sm86", "sm89", "sm120"]):
    print(trtnet.build_plan(graph, targets=targets))

# %% [en]
# Two ways in which a target can be wrong. TensorRT-RTX has none of this name:

# %% [zh]
# target 可能在两种情况下不行。第一种，TensorRT-RTX 没有这个名字的 target：

# %%
try:
    trtnet.build_plan(graph, targets=["sm90"])
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# And it has the target, but not every layer for it. On `sm75` (RTX 20) it multiplies no float32 matrices. Nothing but
# the builder knows that, so the sentence is its own; trtnet finds the layer that it names, and your line:

# %% [zh]
# 第二种，有这个 target，但并非每个 layer 都支持。在 `sm75`（RTX 20）上它不做 float32 矩阵乘法。这件事只有 builder 知
# 道，所以那句话是它的原话；trtnet 找出它提到的那个 layer，以及你的那一行代码：

# %%
try:
    trtnet.build_plan(graph, targets=["sm75"])
except trtnet.TrtnetError as error:
    print(error)

half = trtnet.record(LeNet().half(), image=Input((Dim("batch", min=1, opt=1, max=64), 1, 28, 28), "float16"))
print("\nin float16:", trtnet.build_plan(half, targets=["sm75"]))

# %% [en]
# ## Level
#
# `optimization_level` runs from 0 to 5: how long the builder may search for faster kernels; 3 is TensorRT's own
# choice. With a GPU, TensorRT times kernels while it builds, and a high level can take much longer than a low one.
#
# TensorRT-RTX works otherwise: its plan is finished on the user's GPU, when it is loaded and run.
#
# **Predict:** will its plans differ by the level?

# %% [zh]
# ## level
#
# `optimization_level` 从 0 到 5，表示 builder 可以花多长时间去找更快的 kernel；TensorRT 自己的默认值是 3。有 GPU
# 时，TensorRT 一边构建一边给 kernel 计时，高的 level 可能比低的慢得多。
#
# TensorRT-RTX 的做法不同：它的 plan 是在用户的 GPU 上、加载和运行的时候才最后完成的。
#
# **预测：** 它的 plan 会随 level 而不同吗？

# %%
plans = []
for level in range(6):
    started = time.perf_counter()
    plans.append(bytes(trtnet.build_plan(graph, targets=["sm86"], optimization_level=level)))
    print(f"level {level}: {len(plans[-1]):,} bytes in {time.perf_counter() - started:.2f} s")
print("the same bytes as at level 0:", [one == plans[0] for one in plans])

# %% [en]
# A level that does not exist, and an option that is misspelt, are found before anything is built:

# %% [zh]
# 不存在的 level、拼错的选项，在开始构建之前就会发现：

# %%
for wrong in ({"optimization_level": 9}, {"worskpace": 1 << 20}):
    try:
        trtnet.build_plan(graph, targets=["sm86"], **wrong)
    except trtnet.TrtnetError as error:
        print(error.problem, "|", error.remedy)

# %% [en]
# ## What becomes of the layers
#
# TensorRT-RTX finishes its plan on the user's GPU. TensorRT itself builds on a GPU, and then the engine tells what it
# is: `engine.inspect()` names its layers, `engine.profile(image)` says how long each takes. The file
# `lenet-h200.json` has what TensorRT 8.6.1 said of LeNet in float16, for 8 digits at once, on an H200.
#
# **Predict:** LeNet is added to the network as fifteen layers. How many has the engine? Which takes longest?

# %% [zh]
# ## layer 变成了什么
#
# TensorRT-RTX 在用户的 GPU 上才完成 plan。TensorRT 本身在 GPU 上构建，之后 engine 会说明自己是什么样子：
# `engine.inspect()` 列出它的 layer，`engine.profile(image)` 给出每个 layer 的用时。文件 `lenet-h200.json`
# 记录了 TensorRT 8.6.1 在一块 H200 上对 float16、一次 8 个数字的 LeNet 的说明。
#
# **预测：** LeNet 加进 network 时是十五个 layer。engine 里有几个？哪个用时最长？

# %%
stored = json.loads((root / "notebooks" / "lenet-h200.json").read_text())
for layer in stored["times"][1:]:
    print(f"{1000 * layer['averageMs']:5.1f} µs  {layer['name']}")

# %% [en]
# Eleven. The constants are no layers any more; the sum with the bias and the ReLU are done in the product before them.
# Two are copies that the builder added: the kernels that it found fastest want their numbers in another order in
# memory. The first of the copies takes longer than `conv1`.
#
# `graph.draw` draws the engine's layers over the recorded ones. Colors say the share of the time:

# %% [zh]
# 十一个。constant 不再是 layer；加偏置和 ReLU 并进了前面的矩阵乘法。有两个是 builder 添加的拷贝：
# 它找到的最快的 kernel 要求数在内存里按另一种顺序排列。其中第一个拷贝比 `conv1` 用时还长。
#
# `graph.draw` 把 engine 的 layer 画在记录下来的 layer 之上，颜色表示占用时间的比例：

# %%
eight = trtnet.record(LeNet().half(), image=Input((8, 1, 28, 28), "float16"))
eight.draw(provider="tensorrt==8.6.1", engine=stored["inspection"], times=stored["times"])

# %% [en]
# (With a GPU it is `engine = trtnet.build(graph, profiling_verbosity="detailed")`, then
# `engine.draw("lenet.html", times=engine.profile(image))`.)
#
# ## Workspace
#
# A kernel may need scratch memory while it runs: for a matrix that is laid out anew, or partial sums. `workspace=` is
# the most that the builder may plan for, in bytes. Left out, it may take what the GPU has. A kernel that needs more
# is not chosen; where none is left, the builder refuses:

# %% [zh]
# （有 GPU 时是 `engine = trtnet.build(graph, profiling_verbosity="detailed")`，然后
# `engine.draw("lenet.html", times=engine.profile(image))`。）
#
# ## workspace
#
# kernel 运行时可能需要临时内存：比如用来重新排列一个矩阵，或者存放部分和。`workspace=` 是 builder 最多可以安排的字节
# 数；不写的话，GPU 有多少就可以用多少。需要更多内存的 kernel 不会被选中；如果一个都不剩，builder 就拒绝：

# %%
try:
    trtnet.build_plan(graph, targets=["sm86"], workspace=1024)
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# How much is enough? Doubling finds it roughly.
#
# **Predict:** the largest batch grows from line to line. Does it need more workspace from the first line on?

# %% [zh]
# 多少才够？用翻倍的办法可以大致找到。
#
# **预测：** 下面每一行的最大 batch 也在增大。从第一行开始，每一行都需要更多的 workspace 吗？


# %%
def builds(graph, workspace):
    """Whether the builder takes this graph with so many bytes of workspace."""
    try:
        trtnet.build_plan(graph, targets=["sm86"], workspace=workspace)
    except trtnet.errors.BuildError:
        return False
    return True


for largest in (1, 8, 64, 256):
    network = recorded(largest)
    enough = next(size for size in range(20, 31) if builds(network, 1 << size))
    print(f"batches of up to {largest:3}: {1 << enough - 20:4} MiB are enough, half of it is not")

# %% [en]
# ## Exercise
#
# Find the smallest workspace with which LeNet builds, to the byte: with it the builder takes the network, with one
# byte less it does not. 1 << 30 is enough, and 1 is not. Each attempt takes about a tenth of a second, so trying them
# all is out of the question: the cell stops you after 100.

# %% [zh]
# ## 练习
#
# 找出能编译 LeNet 的最小 workspace，精确到字节：用它 builder 接受，少一个字节就拒绝。1 << 30 够用，1 不够。每试一次大
# 约要十分之一秒，所以不能一个一个地试：试到 100 次，这个单元格就会停下。


# %%
# Exercise
def smallest_workspace(takes):
    """The least number of bytes for which `takes(number)` is true."""
    return None


# The check: nothing to change from here
def check():
    attempts = []

    def takes(workspace):
        attempts.append(workspace)
        if len(attempts) > 100:
            raise TimeoutError
        return builds(graph, workspace)

    try:
        answer = smallest_workspace(takes)
    except TimeoutError:
        return print("Not yet: 100 attempts, and no end. What do you know of all smaller numbers if one is refused?")
    except trtnet.TrtnetError as error:
        return print(f"Not yet, trtnet says:\n{error}")
    if answer is None:
        return print("Something is missing: smallest_workspace returns None.")
    if not isinstance(answer, int):
        return print(f"Not yet: {answer!r} is no whole number of bytes. (In Python 8 / 2 is 4.0, and 8 // 2 is 4.)")
    if not builds(graph, answer):
        return print(f"Not yet: with {answer:,} bytes the builder still refuses.")
    if builds(graph, answer - 1):
        return print(f"Not yet: {answer:,} bytes are enough, but one byte less is, too.")
    print(f"Right: {answer:,} bytes, after {len(attempts)} attempts.")


check()

# %% [en]
# ## What you would do with it
#
# Usually nothing: leave `workspace` out. Set it where several engines, or a trainer, share a GPU's memory. A little
# above the smallest is seldom the best, for the fast kernels may be those that need more.
#
# A plan remembers what it was built with. `plan.save(path)` writes it, and this account of it beside it:

# %% [zh]
# ## 它有什么用
#
# 通常不需要设置：`workspace` 不写就好。几个 engine 或者训练程序共用一块 GPU 的内存时才设置它。设得只比最小值大一点，
# 往往不是最好的选择，因为快的 kernel 可能正好需要更多内存。
#
# plan 记得自己是用什么设置构建的。`plan.save(path)` 写出 plan，同时在旁边写下这份说明：

# %%
manifest = trtnet.build_plan(graph, targets=["sm86"], workspace=1 << 26).manifest
for key in ("provider", "version", "targets", "precision", "dims", "profiles", "structure"):
    print(f"{key:10}", manifest[key])
print({key: value for key, value in manifest["options"].items() if value not in (None, False, {}, [], ())})

# %% [en]
# ## What you have now
#
# - A build is a network, a config with profiles, and one call; `trtnet.build_plan` makes it, and raises with
#   TensorRT's reasons.
# - Targets say for which GPUs; one plan may serve several.
# - The level says how long to search; a plan of TensorRT-RTX is finished where it runs.
# - An engine has other layers than the network: `engine.inspect()`, `engine.profile` and `engine.draw` show them.
# - The workspace limits scratch memory, and grows with the largest sizes that a profile allows.
#
# Next: [lesson 9, FP16, BF16 and islands of float32](09-half-precision.ipynb). More:
# [all options of a build](../../docs/engines.md#builds).

# %% [zh]
# ## 你现在掌握了什么
#
# - 构建就是一个 network、一个带有 profile 的 config，和一次调用；`trtnet.build_plan` 负责这些，失败时报出 TensorRT 的
#   原因。
# - target 说明给哪些 GPU 用；一个 plan 可以支持好几个。
# - level 说明找多久；TensorRT-RTX 的 plan 在运行的地方才最后完成。
# - engine 里的 layer 与 network 里的不同：`engine.inspect()`、`engine.profile` 和 `engine.draw` 能看到它们。
# - workspace 限制临时内存，profile 允许的最大尺寸越大，需要得越多。
#
# 下一课：[第 9 课，FP16、BF16 和 float32 孤岛](09-half-precision.ipynb)。更多内
# 容：[构建的所有选项](../../docs/engines.md#builds)。
