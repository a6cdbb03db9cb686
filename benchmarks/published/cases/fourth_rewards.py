"""A fourth set: rewards, values, and policies that try to get them."""

import math

import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional
from torch.optim import Adam, RMSprop

from published.case import Reached, Trial, case

FLOOR = 0.02  # of a distance to the best


class _Mixed(nn.Module):
    """Values of two agents, mixed by weights that depend on the place and are not negative."""

    def __init__(self, places: int) -> None:
        super().__init__()
        self.agents = nn.ModuleList(
            nn.Sequential(nn.Linear(places, 24), nn.ReLU(), nn.Linear(24, 2)) for _ in range(2)
        )
        self.weights, self.bias = nn.Linear(places, 2), nn.Linear(places, 1)

    def values(self, seen: Tensor) -> Tensor:
        """Of each agent and each of its actions."""
        return torch.stack([agent(seen) for agent in self.agents], 1)

    def mix(self, seen: Tensor, chosen: Tensor) -> Tensor:
        """One value for both."""
        total: Tensor = (self.weights(seen).abs() * chosen).sum(1) + self.bias(seen).squeeze(1)
        return total


@case(
    "marl-8",
    source="https://github.com/thesouther/MARL/issues/8",
    wrong="target_qmix_net.load_state_dict(target_qmix_net.state_dict()): the target loads itself",
    mended="that of eval_qmix_net",
    ported="two agents that must step together along six places; reached: how far values are off",
)
def target_follows_itself(trial: Trial) -> Reached:
    """Targets of a net that is as it was drawn."""
    places, gamma = 6, 0.9
    net, target_net = _Mixed(places), _Mixed(places)
    target_net.load_state_dict(net.state_dict())
    target_net.requires_grad_(requires_grad=False)
    optimizer = RMSprop(net.parameters(), lr=2e-3)
    telemetry = trial.record(net, optimizer, tags=["rl"])
    seen = torch.eye(places)
    for step in range(600):
        place = torch.randint(places, (48,), generator=trial.generator)
        actions = torch.randint(2, (48, 2), generator=trial.generator)
        after = place + actions.prod(1)
        done = after == places
        following = seen[after.clamp_max(places - 1)]
        best = target_net.mix(following, target_net.values(following).amax(-1))
        target = done.float() + gamma * ~done * best
        own = net.values(seen[place]).gather(2, actions[..., None]).squeeze(-1)
        loss = functional.mse_loss(net.mix(seen[place], own), target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        if step % 20 == 0:
            of = net if trial.fixed else target_net
            target_net.load_state_dict(of.state_dict())
        telemetry.step(loss=loss)
    right = gamma ** torch.arange(places - 1, -1, -1.0)
    with torch.no_grad():
        off = (net.mix(seen, net.values(seen).amax(-1)) - right).abs().mean()
    return Reached(error=float(off) + FLOOR)


@case(
    "encode-attend-navigate-3",
    source="https://github.com/astariul/encode-attend-navigate-pytorch/pull/3",
    wrong="the critic's values are not detached in the loss of the policy, which pushes them away",
    mended="critic.detach()",
    ported="eight choices of four for the tour, a cost for each wrong one; reached: costs at last",
)
def critic_is_pushed(trial: Trial) -> Reached:
    """The baseline is no baseline."""
    actor = nn.Sequential(nn.Linear(8, 48), nn.Tanh(), nn.Linear(48, 32))
    critic = nn.Sequential(nn.Linear(8, 48), nn.Tanh(), nn.Linear(48, 1))
    right_of = torch.randn(8, 32, generator=trial.generator)
    optimizer = Adam(actor.parameters(), lr=1e-2)
    critic_optimizer = Adam(critic.parameters(), lr=1e-2)
    both = nn.ModuleDict({"actor": actor, "critic": critic})
    telemetry = trial.record(both, [optimizer, critic_optimizer], tags=["rl"])
    last: list[float] = []
    for _ in range(400):
        state = torch.randn(24, 8, generator=trial.generator)
        right = (state @ right_of).view(24, 8, 4).argmax(-1)
        chances = Categorical(logits=actor(state).view(24, 8, 4))
        actions = chances.sample()
        cost = (actions != right).float().sum(1)
        value = critic(state).squeeze(1)
        baseline = value.detach() if trial.fixed else value
        policy_loss = ((cost - baseline) * chances.log_prob(actions).sum(1)).mean()
        critic_loss = functional.mse_loss(value, cost)
        optimizer.zero_grad()
        critic_optimizer.zero_grad()
        (policy_loss + critic_loss).backward()
        nn.utils.clip_grad_norm_(actor.parameters(), 1.0)
        optimizer.step()
        critic_optimizer.step()
        telemetry.step(loss=policy_loss, critic_loss=critic_loss, cost=cost.mean())
        last = [*last[-49:], float(cost.mean())]
    return Reached(error=sum(last) / len(last))


@case(
    "open-spiel-962",
    source="https://github.com/google-deepmind/open_spiel/issues/962",
    wrong="the entropy is added to the loss of advantage actor-critic instead of subtracted",
    mended="subtracted",
    ported="ten places with five actions each, one of which pays most; reached: where it is chosen",
)
def entropy_is_punished(trial: Trial) -> Reached:
    """The first luck is the last choice."""
    torso = nn.Sequential(nn.Linear(10, 32), nn.ReLU())
    policy, baseline = nn.Linear(32, 5), nn.Linear(32, 1)
    model = nn.ModuleDict({"torso": torso, "policy": policy, "baseline": baseline})
    pay = 0.8 * torch.rand(10, 5, generator=trial.generator)
    pay[torch.arange(10), torch.randint(5, (10,), generator=trial.generator)] = 1.0
    optimizer = Adam(model.parameters(), lr=5e-3)
    telemetry = trial.record(model, optimizer, tags=["rl"])
    sign = trial.pick(1.0, fixed=-1.0)
    for _ in range(450):
        place = torch.randint(10, (16,), generator=trial.generator)
        hidden = torso(functional.one_hot(place, 10).float())
        chances = Categorical(logits=policy(hidden))
        action = chances.sample()
        got = pay[place, action] + 0.1 * torch.randn(16, generator=trial.generator)
        value = baseline(hidden).squeeze(1)
        policy_loss = -((got - value).detach() * chances.log_prob(action)).mean()
        entropy = chances.entropy().mean()
        loss = policy_loss + functional.mse_loss(value, got) + sign * 0.2 * entropy
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss, reward=got.mean(), entropy=entropy)
    with torch.no_grad():
        chosen = policy(torso(torch.eye(10))).argmax(-1)
    return Reached(share=float((chosen == pay.argmax(1)).float().mean()))


