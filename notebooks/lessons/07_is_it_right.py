# %% [en]
# # Lesson 7: Is it right?
#
# You wrote a network again, for TensorRT, that somebody had trained in PyTorch. The weights load, the shapes fit, a
# number comes out. Is it the right number? There are three questions in one:
#
# 1. Did you **write** the same network? One wrong padding, and all shapes may still fit.
# 2. Do the **number types** matter? float32 rounds, float16 rounds more.
# 3. Did TensorRT **compile** it right? Its *builder* turns the list of layers into a *plan*, an *engine* runs that,
#    and both rewrite a good deal on the way.
#
# In this lesson you find a wrong padding, by its module's path, with a method that answers all three. You need
# PyTorch's basics, no GPU, and nothing of trtnet.

# %% [zh]
# # 第 7 课：算得对不对？
#
# 别人用 PyTorch 训练了一个网络，你为 TensorRT 把它重写了一遍。权重能加载，形状都对得上，也有数字输出。可是这个数字对
# 吗？这其实是三个问题：
#
# 1. 你**写**的是同一个网络吗？padding 写错一处，所有形状可能照样对得上。
# 2. **数值类型**有没有影响？float32 有舍入误差，float16 的更大。
# 3. TensorRT **编译**得对吗？它的 *builder* 把一串 layer 变成 *plan*，再由 *engine* 运行，中间会改写很多东西。
#
# 这一课里，你会找出一个写错的 padding，并给出它所在模块的路径；所用的方法对三个问题都管用。你需要懂一点 PyTorch，不需
# 要 GPU，也不需要了解 trtnet。

# %%
import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

import trtnet
from trtnet import Input, nn
from trtnet import functional as F

torch.manual_seed(0)
root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "models").is_dir())

# %% [en]
# ## The original
#
# A small classifier. Where a block halves the image (`stride=2`), it pads on the right and at the bottom alone: that
# is what TensorFlow's "SAME" does with images of even size, and many networks that came from there keep it.

# %% [zh]
# ## 原来的网络
#
# 这是一个小分类器。把图像缩小一半的块（`stride=2`）只在右边和下边补零：图像大小为偶数时，TensorFlow 的 "SAME" 就是这
# 样做的，很多最初来自 TensorFlow 的网络都保留了这个习惯。

# %%
RIGHT_BOTTOM, EVERYWHERE = (0, 1, 0, 1), (1, 1, 1, 1)  # left, right, top, bottom


