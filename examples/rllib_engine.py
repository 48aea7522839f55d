"""Ray RLlib samples by trtnet engines: an RLModule whose env runners act by an engine. PPO on CartPole-v1.

    pip install 'trtnet[rl]' 'ray[rllib]'
    python examples/rllib_engine.py --curve rllib.png

RLlib gives the learner's weights to each env runner's module by `set_state`: there the engine is refitted. What acts of
it, its encoder and its head for actions, is recorded as RLlib made it; the learner and the connectors are RLlib's.
"""

from typing import Any

from _needs import packages

import trtnet

with packages("trtnet[rl]", "ray[rllib]", of=__name__):
    import ray
    import torch
    from _curve import report
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
    from ray.rllib.core.columns import Columns
    from ray.rllib.core.models.base import ACTOR, ENCODER_OUT
    from ray.rllib.core.rl_module import RLModuleSpec

ENVS = 8


class Acting(torch.nn.Module):
    """From observations to what the actions' distribution is made of."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.encoder, self.pi = module.encoder, module.pi

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        return self.pi(self.encoder({Columns.OBS: obs})[ENCODER_OUT][ACTOR])


class EngineModule(DefaultPPOTorchRLModule):
    """PPO's module, which explores and acts by an engine that is built when it first does."""

    engine: trtnet.Engine | None = None

    def _forward_inference(self, batch: dict[str, Any], **given: Any) -> dict[str, Any]:
        if self.engine is None:
            inputs = trtnet.Input((trtnet.Dim("batch", min=1, opt=ENVS, max=1024), *self.observation_space.shape))
            self.engine = trtnet.build(trtnet.record(Acting(self), obs=inputs), refit=True)
        return {Columns.ACTION_DIST_INPUTS: self.engine(obs=batch[Columns.OBS])}

    _forward_exploration = _forward_inference

    def set_state(self, state: Any) -> None:
        super().set_state(state)
        if self.engine is not None:
            self.engine.refit(Acting(self), version=self.engine.generation + 1)


def acting(runner: Any) -> str | None:
    """What an env runner's engine is; None of one that has not acted."""
    engine = runner.module.engine
    return None if engine is None else f"{engine!r}, refitted {engine.generation} times"


def train(iterations: int = 40, seed: int = 1, runners: int = 1) -> tuple[Any, Any, list[tuple[int, float]]]:
    """The algorithm, what `acting` says of its env runners, and the mean return of the last episodes by steps."""
    spec = RLModuleSpec(EngineModule, model_config={"vf_share_layers": False, "fcnet_hiddens": [64, 64]})
    config = PPOConfig().environment("CartPole-v1").rl_module(rl_module_spec=spec).debugging(seed=seed)
    config.env_runners(num_env_runners=runners, num_envs_per_env_runner=ENVS)
    config.training(train_batch_size_per_learner=2048, minibatch_size=256, num_epochs=8, lr=1e-3, gamma=0.98)
    algorithm, curve = config.build_algo(), []
    for _ in range(iterations):
        found = algorithm.train()["env_runners"]
        curve.append((int(found["num_env_steps_sampled_lifetime"]), float(found["episode_return_mean"])))
    return algorithm, [one for one in algorithm.env_runner_group.foreach_env_runner(acting) if one], curve


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    report(__doc__, "CartPole-v1, RLlib's PPO", train)
