# %% [en]
# # Lesson 10: INT8: scales, Q and DQ
#
# An INT8 number is one of 256: the whole numbers from -128 to 127. A quarter of float32's memory, and GPUs have units
# that multiply them fast. The price is that you must say which real numbers the 256 stand for: that is a *scale*.
#
# In TensorRT this is written into the **network**, the list of layers that its **builder** compiles into a **plan**:
# a *quantize* layer (Q) makes INT8 of floats, a *dequantize* layer (DQ) makes floats of INT8. What stands between a
# DQ and the next Q the builder may compute in INT8.
#
# In this lesson you quantize LeNet, which reads handwritten digits, by scales that you compute yourself. You need
# PyTorch's basics, no GPU, and nothing of trtnet: the *reference engine* computes the same layers, Q and DQ among
# them, in PyTorch.

# %% [zh]
# # 第 10 课：INT8：scale、Q 和 DQ
#
# 一个 INT8 数只有 256 种可能：-128 到 127 的整数。内存是 float32 的四分之一，GPU 上有专门的单元可以很快地做它的乘法。
# 代价是，你必须说明这 256 个数各代表哪个实数：这就是 *scale*。
#
# 在 TensorRT 里，这要写进**网络**（network，即一串 layer，由 **builder** 编译成 **plan**）：*quantize* layer（Q）把浮
# 点数变成 INT8，*dequantize* layer（DQ）把 INT8 变回浮点数。在一个 DQ 和下一个 Q 之间的部分，builder 就可以用 INT8 来
# 计算。
#
# 这一课里，你会自己算出 scale，把识别手写数字的 LeNet 量化。你需要懂一点 PyTorch，不需要 GPU，也不需要了解
# trtnet：*reference engine* 用 PyTorch 计算同样的 layer，包括 Q 和 DQ。

# %%
import sys
from pathlib import Path

import numpy as np
import torch

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.cli.demo.digits import load_digits

torch.set_num_threads(1)
root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "models").is_dir())
sys.path.insert(0, str(root))  # so that `models` is found from notebooks/ too
from models.lenet import LeNet

known, new = load_digits()  # scikit-learn's digits: LeNet was trained on the first half
print(known.images.shape, new.images.shape)

# %% [en]
# ## One number
#
# Q divides by the scale, rounds to the nearest whole number (a half goes to the even one), and cuts off at -128 and
# 127. DQ multiplies by the scale.
#
# **Predict:** with a scale of 0.1, what comes back for 0.04, 0.05, 1.234, 100 and -100?

# %% [zh]
# ## 一个数
#
# Q 除以 scale，取最接近的整数（正好一半时取偶数），超出 -128 和 127 的截断。DQ 再乘以 scale。
#
# **预测：** scale 为 0.1 时，0.04、0.05、1.234、100 和 -100 会变成什么？

# %%
numbers = np.array([0.04, 0.05, 1.234, 100, -100], np.float32)


def there_and_back(x):
    few = F.quantize_per_tensor(x, 0.1, 0, trtnet.int8)
    return few, F.dequantize(few)


graph = trtnet.record(there_and_back, x=Input((5,)))
for result in trtnet.reference(graph)(numbers):
    print(result.dtype, result)

# %% [en]
# `trtnet.record` ran the function once, on a tensor without numbers, and kept the layers. There are three: Q, DQ, and
# a constant for the scale.

# %% [zh]
# `trtnet.record` 用没有数值的张量把函数运行一次，并把 layer 记下来。一共三个：Q、DQ，以及存放 scale 的常数。

# %%
print(graph.summary())
graph  # shows itself as a picture; modules open and close with a click

# %% [en]
# ## The right scale
#
# Too large a scale, and different numbers become the same. Too small, and large ones are cut off. Here are 10,000
# numbers with scales from far too small to far too large; a scale of largest / 127 just reaches the largest one.
#
# **Predict:** at which of these is the error least?

