# %% [en]
# # Lesson 11: Loops, and a layer of your own
#
# A TensorRT **network** is a list of layers that its **builder** compiles into a **plan** before the first number
# comes. What of a loop whose number of steps is known only then? And what of an operation for which TensorRT has no
# layer?
#
# In this lesson you write loops that run inside the engine, and two kinds of layers of your own: TensorRT's raw
# calls, and a plugin. You need PyTorch's basics, no GPU, and nothing of trtnet: the *reference engine* computes the
# layers with PyTorch.

# %% [zh]
# # 第 11 课：循环，以及自己的 layer
#
# TensorRT 的**网络**（network）是一串 layer，在第一个数值到来之前就由 **builder** 编译成 **plan**。如果循环的步数到那
# 时才知道，怎么办？如果某种运算 TensorRT 没有对应的 layer，又怎么办？
#
# 这一课里，你会写出在 engine 里面运行的循环，以及两种自己的 layer：TensorRT 的原始调用，和 plugin。你需要懂一点
# PyTorch，不需要 GPU，也不需要了解 trtnet：*reference engine* 用 PyTorch 计算这些 layer。

# %%
import numpy as np
import torch

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F

torch.set_num_threads(1)  # what follows is small
trtnet.manual_seed(0)
random = np.random.default_rng(0)

# %% [en]
# ## A Python loop is unrolled
#
# `trtnet.record` runs a function once, on tensors without numbers, and keeps each layer that is asked for. A Python
# `for` asks for its layers again at each step.
#
# **Predict:** each step below adds a row to a total, and keeps the total. How many layers for 5 rows? For 50?

# %% [zh]
# ## Python 的循环会展开
#
# `trtnet.record` 用没有数值的张量把函数运行一次，把途中要求的每个 layer 都记下来。Python 的 `for` 每走一步，就把它的
# layer 再要求一遍。
#
# **预测：** 下面的每一步把一行加到总和里，并保留总和。5 行有多少个 layer？50 行呢？


# %%
def unrolled(x):
    total, all_totals = trtnet.zeros(3), []
    for step in range(x.shape[0]):
        total = total + x[step]
        all_totals.append(total)
    return trtnet.stack(all_totals)


for length in (5, 50):
    print(trtnet.record(unrolled, x=Input((length, 3))))

# %% [en]
# TensorRT compiles every one of them, and the length is fixed. With a length that may change, `range` has no number
# to count to:

# %% [zh]
# 这些 layer TensorRT 每一个都要编译，而且长度是固定的。如果长度会变，`range` 就没有数可数：

# %%
time = Dim("time", min=1, opt=5, max=9)  # any length from 1 to 9
try:
    trtnet.record(unrolled, x=Input((time, 3)))
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# ## A loop in the network
#
# TensorRT has a loop of its own, `ILoop`. `trtnet.scan(body, init, xs)` writes one: `body(carry, row)` is recorded
# once, and says how one step goes. It returns what is carried to the next step, and a result of this step. The engine
# runs it once for each row of `xs`.
#
# The loop below is a recurrent cell: its state `h` is carried, and is each step's result as well.

# %% [zh]
# ## 网络里的循环
#
# TensorRT 有自己的循环，叫 `ILoop`。`trtnet.scan(body, init, xs)` 就写出这样一个循环：`body(carry, row)` 只记录一次，
# 描述一步怎么走。它返回要带到下一步的东西，以及这一步的结果。engine 对 `xs` 的每一行运行一次。
#
# 下面的循环是一个循环神经网络单元：它的状态 `h` 一步一步带下去，同时也是每一步的结果。


# %%
class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3 + 4, 4)

    def forward(self, x):
        def body(h, row):
            h = F.tanh(self.linear(trtnet.cat([row, h])))
            return h, h

        _, states = trtnet.scan(body, trtnet.zeros(4), x)
        return states


graph = trtnet.record(Cell(), x=Input((time, 3)))
print(graph.summary())

# %% [en]
# Four kinds of layers make the loop. A **recurrence** holds what is carried: at first the zeros, then what the body
# gave. A **trip limit** says how many steps. An **iterator** gives one row of `x` at each. **Loop outputs** lead out:
# the last value, and all of them, one below the other. What stands between, indented, is the body.
#
# In a picture the way back is a dashed arrow:

