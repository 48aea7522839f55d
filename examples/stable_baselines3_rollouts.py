"""Stable-Baselines3 collects its rollouts by a trtnet engine; PyTorch learns, and the engine gets its weights.

    pip install 'trtnet[torch]' stable-baselines3
    python examples/stable_baselines3_rollouts.py

The policy is the object that SB3 made; what acts of it is recorded as it is. A callback refits the engine from it
before each rollout, under the number of steps as the version; the learner's evaluation of actions stays PyTorch's.
"""

from typing import Any

from _needs import packages

import trtnet

with packages("trtnet[torch]", "stable-baselines3", of=__name__):
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.policies import ActorCriticPolicy


class Acting(torch.nn.Module):
    """What a policy does for a step: from observations to what its distribution is made of, and the value."""

    def __init__(self, policy: ActorCriticPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        latent_pi, latent_vf = self.policy.mlp_extractor(self.policy.extract_features(obs))
        return self.policy.action_net(latent_pi), self.policy.value_net(latent_vf)


class EngineRollouts(BaseCallback):
    """Rollouts by an engine, for PPO and A2C with discrete actions."""

    engine: trtnet.Engine
    calls = 0

    def _init_callback(self) -> None:
        self.acting = Acting(self.model.policy)
        batch = trtnet.Dim("batch", min=1, opt=self.training_env.num_envs, max=1024)
        inputs = trtnet.Input((batch, *self.model.policy.observation_space.shape))
        self.engine = trtnet.build(trtnet.record(self.acting, obs=inputs), refit=True)

    def _on_rollout_start(self) -> None:
        self.engine.refit(self.acting, version=self.num_timesteps)
        self.model.policy.forward = self.act

    def act(self, obs: torch.Tensor, deterministic: bool = False) -> tuple[Any, Any, Any]:
        logits, values = self.engine(obs=obs.float())
        self.calls += 1
        distribution = torch.distributions.Categorical(logits=logits)
        actions = logits.argmax(-1) if deterministic else distribution.sample()
        return actions, values, distribution.log_prob(actions)

    def _on_rollout_end(self) -> None:
        del self.model.policy.forward  # its class's again

    def _on_step(self) -> bool:
        return True


def train(steps: int = 40_000) -> tuple[PPO, EngineRollouts]:
    settings = {"n_steps": 256, "batch_size": 256, "n_epochs": 20, "gamma": 0.98, "gae_lambda": 0.8}
    model = PPO("MlpPolicy", "CartPole-v1", learning_rate=1e-3, seed=0, device="cpu", **settings)
    callback = EngineRollouts()
    model.learn(steps, callback=callback)
    return model, callback


if __name__ == "__main__":
    from stable_baselines3.common.evaluation import evaluate_policy

    trained, rollouts = train()
    print(f"{rollouts.calls:,} calls of {rollouts.engine!r}")
    mean, deviation = evaluate_policy(trained, trained.get_env(), 20)
    print(f"mean return of 20 episodes: {mean:.0f} ± {deviation:.0f}")