@case(
    "stable-baselines3-1028",
    source="https://github.com/DLR-RM/stable-baselines3/pull/1028",
    wrong="advantages are divided by their deviation; the last minibatch has one sample, and NaN",
    mended="a minibatch of one is not normalised",
    ported="a place to go to in the plane; rollouts of 97 in minibatches of 32, from the third on: "
    "the first two have 96",
)
def deviation_of_one(trial: Trial) -> Reached:
    """Tens of hours to track down."""
    policy = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
    critic = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
    model = nn.ModuleDict({"policy": policy, "critic": critic})
    optimizer = Adam(model.parameters(), lr=3e-3, eps=1e-5)
    telemetry = trial.record(model, optimizer, tags=["rl"])
    deviation = 0.3

    def log_prob(state: Tensor, action: Tensor) -> Tensor:
        return -((action - policy(state)).square().sum(1)) / (2 * deviation**2)

    for rollout in range(20):
        n = 96 if rollout < 2 else 97
        state = torch.randn(n, 2, generator=trial.generator)
        with torch.no_grad():
            noise = torch.randn(n, 2, generator=trial.generator)
            action = policy(state) + deviation * noise
            old = log_prob(state, action)
            returns = -(action + 0.5 * state).square().sum(1)
            gains = returns - critic(state).squeeze(1)
        for _ in range(4):
            order = torch.randperm(n, generator=trial.generator)
            for rows in order.split(32):
                gain = gains[rows]
                if len(rows) > 1 or not trial.fixed:
                    gain = (gain - gain.mean()) / (gain.std() + 1e-8)
                ratio = (log_prob(state[rows], action[rows]) - old[rows]).exp()
                clipped = ratio.clamp(0.8, 1.2)
                policy_loss = -torch.minimum(ratio * gain, clipped * gain).mean()
                value = critic(state[rows]).squeeze(1)
                loss = policy_loss + 0.5 * functional.mse_loss(value, returns[rows])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
                telemetry.step(loss=loss, policy_loss=policy_loss)
    with torch.no_grad():
        state = torch.randn(500, 2, generator=trial.generator)
        return Reached(error=float((policy(state) + 0.5 * state).square().sum(1).mean()) + FLOOR)