# %% [zh]
# 循环由四种 layer 组成。**recurrence** 保存带下去的东西：最初是零，之后是 body 给出的值。**trip limit** 决定走几
# 步。**iterator** 每一步给出 `x` 的一行。**loop output** 通向循环外面：最后一个值，以及依次叠起来的所有值。中间缩进的
# 部分就是 body。
#
# 画成图时，往回走的路是虚线箭头：

# %%
graph  # shows itself as a picture; modules open and close with a click

# %% [en]
# **Predict:** this graph is compared with a loop in NumPy, for lengths 1, 5 and 9. How many layers does it have for
# length 9? (`len(graph.layers)` counts as it was recorded: there a linear layer is one, and in the table, which shows
# what TensorRT gets, four.)

# %% [zh]
# **预测：** 下面把这个 graph 与 NumPy 写的循环比较，长度取 1、5、9。长度为 9 时它有多少个 layer？
# （`len(graph.layers)` 数的是记录下来的 layer：线性层在那里算一个，在表里是 TensorRT 得到的四个。）

# %%
engine = trtnet.reference(graph)
weights = graph.state_dict()
for length in (1, 5, 9):
    x = random.standard_normal((length, 3)).astype(np.float32)
    h, wanted = np.zeros(4, np.float32), []
    for row in x:
        h = np.tanh(np.concatenate([row, h]) @ weights["linear.weight"].T + weights["linear.bias"])
        wanted.append(h)
    print(length, "steps,", len(graph.layers), "layers, largest difference", np.abs(engine(x) - wanted).max())

# %% [en]
# The layers are the same for every length, and so is the plan. TensorRT-RTX compiles it here, without a GPU, for a
# GeForce RTX 30. Weights inside have their usual names, and can be refitted like others.

# %% [zh]
# 不管长度是多少，layer 都是这些，plan 也是同一个。TensorRT-RTX 在这里就能为 GeForce RTX 30 编译它，不需要 GPU。循环里
# 面的权重名字和平常一样，也可以像别的权重一样 refit。

# %%
print(trtnet.build_plan(graph, targets=["sm86"]))
print(list(weights))

# %% [en]
# ## What a body may do
#
# A step cannot change what it carries: the memory for it is planned before. And what a body computed is outside only
# if the body returns it. Both are errors while recording:

# %% [zh]
# ## body 里可以做什么
#
# 每一步都不能改变所带东西的形状，因为它的内存是事先规划好的。body 里算出来的东西，只有被 body 返回了，外面才能用。这
# 两种情况在记录时就会报错：


# %%
def growing(x):
    return trtnet.scan(lambda carry, row: (trtnet.cat([carry, row]), None), trtnet.zeros(3), x)


def leaking(x):
    kept = []

    def body(carry, row):
        kept.append(row * 2)
        return carry + row, None

    trtnet.scan(body, trtnet.zeros(3), x)
    return kept[0]


for function in (growing, leaking):
    try:
        trtnet.record(function, x=Input((time, 3)))
    except trtnet.TrtnetError as error:
        print(error, "\n")

# %% [en]
# ## Until something is true
#
# `trtnet.while_loop(condition, body, init)` goes on as long as a condition on what is carried holds. The numbers
# decide how often. (`trtnet.cond` is an `if` in the same way.)
#
# **Predict:** the loop doubles a vector until its sum is 100 or more. How many steps from (1, 1, 1)? From (20, 20,
# 20)?

# %% [zh]
# ## 直到条件不成立
#
# `trtnet.while_loop(condition, body, init)` 只要带着的值满足条件就一直走下去，走几步由数值决定。（`trtnet.cond` 以同
# 样的方式写 `if`。）
#
# **预测：** 下面的循环把一个向量不断加倍，直到它的和达到 100 或更大。从 (1, 1, 1) 开始要几步？从 (20, 20, 20) 开始
# 呢？


# %%
def doubled(x):
    return trtnet.while_loop(lambda steps, x: x.sum() < 100, lambda steps, x: (steps + 1, x * 2), (0, x))


