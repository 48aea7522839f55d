# %% [en]
# # Lesson 5: Reading errors
#
# TensorRT compiles a whole **network**, a list of layers, before the first number flows. So a mistake can show late
# and far from where it was made: a **builder** that says "no", and names layer 37. trtnet looks at every layer while
# the network is recorded, and every error has the same six parts. In this lesson you learn to read them, and then
# repair twelve broken networks by nothing but their errors.
#
# You need PyTorch's basics, no GPU, and nothing of trtnet.

# %% [zh]
# # 第 5 课：读懂报错
#
# TensorRT 在第一个数值流过之前就要编译整个**网络**（network，也就是一串 layer）。所以错误可能很晚才暴露，离出错的地方
# 也很远：**builder** 说“不行”，只告诉你是第 37 个 layer。trtnet 在记录网络的时候就检查每一个 layer，而且每个报错都由
# 同样的六个部分组成。这一课里，你会学会读它们，然后只靠报错信息修好十二个坏掉的网络。
#
# 你需要懂一点 PyTorch，不需要 GPU，也不需要了解 trtnet。

# %%
import warnings

import numpy as np
import torch

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F

batch = Dim("batch", min=1, opt=4, max=16)  # a size that may change, from 1 to 16

# %% [en]
# ## Six parts
#
# `trtnet.record` runs `forward` once, on tensors that have a shape and a type but no numbers, and keeps the layers.
# The module below has a mistake.

# %% [zh]
# ## 六个部分
#
# `trtnet.record` 用只有形状和类型、没有数值的张量把 `forward` 运行一次，并把 layer 记下来。下面这个模块里有一个错误。


# %%
class Net(nn.Module):
    def __init__(self, channels=16):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(channels, 32, 3))
        self.head = nn.Linear(32, 10)

    def forward(self, image):
        x = self.body(image)
        return self.head(x.mean((2, 3)))


try:
    trtnet.record(Net(channels=8), image=Input((batch, 3, 32, 32)))
except trtnet.TrtnetError as error:
    caught = error
print(caught)

# %% [en]
# | part | what it says here |
# |---|---|
# | the first line | what is wrong, in one sentence |
# | `expected` | what would have fitted: a kernel for 16 channels |
# | `found` | what was there: a kernel for 8, and the input that it met |
# | `module` | the path in the model, as in `state_dict`: `body.2` |
# | `at` | *your* line, underlined: the innermost one that is not trtnet's own |
# | `remedy` | what to do |
#
# Read from the bottom: the remedy is often all you need. Where it is not, `at` says where to look and `expected` and
# `found` what to look for. The parts are attributes, too, and each error is also of the kind that Python has for it,
# so existing code that catches `ValueError` goes on to work.

# %% [zh]
# | 部分 | 在这里说的是 |
# |---|---|
# | 第一行 | 一句话：哪里错了 |
# | `expected` | 什么才对得上：16 个通道的 kernel |
# | `found` | 实际是什么：8 个通道的 kernel，以及它遇到的输入 |
# | `module` | 在模型里的路径，和 `state_dict` 里一样：`body.2` |
# | `at` | *你*的那一行，并画出下划线：最里面的、不属于 trtnet 自己的那一行 |
# | `remedy` | 该怎么办 |
#
# 从下往上读：很多时候只看 remedy 就够了。不够的话，`at` 告诉你看哪里，`expected` 和 `found` 告诉你看什么。每个部分也
# 都是属性；而且每个报错同时属于 Python 里相应的异常类型，所以原来捕获 `ValueError` 的代码照样能用。

# %%
print(caught.module, "|", caught.remedy)
print([kind.__name__ for kind in type(caught).__mro__[:4]])

# %% [en]
# Repaired, it records:

# %% [zh]
# 改好之后就能记录了：

# %%
graph = trtnet.record(Net(), image=Input((batch, 3, 32, 32)))
graph  # shows itself as a picture; modules open and close with a click

# %% [en]
# ## Sizes that move
#
# `batch` stands for every size from 1 to 16, and TensorRT is told three of them: the smallest, the best one (`opt`),
# the largest.
#
# **Predict:** the reshape below is right for a batch of 4, which is `opt`. Is it an error?