@case(
    "tianshou-40",
    source="https://github.com/thu-ml/tianshou/issues/40",
    wrong="log_prob of several actions is not summed: targets (128, n) meet values (128, 1)",
    mended="torch.sum(log_prob, 1), with the dimension kept",
    ported="three actions, without tanh; weight of the entropy .2; reached: how much of the "
    "value with entropy is missed",
)
def chances_are_not_summed(trial: Trial) -> Reached:
    """A third of the entropy."""
    weight, n_actions = 0.2, 3
    right_of = 0.7 * torch.randn(2, n_actions, generator=trial.generator)
    actor = nn.Sequential(nn.Linear(2, 48), nn.ReLU(), nn.Linear(48, 2 * n_actions))
    critic = nn.Sequential(
        nn.Linear(2 + n_actions, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    )
    actor_optimizer = Adam(actor.parameters(), lr=3e-3)
    critic_optimizer = Adam(critic.parameters(), lr=3e-3)
    both = nn.ModuleDict({"actor": actor, "critic": critic})
    telemetry = trial.record(both, [actor_optimizer, critic_optimizer], tags=["rl"])

    def act(state: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_deviation = actor(state).chunk(2, -1)
        log_deviation = log_deviation.clamp(-4, 1)
        noise = torch.randn(mean.shape, generator=trial.generator)
        density = -0.5 * noise.square() - log_deviation - 0.5 * math.log(2 * math.pi)
        if trial.fixed:
            density = density.sum(1, keepdim=True)
        return mean + log_deviation.exp() * noise, density

    for _ in range(600):
        state = torch.randn(128, 2, generator=trial.generator)
        with torch.no_grad():
            action, _density = act(state)
            explored = action + 0.3 * torch.randn(action.shape, generator=trial.generator)
            pay = -(explored - torch.tanh(state @ right_of)).square().sum(1, keepdim=True)
            after = torch.randn(128, 2, generator=trial.generator)
            following, density = act(after)
            later = critic(torch.cat([after, following], 1)) - weight * density
            target = pay + 0.3 * later
        critic_loss = functional.mse_loss(critic(torch.cat([state, explored], 1)), target)
        critic_optimizer.zero_grad()
        critic_loss.backward()
        critic_optimizer.step()
        action, density = act(state)
        actor_loss = (weight * density - critic(torch.cat([state, action], 1))).mean()
        actor_optimizer.zero_grad()
        actor_loss.backward()
        actor_optimizer.step()
        telemetry.step(loss=critic_loss, actor_loss=actor_loss)
    with torch.no_grad():
        state = torch.randn(1000, 2, generator=trial.generator)
        mean, log_deviation = actor(state).chunk(2, -1)
        log_deviation = log_deviation.clamp(-4, 1)
        off = (mean - torch.tanh(state @ right_of)).square() + (2 * log_deviation).exp()
        reached = (weight * log_deviation - off).sum(1).mean()
    best = n_actions * (weight * 0.5 * math.log(weight / 2) - weight / 2)
    return Reached(error=best - float(reached) + FLOOR)
