# %% [en]
# # Lesson 4: Shapes that move
#
# A plan is compiled for the sizes of its tensors. Up to now every size was a number, and then an engine takes exactly one shape. Often
# one size should be open: how many pictures come at once, how long a text is, how large a photograph. This lesson makes
# sizes that move, within bounds that you name.

# %% [zh]
# # 第 4 课：会变的形状
#
# plan 是针对 tensor 的尺寸编译的。到目前为止，每个尺寸都是一个具体的数，这样的 engine 只接受一种形状。但常常有一个尺寸不能定死：
# 一次来几张图片、一段文字有多长、一张照片有多大。这一课让尺寸动起来，范围由你指定。

# %%
import sys
from pathlib import Path

import numpy as np

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.cli.demo.digits import load_digits

root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "models" / "lenet.py").is_file())
sys.path.insert(0, str(root))
from models.lenet import LeNet

net = LeNet()
net.load_weights(root / "weights" / "lenet.safetensors")
images, labels = load_digits()[1]
print(images.shape)

fixed = trtnet.reference(trtnet.record(net, image=Input((1, 1, 28, 28))))
try:
    fixed(image=images[:7])
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# ## A named size
#
# The remedy names it: a `Dim`. It has a name, a smallest, a best and a largest value.

# %% [zh]
# ## 有名字的尺寸
#
# 报错里的 remedy 已经说了：用 `Dim`。它有名字，以及最小值、最佳值和最大值。

# %%
batch = Dim("batch", min=1, opt=8, max=64)
graph = trtnet.record(net, image=Input((batch, 1, 28, 28)))
print(graph.summary())

# %% [en]
# `batch` runs through the network like a number, and `forward` is the same as before. One engine takes every batch from 1 to 64:

# %% [zh]
# `batch` 像普通的数一样流过整个网络，`forward` 一个字也不用改。从 1 到 64 的任何 batch，同一个 engine 都能接受：

# %%
engine = trtnet.reference(graph)
for count in (1, 7, 64):
    read = engine(image=images[:count])["prob"].argmax(1)
    print(count, "digits,", int((read == labels[:count]).sum()), "right")

try:
    engine(image=images[:65])
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# ## What TensorRT is told
#
# TensorRT writes an open size as -1. Its bounds stand in an **optimization profile**: the smallest, the best and the largest shape of every
# input. The builder takes programs that are fast at the best one and right at all. (A plan may have several profiles.) The
# program that trtnet would write for this graph says so:

# %% [zh]
# ## TensorRT 得到了什么
#
# TensorRT 用 -1 表示未定的尺寸，范围写在**优化配置**（optimization profile）里：每个输入的最小、最佳和最大形状。
# builder 选用的 GPU 程序在最佳形状上快，在整个范围内都正确。（一个 plan 可以有多个 profile。）
# trtnet 为这个计算图写出的程序里是这样的：

# %%
for line in graph.to_script().splitlines():
    if "add_input" in line or "profile" in line or "reshape_dims" in line:
        print(line.strip())
print(trtnet.build_plan(graph, targets=["sm86"]))

# %% [en]
# See `reshape_dims = (0, 800)`, which is `x.flatten(1)`: 0 means "as it is in the input". When more than one size of a shape has to be
# computed, TensorRT needs layers for that; trtnet adds them.
#
# ## Sizes that are computed
#
# A size that depends on a Dim is an expression. This network halves rows and columns, with stride 2 and a padding of 1, a kernel of 3.
# **Predict** the rows of the output, for `height` rows of the input. (At 28 rows it gives 14; and at 27?)

# %% [zh]
# 注意 `reshape_dims = (0, 800)`，它就是 `x.flatten(1)`：0 表示“与输入相同”。如果一个形状里有不止一个尺寸需要计算，
# TensorRT 就要用额外的 layer 来算；trtnet 会自动添加。
#
# ## 算出来的尺寸
#
# 依赖于 Dim 的尺寸是一个表达式。下面的网络用 stride 2、padding 1、大小为 3 的卷积核把行和列减半。
# 输入有 `height` 行时，**预测**输出的行数。（28 行得到 14 行；27 行呢？）

# %%
height, width = Dim("height", min=16, opt=32, max=64), Dim("width", min=16, opt=32, max=64)


class Half(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)

    def forward(self, image):
        x = self.conv(image)
        print("while recording:", x.shape)
        return x


half = trtnet.record(Half(), image=Input((1, 1, height, width)))
print(trtnet.reference(half)(image=np.zeros((1, 1, 28, 27), np.float32)).shape)

# %% [en]
# Every shape is checked at the smallest, the best and the largest size while recording. What holds there may still fail between
# them. This network halves a picture, doubles it again, and adds both, as a U-Net does. It records for 32 to 64, since it fits at 32, 48 and
# 64. **Predict:** what happens with a picture of 41 by 41?

# %% [zh]
# 记录时，每个形状都会在最小、最佳和最大尺寸上检查一遍。在这些尺寸上成立的，在它们之间仍可能不成立。下面的网络像 U-Net 那样，
# 把图片缩小一半，再放大回来，然后两者相加。它在 32、48 和 64 上都对得上，所以 32 到 64 可以记录。
# **预测**：给它一张 41×41 的图片会怎样？


# %%
class DownAndUp(nn.Module):
    def forward(self, image):
        x = F.interpolate(F.max_pool2d(image, 2), scale_factor=2)
        return image + x


