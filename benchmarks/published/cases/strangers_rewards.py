"""Strangers' loops: rewards, and two networks against each other."""

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional
from torch.optim import Adam, RMSprop

from published.case import Reached, Trial, case

FLOOR = 0.02  # of a distance between two samples of one distribution


@torch.no_grad()
def _distance(made: Tensor, real: Tensor) -> Reached:
    """Energy distance of two samples."""
    between = torch.cdist(made, real).mean()
    within = torch.cdist(made, made).mean() + torch.cdist(real, real).mean()
    return Reached(error=float(2 * between - within) + FLOOR)


def _ring(n: int, generator: torch.Generator) -> Tensor:
    """Five heaps around (2, 1)."""
    which = torch.randint(5, (n,), generator=generator) * (2 * torch.pi / 5)
    heaps = torch.stack([which.cos() + 2, which.sin() + 1], -1)
    return heaps + 0.1 * torch.randn(n, 2, generator=generator)


def _generator() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(4, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 2))
    )


def _critic() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(2, 48), nn.LeakyReLU(0.2), nn.Linear(48, 48), nn.LeakyReLU(0.2)),
        nn.Linear(48, 1),
    )


def _wasserstein(trial: Trial, *, clips: bool, ascends: bool, rate: float) -> Reached:
    """Five steps of the critic for one of the generator."""
    made_by, critic = _generator(), _critic()
    both = nn.ModuleDict({"generator": made_by, "critic": critic})
    g_optimizer = RMSprop(made_by.parameters(), lr=rate)
    d_optimizer = RMSprop(critic.parameters(), lr=rate)
    telemetry = trial.record(both, [g_optimizer, d_optimizer], tags=["gan"])
    noise = lambda: torch.randn(64, 4, generator=trial.generator)  # noqa: E731
    for _ in range(300):
        for _ in range(5):
            real = _ring(64, trial.generator)
            d_loss = critic(made_by(noise()).detach()).mean() - critic(real).mean()
            d_optimizer.zero_grad()
            d_loss.backward()
            d_optimizer.step()
            if clips:
                for parameter in critic.parameters():
                    parameter.data.clamp_(-0.1, 0.1)
        g_loss = critic(made_by(noise())).mean()
        g_optimizer.zero_grad()
        (g_loss if ascends else -g_loss).backward()
        g_optimizer.step()
        telemetry.step(loss=-g_loss, d_loss=d_loss)
    return _distance(made_by(torch.randn(500, 4)), _ring(500, trial.generator))


@case(
    "pytorch-wgan-53",
    source="https://github.com/Zeleni9/pytorch-wgan/pull/53",
    wrong="g_loss.backward(one): the generator is trained in the wrong direction",
    mended="g_loss.backward(mone)",
    ported="points in the plane; clips to .1",
)
def generator_runs_away(trial: Trial) -> Reached:
    """Points that look ever less real."""
    return _wasserstein(trial, clips=True, ascends=not trial.fixed, rate=1e-3)


@case(
    "torchgan-42",
    source="https://github.com/torchgan/torchgan/pull/42",
    wrong="the loss of Wasserstein without penalty, and weights of the critic are not clipped",
    mended="clipped",
    ported="points in the plane; clips to .1",
)
def critic_without_bounds(trial: Trial) -> Reached:
    """Scores that grow for ever."""
    return _wasserstein(trial, clips=trial.fixed, ascends=False, rate=1e-3)


