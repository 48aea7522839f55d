# %% [en]
# # Lesson 12: New weights, same engine
#
# In reinforcement learning two programs share one policy. The *actor* plays with it, the *learner* makes it better,
# and the actor wants the learner's new weights after every update. TensorRT makes this harder than it sounds, because
# it compiles the weights into what it runs.
#
# TensorRT's words, once:
#
# - A **network** is a list of layers. TensorRT's **builder** compiles it for one kind of GPU into a **plan**, a block
#   of bytes. That takes seconds, or minutes for a large network.
# - An **engine** is a plan that was loaded, ready to be called.
# - A **refitter** writes other values over an engine's weights without compiling again. That takes milliseconds, but
#   only works for weights that the engine was built to let go of.
#
# In this lesson you train a policy on CartPole in some seconds, and give each new version of it to the same engine.
# You need to know PyTorch a little, and nothing of trtnet. No GPU is needed: where there is none, trtnet's *reference
# engine* computes the same layers with PyTorch, and takes the same calls.

# %% [zh]
# # 第 12 课：换权重，不换 engine
#
# 在强化学习里，同一个策略（policy）由两个程序共用：*actor* 用它去玩，*learner* 负责把它训练得更好。learner 每更新一
# 次，actor 都想马上用上新的权重。用 TensorRT 时这件事并不像听起来那么简单，因为 TensorRT 会把权重一起编译进去。
#
# 先把 TensorRT 的几个词说清楚：
#
# - **network** 是一串 layer。TensorRT 的 **builder** 针对某一类 GPU 把它编译成 **plan**，也就是一段字节。这要花几秒
#   钟，网络大时要几分钟。
# - **engine** 是加载好的 plan，可以直接调用。
# - **refitter** 不重新编译，直接把新的数值写到 engine 的权重上。这只要几毫秒，但前提是构建 engine 时就声明过这些权重
#   可以改。
#
# 这一课里，你会用几秒钟训练一个 CartPole 策略，并把它的每个新版本交给同一个 engine。你只需要懂一点 PyTorch，不需要了
# 解 trtnet。也不需要 GPU：没有 GPU 时，trtnet 的 *reference engine* 用 PyTorch 计算同样的 layer，调用方式完全一样。

# %%
import sys
from pathlib import Path

import numpy as np
import torch

import trtnet
from trtnet import Dim, Input

root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "models").is_dir())
sys.path.insert(0, str(root))  # so that `models` is found from notebooks/ too
from models.policy import MLPPolicy

trtnet.manual_seed(0)
torch.manual_seed(0)
torch.set_num_threads(1)  # what follows is small

# %% [en]
# ## The policy
#
# `MLPPolicy(4, 2)` takes four numbers: where the cart is, how fast it goes, how far the pole leans, how fast it
# falls. Its actor gives a score (a *logit*) for each of two actions, push left and push right. Its critic estimates
# how good the situation is. Both are three linear layers with tanh between them.
#
# `trtnet.record` runs `forward` once with symbols in place of numbers, and keeps the layers. `Dim` says that the
# batch may have any size from 1 to 1024, so that one engine serves one cart or many.

# %% [zh]
# ## 策略网络
#
# `MLPPolicy(4, 2)` 的输入是四个数：小车的位置、小车的速度、杆的倾角、杆倒下的角速度。它的 actor 给两个动作（向左推、
# 向右推）各打一个分（*logit*），它的 critic 估计当前局面有多好。两者都是三个线性层，中间夹着 tanh。
#
# `trtnet.record` 用符号代替数字把 `forward` 运行一次，并把产生的 layer 记下来。`Dim` 表示 batch 可以是 1 到 1024 之间
# 的任意大小，这样同一个 engine 既能控制一辆小车，也能控制许多辆。

# %%
policy = MLPPolicy(observations=4, actions=2)
graph = trtnet.record(policy, observation=Input((Dim("batch", min=1, opt=32, max=1024), 4)))
graph  # shows itself as a picture; modules open and close with a click

# %% [en]
# Every parameter has the name that it has in PyTorch's `state_dict`. These names are how weights find their place in
# an engine later:

# %% [zh]
# 每个参数的名字都和它在 PyTorch 的 `state_dict` 里的名字相同。之后，权重就是靠这些名字在 engine 里找到自己的位置：

# %%
for name, value in graph.state_dict().items():
    print(f"{name:16} {value.shape}")

# %% [en]
# ## What compiling costs
#
# TensorRT-RTX is the TensorRT for RTX cards, and its builder works without a GPU. `sm86` is a GeForce RTX 30.
# `refit="actor.*"` asks for an engine in which the actor's weights can be changed, and the critic's cannot.

# %% [zh]
# ## 编译一次要多久
#
# TensorRT-RTX 是面向 RTX 显卡的 TensorRT，它的 builder 没有 GPU 也能工作。`sm86` 指 GeForce RTX 30 系
# 列。`refit="actor.*"` 要求这样一个 engine：actor 的权重可以改，critic 的不能改。

# %%
plan = trtnet.build_plan(graph, targets=["sm86"], refit="actor.*")
print(f"{len(plan):,} bytes, compiled in {plan.seconds:.1f} s")

# %% [en]
# A training run has hundreds of updates. You would not want to wait so long after each.
#
# Now the engine that plays. `provider="reference"` asks for the one that runs in PyTorch, so that this lesson prints
# the same on every machine; leave it out, and TensorRT is used where it can run. `refit=True` lets every weight
# change.

# %% [zh]
# 一次训练有几百次更新，谁也不愿意每次更新后都等这么久。
#
# 下面是负责玩的 engine。`provider="reference"` 表示用 PyTorch 来运行，这样这一课在任何机器上打印的结果都一样；去掉
# 它，凡是能运行 TensorRT 的机器就会用 TensorRT。`refit=True` 表示所有权重都可以改。

# %%
engine = trtnet.build(graph, provider="reference", refit=True)
engine.weights

# %% [en]
# ## The game
#
# A pole stands on a cart; one push to the left or to the right every 0.02 seconds keeps it up, or not. These are the
# equations of Barto, Sutton and Anderson (1983), for many carts at once. A cart is lost when it has gone 2.4 m or its
# pole leans more than 12 degrees.

# %% [zh]
# ## 游戏
#
# 小车上立着一根杆，每 0.02 秒向左或向右推一下，看能不能让杆不倒。下面是 Barto、Sutton 和 Anderson（1983）的方程，一次
# 计算许多辆小车。小车走出 2.4 米，或者杆的倾角超过 12 度，这一局就结束。


# %%
class Carts:
    """Many carts with a pole each; the state is (position, speed, angle, angular speed)."""

    def __init__(self, count, seed):
        self.state = np.random.default_rng(seed).uniform(-0.05, 0.05, (count, 4)).astype(np.float32)

    def push(self, right):
        _, v, angle, turn = self.state.T
        push = (np.where(right, 10.0, -10.0) + 0.05 * turn**2 * np.sin(angle)) / 1.1
        turning = (9.8 * np.sin(angle) - np.cos(angle) * push) / (0.5 * (4 / 3 - 0.1 * np.cos(angle) ** 2 / 1.1))
        moving = push - 0.05 * turning * np.cos(angle) / 1.1
        change = np.stack([v, moving, turn, turning], axis=1)
        self.state = (self.state + 0.02 * change).astype(np.float32)
        return (np.abs(self.state[:, 0]) < 2.4) & (np.abs(np.degrees(self.state[:, 2])) < 12)


def play(engine, count=32, steps=200, seed=0, draw=True):
    """Observations, actions, and which carts were still up, of each step."""
    carts, random, up, seen = Carts(count, seed), np.random.default_rng(seed), np.ones(count, bool), []
    for _ in range(steps):
        observation = carts.state
        logits = engine(observation=observation)["logits"]
        probability = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))  # of a push to the right
        right = random.random(count) < probability if draw else probability > 0.5
        seen.append((observation, right.astype(np.int64), up))
        up = up & carts.push(right)
        if not up.any():
            break
    return [np.stack(one) for one in zip(*seen)]


