# %% [en]
# # Lesson 3: Weights: owned, named, kept alive
#
# A network is layers, and the layers' numbers. Three questions decide whether these numbers arrive: whose memory is it, what is each
# array called, and how long does it live? TensorRT answers only the first, and its answer is: yours.

# %% [zh]
# # 第 3 课：权重：归谁所有、叫什么名字、活多久
#
# 网络由 layer 和 layer 里的数值组成。这些数值能不能正确到达，取决于三个问题：内存归谁所有？每个数组叫什么名字？它活多久？
# TensorRT 只回答了第一个问题，答案是：归你。

# %%
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorrt_rtx as trt
from safetensors.numpy import load_file, save_file

import trtnet
from trtnet import Input, nn
from trtnet import functional as F
from trtnet.cli.demo.digits import load_digits

root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "models" / "lenet.py").is_file())
sys.path.insert(0, str(root))
from models.lenet import LeNet

# %% [en]
# ## Whose memory?
#
# This network in TensorRT's own API adds a constant to its input: 1,000 times 1.25. (A builder makes a network; a network gets layers
# by `add_...`; [lesson 2](02-behind-one-line.ipynb) has the details.) Between adding the constant and building the plan, the
# array is changed to 7.75.
#
# **Predict:** which of the two numbers is in the plan?

# %% [zh]
# ## 内存归谁？
#
# 下面用 TensorRT 自己的 API 写一个网络，给输入加上一个 constant：1,000 个 1.25。（builder 创建 network，用 `add_...` 添加 layer；
# 细节见[第 2 课](02-behind-one-line.ipynb)。）在添加 constant 之后、生成 plan 之前，数组被改成了 7.75。
#
# **预测**：plan 里是哪个数？

# %%
builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
network = builder.create_network(0)
x = network.add_input("x", trt.DataType.FLOAT, (1, 1000))
array = np.full((1, 1000), 1.25, np.float32)
constant = network.add_constant((1, 1000), trt.Weights(array)).get_output(0)
network.mark_output(network.add_elementwise(x, constant, trt.ElementWiseOperation.SUM).get_output(0))

array[:] = 7.75

config = builder.create_builder_config()
config.num_compute_capabilities = 1
config.set_compute_capability(trt.ComputeCapability.SM86, 0)
plan = bytes(builder.build_serialized_network(network, config))
for number in (1.25, 7.75):
    print(number, "stands in the plan", plan.count(np.float32(number).tobytes()), "times")

# %% [en]
# The later one. `trt.Weights` is an address, a type and a count. TensorRT reads what stands at the address when the plan is built. Had the
# array been freed by then, the plan would hold whatever was there, or the process would crash; no message would say why.
#
# So somebody has to hold every array until the build is over. In trtnet the object that adds the layers does, and for that no
# array is copied that can be used as it is:

# %% [zh]
# 是后来的那个。`trt.Weights` 只是一个地址、一个类型和一个个数；TensorRT 在生成 plan 的时候才去读那个地址上的内容。
# 如果数组那时已经被释放，plan 里就会是碰巧留在那里的东西，或者进程直接崩溃；没有任何消息会告诉你原因。
#
# 所以必须有人一直保管每个数组，直到 plan 生成完毕。在 trtnet 里，由添加 layer 的那个对象负责；凡是能原样使用的数组，
# 都不会被复制：

# %%
weights = trt.Weights(array)
print("the same memory:", weights.numpy().ctypes.data == array.ctypes.data)

net = LeNet()
net.load_weights(root / "weights" / "lenet.safetensors")
matrix = net.state_dict()["fc1.weight"]
print(f"{matrix.nbytes:,} bytes, owned by", type(matrix.base).__name__)

# %% [en]
# `mmap`: the file is mapped into memory, and TensorRT reads the weights right from it.
#
# ## What is it called?
#
# A module knows its parameters by their paths. `state_dict` gives them, with the names that PyTorch gives to the same class:

# %% [zh]
# `mmap` 的意思是：文件被映射进内存，TensorRT 直接从中读取权重。
#
# ## 叫什么名字？
#
# 模块用路径来称呼它的参数。`state_dict` 给出这些参数，名字和 PyTorch 里同一个类的完全一样：

# %%
graph = trtnet.record(net, image=Input((1, 1, 28, 28)))
torch_net = trtnet.to_torch(graph)  # a torch.nn.Module with the same parameters
print(list(torch_net.state_dict()) == list(net.state_dict()))
for name, array in net.state_dict().items():
    print(f"{name:13} {array.shape!s:15} {array.dtype}, from {array.min():.3f} to {array.max():.3f}")

# %% [en]
# An engine keeps the names. TensorRT's **refitter** takes new values for an engine's weights by name, without a new build, if the engine
# was built for that. The engine that `trtnet.reference` makes, which computes in PyTorch, does the same:

# %% [zh]
# engine 保留这些名字。TensorRT 的 **refitter** 按名字给 engine 的权重换上新值，无需重新生成（前提是 engine 生成时就允许这样做）。`trtnet.reference` 得到的 engine
# 用 PyTorch 计算，用法也一样：

# %%
engine = trtnet.reference(graph)
image = np.zeros((1, 1, 28, 28), np.float32)
image[0, 0, 4:24, 13:15] = 1  # a stroke
print("reads a", engine(image=image)["prob"].argmax())
bias = np.zeros(10, np.float32)
bias[7] = 100
print(engine.refit({"fc2.bias": bias}).changed)
print("reads a", engine(image=image)["prob"].argmax())