# %% [zh]
# ## 合适的 scale
#
# scale 太大，不同的数会变成同一个数；太小，大的数会被截断。下面用 10000 个数来试，scale 从小得多到大得多；取“最大值 /
# 127”时刚好够到最大的那个数。
#
# **预测：** 哪一个的误差最小？

# %%
values = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
largest = np.abs(values).max()
for factor in (0.01, 0.1, 0.5, 1, 2, 10, 100):
    scale = float(factor * largest / 127)
    back = F.fake_quantize_per_tensor_affine(trtnet.tensor(values), scale, 0, -128, 127).numpy()
    print(f"{factor:6} * largest / 127: root mean square of the errors {np.sqrt(np.mean((back - values) ** 2)):.4f}")

# %% [en]
# (`fake_quantize_per_tensor_affine` is PyTorch's name for Q and DQ in one. Outside of a recording it computes at
# once.)
#
# Largest / 127 is the best of these, and needs no search.
#
# ## LeNet in INT8
#
# A convolution multiplies its input by its weight, so both go through Q and DQ. The input has one scale. The weight
# has one for each output channel, since channels differ in size. The scales are parameters, so they have names, load
# and refit as weights do.

# %% [zh]
# （`fake_quantize_per_tensor_affine` 是 PyTorch 的名字，把 Q 和 DQ 合在一起。在记录之外调用时，它立刻计算。）
#
# “最大值 / 127”是其中最好的，而且不用搜索。
#
# ## INT8 的 LeNet
#
# 卷积是输入乘以权重，所以两者都要经过 Q 和 DQ。输入用一个 scale；权重的各个输出通道大小不同，所以每个输出通道各用一个
# scale。scale 是参数，所以有名字，可以像权重一样加载和 refit。


# %%
def by_channel(weight, scales):
    zeros = trtnet.zeros(scales.shape[0], dtype=trtnet.int32)
    return F.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -128, 127)


def whole(x, scale):
    return F.fake_quantize_per_tensor_affine(x, scale, 0, -128, 127)


class Int8Conv2d(nn.Conv2d):
    def __init__(self, before, after, kernel_size):
        super().__init__(before, after, kernel_size)
        self.input_scale = nn.Parameter(np.ones(1, np.float32))
        self.weight_scale = nn.Parameter(np.ones(after, np.float32))

    def forward(self, x):
        return F.conv2d(whole(x, self.input_scale), by_channel(self.weight, self.weight_scale), self.bias)


class Int8Linear(nn.Linear):
    def __init__(self, before, after):
        super().__init__(before, after)
        self.input_scale = nn.Parameter(np.ones(1, np.float32))
        self.weight_scale = nn.Parameter(np.ones(after, np.float32))

    def forward(self, x):
        return F.linear(whole(x, self.input_scale), by_channel(self.weight, self.weight_scale), self.bias)


class Int8LeNet(LeNet):
    def __init__(self):
        super().__init__()
        self.conv1 = Int8Conv2d(1, 20, 5)
        self.conv2 = Int8Conv2d(20, 50, 5)
        self.fc1 = Int8Linear(800, 500)
        self.fc2 = Int8Linear(500, 10)


batch = Dim("batch", min=1, opt=8, max=1024)
lenet = LeNet().load_weights(root / "weights" / "lenet.safetensors")
graph = trtnet.record(lenet, image=Input((batch, 1, 28, 28)))
state = graph.state_dict()


def recorded(scales):
    net = Int8LeNet()
    net.load_state_dict({**state, **scales})
    return trtnet.record(net, image=Input((batch, 1, 28, 28)))


ones = {name: value for name, value in Int8LeNet().state_dict().items() if name.endswith("scale")}
print({name: value.shape for name, value in ones.items()})

# %% [en]
# **Predict:** how many quantize layers does it have?

# %% [zh]
# **预测：** 它有多少个 quantize layer？

# %%
kinds = [layer.kind for layer in recorded(ones).layers]
print({kind: kinds.count(kind) for kind in sorted(set(kinds))})

