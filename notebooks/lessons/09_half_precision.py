# %% [en]
# # Lesson 9: FP16, BF16 and islands of float32
#
# Numbers of 16 bits take half the memory of float32, and GPUs multiply matrices of them several times as fast. They
# also hold fewer digits, or smaller numbers. In this lesson you see where an attention breaks in FP16 and in BF16,
# and repair it with two casts: an *island* of float32 around the softmax.
#
# In TensorRT the type is a property of the **network**, the list of layers that its **builder** compiles into a
# **plan**. In a *strongly typed* network, the only kind that TensorRT-RTX takes, the builder changes no type by
# itself: what you write is what runs. trtnet writes such networks.
#
# You need PyTorch's basics, no GPU, and nothing of trtnet: where numbers are computed here, PyTorch computes the same
# layers in the same types, on the CPU.

# %% [zh]
# # 第 9 课：FP16、BF16 和 float32 孤岛
#
# 16 位的数只占 float32 一半的内存，GPU 做 16 位矩阵乘法也快好几倍。但它们的有效数字更少，或者能表示的最大值更小。这一
# 课里，你会看到一个 attention 在 FP16 和 BF16 下各自怎样出错，然后用类型转换（cast）把它修好：在 softmax 周围留一块
# float32 的*孤岛*。
#
# 在 TensorRT 里，类型是**网络**（network）的属性；网络是一串 layer，由 **builder** 编译成 **plan**。在*强类
# 型*（strongly typed）网络里，builder 自己不会改动任何类型：写的是什么，运行的就是什么。TensorRT-RTX 只接受这种网
# 络，trtnet 写出来的也是这种网络。
#
# 你需要懂一点 PyTorch，不需要 GPU，也不需要了解 trtnet：这里凡是要算数值的地方，都由 PyTorch 在 CPU 上用同样的类型计
# 算同样的 layer。

# %%
import numpy as np
import torch

import trtnet
from trtnet import Input, nn
from trtnet import functional as F

torch.set_num_threads(1)  # what follows is small

# %% [en]
# ## Three types
#
# `max` is the largest number, `eps` the distance from 1 to the next number. FP16 (`float16`) spends its 16 bits on
# digits, BF16 (`bfloat16`) on the range: it is float32 with the last 16 bits cut off.

# %% [zh]
# ## 三种类型
#
# `max` 是能表示的最大的数，`eps` 是 1 与下一个数的距离。FP16（`float16`）把 16 位主要用在有效数字
# 上，BF16（`bfloat16`）主要用在范围上：它就是砍掉后 16 位的 float32。

# %%
for dtype in (trtnet.float32, trtnet.float16, trtnet.bfloat16):
    info = trtnet.finfo(dtype)
    print(f"{dtype.name:9} max {info.max:.3g}   eps {info.eps:.2g}")

# %% [en]
# **Predict:** what do 70000, 2049, 257 and 0.00000001 become in FP16? And in BF16?

# %% [zh]
# **预测：** 70000、2049、257 和 0.00000001 在 FP16 里会变成什么？在 BF16 里呢？

# %%
numbers = trtnet.tensor([70000.0, 2049.0, 257.0, 1e-8])
for dtype in (trtnet.float16, trtnet.bfloat16):
    print(f"{dtype.name:9}", [float(one) for one in numbers.to(dtype).numpy()])

# %% [en]
# FP16 has no 70000 (infinity) and nothing as small as 0.00000001 (zero), but it has 257. BF16 has the size of each,
# and only two or three digits of it.
#
# ## No silent casts
#
# PyTorch would convert one side of a sum by itself. In a strongly typed network somebody has to write the cast layer,
# so trtnet asks you:

# %% [zh]
# FP16 里没有 70000（变成无穷大），也没有 0.00000001 这样小的数（变成零），但有 257。BF16 里这几个数的大小都在，只是有
# 效数字只剩两三位。
#
# ## 没有悄悄的类型转换
#
# 两个类型不同的张量相加，PyTorch 会自己转换其中一个。在强类型网络里，cast layer 必须有人写出来，所以 trtnet 要你来决
# 定：

