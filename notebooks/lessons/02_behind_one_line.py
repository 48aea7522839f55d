# %% [en]
# # Lesson 2: Behind one line: `network.add_*`
#
# In [lesson 1](01-list-of-layers.ipynb) nine recorded layers became fifteen of TensorRT's. This lesson shows the calls that add
# them, and you write LeNet with these calls yourself. TensorRT programs that do not start from an ONNX file
# are written so, and it is what trtnet does for you.
#
# The first cell finds the repository, whose `models/lenet.py` has the LeNet of lesson 1, and its trained weights.

# %% [zh]
# # 第 2 课：一行代码的背后：`network.add_*`
#
# 在[第 1 课](01-list-of-layers.ipynb)里，记录下来的九个 layer 变成了 TensorRT 的十五个。这一课来看添加它们的那些调用，
# 然后由你用这些调用亲手写出 LeNet。不从 ONNX 文件出发的 TensorRT 程序都是这样写的，trtnet 替你做的也正是这件事。
#
# 第一个单元格找到仓库的根目录，其中 `models/lenet.py` 就是第 1 课的 LeNet，另外还有训练好的权重。

# %%
import sys
import traceback
from pathlib import Path

import numpy as np

import trtnet
from trtnet import Input

root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "models" / "lenet.py").is_file())
sys.path.insert(0, str(root))
from models.lenet import LeNet

net = LeNet()
net.load_weights(root / "weights" / "lenet.safetensors")
graph = trtnet.record(net, image=Input((1, 1, 28, 28)))
print(graph.explain("conv1"))

# %% [en]
# That is one line of `forward`, `self.conv1(image)`, as trtnet gives it to TensorRT: where the weights are, one call
# `add_convolution_nd`, and names. `graph.explain()` without an argument shows it for the whole network.
#
# ## By hand: builder and network
#
# Now the same without trtnet. `tensorrt_rtx` is the module of TensorRT-RTX; in `tensorrt`, from version 10 on, all of this is the
# same but for the two lines that name the target GPU. Four objects:
#
# - the **logger** gets TensorRT's messages,
# - the **builder** makes networks and, later, plans of them,
# - the **network** (its type is `INetworkDefinition`) takes the layers,
# - a **tensor** (`ITensor`) has a shape and a type; each layer gives one or more of them.

# %% [zh]
# 这就是 `forward` 里的一行 `self.conv1(image)` 交给 TensorRT 时的样子：权重在哪里，一次 `add_convolution_nd` 调用，再加上名字。
# `graph.explain()` 不带参数时会列出整个网络。
#
# ## 亲手来写：builder 和 network
#
# 现在不用 trtnet，做同样的事。`tensorrt_rtx` 是 TensorRT-RTX 的模块；除了指定目标 GPU 的那两行，换成 10 以上版本的 `tensorrt` 也完全一样。
# 有四种对象：
#
# - **logger** 接收 TensorRT 的消息；
# - **builder** 创建 network，之后再由 network 生成 plan；
# - **network**（类型是 `INetworkDefinition`）接收一个个 layer；
# - **tensor**（`ITensor`）有形状和类型；每个 layer 输出一个或多个 tensor。

# %%
import tensorrt_rtx as trt

logger = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(logger)
network = builder.create_network(0)
image = network.add_input("image", trt.DataType.FLOAT, (1, 1, 28, 28))
print(image.name, image.shape, image.dtype)

# %% [en]
# Weights come as `trt.Weights`: an address, a type and a count, no copy. So the arrays must live until the plan is built, or TensorRT
# reads memory that is something else by then; here the dictionary `arrays` holds them. ([Lesson 3](03-weights.ipynb) is about this.)

# %% [zh]
# 权重以 `trt.Weights` 的形式给出：只是一个地址、一个类型和一个个数，并不复制数据。所以这些数组必须一直活到 plan 生成完毕，
# 否则 TensorRT 读到的内存可能早已另作他用；这里由字典 `arrays` 保管它们。（[第 3 课](03-weights.ipynb)专门讲这个。）

# %%
arrays = net.state_dict()
weights = {name: trt.Weights(array) for name, array in arrays.items()}
conv = network.add_convolution_nd(image, 20, (5, 5), weights["conv1.weight"], weights["conv1.bias"])
x = conv.get_output(0)
print(x.shape)

# %% [en]
# `add_convolution_nd` takes what must be given; everything else, such as stride and padding, is an attribute of the layer with a
# default value.
#
# Next comes the pooling, 2×2. **Predict** the shape that the next cell prints, from (1, 20, 24, 24). In PyTorch `max_pool2d(x, 2)`
# gives 12 rows.

# %% [zh]
# `add_convolution_nd` 的参数是必须给出的部分；其余的，比如 stride 和 padding，都是 layer 的属性，有默认值。
#
# 接下来是 2×2 的池化。输入是 (1, 20, 24, 24)，**预测**下一个单元格打印的形状。在 PyTorch 里，`max_pool2d(x, 2)` 得到 12 行。