# %% [en]
# ## Weights that are computed
#
# Not every weight in an engine is a parameter as it is. A batch normalization has four arrays that matter, `weight`, `bias`,
# `running_mean` and `running_var`, and computes (x - mean) / sqrt(var + eps) * weight + bias.
#
# **Predict:** how many arrays does TensorRT need for that?

# %% [zh]
# ## 算出来的权重
#
# engine 里的权重并不都是参数的原样。batch normalization 有四个起作用的数组：`weight`、`bias`、`running_mean` 和 `running_var`，
# 计算的是 (x - mean) / sqrt(var + eps) * weight + bias。
#
# **预测**：TensorRT 需要几个数组来做这件事？


# %%
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, image):
        return F.relu(self.norm(self.conv(image)))


block = trtnet.record(Block(), image=Input((1, 1, 8, 8)))
block_engine = trtnet.reference(block)
made_of = {}
for row in block_engine.weights:
    for name in row.engine_weights:
        made_of.setdefault(name, []).append(row.parameter)
for name, parameters in made_of.items():
    print(f"{name}\n    is made of {', '.join(parameters)}")

# %% [en]
# Two for the normalization, a factor and a summand for each channel. Their names say how they are made of the parameters; trtnet calls
# this a *recipe*. Whoever gives new values still gives parameters by their names, all four or one of them, and the recipes that
# read them are computed again:

# %% [zh]
# 归一化需要两个：每个通道一个系数和一个加数。它们的名字说明了如何由参数算出；trtnet 把这叫做*配方*（recipe）。
# 更新时给出的仍然是参数，用它们自己的名字，四个都给或者只给一个都行；用到它们的配方会重新计算：

# %%
report = block_engine.refit({"norm.running_var": np.full(8, 4.0, np.float32)})
print(len(report.given), "parameter was given,", len(report.changed), "weights of the engine changed")

# %% [en]
# In the picture each layer shows the weights that it reads:

# %% [zh]
# 在图中，每个 layer 都标出了它读取的权重：

# %%
block

# %% [en]
# ## A file that does not fit
#
# Weights are loaded whole or not at all: `load_weights` and `load_state_dict` compare every name and every shape first. Here is a file
# of LeNet's weights that somebody wrote with another program. Two of its eight keys are wrong.

# %% [zh]
# ## 对不上的文件
#
# 加载权重要么全部成功，要么什么都不改：`load_weights` 和 `load_state_dict` 会先比较每一个名字和形状。
# 下面这个文件装的是 LeNet 的权重，却是别人用另一个程序写的。它的八个键里有两个是错的。

# %%
file = Path(tempfile.mkdtemp()) / "theirs.safetensors"
state = dict(net.state_dict())
state["conv1.wieght"] = state.pop("conv1.weight")
state["fc2.kernel"] = state.pop("fc2.weight").T.copy()
save_file(state, file)

theirs = load_file(file)
try:
    LeNet().load_weights(file)
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# ## Exercise
#
# Make of `theirs` a dictionary `fixed` that LeNet takes, and with which it reads digits. The check loads it, and lets LeNet read 899
# handwritten digits that it was not trained on. (Names and shapes that fit are not all. The other program keeps its
# matrices the other way round: what it calls a kernel is (inputs, outputs).)

# %% [zh]
# ## 练习
#
# 由 `theirs` 做出一个 LeNet 能接受的字典 `fixed`，并且让 LeNet 用它能认出数字。检查时会加载它，让 LeNet 读 899 个训练时没见过的手写数字。
# （名字和形状对上还不够。那个程序存矩阵的方向相反：它所谓的 kernel 是 (输入, 输出)。）

# %%
# Exercise
fixed = dict(theirs)
...

# The check: nothing to change from here
digits = load_digits()[1]
try:
    fresh = LeNet()
    fresh.load_state_dict(fixed)
    reader = trtnet.reference(trtnet.record(fresh, image=Input(digits.images.shape)))
    good = int((reader(image=digits.images)["prob"].argmax(1) == digits.labels).sum())
    if good > 880:
        print(f"Right: LeNet reads {good} of {len(digits.labels)} digits.")
    else:
        print(f"not yet: it loads, but LeNet reads only {good} of {len(digits.labels)} digits")
except trtnet.TrtnetError as error:
    print("not yet:", error)

# %% [en]
# ## What you have now
#
# - TensorRT copies no weights: it reads your arrays when it builds. Something has to hold them till then, and trtnet does.
# - Parameters have PyTorch's names, from the file to the engine; what is computed of them is named by its recipe.
# - Files are compared by names and shapes before anything is loaded; whether the numbers are the right ones, only a test can say.
#
# Next: [lesson 4](04-shapes-that-move.ipynb) makes the sizes of a network change from call to call. More: [Engines: weights and files](../../docs/engines.md).

# %% [zh]
# ## 你现在掌握了什么
#
# - TensorRT 不复制权重：它在生成 plan 时才读你的数组。在那之前必须有人保管它们，trtnet 负责这件事。
# - 从文件到 engine，参数用的都是 PyTorch 的名字；由参数算出来的权重以配方命名。
# - 加载之前会比较名字和形状；至于数值是否正确，只有测试才能回答。
#
# 下一课：[第 4 课](04-shapes-that-move.ipynb)让网络的尺寸在每次调用时都可以不同。更多内容：[engine 的权重和文件](../../docs/engines.md)。