# %%
try:
    trtnet.record(lambda a, b: a + b, a=Input((2,), "float16"), b=Input((2,)))
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# ## An attention
#
# Four linear layers, and a function `attend` that we will exchange: each of 32 tokens compares its query `q` with the
# keys `k` of all (the *scores*), softmax makes weights of them, and the weights mix the values `v`. Its input and
# output are float32; inside, it computes in the type of its weights.

# %% [zh]
# ## 一个 attention
#
# 四个线性层，加一个之后要替换的函数 `attend`：32 个 token 各自用自己的 query `q` 与所有 token 的 key `k` 相乘，得
# 到*分数*（scores）；softmax 把分数变成权重；再用权重混合各个 value `v`。它的输入和输出是 float32，内部用它的权重的类
# 型计算。

# %%
SIZE = 256


class Attention(nn.Module):
    def __init__(self, attend):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(SIZE, SIZE) for _ in range(4))
        self.attend = attend

    def forward(self, x):
        x = x.to(self.q.weight.dtype)
        return self.out(self.attend(self.q(x), self.k(x), self.v(x))).float()


def plain(q, k, v):
    scores = q @ k.transpose(-1, -2) / SIZE**0.5
    return F.softmax(scores, dim=-1) @ v


def recorded(attend, dtype, channel=0.0):
    """The network in this type, as TensorRT's layers; `channel` is what q and k have in their first channel."""
    trtnet.manual_seed(0)
    net = Attention(attend)
    state = net.state_dict()
    for name in ("q", "k"):
        state[f"{name}.weight"] = 3 * state[f"{name}.weight"]
        state[f"{name}.weight"][0], state[f"{name}.bias"][0] = 0, channel
    net.load_state_dict(state)
    return trtnet.record(net.to(dtype), x=Input((32, SIZE)))


graph = recorded(plain, trtnet.float16)
graph  # shows itself as a picture; modules open and close with a click; mind the types

# %% [en]
# The first layer and the last are casts; everything between is float16. Each weight has the type of its layer, so
# **predict:** how many bytes of weights are there in each type, and how much smaller will the plans be?
#
# The next cell compiles each network with TensorRT-RTX's builder, for a GeForce RTX 30 (`sm86`), without a GPU.

# %% [zh]
# 第一个和最后一个 layer 是 cast，中间全是 float16。每个权重的类型与它的 layer 相同。**预测：** 每种类型各有多少字节的
# 权重？plan 会小多少？
#
# 下一个单元格用 TensorRT-RTX 的 builder 为 GeForce RTX 30（`sm86`）编译每一个网络，不需要 GPU。

# %%
for dtype in (trtnet.float32, trtnet.float16, trtnet.bfloat16):
    one = recorded(plain, dtype)
    weights = sum(value.nbytes for value in one.state_dict().values())
    print(f"{dtype.name:9} weights {weights:>9,} bytes   plan {len(trtnet.build_plan(one, ['sm86'])):>9,} bytes")

# %% [en]
# The weights are halved. A plan holds more than weights: the kernels that compute with them.
#
# ## What it costs in digits
#
# The reference runs the same layers in PyTorch, and rounds after each layer to its type. With `dtype="float64"` it
# computes everything with 16 digits: that is the truth that we compare with. The error is the largest difference,
# relative to the root mean square of the true values.

# %% [zh]
# 权重减了一半。plan 里除了权重，还有用这些权重做计算的 kernel。
#
# ## 有效数字上的代价
#
# reference 用 PyTorch 运行同样的 layer，每个 layer 之后都舍入到它的类型。`dtype="float64"` 则全部用 16 位有效数字计
# 算，我们拿它当作真值。误差取最大的差，除以真值的均方根。

# %%
x = np.random.default_rng(0).standard_normal((32, SIZE)).astype(np.float32)