# %% [zh]
# ## 会变的大小
#
# `batch` 代表 1 到 16 之间的任意大小，告诉 TensorRT 的是其中三个：最小的、最佳的（`opt`）和最大的。
#
# **预测：** 下面的 reshape 在 batch 为 4（也就是 `opt`）时是对的。它会报错吗？

# %%
try:
    trtnet.record(lambda row: row.reshape(4, 2, 3), row=Input((batch, 6)))
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# It is: `found` shows both sides at min, opt and max, and they agree at one of the three. The remedy says that
# `print` works while recording. Sizes that move print by name:

# %% [zh]
# 会：`found` 列出了等号两边在 min、opt、max 时的值，三个里面只有一个相等。remedy 提到，记录的时候可以用 `print`。会变
# 的大小打印出来是名字：


# %%
def shapes(image):
    print("image:     ", image.shape)
    flat = image.flatten(1)
    print("flattened: ", flat.shape, "of which the first is", type(flat.shape[0]).__name__)
    return flat


_ = trtnet.record(shapes, image=Input((batch, 3, 8, 8)))

# %% [en]
# ## Numbers that are not there yet
#
# Python's `if`, `for`, `int()` and `max()` need a value now. A recorded tensor has none before the network runs.
#
# **Predict:** which of these record: `for _ in range(row.shape[1])`, `int(row.shape[0])`, `if row.sum() > 0`?

# %% [zh]
# ## 还不存在的数值
#
# Python 的 `if`、`for`、`int()`、`max()` 当场就要一个值，而记录中的张量在网络运行之前没有值。
#
# **预测：** `for _ in range(row.shape[1])`、`int(row.shape[0])`、`if row.sum() > 0` 这三个里面，哪些能记录？


# %%
def fixed_loop(row):
    for _ in range(row.shape[1]):  # the second size is the number 6
        row = row * 2
    return row


def dynamic_size(row):
    return row * int(row.shape[0])


def decision(row):
    return row if row.sum() > 0 else -row


for function in (fixed_loop, dynamic_size, decision):
    try:
        print(trtnet.record(function, row=Input((batch, 6))), "\n")
    except trtnet.TrtnetError as error:
        print(error, "\n")

# %% [en]
# The loop ran six times in Python and left two layers each time, a constant and a product. The other two name ways
# that are layers themselves, like `trtnet.where`.
#
# ## Weights that do not fit
#
# Loading weights looks at all names and shapes before it changes one, and lists what is missing, what is too much,
# and the nearest name.

# %% [zh]
# 循环在 Python 里执行了六次，每次留下两个 layer：一个常数，一个乘法。另外两个报错给出了本身就是 layer 的写法，比如
# `trtnet.where`。
#
# ## 对不上的权重
#
# 加载权重时，会先检查所有的名字和形状，然后才改动；报错列出缺了什么、多了什么，以及最接近的名字。

# %%
state = Net().state_dict()
state["head.wieght"] = state.pop("head.weight")
state["head.bias"] = state["head.bias"][:9]
try:
    Net().load_state_dict(state)
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# ## Warnings
#
# What is not wrong, but probably not meant, is a warning. Python's own list below hides two layers from the module:
# the network records, but its weights have no names, and nobody can load or refit them.

# %% [zh]
# ## 警告
#
# 不算错、但多半不是你本意的地方，会给出警告。下面的 Python 列表把两个 layer 藏了起来，模块看不到它们：网络能记录，但
# 它们的权重没有名字，谁也没法加载或 refit。


# %%
class Hidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(6, 6), nn.Linear(6, 6)]

    def forward(self, row):
        return self.layers[1](F.relu(self.layers[0](row)))


with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    hidden = trtnet.record(Hidden(), row=Input((batch, 6)))
print("state_dict:", list(hidden.state_dict()))
print(seen[0].message)

# %% [en]
# ## How the exercise is judged
#
# Each network is recorded, computed with the reference engine (the same layers, run by PyTorch) for batches of 1 and
# 7, and compared with what is wanted, written in PyTorch. The next cell has that; you need not read it.

