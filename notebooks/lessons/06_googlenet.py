# %% [en]
# # Lesson 6: GoogLeNet: branches
#
# A TensorRT **network** is a list of layers, but no chain: a tensor may be read by several layers, and a layer may
# read several tensors. GoogLeNet (Szegedy et al. 2014, "Going deeper with convolutions") is made of this. Its
# *inception* module sends an image four ways at once and lays the results side by side.
#
# In this lesson you write the first of its nine inception modules, from the paper's table. Whether it is the right
# one, a *structure hash* tells, which also decides when TensorRT's **builder** must compile again, and when new
# weights in the old **plan** will do. You need PyTorch's basics, no GPU, and nothing of trtnet.

# %% [zh]
# # 第 6 课：GoogLeNet：分支
#
# TensorRT 的**网络**（network）是一串 layer，但不一定是一条链：一个张量可以被几个 layer 读取，一个 layer 也可以读取几
# 个张量。GoogLeNet（Szegedy 等人 2014，"Going deeper with convolutions"）就是这样搭起来的：它的 *inception* 模块让图
# 像同时走四条路，再把结果并排放在一起。
#
# 这一课里，你会照着论文里的表，写出九个 inception 模块中的第一个。写得对不对，由*结构哈希*（structure hash）来判断；
# 它也决定 TensorRT 的 **builder** 什么时候必须重新编译，什么时候只要在原来的 **plan** 里换上新权重。你需要懂一点
# PyTorch，不需要 GPU，也不需要了解 trtnet。

# %%
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F

torch.set_num_threads(1)
root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "models").is_dir())
sys.path.insert(0, str(root))  # so that `models` is found from notebooks/ too
batch = Dim("batch", min=1, opt=4, max=16)  # a size that may change

# %% [en]
# ## Two branches
#
# `trtnet.record` runs `forward` once, on tensors without numbers, and keeps the layers. Here both branches read `x`,
# and `trtnet.cat` puts their maps (channels) one behind the other.
#
# **Predict:** how many layers? How many channels come out?

# %% [zh]
# ## 两个分支
#
# `trtnet.record` 用没有数值的张量把 `forward` 运行一次，并把 layer 记下来。这里两个分支都读 `x`，`trtnet.cat` 把它们
# 的特征图（通道）接在一起。
#
# **预测：** 有几个 layer？输出有多少个通道？