engine = trtnet.reference(trtnet.record(doubled, x=Input((3,))))
for start in (1, 20):
    steps, x = engine(np.full(3, start, np.float32))
    print(f"from {start}: {steps} steps, {x}")

# %% [en]
# ## Exercise
#
# Write the running sum of the rows as a scan: row *t* of the result is the sum of the rows 0 to *t* of `x`. The cell
# compares it with NumPy's `cumsum` for lengths 1, 5 and 9, and looks whether there is one loop in it.

# %% [zh]
# ## 练习
#
# 用 scan 写出各行的累计和：结果的第 *t* 行是 `x` 的第 0 行到第 *t* 行之和。这个单元格会在长度为 1、5、9 时与 NumPy 的
# `cumsum` 比较，并检查里面是不是有一个循环。


# %%
# Exercise
def running_sum(x):
    """(time, 3) to (time, 3): each row is the sum of the rows up to it."""

    def body(total, row):
        return ...  # what is carried, and the result of this step

    return None  # trtnet.scan gives two things; which of them is it?


# The check: nothing to change from here
def check():
    results = []

    def forward(x):
        results.append(running_sum(x))
        return x if results[0] is None else results[0]

    try:
        graph = trtnet.record(forward, x=Input((time, 3)))
    except trtnet.TrtnetError as error:
        return print(f"Not yet, trtnet says:\n{error}")
    kinds = [layer.kind for layer in graph.layers]
    if results[0] is None:
        return print("Something is missing: running_sum returns None.")
    if "iterator" not in kinds:
        return print(f"Not yet: there is no loop over the rows in it, but {kinds}.")
    engine = trtnet.reference(graph)
    for length in (1, 5, 9):
        x = random.integers(-9, 10, (length, 3)).astype(np.float32)
        found = engine(x)
        if np.shape(found) != (length, 3):
            return print(f"Not yet: of {length} rows it gives {np.shape(found) or type(found).__name__}.")
        if not np.array_equal(found, x.cumsum(0)):
            return print(f"Not yet, of {length} rows:\nx =\n{x}\nrunning_sum(x) =\n{found}\nWhat is the first row?")
    print("Right: one body for lengths 1, 5 and 9.")


check()

# %% [en]
# ## A layer of your own: raw calls
#
# `trtnet.raw` puts calls of TensorRT's own Python API into a `forward`. `add` gets the network that is being built,
# and a tensor of it; what it adds is up to you. `shapes` says the output's shape, and `reference` the same in
# PyTorch, for engines without TensorRT, and to check those with it.

# %% [zh]
# ## 自己的 layer：原始调用
#
# `trtnet.raw` 把 TensorRT 自己的 Python API 调用放进 `forward`。`add` 得到正在构建的 network 和其中的一个张量，往里加
# 什么由你决定。`shapes` 说明输出的形状；`reference` 是同样运算的 PyTorch 写法，供没有 TensorRT 的 engine 使用，也用来
# 检查有 TensorRT 的 engine。


# %%
def add(network, x):
    layer = network.add_softmax(x)  # an ISoftMaxLayer
    layer.axes = 1 << 0  # a bit for each dimension: over time
    return layer.get_output(0)


def forward(x):
    return trtnet.raw(add, x, shapes=x.shape, reference=lambda x: x.softmax(0))


graph = trtnet.record(forward, x=Input((time, 3)))
print(trtnet.reference(graph)(np.zeros((2, 3), np.float32)))
print(trtnet.build_plan(graph, targets=["sm86"]))

# %% [en]
# The builder is asked whether the shape is right. If you say another one, the error is at your line:

# %% [zh]
# 形状对不对，会问 builder。如果你说的不一样，就在你的那一行报错：

# %%
try:
    trtnet.build_plan(trtnet.record(lambda x: trtnet.raw(add, x, shapes=(3,)), x=Input((time, 3))), targets=["sm86"])
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# ## A layer of your own: a plugin
#
# A **plugin** is code that TensorRT calls while the engine runs: usually a CUDA kernel, in a shared library that
# registers a *creator* under a name. `trtnet.Plugin` says which one, what its attributes and parameters are, and what
# it computes. `compose` is the same by other layers: TensorRT-RTX has no plugins, and takes that instead.
#
# Nothing of the library is needed to record it. (`examples/plugin` in the repository has this one in CUDA.)