# %% [zh]
# ## 练习怎么评判
#
# 每个网络都会被记录下来，用 reference engine（由 PyTorch 运行同样的 layer）对大小为 1 和 7 的 batch 进行计算，再与用
# PyTorch 写的期望结果比较。下一个单元格就是干这个的，可以不看。

# %%
IMAGE, ROW = {"image": Input((batch, 3, 8, 8))}, {"row": Input((batch, 6))}


def by_row(function):
    return lambda x, w: torch.stack([function(row) for row in x])


def linear(x, w, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def convolved(x, w, name):
    return torch.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"])


WANTED = {
    "Stem": (IMAGE, (4, 4, 4), lambda x, w: convolved(convolved(x, w, "conv1").relu(), w, "conv2")),
    "Head": (IMAGE, (10,), lambda x, w: torch.stack([linear(one.reshape(-1), w, "fc") for one in x])),
    "gate": (ROW, (6,), lambda x, w: x / (1 + torch.exp(-x))),
    "pairs": (ROW, (2, 3), by_row(lambda row: torch.stack([row[:3], row[3:]]))),
    "share": (ROW, (6,), by_row(lambda row: row.exp() / row.exp().sum())),
    "upright": (ROW, (6,), by_row(lambda row: row if row.sum() > 0 else -row)),
    "lowered": (ROW, (6,), lambda x, w: x.where(x <= 0, x - 1)),
    "doubled": (ROW, (6,), lambda x, w: x + x.half().float()),
    "averaged": (ROW, (7,), by_row(lambda row: torch.tensor([*row, row.mean()]))),
    "positive": (ROW, (6,), lambda x, w: x.clamp(min=0)),
    "Deep": (ROW, (6,), lambda x, w: linear(linear(x, w, "layers.0").relu(), w, "layers.1")),
    "Scorer": (ROW, (5,), lambda x, w: linear(x, w, "fc")),
}


def fault(network):
    """What is wrong with a network, or None."""
    inputs, shape, wanted = WANTED[network.__name__]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            graph = trtnet.record(network() if isinstance(network, type) else network, **inputs)
            engine = trtnet.reference(graph)
        except trtnet.TrtnetError as error:
            return str(error)
    if seen:
        return f"it records, with a warning:\n{seen[0].message}"
    weights = {name: torch.from_numpy(value) for name, value in graph.state_dict().items()}
    for size in (1, 7):
        sizes = [int(one) if isinstance(one, int) else size for one in next(iter(inputs.values())).shape]
        x = torch.from_numpy(np.random.default_rng(size).standard_normal(sizes).astype(np.float32))
        found = engine(x)
        if not isinstance(found, torch.Tensor):
            return f"it should return one tensor, not a {type(found).__name__}"
        if found.shape != (size, *shape):
            return f"its result for a batch of {size} has the shape {tuple(found.shape)}, not {(size, *shape)}"
        if not torch.allclose(found, wanted(x, weights), atol=1e-5):
            return "it records, but computes other numbers than its docstring says"
    return None


def check(networks):
    """Say which networks are right, and what is wrong with the first that is not."""
    faults = {network.__name__: fault(network) for network in networks}
    for name, wrong in faults.items():
        print(f"{name:9} {'right' if wrong is None else 'not yet'}")
    left = [name for name, wrong in faults.items() if wrong is not None]
    if left:
        return print(f"\nNot right yet: {len(left)} of {len(networks)}. The first is {left[0]}:\n\n{faults[left[0]]}")
    if set(faults) != set(WANTED):
        return print(f"\nNot yet: {sorted(set(WANTED) - set(faults))} are missing.")
    print("\nRight: all twelve record, and compute what they should.")


# %% [en]
# ## Exercise
#
# Twelve networks, each with one mistake. The docstring says what is wanted. Run the cell, read the error of the first
# that is not right, change one thing, run it again. Keep the names of parameters.

# %% [zh]
# ## 练习
#
# 十二个网络，每个都有一处错误，docstring 说明了它应该做什么。运行单元格，读第一个不对的网络的报错，改一处，再运行。参
# 数的名字不要改。


# %%
# Exercise
class Stem(nn.Module):
    """A convolution to 8 maps, ReLU, a convolution to 4 maps; both have 3×3 kernels."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(3, 4, 3)

    def forward(self, image):
        return self.conv2(F.relu(self.conv1(image)))


class Head(nn.Module):
    """Ten scores of each image, from all of its numbers."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(192, 10)

    def forward(self, image):
        return self.fc(image.flatten())


def gate(row):
    """Each number times its sigmoid."""
    return row * F.sigmod(row)


def pairs(row):
    """The six numbers of each row as 2×3."""
    return row.reshape(4, 2, 3)


def share(row):
    """Softmax over the six numbers of each row."""
    return F.softmax(row, axis=1)


def upright(row):
    """A row as it is where its sum is positive, else negated: each row by its own sum."""
    return row if row.sum(1, keepdim=True) > 0 else -row


def lowered(row):
    """Each number that is positive less 1, the others as they are."""
    return row - (row > 0)


def doubled(row):
    """Each number plus what float16 makes of it, in float32."""
    return row + row.half()


def averaged(row):
    """The six numbers of each row, and their mean as the seventh."""
    return trtnet.cat([row, row.mean(1, keepdim=True)], 0)


def positive(row):
    """0 in place of what is negative."""
    return torch.relu(row)


class Deep(nn.Module):
    """Two linear layers with ReLU between; the parameters are layers.0.weight, layers.1.weight and biases."""

    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(6, 6), nn.Linear(6, 6)]

    def forward(self, row):
        return self.layers[1](F.relu(self.layers[0](row)))