# %% [en]
# ## What it reads
#
# Of the 899 digits that LeNet was not trained on, in float32, and in INT8 with all scales 1:

# %% [zh]
# ## 它认得多少
#
# 用 LeNet 训练时没见过的 899 个数字来试：先用 float32，再用所有 scale 都为 1 的 INT8：


# %%
def right_of(graph):
    """How many of the 899 digits are read right."""
    return int((trtnet.reference(graph)(new.images)["prob"].argmax(1) == new.labels).sum())


print("float32:          ", right_of(graph))
print("INT8, all scales 1:", right_of(recorded(ones)))

# %% [en]
# ## What goes into each layer
#
# The weights are there to be looked at. What goes into a layer depends on the images, so one runs some, and looks at
# what comes: *calibration*. The images should be like those to come, and not those that are tested on; here they are
# some of the half that LeNet was trained on.
#
# A tensor inside a network is not kept unless it is an output. `trtnet.mark` makes it one.

# %% [zh]
# ## 每个 layer 的输入
#
# 权重就在那里，可以直接看。而 layer 的输入取决于图像，所以要拿一些图像运行一遍，看看出现了什么：这叫*校
# 准*（calibration）。这些图像应该与将来的图像相似，但不能是用来测试的那些；这里取训练 LeNet 用过的那一半中的一部分。
#
# 网络中间的张量不会保留下来，除非它是输出。`trtnet.mark` 把它变成输出。


# %%
class Watched(LeNet):
    def forward(self, image):
        x = F.max_pool2d(self.conv1(trtnet.mark(image, "into conv1")), 2)
        x = F.max_pool2d(self.conv2(trtnet.mark(x, "into conv2")), 2)
        x = F.relu(self.fc1(trtnet.mark(x.flatten(1), "into fc1")))
        return self.fc2(trtnet.mark(x, "into fc2"))


watched = Watched().load_weights(root / "weights" / "lenet.safetensors")
engine = trtnet.reference(trtnet.record(watched, image=Input((batch, 1, 28, 28))))
found = engine(known.images[:256])
seen = {name: found[f"into {name}"] for name in ("conv1", "conv2", "fc1", "fc2")}
for name, value in seen.items():
    print(f"into {name}: {value.shape}, from {value.min():.2f} to {value.max():.2f}")
for name in seen:
    by_row = np.abs(state[f"{name}.weight"]).reshape(len(state[f"{name}.weight"]), -1).max(1)
    print(f"{name}.weight: the largest of a channel, from {by_row.min():.3f} to {by_row.max():.3f}")

# %% [en]
# ## Exercise
#
# Compute the eight scales: of each layer's input one, of each layer's weight one for each output channel (the first
# dimension of the weight). At least 98 % of the 899 digits must be read right, which is 882.

# %% [zh]
# ## 练习
#
# 算出八个 scale 参数：每个 layer 的输入一个；每个 layer 的权重，每个输出通道（权重的第一维）一个。899 个数字至少要认
# 对 98 %，也就是 882 个。


# %%
# Exercise
def scales_of(state, seen):
    """The parameters "conv1.input_scale", "conv1.weight_scale" and so on, as NumPy arrays.

    `state` has the weights ("conv1.weight"), `seen` what goes into each layer ("conv1").
    """
    scales = {}
    for name in seen:
        scales[f"{name}.input_scale"] = None  # of shape (1,)
        scales[f"{name}.weight_scale"] = None  # of shape (channels,)
    return scales