up = play(engine, count=16, steps=500, draw=False)[2]
print("steps until each of 16 carts was lost:", up.sum(axis=0))

# %% [en]
# The weights are random, and the poles fall soon. The repository has trained ones, in `weights/cartpole.safetensors`.
#
# **Predict:** the next cell gives this same engine the trained weights. Of at most 500 steps, how many will each cart
# stay up? How long will the change take, next to the seconds that compiling took?

# %% [zh]
# 现在的权重是随机的，杆很快就倒了。仓库里有训练好的权重：`weights/cartpole.safetensors`。
#
# **预测：** 下一个单元格把训练好的权重交给同一个 engine。最多 500 步，每辆小车能坚持多少步？换权重要多长时间，和刚才
# 编译用的几秒相比呢？

# %%
random_weights = engine.snapshot()
before = engine(observation=np.ones((1, 4), np.float32))

report = engine.refit(root / "weights" / "cartpole.safetensors")
print(report)
up = play(engine, count=16, steps=500, draw=False)[2]
print("steps until each of 16 carts was lost:", up.sum(axis=0))

# %% [en]
# `refit` took the path of a file. It takes a `state_dict`, a module or pairs of name and value just as well.
#
# `snapshot` had kept what the engine held before. `restore` puts it back, with the same bits:

# %% [zh]
# 这里 `refit` 的参数是一个文件路径。给它 `state_dict`、模块，或者一对对的名字和数值，也都可以。
#
# `snapshot` 在此之前已经把 engine 原来的权重留了下来。`restore` 把它们放回去，每一个比特都和原来相同：

# %%
engine.restore(random_weights)
after = engine(observation=np.ones((1, 4), np.float32))
print({name: np.array_equal(after[name], before[name]) for name in before})

# %% [en]
# ## Train it yourself
#
# `trtnet.to_torch(graph)` is the policy as a `torch.nn.Module`, with the same parameter names, to train. The loop
# below is REINFORCE (Williams 1992): play with the engine; make actions more likely after which the pole stood longer
# than on average, and the others less likely; give the engine the new weights; play again.
#
# `version` is a number of your own, which says of which update the weights are. The engine keeps it.
#
# **Predict:** each refit is given all 12 parameters of the learner. Look at the loss: how many of the 12 will have
# changed?

# %% [zh]
# ## 自己训练
#
# `trtnet.to_torch(graph)` 把策略变成一个可以训练的 `torch.nn.Module`，参数名不变。下面的循环是 REINFORCE（Williams
# 1992）：先用 engine 玩；如果某个动作之后杆站立的时间比平均更长，就让它更可能出现，反之则更不可能；把新权重交给
# engine；再接着玩。
#
# `version` 是你自己定的编号，说明这些权重来自第几次更新，engine 会记住它。
#
# **预测：** 每次 refit 都把 learner 的 12 个参数全部交上去。看一看损失函数：这 12 个里面有几个会真的变化？

# %%
learner = trtnet.to_torch(graph)
optimizer = torch.optim.Adam(learner.parameters(), lr=0.01)

for update in range(1, 21):
    observations, actions, up = play(engine, seed=update)
    rewards = np.flip(np.flip(up, 0).cumsum(0), 0)[up]  # steps that were still to come, of those that were played
    good = torch.from_numpy((rewards - rewards.mean()) / rewards.std())
    logits = learner(torch.from_numpy(observations[up]))["logits"]
    chosen = torch.log_softmax(logits, 1).gather(1, torch.from_numpy(actions[up])[:, None])[:, 0]
    loss = -(chosen * good).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    report = engine.refit(learner.state_dict(), version=update)
    if update % 4 == 0:
        print(f"update {update:2}: {up.sum(0).mean():5.1f} of 200 steps; {report}")

# %% [en]
# ## What a refit says of itself
#
# The loss uses the logits alone, so the critic has no gradient and stays as it was. The report names what was given,
# what the engine had to change, and what it had already, bit for bit.

# %% [zh]
# ## refit 的报告
#
# 损失函数只用到 logits，所以 critic 没有梯度，保持原样。报告里写着：交上来了哪些参数，engine 实际改了哪些，哪些是它本
# 来就有的（每个比特都相同）。