class Scorer(nn.Module):
    """Five scores of each row."""

    def __init__(self):
        self.fc = nn.Linear(6, 5)

    def forward(self, row):
        return self.fc(row)


# The check: nothing to change from here
check([Stem, Head, gate, pairs, share, upright, lowered, doubled, averaged, positive, Deep, Scorer])

# %% [en]
# ## What recording cannot know
#
# An error at your line needs a rule that is known before the network runs. Three things are found later, and say so
# in the same form: sizes that do not fit at a call, before TensorRT sees them; what TensorRT's builder refuses, as a
# `BuildError` with its own words; and numbers that are wrong, which the engine's check finds (lesson 7).

# %% [zh]
# ## 记录时无法知道的事
#
# 只有在网络运行之前就能判断的规则，才能在你的那一行报错。还有三类问题要晚一些才发现，报错的形式相同：调用时大小不对，
# 会在 TensorRT 看到之前报出来；TensorRT 的 builder 拒绝的，报 `BuildError`，并引用它的原话；数值算错的，由 engine 的
# 检查发现（第 7 课）。

# %%
engine = trtnet.reference(graph)
try:
    engine(np.zeros((17, 3, 32, 32), np.float32))
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# ## What you have now
#
# - Six parts: the sentence, `expected`, `found`, `module`, `at`, `remedy`. Read from the bottom.
# - Sizes are checked at min, opt and max at once; `print(x.shape)` works while recording.
# - Values do not exist while recording: decide with shapes that are numbers, or with layers such as `trtnet.where`.
# - A warning may be the only sign that weights have no names.
#
# Next: [lesson 6, GoogLeNet: branches](06-googlenet.ipynb). More: [the README's example](../../README.md),
# [engines](../../docs/engines.md).

# %% [zh]
# ## 你现在掌握了什么
#
# - 六个部分：第一句话、`expected`、`found`、`module`、`at`、`remedy`。从下往上读。
# - 大小同时在 min、opt、max 三处检查；记录时可以 `print(x.shape)`。
# - 记录时没有数值：用本身就是数字的形状来判断，或者用 `trtnet.where` 之类的 layer。
# - 权重没有名字，可能只有一条警告会告诉你。
#
# 下一课：[第 6 课，GoogLeNet：分支](06-googlenet.ipynb)。更多内
# 容：[README 里的例子](../../README.md)、[engine](../../docs/engines.md)。
