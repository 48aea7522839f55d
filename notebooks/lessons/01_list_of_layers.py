# %% [en]
# # Lesson 1: A network is a list of layers
#
# TensorRT is NVIDIA's compiler for neural networks. You describe a **network** to it, layer by layer; its **builder** chooses
# a GPU program for every layer, joins layers where it can, and writes all of it into a **plan**, a block of bytes. A plan that is
# loaded on a GPU is an **engine**, and an engine computes.
#
# So everything begins with a list of layers. In this lesson you write LeNet, which reads handwritten digits, as a PyTorch
# user would, and look at the list that comes of it. You need no GPU.

# %% [zh]
# # 第 1 课：网络就是一串 layer
#
# TensorRT 是 NVIDIA 的神经网络编译器。你一层一层地向它描述一个**网络**（network）；它的 **builder** 为每个 layer 选择 GPU 程序，
# 尽可能把相邻的 layer 合并，最后把结果写成一个 **plan**，也就是一段字节。plan 加载到 GPU 上之后就是 **engine**，
# 真正做计算的是 engine。
#
# 所以一切都从一串 layer 开始。这一课里，你会像写 PyTorch 那样写出识别手写数字的 LeNet，然后看看由它得到的 layer 列表。
# 不需要 GPU。

# %%
import numpy as np