# %%
print("given:    ", len(report.given), "parameters")
print("changed:  ", report.changed)
print("unchanged:", report.unchanged)
logits, version = engine(observation=np.zeros((1, 4), np.float32), with_version=True)
print("this answer came from the weights of update", version)

# %% [en]
# ## All or nothing
#
# A trainer can send wrong weights: a layer of another size, a name that is misspelt. If half of them were written
# before that is noticed, the policy would be nobody's. So `refit` looks at all names, shapes and types first.
#
# **Predict:** below, `actor.0.bias` is right and comes first; `actor.4.bias` has three numbers in place of two. Will
# `actor.0.bias` have changed afterwards?

# %% [zh]
# ## 要么全部，要么全不
#
# 训练程序可能会送来错误的权重：某一层的大小不对，或者名字拼错了。如果写到一半才发现，那么 engine 里的策略就谁的都不是
# 了。所以 `refit` 会先检查所有的名字、形状和类型。
#
# **预测：** 下面的 `actor.0.bias` 是对的，而且排在前面；`actor.4.bias` 本应有两个数，却给了三个。执行之后
# `actor.0.bias` 会变吗？

# %%
held = engine.parameters()["actor.0.bias"]
try:
    engine.refit({"actor.0.bias": np.zeros(64, np.float32), "actor.4.bias": np.zeros(3, np.float32)})
except trtnet.TrtnetError as error:
    print(error)
print("\nactor.0.bias is as before:", np.array_equal(engine.parameters()["actor.0.bias"], held))

# %% [en]
# ## A learner with other names
#
# A real learner is often one large module, and its `state_dict` has more than the policy. Here its keys begin with
# `agent.`, and one is the trainer's own affair. Read what trtnet says; the last line is what to do.

# %% [zh]
# ## 名字不一样的 learner
#
# 实际的 learner 往往是一个大模块，它的 `state_dict` 里不只有策略。这里它的键都以 `agent.` 开头，还有一个键是训练程序
# 自己用的。读一读 trtnet 的报错，最后一行（remedy）告诉你该怎么做。

# %%
state = {f"agent.{name}": value for name, value in learner.state_dict().items()}
state["optimizer.steps"] = torch.tensor(20)
try:
    engine.refit(state)
except trtnet.TrtnetError as error:
    print(error)

# %% [en]
# Three arguments say what is meant: `prefix=` takes the keys that begin so, without that beginning; `rename=` gives
# single keys other names; `select=` takes those whose (new) name fits a pattern.

# %% [zh]
# 有三个参数可以说明你要的是什么：`prefix=` 只取以它开头的键，并去掉这个开头；`rename=` 给个别的键换名字；`select=` 只
# 取（新）名字符合某个模式的键。

# %%
print(engine.refit(state, prefix="agent.", version=20))
print(engine.refit(state, prefix="agent.", select="*.bias", version=20).given)

# %% [en]
# ## Exercise
#
# An actor may want to try a learner's newest policy once, and then go on with its own. Write `act_once`: it refits
# the *actor's* weights from the learner's state and no others (the critic stays what it was), calls the engine, and
# leaves the engine with the bits that it had. It returns the refit's report and the logits. The cell checks the
# report's names, the numbers, and the bits.

# %% [zh]
# ## 练习
#
# actor 有时想试一次 learner 最新的策略，然后继续用自己的。请写出 `act_once`：从 learner 的 state 里只 refit *actor*
# 的权重（critic 保持原样），调用 engine，最后让 engine 恢复成原来的每一个比特。它返回 refit 的报告和 logits。这个单元
# 格会检查报告里的名字、算出的数值，以及那些比特。


# %%
# Exercise
def act_once(engine, state, observation):
    """Act with the learner's actor once, and leave the engine as it was. Return the report and the logits."""
    report = None  # refit from `state`, whose keys begin with "agent."; think of what must be kept before
    logits = None  # call the engine
    # give the engine back what it had
    return report, logits