def error(graph, attend=plain, channel=0.0):
    truth = trtnet.reference(recorded(attend, trtnet.float32, channel), dtype="float64")(x)
    return np.abs(trtnet.reference(graph)(x) - truth).max() / np.sqrt(np.mean(truth**2))


for dtype in (trtnet.float32, trtnet.float16, trtnet.bfloat16):
    print(f"{dtype.name:9} error {error(recorded(plain, dtype)):.2g}")

# %% [en]
# FP16's error is below a percent, and BF16's several times as large: it has three bits less. For a classifier either
# may do.
#
# ## Where it breaks
#
# Trained transformers have channels that are large for every token. So now let the first channel of `q` and `k` be
# 300 everywhere. It adds 300 · 300 to every score, and softmax does not care for what is added to all: in exact
# arithmetic the result is the same.
#
# **Predict:** what will FP16 give? What will BF16?

# %% [zh]
# FP16 的误差不到百分之一；BF16 少三位，误差大了好几倍。对于一个分类器来说，两者都可能够用。
#
# ## 在哪里出错
#
# 训练好的 transformer 里，有些通道对每个 token 都很大。现在让 `q` 和 `k` 的第一个通道处处都是 300。这给每个分数都加上
# 300 · 300；而给所有分数加上同一个数，softmax 的结果不变：在精确计算下，输出和原来完全一样。
#
# **预测：** FP16 会给出什么？BF16 呢？

# %%
for dtype in (trtnet.float32, trtnet.float16, trtnet.bfloat16):
    print(f"{dtype.name:9} error {error(recorded(plain, dtype, channel=300), channel=300):.2g}")

# %% [en]
# - In FP16 300 · 300 = 90000 is infinite, and softmax of infinities is NaN. Nobody overlooks that.
# - BF16 has 89600 and 90112 and nothing between: scores that differ by less are one and the same. The result is
#   finite, looks well, and is wrong.
# - Even float32 has lost digits: its numbers near 90000 lie 0.008 apart.
#
# Which tensor is it? Ask for the ones inside. `debug` below returns them as further outputs:

# %% [zh]
# - 在 FP16 里，300 · 300 = 90000 是无穷大，对无穷大做 softmax 得到 NaN。这个谁都看得见。
# - BF16 里有 89600 和 90112，中间一个数也没有：相差更小的分数变成同一个数。结果是有限的，看上去也正常，却是错的。
# - 连 float32 也丢了几位：在 90000 附近，它的数相隔 0.008。
#
# 是哪个张量出了问题？把中间的张量拿出来看。下面的 `debug` 把它们作为额外的输出返回：


# %%
def debug(q, k, v):
    product = q @ k.transpose(-1, -2)
    scores = product / SIZE**0.5
    trtnet.mark(product, "product")  # becomes an output of the network
    trtnet.mark(scores, "scores")
    return F.softmax(scores, dim=-1) @ v


for dtype in (trtnet.float16, trtnet.bfloat16):
    found = trtnet.reference(recorded(debug, dtype, channel=300))(x)
    for name in ("product", "scores"):
        values = np.asarray(found[name], np.float32)
        print(f"{dtype.name:9} {name:8} {values.min():9.1f} to {values.max():9.1f}, {len(np.unique(values))} values")

# %% [en]
# ## Exercise
#
# Keep the softmax, and what must be with it, in float32, and everything else in half precision: `q`, `k` and `v` come
# in the network's type, and the result goes on in it. `tensor.float()` and `tensor.to(dtype)` are the casts,
# `v.dtype` is the type to come back to. The cell looks at the type of each layer, and at the errors in FP16 and BF16.

# %% [zh]
# ## 练习
#
# 让 softmax 以及必须和它在一起的部分用 float32 计算，其余都用 16 位：`q`、`k`、`v` 进来时是网络的类型，结果也要回到这
# 个类型。`tensor.float()` 和 `tensor.to(dtype)` 就是 cast，`v.dtype` 是要回到的类型。这个单元格会检查每个 layer 的类
# 型，以及 FP16 和 BF16 下的误差。