# %%
class Fork(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(3, 8, 1)
        self.right = nn.Conv2d(3, 4, 5, padding=2)

    def forward(self, x):
        return trtnet.cat([F.relu(self.left(x)), F.relu(self.right(x))], 1)


fork = trtnet.record(Fork(), x=Input((batch, 3, 28, 28)))
print(fork.summary())

# %% [en]
# TensorRT has no layer that forks: `x` simply has two readers. Only what joins is a layer, `concatenation`. In a
# picture one sees it at once:

# %% [zh]
# TensorRT 没有“分叉”的 layer：`x` 只不过有两个读者。只有汇合才是一个 layer，即 `concatenation`。画成图一眼就能看出
# 来：

# %%
fork

# %% [en]
# (`fork.draw("fork.html")` writes the picture, for a browser; `print(fork.draw())` is Mermaid's text, for GitHub.)
#
# ## What must fit where branches join
#
# All sizes but the channels. A branch that forgets its padding returns a smaller image:

# %% [zh]
# （`fork.draw("fork.html")` 把图写成浏览器能打开的文件；`print(fork.draw())` 给出 Mermaid 的文本，可放到 GitHub 上。）
#
# ## 分支汇合时什么必须一致
#
# 除了通道数以外的所有大小。如果某个分支忘了 padding，它返回的图像就会变小：


# %%
class Unpadded(Fork):
    def __init__(self):
        super().__init__()
        self.right = nn.Conv2d(3, 4, 5)


try:
    trtnet.record(Unpadded(), x=Input((batch, 3, 28, 28)))
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# ## Why 1×1 first
#
# A 5×5 convolution over 192 channels is expensive. The paper puts a 1×1 convolution before it, which *reduces* the
# channels to 16.
#
# **Predict:** in inception 3a, 192 channels of 28×28 become 32 by a 5×5 convolution. How many times fewer
# multiplications is it by way of 16 channels: 2, 10, or 50?

# %% [zh]
# ## 为什么先用 1×1
#
# 在 192 个通道上做 5×5 卷积很费计算。论文在它前面放了一个 1×1 卷积，先把通道数*减少*到 16。
#
# **预测：** 在 inception 3a 里，28×28 的 192 个通道经过 5×5 卷积变成 32 个通道。先减到 16 个通道，乘法次数会少多少
# 倍：2、10 还是 50？

# %%
direct = 28 * 28 * (192 * 32 * 5 * 5)
reduced = 28 * 28 * (192 * 16 * 1 * 1 + 16 * 32 * 5 * 5)
print(f"{direct:,} against {reduced:,}: {direct / reduced:.1f} times")

# %% [en]
# ## The structure of a network
#
# `graph.structure_hash()` is a number made of everything that TensorRT compiles: the layers and their attributes,
# what reads what, ranges of sizes, types, the names of weights.
#
# **Predict:** which of these have another hash than `fork`: (a) other random weights, (b) the function written
# otherwise, (c) a dilation, (d) the branches the other way round, (e) a batch of up to 32?

# %% [zh]
# ## 网络的结构
#
# `graph.structure_hash()` 是由 TensorRT 要编译的一切算出来的一个数：layer 及其属性、谁读谁、大小的范围、类型、权重的
# 名字。
#
# **预测：** 下面哪些的哈希与 `fork` 不同：(a) 权重换成另一组随机数；(b) 函数换一种写法；(c) 加上 dilation；(d) 两个分
# 支交换顺序；(e) batch 最大到 32？


# %%
class Rewritten(Fork):
    def forward(self, image):
        ways = [self.left, self.right]
        results = [way(image).relu() for way in ways]
        results = [result for result in results if result is not None]
        return trtnet.concat(results, dim=1)


class Dilated(Fork):
    def __init__(self):
        super().__init__()
        self.right = nn.Conv2d(3, 4, 5, padding=4, dilation=2)


class Swapped(Fork):
    def forward(self, x):
        return trtnet.cat([F.relu(self.right(x)), F.relu(self.left(x))], 1)


def hashed(net, batch=batch, name="x"):
    return trtnet.record(net, **{name: Input((batch, 3, 28, 28))}).structure_hash()[:12]


print("fork         ", fork.structure_hash()[:12])
print("(a) weights  ", hashed(Fork()))
print("(b) rewritten", hashed(Rewritten(), name="image"))
print("(c) dilated  ", hashed(Dilated()))
print("(d) swapped  ", hashed(Swapped()))
print("(e) to 32    ", hashed(Fork(), Dim("batch", min=1, opt=4, max=32)))

# %% [en]
# Did (b) surprise you? The layers are the same, but its input has another name, `image`, by which an engine is
# called. With the old name it is the same network:

# %% [zh]
# (b) 出乎意料吗？layer 都一样，但它的输入换了名字，叫 `image`，而调用 engine 时要用这个名字。换回原来的名字，就是同一
# 个网络：


# %%
class RenamedBack(Rewritten):
    def forward(self, x):
        return super().forward(x)


print(hashed(RenamedBack()) == fork.structure_hash()[:12])

# %% [en]
# ## What it is good for
#
# Compiling takes seconds to minutes; writing weights takes milliseconds. With `cache=` trtnet keeps plans by their
# structure: the same structure with other weights is not compiled again, if its weights were asked to be changeable
# (`refit=True`). TensorRT-RTX compiles here, without a GPU, for a GeForce RTX 30 (`sm86`).

# %% [zh]
# ## 它有什么用
#
# 编译要几秒到几分钟，写权重只要几毫秒。用 `cache=`，trtnet 会按结构保存 plan：结构相同、权重不同的网络不会再编译，前
# 提是构建时要求过权重可以改（`refit=True`）。这里由 TensorRT-RTX 为 GeForce RTX 30（`sm86`）编译，不需要 GPU。

# %%
with tempfile.TemporaryDirectory() as folder:
    for _ in range(2):
        graph = trtnet.record(Fork(), x=Input((batch, 3, 28, 28)))  # new weights each time
        plan = trtnet.build_plan(graph, ["sm86"], refit=True, cache=folder)
        print(f"{graph.structure_hash()[:12]}: {len(plan):,} bytes, compiled in {plan.seconds:.1f} s")

# %% [en]
# ## Exercise
#
# The paper's table says of inception 3a (input 192 channels of 28×28):
#
# | #1×1 | #3×3 reduce | #3×3 | #5×5 reduce | #5×5 | pool proj |
# |---|---|---|---|---|---|
# | 64 | 96 | 128 | 16 | 32 | 32 |
#
# - `branch1`: 1×1 to 64
# - `branch2`: 1×1 to 96, then 3×3 to 128
# - `branch3`: 1×1 to 16, then 5×5 to 32
# - `branch4`: a maximum pool of 3×3 with stride 1, then 1×1 to 32
#
# Each convolution is followed by ReLU (`Block` below does both); all keep 28×28; the results are joined in this
# order. Make `branch2` to `branch4` an `nn.Sequential` each, so that the weights have the names of the model that is
# in `models/`, and the hash can be the same.

# %% [zh]
# ## 练习
#
# 论文的表里，inception 3a（输入是 28×28 的 192 个通道）是这样的：
#
# | #1×1 | #3×3 reduce | #3×3 | #5×5 reduce | #5×5 | pool proj |
# |---|---|---|---|---|---|
# | 64 | 96 | 128 | 16 | 32 | 32 |
#
# - `branch1`：1×1 到 64
# - `branch2`：1×1 到 96，再 3×3 到 128
# - `branch3`：1×1 到 16，再 5×5 到 32
# - `branch4`：3×3、stride 为 1 的最大池化，再 1×1 到 32
#
# 每个卷积后面都有 ReLU（下面的 `Block` 两样都做）；所有结果都保持 28×28；按这个顺序接在一起。请把 `branch2` 到
# `branch4` 各写成一个 `nn.Sequential`，这样权重的名字就和 `models/` 里的模型相同，哈希才可能相同。


# %%
# Exercise
class Block(nn.Module):
    """A convolution and ReLU."""

    def __init__(self, before, after, kernel_size, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel_size, padding=padding)

    def forward(self, x):
        return F.relu(self.conv(x))


class Inception3a(nn.Module):
    """(batch, 192, 28, 28) to (batch, 256, 28, 28)."""

    def __init__(self):
        super().__init__()
        self.branch1 = Block(192, 64, 1)
        self.branch2 = self.branch3 = self.branch4 = None

    def forward(self, x):
        branches = [self.branch1(x)]  # and three more
        return trtnet.cat(branches, 1)


# The check: nothing to change from here
def check():
    from models.googlenet import SIZES, Inception, PlainConv2d

    inputs = {"x": Input((batch, 192, 28, 28))}
    goal = trtnet.record(Inception(*SIZES["3a"], conv_block=PlainConv2d, large=5), **inputs)
    try:
        graph = trtnet.record(Inception3a(), **inputs)
    except trtnet.TrtnetError as error:
        return print(f"Not yet, trtnet says:\n{error}")
    names, wanted = graph.state_dict(), goal.state_dict()
    missing, spare = [sorted(set(one) - set(other)) for one, other in ((wanted, names), (names, wanted))]
    if missing or spare:
        return print(f"Not yet. Weights that are missing: {missing}; weights that nobody expects: {spare}")
    for name, value in names.items():
        if value.shape != wanted[name].shape:
            return print(f"Not yet: {name} is {value.shape}. What does the table say?")
    if graph.outputs["output"].shape != goal.outputs["output"].shape:
        return print(f"Not yet: the result is {graph.outputs['output'].shape}, not {goal.outputs['output'].shape}.")
    if graph.structure_hash() != goal.structure_hash():
        for one, other in zip(graph.layers, goal.layers):
            if (one.kind, one.outputs[0].shape, one.structure()) != (
                other.kind,
                other.outputs[0].shape,
                other.structure(),
            ):
                return print(f"Not yet: the first layer that differs is a {one.kind} in {one.path or 'forward'!r}.")
        return print("Not yet: the layers are right, but they read one another in another order.")
    print(f"Right: {graph.structure_hash()[:12]}, layer by layer what the paper says.")


check()

# %% [en]
# ## The whole of it
#
# Nine such modules, two at the beginning that look like LeNet's, and a classifier. `models/googlenet.py` has it.
#
# **Predict:** how many concatenations, and how many layers? More or less than the 61 million parameters of AlexNet
# (2012)?

# %% [zh]
# ## 整个网络
#
# 九个这样的模块，开头是几个像 LeNet 那样的卷积和池化，最后是分类器。它就在 `models/googlenet.py` 里。
#
# **预测：** 有几个 concatenation？一共多少个 layer？参数比 AlexNet（2012）的 6100 万多还是少？

# %%
from models.googlenet import googlenet_2014

trtnet.manual_seed(0)
graph = trtnet.record(googlenet_2014(), image=Input((batch, 3, 224, 224)))
kinds = [layer.kind for layer in graph.layers]
print({kind: kinds.count(kind) for kind in sorted(set(kinds))})
print(f"{len(kinds)} recorded layers, {sum(value.size for value in graph.state_dict().values()):,} parameters")
print(trtnet.reference(graph)(np.zeros((1, 3, 224, 224), np.float32)).shape)

# %% [en]
# So many boxes are no picture any more: inner modules are one box each at first. Click on one to see into it, or on
# "close all" for the outer ones alone:

# %% [zh]
# 这么多框就不成图了：所以一开始每个内层的模块只画成一个框。点开一个，就能看到里面；点 "close all" 则只剩最外层的模块：

# %%
graph

# %% [en]
# ## What you have now
#
# - Branches are tensors with several readers, joined by a concatenation whose other sizes must agree.
# - Inception 3a by the paper's table, and why 1×1 comes first.
# - The structure hash: the same for other weights, another for any other network. It decides between compiling and
#   refitting.
# - Pictures of graphs, as deep as you like.
#
# Next: [lesson 7, Is it right?](07-is-it-right.ipynb). More:
# [pictures, and the way from add_*](../../docs/add-to-trtnet.md), [plans that are kept](../../docs/engines.md#files).

# %% [zh]
# ## 你现在掌握了什么
#
# - 分支就是有几个读者的张量，由 concatenation 汇合，其余的大小必须一致。
# - 照论文的表写出的 inception 3a，以及为什么先用 1×1。
# - 结构哈希：换权重不变，换成任何别的网络就变。是重新编译还是 refit，由它决定。
# - graph 的图，想画多深就画多深。
#
# 下一课：[第 7 课，算得对不对？](07-is-it-right.ipynb)。更多内
# 容：[画图，以及从 add_* 开始的路](../../docs/add-to-trtnet.md)、[保存 plan](../../docs/engines.md#files)。