# %%
pool = network.add_pooling_nd(x, trt.PoolingType.MAX, (2, 2))
print(pool.get_output(0).shape, "with the stride", pool.stride_nd)

# %% [en]
# 23: in PyTorch the stride of a pooling is its window's size, if you do not say otherwise; in TensorRT it is 1. No error comes of
# it, only another network. It is set afterwards:

# %% [zh]
# 是 23：在 PyTorch 里，不特别指定时池化的 stride 等于窗口大小；在 TensorRT 里则是 1。这不会报错，只是得到了另一个网络。
# stride 要事后设置：

# %%
pool.stride_nd = (2, 2)
x = pool.get_output(0)
print(x.shape)

# %% [en]
# Shapes are worked out when you ask for them. A wrong one is found only then, too, at whatever line asks, and what is raised
# says little. TensorRT's own message goes to the logger. (Without an NVIDIA driver the logger may also say that the "CUDA driver
# version is insufficient"; plans are built all the same.)

# %% [zh]
# 形状在你查询的时候才推算。写错了，也要到那时才会发现，而且是在发出查询的那一行；抛出的异常几乎没有信息，
# TensorRT 自己的说明则送给了 logger。（没有 NVIDIA 驱动时，logger 可能还会提示 "CUDA driver version is insufficient"，
# 但 plan 照样能生成。）

# %%
flat = network.add_shuffle(x)
flat.reshape_dims = (1, 2881)
try:
    flat.get_output(0).shape
except RuntimeError as error:
    print("RuntimeError:", error)
flat.reshape_dims = (1, 20 * 12 * 12)
print(flat.get_output(0).shape)

# %% [en]
# ## A plan
#
# A tensor that the network shall give is marked as its output. How the builder shall work stands in a **builder config**. Because there
# may be no GPU here, we say for which one the plan is: compute capability 8.6, the RTX 30 series.

# %% [zh]
# ## 生成 plan
#
# 网络要输出哪个 tensor，就把它标记为输出。builder 怎样工作，写在 **builder config** 里。这里可能没有 GPU，
# 所以要说明 plan 是给哪种 GPU 用的：compute capability 8.6，也就是 RTX 30 系列。

# %%
flat.get_output(0).name = "features"
network.mark_output(flat.get_output(0))
config = builder.create_builder_config()
config.num_compute_capabilities = 1
config.set_compute_capability(trt.ComputeCapability.SM86, 0)
plan = builder.build_serialized_network(network, config)
print(f"{plan.nbytes:,} bytes, {network.num_layers} layers")

# %% [en]
# ## A linear layer
#
# TensorRT has none. What trtnet adds in place of `fc2`:

# %% [zh]
# ## 线性层
#
# TensorRT 没有线性层。trtnet 用下面这些来代替 `fc2`：

# %%
print(graph.explain("fc2"))

# %% [en]
# PyTorch keeps the matrix of a linear layer as (outputs, inputs), so it is multiplied transposed: x · Wᵀ + b. The bias is a constant of
# shape (1, 10), because both sides of an elementwise layer have the same number of axes.
#
# ## Exercise
#
# Write LeNet: `write` adds its layers to the network and returns the last tensor. Its first lines are there. What you need:
#
# | | |
# |---|---|
# | `network.add_convolution_nd(x, maps, (rows, columns), kernel, bias)` | |
# | `network.add_pooling_nd(x, trt.PoolingType.MAX, (rows, columns))` | then `.stride_nd` |
# | `network.add_shuffle(x)` | then `.reshape_dims` |
# | `network.add_constant(shape, weights)` | |
# | `network.add_matrix_multiply(x, trt.MatrixOperation.NONE, y, trt.MatrixOperation.TRANSPOSE)` | |
# | `network.add_elementwise(x, y, trt.ElementWiseOperation.SUM)` | |
# | `network.add_activation(x, trt.ActivationType.RELU)` | |
# | `network.add_softmax(x)` | then `.axes`, a bit for each axis: `1 << 0` is the first one |
#
# `trtnet.learn.check("lenet", network)` compares your network with LeNet: inputs and outputs, the layers one by one, the bytes of the
# weights, and the numbers that both compute in PyTorch. For LeNet's lines see lesson 1, or print `graph.summary()`.