import trtnet
from trtnet import Input, nn
from trtnet import functional as F


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, 10)

    def forward(self, image):
        x = F.max_pool2d(self.conv1(image), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return {"prob": F.softmax(self.fc2(x), dim=1)}


net = LeNet()
net

# %% [en]
# The names are PyTorch's: `nn.Conv2d`, `F.max_pool2d`, `forward`. If you replace the imports by torch's, the class is a
# PyTorch module. The parameters have the names that PyTorch gives them, too:

# %% [zh]
# 名字都是 PyTorch 的：`nn.Conv2d`、`F.max_pool2d`、`forward`。把 import 换成 torch 的，这个类就是一个 PyTorch 模块。
# 参数的名字也和 PyTorch 里一样：

# %%
for name, parameter in net.named_parameters():
    print(f"{name:13} {parameter.shape}")

# %% [en]
# ## Recording
#
# PyTorch runs `forward` on numbers, each time anew. TensorRT has to know all layers before the first number comes. So
# `trtnet.record` runs `forward` once, on tensors that have a shape and a type but hold no numbers, and notes each layer that is
# asked for. What you get is a **graph**.
#
# To see such a tensor, print one inside `forward`:

# %% [zh]
# ## 记录
#
# PyTorch 每次都拿具体数值执行 `forward`。TensorRT 则必须在第一个数值到来之前就知道所有 layer。所以 `trtnet.record` 只执行一次
# `forward`，传进去的 tensor 只有形状和类型，没有数值；它把途中要求的每个 layer 都记下来。得到的结果叫**计算图**（graph）。
#
# 想看看这样的 tensor，就在 `forward` 里打印一个：


# %%
class Peek(nn.Module):
    def forward(self, image):
        print("inside forward:", image)
        y = F.relu(image) + 1
        print("and after relu and + 1:", y)
        return y


peek = trtnet.record(Peek(), image=Input((1, 1, 28, 28)))

# %% [en]
# The keyword `image=` names the argument of `forward`, and with it the network's input: one picture of one channel, 28 by 28.
#
# Now LeNet. **Before you run the next cell, predict:** how many layers will be recorded? Count the calls in its `forward`; each
# module and each function is one. (Did you count `flatten`?)

# %% [zh]
# 关键字 `image=` 对应 `forward` 的参数，同时也是网络输入的名字：一张单通道、28×28 的图片。
#
# 现在轮到 LeNet。**运行下一个单元格之前，先预测一下**：会记录下多少个 layer？数一数 `forward` 里的调用，
# 每个模块、每个函数算一个。（`flatten` 数进去了吗？）

# %%
graph = trtnet.record(net, image=Input((1, 1, 28, 28)))
for layer in graph.layers:
    print(f"{layer.name:22} {layer.headline()}")
print(len(graph.layers), "layers")

# %% [en]
# Nine. (`flatten` became a *shuffle*: so TensorRT calls the layer that reshapes and transposes.) A layer knows where it comes from: the module that recorded it, and your line.

# %% [zh]
# 九个。（`flatten` 变成了 *shuffle*：TensorRT 这样称呼负责 reshape 和转置的 layer。）每个 layer 都知道自己从哪里来：由哪个模块记录，对应你代码的哪一行。

# %%
layer = graph.layers[0]
print("kind:    ", layer.kind)
print("module:  ", layer.path)
print("line:    ", layer.location.excerpt().splitlines()[0])
print("weights: ", layer.inputs[1].name, layer.inputs[1].shape)

# %% [en]
# ## Shapes
#
# It also knows the shape of what it gives, `layer.outputs[0].shape`, though nothing was computed. Three rules are enough for LeNet:
#
# - A convolution with a kernel of size k, without padding and with stride 1, makes n rows (or columns) into n - k + 1. Its channels
#   are as many as it has kernels.
# - `max_pool2d(x, 2)` takes the largest of every 2×2 numbers: n becomes n / 2, the channels stay.
# - `flatten(1)` makes one axis of all but the first; a linear layer changes the last axis. Activations change no shape.
#
# ## Exercise
#
# Write down the shape after each layer, for the input (1, 1, 28, 28), and run the cell as often as you like.

# %% [zh]
# ## 形状
#
# 虽然什么都还没有计算，layer 也知道自己输出的形状：`layer.outputs[0].shape`。对 LeNet 来说，三条规则就够了：
#
# - 卷积核大小为 k、没有 padding、stride 为 1 的卷积，把 n 行（列）变成 n - k + 1 行（列）；输出的通道数等于卷积核的个数。
# - `max_pool2d(x, 2)` 在每个 2×2 的小块里取最大值：n 变成 n / 2，通道数不变。
# - `flatten(1)` 把第一个轴以外的所有轴合并成一个；线性层只改变最后一个轴。激活函数不改变形状。
#
# ## 练习
#
# 输入为 (1, 1, 28, 28)，写出每个 layer 之后的形状。单元格可以运行任意多次。

# %%
# Exercise
shapes = {
    "conv1/convolution": None,  # for example (1, 2, 3, 4)
    "pooling": None,
    "conv2/convolution": None,
    "pooling_1": None,
    "shuffle": None,  # flatten
    "fc1/fully_connected": None,
    "activation": None,
    "fc2/fully_connected": None,
    "softmax": None,
}

# The check: nothing to change from here
hints = {
    "convolution": "n - k + 1 rows and columns; as many channels as nn.Conv2d's second number",
    "pooling": "half the rows and columns, the same channels",
    "shuffle": "channels * rows * columns",
    "fully_connected": "nn.Linear's second number comes last",
}
right = 0
for layer in graph.layers:
    shape = shapes.get(layer.name)
    if shape is None:
        print(f"{layer.name}: missing")
    elif not isinstance(shape, tuple):
        print(f"{layer.name}: {shape!r} is not yet right; a shape is a tuple, such as (1, 2); one size alone is (1,)")
    elif shape == tuple(layer.outputs[0].shape):
        right += 1
        print(f"{layer.name}: {shape} is right")
    else:
        print(f"{layer.name}: {shape} is not yet right; {hints.get(layer.kind, 'the shape stays as it was')}")
print("Right, all of them." if right == len(graph.layers) else f"{right} of {len(graph.layers)} are right.")

# %% [en]
# ## What TensorRT is given
#
# `graph.summary()` shows the shapes, and more: it lists the layers as they are added to TensorRT's network.
#
# **Predict:** TensorRT has no linear layer. A linear layer is a matrix product plus a bias, and the matrix and the bias are each a
# layer of its own, a *constant*. LeNet has two linear layers. How many layers does TensorRT get, instead of nine?

# %% [zh]
# ## TensorRT 得到的是什么
#
# `graph.summary()` 会列出形状，而且它列的是添加到 TensorRT 网络里的 layer。
#
# **预测**：TensorRT 没有线性层。线性层是一次矩阵乘法再加上偏置，其中矩阵和偏置各是一个单独的 layer，叫 *constant*。
# LeNet 有两个线性层。那么 TensorRT 得到的不是九个，而是多少个 layer？

# %%
print(graph.summary())

# %% [en]
# Fifteen: constant, matrix product, constant and sum in place of each linear layer. The sum of the last column is the size of the weights:
# 431,080 numbers of four bytes. It is 93 % matrix `fc1`, which you would not guess from the program.
#
# The same as a picture. The boxes of modules open and close with a click:

# %% [zh]
# 十五个：两个线性层各自变成了 constant、矩阵乘法、constant 和加法。最后一列的总和是权重的大小：431,080 个数，每个四字节。
# 其中 93 % 是 `fc1` 的矩阵，光看程序是看不出来的。
#
# 同样的内容画成图。点一下，模块的方框就会展开或收起：

# %%
graph

# %% [en]
# ## When a shape does not fit
#
# Because shapes are known while recording, a mistake is found there, at your line, before TensorRT or a GPU comes in. Pictures of 32 by
# 32 do not fit this LeNet. **Predict:** at which layer does it stop?

# %% [zh]
# ## 形状对不上的时候
#
# 形状在记录时就已经知道，所以错误在记录时就能发现，指向你写的那一行，还轮不到 TensorRT 和 GPU。32×32 的图片不适合这个 LeNet。
# **预测**：会停在哪个 layer？

# %%
try:
    trtnet.record(net, image=Input((1, 1, 32, 32)))
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# The convolutions take any size; `fc1` does not: its matrix has 800 columns. All of trtnet's messages have these parts: what was
# expected, what was found, the module, your line, and what to do.
#
# ## Numbers, and a plan
#
# `trtnet.reference(graph)` computes the same layers in PyTorch, on the CPU. The weights are still random, so the ten probabilities say
# nothing about digits, but they sum to 1.

# %% [zh]
# 卷积可以接受任意大小，`fc1` 不行：它的矩阵有 800 列。trtnet 的报错信息都由这几部分组成：期望什么、实际是什么、在哪个模块、
# 在你的哪一行、该怎么办。
#
# ## 数值，以及 plan
#
# `trtnet.reference(graph)` 用 PyTorch 在 CPU 上计算同样的这些 layer。权重还是随机的，所以这十个概率与数字毫无关系，
# 但它们的和是 1。

# %%
engine = trtnet.reference(graph)
image = np.random.default_rng(0).random((1, 1, 28, 28), np.float32)
prob = engine(image=image)["prob"]
print(prob.round(3), prob.sum())

# %% [en]
# And TensorRT-RTX, the TensorRT for NVIDIA's RTX cards, compiles the list into a plan, here on the CPU, for a card that this machine
# need not have: `sm86` is the RTX 30 series.

# %% [zh]
# TensorRT-RTX（面向 NVIDIA RTX 显卡的 TensorRT）把这个列表编译成 plan，就在 CPU 上完成，
# 目标显卡不必在这台机器上：`sm86` 是 RTX 30 系列。

# %%
plan = trtnet.build_plan(graph, targets=["sm86"])
print(plan)
print(len(bytes(plan)) - sum(p.numel() * 4 for p in net.parameters()), "bytes are not weights")

# %% [en]
# ## What you have now
#
# - A network is a list of layers with known shapes; `record` makes it by running `forward` once, without numbers.
# - Nine layers were recorded, and fifteen are TensorRT's: `graph.layers` and `graph.summary()`.
# - A builder compiles the list into a plan; a plan that is loaded on a GPU is an engine.
#
# Next: [lesson 2](02-behind-one-line.ipynb) writes the same fifteen layers by hand. Every kind of layer that there is:
# [TensorRT's layers](../../docs/layers.md).

# %% [zh]
# ## 你现在掌握了什么
#
# - 网络就是一串形状已知的 layer；`record` 不用任何数值，执行一次 `forward` 就得到它。
# - 记录下九个 layer，TensorRT 得到十五个：`graph.layers` 和 `graph.summary()`。
# - builder 把列表编译成 plan；plan 加载到 GPU 上就是 engine。
#
# 下一课：[第 2 课](02-behind-one-line.ipynb)动手写出这十五个 layer。所有 layer 的种类见
# [TensorRT 的 layer](../../docs/layers.md)。