# %%
# Exercise
def careful(q, k, v):
    """As `plain`, with an island of float32."""
    return None  # plain has three steps: which of them need the digits or the range of float32?


# The check: nothing to change from here
def check():
    for dtype, most in ((trtnet.float16, 0.02), (trtnet.bfloat16, 0.1)):
        try:
            if careful(*trtnet.zeros(3, 4, SIZE)) is None:
                return print("Something is missing: careful returns None.")
            graph = recorded(careful, dtype, channel=300)
        except trtnet.TrtnetError as error_of_trtnet:
            return print(f"Not yet, trtnet says:\n{error_of_trtnet}")
        types = {kind: [] for kind in ("softmax", "matrix_multiply")}
        for layer in graph.layers:
            types.get(layer.kind, []).append(layer.outputs[0].dtype)
        if types["softmax"] != [trtnet.float32]:
            return print(f"Not yet: the types of softmax layers are {types['softmax']}, and one of float32 is wanted.")
        found = error(graph, channel=300)
        if not found < most:
            hint = (
                "Which tensor was too large, and where?"
                if np.isnan(found)
                else "Which step loses digits, or is another?"
            )
            return print(f"Not yet: {dtype.name} has an error of {found:.2g}. {hint}")
        if types["matrix_multiply"][-1] != dtype:
            return print("Not yet: the numbers are right, but weights @ v needs no float32: the island is too large.")
        print(f"{dtype.name:9} error {found:.2g}")
    print("Right: the scores and their softmax are float32, and the rest has 16 bits.")


check()

# %% [en]
# ## What the builder makes of it
#
# The casts are layers like others, and TensorRT may fuse them with their neighbours, but it keeps the types: that is
# what *strongly typed* means. On TensorRT 8.6, which is older than such networks, trtnet sets each layer's precision
# and asks the builder to obey. 8.6 has no BF16: there it raises.
#
# How far may an engine differ, then? A TensorRT engine is compared with the reference before you get it. For each
# output, the coarsest type on the way to it says what is allowed: 0.02 of its root mean square for FP16, 0.1 for
# BF16, 0.002 for float32. The exercise used the first two.
#
# ## What you have now
#
# - FP16 has a small range, BF16 few digits; both halve the weights.
# - A type stands in the network, layer by layer; a cast is a layer that you write.
# - Where FP16 overflows, BF16 may be wrong in silence: compare with float64.
# - An island of float32 around the scores and the softmax repairs both.
#
# Next: [lesson 10, INT8](10-int8.ipynb). More:
# [how engines are checked](../../docs/engines.md#every-engine-is-checked).

# %% [zh]
# ## builder 会怎么处理
#
# cast 和别的 layer 一样，TensorRT 可以把它们与相邻的 layer 融合，但类型保持不变：这就是*强类型*的意思。TensorRT 8.6
# 还没有这样的网络，所以在 8.6 上 trtnet 会为每个 layer 设置精度，并要求 builder 遵守。8.6 没有 BF16，用它会报错。
#
# 那么，engine 允许有多大的误差？TensorRT 的 engine 在交给你之前，都会与 reference 比较。对每个输出，由通往它的路上最
# 粗的类型决定允许的误差：FP16 是均方根的 0.02，BF16 是 0.1，float32 是 0.002。练习里用的就是前两个。
#
# ## 你现在掌握了什么
#
# - FP16 范围小，BF16 有效数字少；两者都让权重减半。
# - 类型写在网络里，逐个 layer 确定；cast 是要由你写出来的 layer。
# - FP16 溢出的地方，BF16 可能悄悄地算错：要和 float64 比较。
# - 在分数和 softmax 周围留一块 float32 孤岛，两种问题都能解决。
#
# 下一课：[第 10 课，INT8](10-int8.ipynb)。更多内
# 容：[engine 是怎样检查的](../../docs/engines.md#every-engine-is-checked)。
