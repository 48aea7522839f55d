"""TorchRL collects by a trtnet engine: a WeightSyncScheme whose far end is a refit. PPO on CartPole-v1.

    pip install 'trtnet[rl]' torchrl
    python examples/torchrl_weight_sync.py --curve torchrl.png

`collector.update_policy_weights_(net)` sends a TensorDict by the scheme, as to any policy; the engine takes it as it
is, in one refit, under the number of updates. The learner, its losses and its advantages are TorchRL's.
"""

from typing import Any

from _needs import packages

import trtnet

with packages("trtnet[rl]", "torchrl", of=__name__):
    import torch
    from _curve import report
    from tensordict.nn import TensorDictModule
    from torch import nn
    from torchrl.collectors import Collector
    from torchrl.envs import GymEnv, RewardSum, TransformedEnv
    from torchrl.modules import OneHotCategorical, ProbabilisticActor, ValueOperator
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value import GAE
    from torchrl.weight_update import NoWeightSyncScheme


class EngineSync(NoWeightSyncScheme):
    """To an engine of this process, which has the weights when `send` returns: no transport, no workers."""

    def __init__(self, engine: trtnet.Engine) -> None:
        super().__init__()
        self.engine, self.updates = engine, 0

    def send(self, weights: Any = None, worker_ids: Any = None) -> None:
        self.updates += 1
        self.engine.refit(self.prepare_weights(weights, self.model_id, self.strategy), version=self.updates)


def layers(outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


def actor(logits: Any) -> ProbabilisticActor:
    """A policy over logits: of the learner's network, or of the engine."""
    draw = {"distribution_class": OneHotCategorical, "return_log_prob": True}
    return ProbabilisticActor(TensorDictModule(logits, ["observation"], ["logits"]), in_keys=["logits"], **draw)


def train(count: int = 60, frames: int = 1024, seed: int = 1) -> tuple[Any, trtnet.Engine, list[tuple[int, float]]]:
    """The learner, the engine, and the mean return of the last 50 episodes by steps."""
    torch.manual_seed(seed)
    net, value, returns, curve = layers(2), ValueOperator(layers(1), in_keys=["observation"]), [0.0], []
    engine = trtnet.build(trtnet.record(net, input=trtnet.Input((4,))), refit=True)
    settings = {"frames_per_batch": frames, "total_frames": frames * count, "auto_register_policy_transforms": True}
    env = TransformedEnv(GymEnv("CartPole-v1"), RewardSum())
    env.set_seed(seed)
    collector = Collector(env, actor(engine), weight_sync_schemes={"policy": EngineSync(engine)}, **settings)
    gae, loss = GAE(gamma=0.98, lmbda=0.95, value_network=value), ClipPPOLoss(actor(net), value, entropy_coeff=0.0)
    optimizer = torch.optim.Adam(loss.parameters(), lr=2e-3)
    for data in collector:
        gae(data)
        for chosen in (i for _ in range(6) for i in torch.randperm(frames).chunk(4)):
            losses = loss(data[chosen])
            optimizer.zero_grad()
            sum(losses[name] for name in ("loss_objective", "loss_critic")).backward()
            nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
            optimizer.step()
        collector.update_policy_weights_(net)
        returns += data["next"]["episode_reward"][data["next"]["done"]].tolist()
        curve.append((frames * (len(curve) + 1), sum(returns[-50:]) / len(returns[-50:])))
    return net, engine, curve


if __name__ == "__main__":
    report(__doc__, "CartPole-v1, TorchRL's PPO", train)