# %% [zh]
# ## 自己的 layer：plugin
#
# **plugin** 是 engine 运行时由 TensorRT 调用的代码：通常是 CUDA kernel，放在一个动态库里，库以某个名字注册一个
# *creator*。`trtnet.Plugin` 说明用哪个 creator、有哪些属性和参数、算的是什么。`compose` 用别的 layer 写出同样的运
# 算：TensorRT-RTX 没有 plugin，就用它代替。
#
# 记录时完全不需要那个库。（仓库的 `examples/plugin` 里有这个 plugin 的 CUDA 实现。）


# %%
class SoftClip(trtnet.Plugin):
    creator, version = "SoftClip", "1"

    def __init__(self, channels, limit):
        super().__init__(limit=limit)  # an attribute
        self.scale = nn.Parameter(np.ones(channels, np.float32))  # a parameter, which refits

    def shapes(self, x, scale):
        return x  # the output has the shape and type of x

    def reference(self, x, scale):
        return self.limit * torch.tanh(x * scale / self.limit)

    def compose(self, x, scale):
        return self.limit * F.tanh(x * scale / self.limit)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3)
        self.clip = SoftClip(3, limit=0.5)

    def forward(self, x):
        return self.clip(self.head(x))


graph = trtnet.record(Net(), x=Input((time, 3)))
print(graph.summary())

# %% [en]
# **Predict:** TensorRT-RTX gets `compose` in place of the plugin. `limit * tanh(x * scale / limit)` is two products,
# a quotient and a tanh: how many layers will there be for `clip`?

# %% [zh]
# **预测：** TensorRT-RTX 得到的是 `compose`，而不是 plugin。`limit * tanh(x * scale / limit)` 有两个乘法、一个除法和
# 一个 tanh：`clip` 会有多少个 layer？

# %%
print(graph.summary(trtnet.provider.load("tensorrt_rtx")))
print(trtnet.build_plan(graph, targets=["sm86"]))

# %% [en]
# Numbers are layers, too, and one changes the shape of `scale`. So `reference` and `compose` are two ways to write
# one thing, and may disagree. An engine on a GPU is compared with the reference before you get it; without one,
# compare them yourself:

# %% [zh]
# 数字也是 layer，还有一个 layer 改变 `scale` 的形状。`reference` 和 `compose` 是同一件事的两种写法，有可能不一致。在
# GPU 上，engine 交给你之前会与 reference 比较；没有 GPU 时，可以自己比较：

# %%
clip = SoftClip(3, limit=0.5)
x = random.standard_normal((9, 3)).astype(np.float32)
one = trtnet.reference(trtnet.record(clip, x=Input((time, 3))))(x)
other = trtnet.reference(
    trtnet.record(lambda x: clip.compose(x, trtnet.tensor(clip.scale.numpy())), x=Input((time, 3)))
)(x)
print("largest difference:", np.abs(one - other).max())

# %% [en]
# ## What you have now
#
# - A Python loop is unrolled; `trtnet.scan`, `while_loop` and `cond` are loops and decisions inside the engine.
# - One body, for every length; its weights refit.
# - `trtnet.raw` for TensorRT's own calls, `trtnet.Plugin` for code that TensorRT calls. Both have a reference in
#   PyTorch.
#
# Next: [lesson 12, New weights, same engine](12-reinforcement-learning.ipynb). More: [loops](../../docs/loops.md),
# [plugins, and CUDA or Triton source in a network](../../docs/plugins.md).

# %% [zh]
# ## 你现在掌握了什么
#
# - Python 的循环会展开；`trtnet.scan`、`while_loop`、`cond` 是 engine 里面的循环和判断。
# - 一个 body 适用于任意长度，里面的权重可以 refit。
# - `trtnet.raw` 写 TensorRT 自己的调用，`trtnet.Plugin` 用于由 TensorRT 调用的代码；两者都有 PyTorch 写的 reference。
#
# 下一课：[第 12 课，换权重，不换 engine](12-reinforcement-learning.ipynb)。更多内
# 容：[循环](../../docs/loops.md)、[plugin，以及网络里的 CUDA 或 Triton 源码](../../docs/plugins.md)。