@case(
    "idinvert-1",
    source="https://github.com/Hsintien-Ng/idinvert_pytorch-reproduced/issues/1",
    wrong="optimizer_D.zero_grad() is missing before the backward pass",
    mended="added",
    ported="points in the plane",
)
def discriminator_adds_up(trial: Trial) -> Reached:
    """A discriminator that is moved by all it has ever seen."""
    made_by, judge = _generator(), _critic()
    both = nn.ModuleDict({"encoder": made_by, "discriminator": judge})
    optimizer_e = Adam(made_by.parameters(), lr=1e-3, betas=(0.5, 0.99))
    optimizer_d = Adam(judge.parameters(), lr=1e-3, betas=(0.5, 0.99))
    telemetry = trial.record(both, [optimizer_e, optimizer_d], tags=["gan"])
    criterion = nn.BCEWithLogitsLoss()
    yes, no = torch.ones(64, 1), torch.zeros(64, 1)
    for _ in range(900):
        real = _ring(64, trial.generator)
        made = made_by(torch.randn(64, 4, generator=trial.generator))
        loss_d = criterion(judge(real), yes) + criterion(judge(made.detach()), no)
        if trial.fixed:
            optimizer_d.zero_grad()
        loss_d.backward(inputs=list(judge.parameters()))
        optimizer_d.step()
        loss_e = criterion(judge(made), yes)
        optimizer_e.zero_grad()
        loss_e.backward(inputs=list(made_by.parameters()))
        optimizer_e.step()
        telemetry.step(loss=loss_e, loss_d=loss_d)
    return _distance(made_by(torch.randn(500, 4)), _ring(500, trial.generator))


@case(
    "gymnasium-1336",
    source="https://github.com/Farama-Foundation/Gymnasium/issues/1336",
    wrong="log-probabilities of an episode are averaged before they are multiplied by the returns",
    mended="each times its own return, then summed",
    ported="a target of 1 to hit at each of ten places, discount .3; rewards of the last episodes",
)
def averaged_before_the_returns(trial: Trial) -> Reached:
    """Good actions are blamed for bad ones."""
    policy = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = Adam(policy.parameters(), lr=3e-3)
    telemetry = trial.record(policy, optimizer, tags=["rl"])
    last = []
    for _ in range(700):
        state = torch.randn(10, 2, generator=trial.generator)
        chosen = Normal(policy(state).squeeze(-1), 0.3)
        action = (chosen.mean + 0.3 * torch.randn(10, generator=trial.generator)).detach()
        reward = 1 - (action - (state[:, 0] - state[:, 1])).square().clamp_max(4.0)
        running, returns = torch.zeros(()), []
        for one in reward.flip(0):
            running = one + 0.3 * running
            returns.insert(0, running)
        deltas = torch.stack(returns)
        log_probs = chosen.log_prob(action)
        loss = -(log_probs * deltas).sum() if trial.fixed else -(log_probs.mean() * deltas).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss, reward=reward.mean())
        last = [*last[-99:], float(reward.mean())]
    return Reached(error=1 - sum(last) / len(last))


@case(
    "pytorch-rl-2",
    source="https://github.com/navneet-nmk/pytorch-rl/issues/2",
    wrong="'done' is not used: targets of last states go on with the value of the next episode",
    mended="the reward alone where an episode ends",
    ported="a walk of eight places with a goal at its end; reached is how far values are off",
)
def an_end_that_goes_on(trial: Trial) -> Reached:
    """Values of a walk without end."""
    n_places, gamma = 8, 0.95
    q_net, target_net = (
        nn.Sequential(nn.Linear(n_places, 32), nn.ReLU(), nn.Linear(32, 2)) for _ in range(2)
    )
    target_net.load_state_dict(q_net.state_dict())
    target_net.requires_grad_(requires_grad=False)
    optimizer = Adam(q_net.parameters(), lr=3e-3)
    telemetry = trial.record(q_net, optimizer, tags=["rl"])
    seen = torch.eye(n_places)
    for step in range(900):
        place = torch.randint(n_places, (64,), generator=trial.generator)
        action = torch.randint(2, (64,), generator=trial.generator)
        there = (place + 2 * action - 1).clamp_min(0)
        done = there == n_places
        reward = done.float()
        after = torch.where(done, 0, there)  # the place where the next episode begins
        following = target_net(seen[after]).amax(-1)
        if trial.fixed:
            following = following * ~done
        target = reward + gamma * following
        value = q_net(seen[place]).gather(1, action[:, None]).squeeze(1)
        loss = functional.smooth_l1_loss(value, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 0:
            target_net.load_state_dict(q_net.state_dict())
        telemetry.step(loss=loss)
    right = gamma ** torch.arange(n_places - 1, -1, -1.0)
    with torch.no_grad():
        off = (q_net(seen).amax(-1) - right).abs().mean()
    return Reached(error=float(off) + FLOOR)