# The check: nothing to change from here
def check():
    trial, observation = trtnet.build(graph, provider="reference", refit=True), np.ones((3, 4), np.float32)
    wanted = {name for name in graph.state_dict() if name.startswith("actor.")}
    before = trial(observation=observation)
    try:
        made = act_once(trial, state, observation)
    except trtnet.TrtnetError as error:
        return print(f"Not yet, trtnet says:\n{error}")
    if not isinstance(made, tuple) or len(made) != 2:
        return print("Not yet: act_once returns two things, the report and the logits.")
    report, logits = made
    if report is None or logits is None:
        return print("Something is missing: act_once returns no report, or no logits.")
    if set(report.given) != wanted:
        return print(
            f"Not yet: the names in report.given should be the actor's alone.\n"
            f"  too many: {sorted(set(report.given) - wanted)}\n  missing: {sorted(wanted - set(report.given))}"
        )
    x = torch.from_numpy(observation)  # the actor once more, by hand
    for layer in (0, 2, 4):
        x = x @ state[f"agent.actor.{layer}.weight"].T + state[f"agent.actor.{layer}.bias"]
        x = torch.tanh(x) if layer < 4 else x
    if isinstance(logits, dict):
        return print(f"Not yet: these are all outputs of the engine, {list(logits)}. Which is the logits?")
    if np.shape(logits) != (3, 2) or not np.allclose(logits, x, atol=1e-4):
        return print("Not yet: these logits are not those of the learner's actor. When do you call the engine?")
    after = trial(observation=observation)
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    if changed:
        return print(f"Not yet: the engine's own {changed} changed. What it had must be kept before it is overwritten.")
    print("Right: six weights for one call, and then the same bits as before.")


check()

# %% [en]
# ## Nothing to refit at all
#
# A *live* weight is an input of the network instead of a part of the plan. The engine reads it where the trainer
# keeps it, at every call. So an update costs nothing; but TensorRT can optimize less around a weight that it does not
# know, so the calls themselves take longer. Which is better depends on how often you call between two updates.

# %% [zh]
# ## 连 refit 都不需要
#
# *live* 权重不是 plan 的一部分，而是 network 的输入。engine 每次调用时直接到训练程序存放权重的地方去读。所以更新不花
# 时间；但是对于事先不知道数值的权重，TensorRT 能做的优化更少，调用本身会慢一些。哪种更好，取决于两次更新之间要调用多
# 少次。

# %%
live = trtnet.build(graph, provider="reference", live=True)
live.bind_weights(learner)
x = np.ones((1, 4), np.float32)
print(live(observation=x)["logits"])
with torch.no_grad():
    learner.get_parameter("actor.4.bias").add_(1)  # as an optimizer does: in place
print(live(observation=x)["logits"], "without a refit")

# %% [en]
# ## What you have now
#
# - A policy that was trained with an engine as its actor: played, updated, refitted, by `state_dict` name.
# - A refit is all or nothing, says what it changed, and `snapshot` and `restore` bring back the same bits.
# - `prefix=`, `rename=` and `select=` take from a larger learner what belongs to the engine; `version=` says whose it
#   is.
# - Live weights need no refit, and cost speed.
#
# This is the last lesson. More: [reinforcement learning](../../docs/reinforcement-learning.md),
# [weights in motion: one trainer, many actors](../../docs/weights-in-motion.md), and `models/train_cartpole.py`,
# which trains with Gymnasium's CartPole.

# %% [zh]
# ## 你现在掌握了什么
#
# - 用 engine 当 actor 训练了一个策略：玩、更新、按 `state_dict` 的名字 refit。
# - refit 要么全部成功，要么什么都不改，并且报告改了什么；`snapshot` 和 `restore` 能恢复完全相同的比特。
# - `prefix=`、`rename=`、`select=` 从更大的 learner 中取出属于这个 engine 的部分；`version=` 说明权重来自哪一次更新。
# - live 权重不需要 refit，代价是速度。
#
# 这是最后一课。更多内
# 容：[强化学习](../../docs/reinforcement-learning.md)、
# [权重的传递：一个训练程序，许多 actor](../../docs/weights-in-motion.md)，以及用 Gymnasium 的 CartPole 训练的
# `models/train_cartpole.py`。