class Block(torch.nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.conv = torch.nn.Conv2d(before, after, 3, stride)
        self.pad = RIGHT_BOTTOM if stride == 2 else EVERYWHERE

    def forward(self, x):
        return torch.relu(self.conv(torch.nn.functional.pad(x, self.pad)))


class Original(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = Block(3, 8, 2)
        sizes = (8, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 2)
        self.body = torch.nn.Sequential(*(Block(*one) for one in sizes))
        self.head = torch.nn.Linear(32, 10)

    def forward(self, image):
        return self.head(self.body(self.stem(image)).mean((2, 3)))


original = Original().eval()

# %% [en]
# ## The copy
#
# The same with trtnet's `nn` and `functional`, which have PyTorch's names. `wrong` is the path of one block for which
# the author of the copy forgot the habit, and padded on all sides.

# %% [zh]
# ## 重写的网络
#
# 用 trtnet 的 `nn` 和 `functional` 再写一遍，名字和 PyTorch 的一样。参数 `wrong` 是某一个块的路径：重写的人在那里忘了
# 这个习惯，四边都补了零。


# %%
class CopiedBlock(nn.Module):
    def __init__(self, before, after, stride, pad):
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, stride)
        self.pad = pad

    def forward(self, x):
        return F.relu(self.conv(F.pad(x, self.pad)))


class Copy(nn.Module):
    def __init__(self, wrong=None):
        super().__init__()

        def block(path, before, after, stride):
            usual = stride == 2 and path != wrong
            return CopiedBlock(before, after, stride, RIGHT_BOTTOM if usual else EVERYWHERE)

        self.stem = block("stem", 3, 8, 2)
        sizes = (8, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 2)
        self.body = nn.Sequential(*(block(f"body.{i}", *one) for i, one in enumerate(sizes)))
        self.head = nn.Linear(32, 10)

    def forward(self, image):
        return self.head(self.body(self.stem(image)).mean((2, 3)))


def recorded(wrong=None):
    """The copy as a list of TensorRT's layers, with the original's weights."""
    net = Copy(wrong)
    net.load_state_dict(original.state_dict())
    return trtnet.record(net, image=Input((4, 3, 64, 64)))


graph = recorded(wrong="body.2")
graph  # shows itself as a picture; modules open and close with a click

# %% [en]
# `trtnet.record` ran `forward` once with symbols for numbers and kept the layers, each with the path of its module
# (`body.2`). `load_state_dict` was strict: every name of the original is there, every shape fits.
#
# **Predict:** the padding of `body.2` is wrong. Which of these would have told you: the names of the weights, their
# shapes, the shape of the output, the shapes inside?

# %% [zh]
# `trtnet.record` 用符号代替数字把 `forward` 运行一次，把 layer 都记下来，每个 layer 都带着所在模块的路径（如
# `body.2`）。`load_state_dict` 的检查是严格的：原来网络的每个名字都在，每个形状都对得上。
#
# **预测：** `body.2` 的 padding 是错的。下面哪一样能让你发现它：权重的名字、权重的形状、输出的形状、中间的形状？

# %%
right = recorded()
for one, other in zip(graph.layers, right.layers):
    if one.outputs[0].shape != other.outputs[0].shape:
        print(one.path, one.kind, one.outputs[0].shape, "in place of", other.outputs[0].shape)
print("output:", graph.outputs["output"].shape, "and", right.outputs["output"].shape)

# %% [en]
# Only the padded image is larger, inside `body.2`. Behind the convolution, whose stride is 2, every shape is the same
# again: 17 and 18 both become 8. So let us look at numbers.
#
# ## Compare numbers
#
# `trtnet.reference(graph)` computes the layers with PyTorch, on the CPU, in float32 as TensorRT would. The original
# computes in float64 here: that has about 16 digits, so what differs is the copy's own error. An error means
# something next to the size of the numbers, so take it relative to their root mean square.
#
# **Predict:** how large is the error with the wrong padding? And with the right one: 0, or 1e-7, or 1e-3?

# %% [zh]
# 只有 `body.2` 里补零之后的图像变大了。卷积的 stride 是 2，卷积之后所有形状又都一样：17 和 18 都变成 8。所以要看数
# 值。
#
# ## 比较数值
#
# `trtnet.reference(graph)` 在 CPU 上用 PyTorch 计算这些 layer，和 TensorRT 一样用 float32。原来的网络在这里用 float64
# 计算：它大约有 16 位有效数字，所以两者的差别就是重写的网络自己的误差。误差要和数值本身的大小放在一起看才有意义，所以
# 我们取它相对于均方根（root mean square）的比值。
#
# **预测：** padding 写错时误差有多大？padding 正确时呢：0、1e-7，还是 1e-3？


# %%
def error(found, wanted):
    """The largest difference, relative to the root mean square of what is wanted."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return np.abs(found - wanted).max() / np.sqrt(np.mean(wanted**2))


images = np.random.default_rng(0).standard_normal((4, 3, 64, 64)).astype(np.float32)
precise = copy.deepcopy(original).double()
with torch.no_grad():
    wanted = precise(torch.from_numpy(images).double()).numpy()

for name, one in {"wrong padding": graph, "right padding": right}.items():
    found = trtnet.reference(one)(images)
    same = (found.argmax(1) == wanted.argmax(1)).mean()
    print(f"{name}: error {error(found, wanted):.2g}; the same class for {same:.0%} of the images")

# %% [en]
# The mistake changes the numbers by a percent or so, and may not change one class. Nobody would see it by looking at
# pictures.
#
# ## How much is too much?
#
# The right copy is not exact either: float32 keeps about 7 digits, and each sum is rounded. To be sure that its error
# is rounding and not a smaller mistake, let the copy compute in float64, too:

# %% [zh]
# 这个错误让数值偏了百分之一左右，可能连一个类别都没有改变。光看图片的分类结果，谁也发现不了。
#
# ## 差多少才算错？
#
# 正确的网络也不是完全精确：float32 大约有 7 位有效数字，每次求和都要舍入。要确认它的误差只是舍入，而不是一个更小的错
# 误，就让重写的网络也用 float64 算一遍：

# %%
engine = trtnet.reference(right, dtype="float64", raw=True)  # raw: takes and gives float64
print(f"right padding, float64: {error(engine(images.astype(np.float64)), wanted):.2g}")

# %% [en]
# So it was rounding. A tolerance of 1e-4 lies far above it, and far below the mistake. That answers the second
# question for float32; lesson 9 asks it for float16 and bfloat16.
#
# ## Look inside
#
# The output is wrong. Where does it begin? A module whose inputs are right and whose output is wrong has the mistake,
# so we need what every module gives. In PyTorch, hooks tell:

# %% [zh]
# 所以那确实是舍入误差。取 1e-4 作为容差：它远大于舍入误差，又远小于那个错误造成的误差。对 float32 来说第二个问题就有
# 答案了；float16 和 bfloat16 留到第 9 课。
#
# ## 看看里面
#
# 输出错了，错误从哪里开始？如果一个模块的输入是对的，输出却是错的，错误就在它里面。所以要知道每个模块的输出。在
# PyTorch 里用 hook：

# %%
PATHS = ["stem", *(f"body.{i}" for i in range(5)), "head"]


def inside_torch(module, images):
    """What each module at PATHS gave, by its path."""
    found = {}
    for path in PATHS:
        module.get_submodule(path).register_forward_hook(
            lambda module, args, output, path=path: found.update({path: output.numpy()})
        )
    with torch.no_grad():
        module(torch.from_numpy(images).double())
    return found


inside = inside_torch(precise, images)
print({path: value.shape for path, value in inside.items()})

# %% [en]
# A TensorRT engine has no hooks: a tensor inside is not kept unless the network declares it an output.
# `extra_outputs` does that, by module path. The engine then returns a dict. `provider="reference"` asks for the
# engine that runs in PyTorch; on a machine with a GPU leave it out, and TensorRT answers.

# %% [zh]
# TensorRT 的 engine 没有 hook：除非在 network 里把中间的张量声明为输出，否则它不会保留下来。`extra_outputs` 就是按模
# 块路径做这件事的，之后 engine 返回一个 dict。`provider="reference"` 表示用 PyTorch 运行；在有 GPU 的机器上去掉它，就
# 由 TensorRT 来回答。

# %%
engine = trtnet.build(graph, provider="reference", extra_outputs=["stem", "body.1"])
for path, value in engine(images).items():
    print(path, value.shape)

# %% [en]
# Patterns do as well (`"body.?"`). A path that is not there is an error, which lists near ones:

# %% [zh]
# 也可以用通配模式（如 `"body.?"`）。路径不存在会报错，并列出相近的路径：

# %%
try:
    trtnet.build(graph, provider="reference", extra_outputs=["body.9"])
except trtnet.TrtnetError as mistake:
    print(mistake)

# %% [en]
# ## Exercise
#
# Write `first_wrong`: the path of the first module whose numbers differ from the original's by more than the
# tolerance, or None where none does. The cell tries it on copies with the mistake in another block each, and on the
# right copy.

# %% [zh]
# ## 练习
#
# 写出 `first_wrong`：返回第一个与原网络的数值相差超过容差的模块的路径；如果都没有超过，就返回 None。这个单元格会拿几
# 个把错误放在不同块里的网络来试，也会试那个正确的网络。


# %%
# Exercise
def first_wrong(graph, inside, images, tolerance=1e-4):
    """The first of PATHS at which `graph` differs from `inside`, the original's numbers; None where none does."""
    # an engine that gives what the modules at PATHS give; then the first of them whose error is too large
    return ...


# The check: nothing to change from here
def check():
    for wrong in ("body.2", "stem", "body.4", "body.0", None):
        try:
            found = first_wrong(recorded(wrong), inside, images)
        except trtnet.TrtnetError as mistake:
            return print(f"Not yet, trtnet says:\n{mistake}")
        if found is ...:
            return print("Something is missing: first_wrong returns ... in place of a path or None.")
        if found is not None and found not in PATHS:
            return print(f"Not yet: {found!r} is no path of PATHS.")
        if found != wrong:
            later = found is not None and wrong is not None and PATHS.index(found) > PATHS.index(wrong)
            hint = "The modules behind a wrong one are wrong, too: which is the first?" if later else ""
            hint = "What does float32's rounding look like?" if not hint and found is not None else hint
            return print(f"Not yet: of one of the copies it says {found!r}, which is not where the mistake is. {hint}")
    print("Right: the mistake is found wherever it is, and the right copy is not blamed.")


check()

# %% [en]
# ## The same from the command line
#
# `trtnet compare MODEL A B` computes one network in two ways, on the same inputs, and names the first module that
# differs. A and B are `reference` (float32 here), `float64`, `tensorrt`, an engine's file, a PyTorch class with the
# same names, or outputs that were kept. Here LeNet in float32 and in float64, with a tolerance so small that rounding
# is too much:

# %% [zh]
# ## 在命令行里做同样的事
#
# `trtnet compare MODEL A B` 用同样的输入、以两种方式计算同一个网络，并指出第一个不同的模块。A 和 B 可以是
# `reference`（这里是 float32）、`float64`、`tensorrt`、engine 文件、名字相同的 PyTorch 类，或者以前保存下来的输出。下
# 面是 LeNet 的 float32 和 float64，容差故意取得很小，连舍入误差都会超过：

# %%
command = "compare models/lenet.py:LeNet reference float64 --weights weights/lenet.safetensors"
command += " --input image=8x1x28x28 --tolerance 1e-8"
done = subprocess.run([sys.executable, "-m", "trtnet", *command.split()], cwd=root, capture_output=True, text=True)
print(done.stdout)

# %% [en]
# ## The third question: TensorRT
#
# TensorRT joins layers, picks kernels, changes the order of sums. It is seldom wrong, and sometimes it is. So
# `trtnet.build` compares each TensorRT engine with the reference in float64 before you get it: `engine.checked` has
# the figures, and a wrong engine is an error that names the module. `trtnet.diverges(graph)` searches for that module
# as you did, by engines with further outputs; it halves the list each time, since each look inside needs another
# build.
#
# **Predict:** what does it say of `graph`, the copy with the wrong padding?

# %% [zh]
# ## 第三个问题：TensorRT
#
# TensorRT 会合并 layer、挑选 kernel、改变求和的顺序。它很少出错，但偶尔也会错。所以 `trtnet.build` 在把 TensorRT 的
# engine 交给你之前，都会与 float64 的 reference 比较：数字记在 `engine.checked` 里；engine 错了就报错，并指出是哪个模
# 块。`trtnet.diverges(graph)` 和你刚才做的一样，用带有更多输出的 engine 去找那个模块；因为每看一次里面都要重新构建一
# 次，它每次把范围缩小一半。
#
# **预测：** 对于 padding 写错的那个 `graph`，它会怎么说？

# %%
print(trtnet.diverges(graph, images, provider="reference"))

# %% [en]
# It says that the engine computes what the graph says. And so it does: the graph has the wrong padding, and the
# engine has it, too. A check answers the question that it was made for, and no other. That is why the first question
# needs the original.
#
# Where the original exists as a `torch.nn.Module`, there is a way without a copy:
# `trtnet.record(original, image=...)` records it as it is.
#
# ## What you have now
#
# - Names and shapes do not show a wrong padding. Numbers do, relative to their root mean square.
# - float64 tells how much is rounding, so a tolerance need not be guessed.
# - `extra_outputs` shows tensors inside by module path; the first wrong module has the mistake.
# - `trtnet compare` for two ways to compute a network, `trtnet.diverges` for what TensorRT made of it.
#
# Next: [lesson 8, The builder](08-the-builder.ipynb). More:
# [every engine is checked](../../docs/engines.md#every-engine-is-checked),
# [torch.nn.Modules as they are](../../docs/torch-modules.md).

# %% [zh]
# 它说 engine 算的就是 graph 里写的。确实如此：graph 里的 padding 是错的，engine 里的也一样错。一种检查只回答它要回答
# 的那个问题，不回答别的。所以第一个问题必须有原来的网络才能回答。
#
# 如果原来的网络是一个 `torch.nn.Module`，还有一条不用重写的路：`trtnet.record(original, image=...)` 直接记录它。
#
# ## 你现在掌握了什么
#
# - padding 写错，从名字和形状上看不出来；从数值上看得出来，要看相对于均方根的误差。
# - 用 float64 可以知道舍入误差有多大，容差不必靠猜。
# - `extra_outputs` 按模块路径给出中间的张量；第一个出错的模块就是错误所在。
# - `trtnet compare` 比较同一个网络的两种计算方式，`trtnet.diverges` 检查 TensorRT 编译得对不对。
#
# 下一课：[第 8 课，builder](08-the-builder.ipynb)。更多内
# 容：[每个 engine 都会检查](../../docs/engines.md#every-engine-is-checked)、
# [直接使用 torch.nn.Module](../../docs/torch-modules.md)。