# The check: nothing to change from here
def check():
    try:
        scales = scales_of(state, seen)
        if scales is None:
            return print("Something is missing: scales_of returns None.")
        if any(value is None for value in scales.values()):
            return print("Something is missing:", [name for name, value in scales.items() if value is None])
        count = right_of(recorded({name: np.asarray(value, np.float32) for name, value in scales.items()}))
    except trtnet.TrtnetError as error:
        return print(f"Not yet, trtnet says:\n{error}")
    if count < 882:
        print(f"Not yet: {count} of 899. INT8 has 127 steps; how many do the largest values take?")
        for name in seen:
            steps = np.abs(seen[name]).max() / float(scales[f"{name}.input_scale"][0])
            rows = np.abs(state[f"{name}.weight"]).reshape(len(state[f"{name}.weight"]), -1).max(1)
            rows = rows / np.asarray(scales[f"{name}.weight_scale"])
            print(f"  {name}: into it {steps:.1f}, in the channels of its weight {rows.min():.1f} to {rows.max():.1f}")
        return
    print(f"Right: {count} of 899 in INT8, {right_of(graph)} in float32.")


check()

# %% [en]
# ## What the builder makes of it
#
# TensorRT-RTX compiles both here, without a GPU, for a GeForce RTX 30 (`sm86`). The reference computes Q and DQ one
# after the other, in float32: the numbers that the network means. The builder may move and join them, so that a
# convolution reads INT8 and multiplies INT8.
#
# **Predict:** 1.7 MB of the float32 plan are weights. How large will the INT8 plan be?

# %% [zh]
# ## builder 会怎么处理
#
# TensorRT-RTX 在这里就能为 GeForce RTX 30（`sm86`）编译这两个网络，不需要 GPU。reference 依次用 float32 计算 Q 和
# DQ：那就是网络所表达的数值。builder 可以移动、合并它们，使卷积直接读取 INT8、用 INT8 相乘。
#
# **预测：** float32 的 plan 里有 1.7 MB 是权重。INT8 的 plan 会有多大？

# %%
print("float32:", trtnet.build_plan(graph, targets=["sm86"]))
print("INT8:   ", trtnet.build_plan(recorded(ones), targets=["sm86"]))
print("weights:", f"{sum(value.nbytes for value in state.values()):,} bytes in float32")

# %% [en]
# Not a quarter of it. The weights are: `fc1` is 0.4 MB of INT8 in place of 1.6. But the kernels, and what else a plan holds, take about
# twice as much as before.
#
# A number close to the middle between two others may be rounded to either, since a kernel adds in another order than
# the reference. So an INT8 engine is compared with the reference by another measure than a float32 one: most values
# must agree, and one may be off by steps of its scale.
#
# Scales must be positive. What breaks that rule is found where it is written:

# %% [zh]
# 不是四分之一。权重确实缩小到了四分之一：`fc1` 现在是 0.4 MB 的 INT8，原来是 1.6 MB。
# 但是 kernel 和 plan 里其余的内容，大约是原来的两倍。
#
# 接近两个数正中间的值，取哪一边都有可能，因为 kernel 求和的顺序与 reference 不同。所以 INT8 的 engine 与 reference 比
# 较时，标准与 float32 不同：大多数值必须一致，个别值可以相差 scale 的几步。
#
# scale 必须是正数。违反了这条规则，就在写它的那一行报错：

# %%
try:
    trtnet.record(lambda x: whole(x, 0.0), x=Input((batch, 4)))
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# ## What you have now
#
# - Q: divide by the scale, round, cut off at -128 and 127. DQ: multiply. Both are layers that you write.
# - A scale of largest / 127, for weights by channel, for inputs from calibration images.
# - LeNet in INT8, which reads nearly what it read in float32.
#
# Next: [lesson 11, Loops, and a layer of your own](11-loops-and-your-own-layers.ipynb). More:
# [numbers in few bits: float8, int4, blocks](../../docs/quantization.md).

# %% [zh]
# ## 你现在掌握了什么
#
# - Q：除以 scale、取整、截断到 -128 和 127；DQ：乘回去。两者都是由你写出来的 layer。
# - scale 取“最大值 / 127”：权重按通道，输入用校准图像来算。
# - INT8 的 LeNet，认对的数字几乎和 float32 一样多。
#
# 下一课：[第 11 课，循环，以及自己的 layer](11-loops-and-your-own-layers.ipynb)。更多内
# 容：[更少的位数：float8、int4、分块](../../docs/quantization.md)。