size = Dim("size", min=32, opt=48, max=64)
unet = trtnet.reference(trtnet.record(DownAndUp(), image=Input((1, 1, size, size))))
try:
    unet(image=np.zeros((1, 1, 41, 41), np.float32))
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# trtnet kept the equation `size = (size//2)*2` that the addition needs, and tests it with the sizes of each call, before TensorRT sees
# them. If all sizes are even anyway, say so. Then the equation is met by every size, and a picture of 41 by 41 is refused as an input:

# %% [zh]
# 加法要求 `size = (size//2)*2`，trtnet 记住了这个等式，每次调用时先用实际尺寸检验，然后才轮到 TensorRT。
# 如果所有尺寸本来就是偶数，可以直接说明。这样等式在每个尺寸上都成立，而 41×41 的图片作为输入就会被拒绝：

# %%
even = Dim("size", min=32, opt=48, max=64, multiple_of=2)
unet = trtnet.reference(trtnet.record(DownAndUp(), image=Input((1, 1, even, even))))
print(unet(image=np.zeros((1, 1, 42, 42), np.float32)).shape)
try:
    unet(image=np.zeros((1, 1, 41, 41), np.float32))
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# ## Decisions
#
# `forward` runs once, so it cannot decide by a size that is not known yet. Where Python wants a yes or no that is not the same at
# every size, recording stops there:

# %% [zh]
# ## 判断
#
# `forward` 只执行一次，所以不能根据一个还不知道的尺寸做判断。当 Python 需要一个“是或否”，而答案并非在所有尺寸上都相同时，
# 记录就会停在那里：


# %%
class Cautious(nn.Module):
    def forward(self, x):
        if x.shape[0] > 4:
            return x * 0.5
        return x


try:
    trtnet.record(Cautious(), x=Input((batch, 3)))
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# ## Exercise
#
# `OnePicture` was written for one picture at a time, and has no other batch in mind:

# %% [zh]
# ## 练习
#
# `OnePicture` 是为一次处理一张图片而写的，没有考虑过别的 batch：


# %%
class OnePicture(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.first = nn.Parameter(np.linspace(-1, 1, 49, dtype=np.float32).reshape(1, 1, 49))
        self.head = nn.Linear(17 * 49, 10)

    def forward(self, image):
        image = image / image.amax()  # the brightest point of the picture becomes 1
        x = F.relu(self.conv2(F.relu(self.conv1(image))))
        x = x.reshape(1, 16, 49)
        x = trtnet.cat([self.first, x], 1)  # a row in front
        return self.head(x.reshape(1, 17 * 49))


one = OnePicture()
one_graph = trtnet.record(one, image=Input((1, 1, 28, 28)))
by_one = trtnet.reference(one_graph)
one_graph

# %% [en]
# Make it take any batch from 1 to 64, and give each picture what it would get alone. The check compares batches of 1, 7 and 64
# with `OnePicture`, picture by picture. Some of the work is pointed out by errors; one thing records well and is wrong.

# %% [zh]
# 让它接受 1 到 64 的任何 batch，而且每张图片的结果都和单独计算时一样。检查时用 1、7、64 三种 batch，逐张与 `OnePicture` 比较。
# 要改的地方有些会由报错指出；还有一处能顺利记录下来，却是错的。


# %%
# Exercise
class AnyBatch(OnePicture):
    def forward(self, image):
        image = image / image.amax()
        x = F.relu(self.conv2(F.relu(self.conv1(image))))
        x = x.reshape(1, 16, 49)
        x = trtnet.cat([self.first, x], 1)
        return self.head(x.reshape(1, 17 * 49))


# The check: nothing to change from here
any_batch = AnyBatch()
any_batch.load_state_dict(one.state_dict())
try:
    any_graph = trtnet.record(any_batch, image=Input((batch, 1, 28, 28)))
    by_many = trtnet.reference(any_graph)
    good = 0
    for count in (1, 7, 64):
        pictures = images[:count] * np.linspace(0.2, 1, count, dtype=np.float32).reshape(-1, 1, 1, 1)
        alone = np.concatenate([by_one(image=pictures[i : i + 1]) for i in range(count)])
        together = by_many(image=pictures)
        if together.shape != alone.shape:
            print(f"batch {count}: not yet, the shape is {together.shape} and should be {alone.shape}")
        elif not (same := np.isclose(together, alone, atol=1e-4).all(1)).all():
            print(f"batch {count}: not yet, {(~same).sum()} pictures get other numbers than alone")
        else:
            print(f"batch {count}: as alone")
            good += 1
    if good == 3:
        print("Right:", trtnet.build_plan(any_graph, targets=["sm86"]))
except trtnet.TrtnetError as error:
    print("not yet:", error)

# %% [en]
# ## What you have now
#
# - `Dim(name, min, opt, max)` is a size that moves; it stands for TensorRT's -1 and its optimization profile.
# - Computed sizes are expressions, `(height + 1)//2`. They are checked at min, opt and max while recording, and at the real size in each call.
# - `forward` cannot decide by an open size; and what a shape check cannot find, a comparison with the fixed network does.
#
# Next: [lesson 5](05-reading-errors.ipynb) is about reading errors. More: [Engines: shapes and profiles](../../docs/engines.md).

# %% [zh]
# ## 你现在掌握了什么
#
# - `Dim(name, min, opt, max)` 是会变的尺寸；它对应 TensorRT 的 -1 和 optimization profile。
# - 算出来的尺寸是表达式，例如 `(height + 1)//2`。记录时在 min、opt、max 上检查，每次调用时再用实际尺寸检查。
# - `forward` 不能根据未定的尺寸做判断；形状检查发现不了的问题，与固定尺寸的网络一比较就能发现。
#
# 下一课：[第 5 课](05-reading-errors.ipynb)讲怎样读懂报错。更多内容：[engine 的形状和 profile](../../docs/engines.md)。