# %% [zh]
# PyTorch 把线性层的矩阵存成 (输出, 输入)，所以要乘它的转置：x · Wᵀ + b。偏置是形状为 (1, 10) 的 constant，
# 因为 elementwise layer 的两个输入必须有相同的轴数。
#
# ## 练习
#
# 写出 LeNet：`write` 把它的 layer 添加到 network 中，返回最后一个 tensor。开头几行已经写好。你需要这些：
#
# | | |
# |---|---|
# | `network.add_convolution_nd(x, maps, (rows, columns), kernel, bias)` | |
# | `network.add_pooling_nd(x, trt.PoolingType.MAX, (rows, columns))` | 然后设置 `.stride_nd` |
# | `network.add_shuffle(x)` | 然后设置 `.reshape_dims` |
# | `network.add_constant(shape, weights)` | |
# | `network.add_matrix_multiply(x, trt.MatrixOperation.NONE, y, trt.MatrixOperation.TRANSPOSE)` | |
# | `network.add_elementwise(x, y, trt.ElementWiseOperation.SUM)` | |
# | `network.add_activation(x, trt.ActivationType.RELU)` | |
# | `network.add_softmax(x)` | 然后设置 `.axes`，每个轴占一位：`1 << 0` 是第一个轴 |
#
# `trtnet.learn.check("lenet", network)` 把你的网络和 LeNet 做比较：输入输出、逐个 layer、权重的字节，以及两者在 PyTorch 里算出的数值。
# LeNet 的各行代码见第 1 课，也可以打印 `graph.summary()`。


# %%
# Exercise
def write(network, image):
    x = network.add_convolution_nd(image, 20, (5, 5), weights["conv1.weight"], weights["conv1.bias"]).get_output(0)
    pool = network.add_pooling_nd(x, trt.PoolingType.MAX, (2, 2))
    pool.stride_nd = (2, 2)
    x = pool.get_output(0)
    ...  # conv2 and its pooling, flatten, fc1, relu, fc2, softmax
    return x


# The check: nothing to change from here
mine = builder.create_network(0)
try:
    last = write(mine, mine.add_input("image", trt.DataType.FLOAT, (1, 1, 28, 28)))
    if last is None:
        raise TypeError("write gives None, not the last tensor: is there a return?")
    last.name = "prob"
    mine.mark_output(last)
    checked = trtnet.learn.check("lenet", mine)
    if checked:
        print(f"Right: {mine.num_layers} layers that compute what LeNet does.")
    else:
        print(f"not yet: {mine.num_layers} layers; LeNet has 15. The first difference:\n")
        print(checked.differences[0])
except Exception as error:
    line = traceback.extract_tb(error.__traceback__)[-1].line
    print(f"not yet: after {mine.num_layers} layers, at\n    {line}\n{type(error).__name__}: {error}")

# %% [en]
# ## The other way round
#
# `trtnet.from_network` reads a network back as a graph, one that was written by hand, too (loops and plugins excepted). It has a
# summary and a picture, and it can be run by `trtnet.reference`. This is the small network from above:

# %% [zh]
# ## 反过来
#
# `trtnet.from_network` 能把 network 读回成计算图，手写的也可以（循环和 plugin 除外）。这样它就有了 summary 和图片，还能用 `trtnet.reference` 运行。
# 下面是前面那个小网络：

# %%
small = trtnet.from_network(network)
small

# %%
digit = np.zeros((1, 1, 28, 28), np.float32)
digit[0, 0, 4:24, 13:15] = 1  # a stroke
print(trtnet.reference(small)(image=digit).shape)
print("LeNet reads a", trtnet.reference(graph)(image=digit)["prob"].argmax())

# %% [en]
# And `graph.to_script()` writes the whole of LeNet as a program in TensorRT's own API, without trtnet.
# **Predict** its length; `forward` has four lines.

# %% [zh]
# 而 `graph.to_script()` 把整个 LeNet 写成一个只用 TensorRT 自己的 API、不需要 trtnet 的程序。
# **预测**它有多少行；`forward` 是四行。

# %%
script = graph.to_script()
lines = script.splitlines()
print(len(lines), "lines, of them", sum("= network.add_" in line for line in lines) - 1, "that add a layer")
start = next(i for i, line in enumerate(lines) if "add_input" in line)
print("\n".join(lines[start : start + 22]))

# %% [en]
# ## What you have now
#
# - A builder makes a network; `network.add_*` adds layers; attributes say the rest, and their defaults are not PyTorch's.
# - `trt.Weights` is an address; nothing is copied.
# - `graph.explain()` shows the calls behind your lines, `graph.to_script()` writes them as a program, `trtnet.from_network` reads
#   them back, and `trtnet.learn.check` compares a network with what it should be.
#
# Next: [lesson 3](03-weights.ipynb) is about the weights. More on this one: [From add_* to trtnet](../../docs/add-to-trtnet.md).

# %% [zh]
# ## 你现在掌握了什么
#
# - builder 创建 network；`network.add_*` 添加 layer；其余的由属性决定，而属性的默认值和 PyTorch 的不一样。
# - `trt.Weights` 只是一个地址，不复制任何数据。
# - `graph.explain()` 显示每行代码背后的调用，`graph.to_script()` 把它们写成程序，`trtnet.from_network` 把它们读回来，
#   `trtnet.learn.check` 检查一个 network 是不是它应有的样子。
#
# 下一课：[第 3 课](03-weights.ipynb)讲权重。本课的更多内容：[从 add_* 到 trtnet](../../docs/add-to-trtnet.md)。
