"""PPO in one file, in the way of CleanRL's ppo_continuous_action.py: `gymnasium.make_vec`, a rollout, GAE, epochs.

What is left out is what only matters over millions of steps: annealing, logging, value clipping. Gymnasium begins the
next episode a step after the end of the last one (NEXT_STEP): that step's action does nothing, and it is not learned
from.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal

GAMMA, LAMBDA, CLIP, ENTROPY, VALUE, MAX_NORM = 0.99, 0.95, 0.2, 0.01, 0.5, 0.5


def layer(inputs: int, outputs: int, std: float = np.sqrt(2)) -> nn.Linear:
    made = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(made.weight, std)
    nn.init.zeros_(made.bias)
    return made


class Agent(nn.Module):
    def __init__(self, envs: Any) -> None:
        super().__init__()
        inputs, outputs = (int(np.prod(space.shape[1:])) for space in (envs.observation_space, envs.action_space))
        self.critic = nn.Sequential(layer(inputs, 32), nn.Tanh(), layer(32, 1, std=1.0))
        self.actor_mean = nn.Sequential(layer(inputs, 32), nn.Tanh(), layer(32, outputs, std=0.01))
        self.actor_logstd = nn.Parameter(torch.zeros(outputs))

    def act(self, obs: Tensor, action: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Action, its log-probability, entropy and value; each [B] but for the action."""
        policy = Normal(self.actor_mean(obs), self.actor_logstd.exp())
        action = policy.sample() if action is None else action
        return action, policy.log_prob(action).sum(1), policy.entropy().sum(1), self.critic(obs).squeeze(1)


@dataclass
class Rollout:
    """A rollout of N rows over T steps, [T, N, ...]."""

    rewards: Tensor
    begins: Tensor
    """Whether a row began another episode in this step."""
    losses: list[float]


def train(envs: Any, agent: Agent, *, updates: int, num_steps: int, seed: int = 0) -> list[Rollout]:
    optimizer = torch.optim.Adam(agent.parameters(), lr=3e-4, eps=1e-5)
    next_obs = torch.from_numpy(envs.reset(seed=seed)[0]).float().flatten(1)
    next_done = torch.zeros(envs.num_envs)
    rollouts = []
    for _ in range(updates):
        steps = []
        for _ in range(num_steps):
            obs, done = next_obs, next_done
            with torch.no_grad():
                action, logprob, _, value = agent.act(obs)
            observed, reward, terminated, truncated, _ = envs.step(action.numpy())
            next_obs = torch.from_numpy(observed).float().flatten(1)
            next_done = torch.from_numpy(terminated | truncated).float()
            steps.append((obs, action, logprob, torch.from_numpy(reward).float(), done, value))
        obs, actions, logprobs, rewards, dones, values = (torch.stack(parts) for parts in zip(*steps, strict=True))
        with torch.no_grad():
            next_value = agent.act(next_obs)[-1]
        advantages, last = torch.zeros_like(rewards), torch.zeros(envs.num_envs)
        for t in reversed(range(num_steps)):
            is_last = t == num_steps - 1
            goes_on = 1 - (next_done if is_last else dones[t + 1])
            delta = rewards[t] + GAMMA * (next_value if is_last else values[t + 1]) * goes_on - values[t]
            advantages[t] = last = delta + GAMMA * LAMBDA * goes_on * last
        returns, stepped = advantages + values, (dones == 0).flatten()
        obs, actions, logprobs, advantages, returns = (
            part.flatten(0, 1)[stepped] for part in (obs, actions, logprobs, advantages, returns)
        )
        losses = []
        for _ in range(2):
            for chosen in torch.randperm(len(obs)).chunk(2):
                _, newlogprob, entropy, newvalue = agent.act(obs[chosen], actions[chosen])
                ratio, advantage = (newlogprob - logprobs[chosen]).exp(), advantages[chosen]
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                policy_loss = torch.max(-advantage * ratio, -advantage * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
                value_loss = 0.5 * ((newvalue - returns[chosen]) ** 2).mean()
                loss = policy_loss - ENTROPY * entropy.mean() + VALUE * value_loss
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), MAX_NORM)
                optimizer.step()
                losses.append(loss.item())
        rollouts.append(Rollout(rewards, dones, losses))
    return rollouts
