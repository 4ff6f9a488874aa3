"""Records episodes of any policy in any Env as a data set, by `rollout`."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.data.minari import Episode, Recorder
from skillhier.rollout import ActorState, rollout, start
from skillhier.types import Env, Key, Params, Policy, TimeStep

INTENDED = "recorder.intended"  # the policy's extra that holds the action before the disturbance


class Count(NamedTuple):
    """The progress of a recording."""

    episodes: int  # of this task in the folder
    successes: int  # of those
    broken: int  # episodes dropped by this call because their world broke
    under_way: float  # steps not yet written, in units of whole episodes


def record(
    env: Env,
    policy: Policy,
    params: Params,
    recorder: Recorder,
    *,
    task: str,
    episodes: int,
    seed: int = 0,
    noise: float | tuple[float, ...] = 0.0,
    disturbance: float | tuple[float, ...] = 0.0,
    gust: int = 1,
    calm: float = 0.0,
    notes: tuple[str, ...] = (),
    rows: int = 50,
    tell: Callable[[Count], None] = lambda count: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Count:
    """Appends episodes of `policy` in `env` until the folder holds `episodes` of `task`, or `stopped()`.

    Every world contributes the same number of episodes (the first worlds one more if the number does not divide), so
    that tasks of different worlds and short episodes are not over-represented. An episode whose world broke is dropped.
    Whether an episode succeeded is read from the entry that env.spec.success names.

    Args:
      task: names the episodes in the folder; previous episodes of that name count.
      noise: standard deviation of Gaussian noise on the actions (of all, or of each); recorded as executed, clipped.
      disturbance: standard deviation of noise that is executed but not recorded, so that the data show how the policy
        recovers and which action it intended (DART; Laskey et al., CoRL 2017). One draw lasts 1 to `gust` control
        steps; a share `calm` of the draws is zero.
      notes: entries of the policy's extras to record, in infos.
      rows: rows of one call of `rollout`.
      tell: called with the progress after each of those.
    """
    worlds = env.spec.worlds
    previous = [a for a in recorder.attributes if a.get("task") == task]
    recorded = np.bincount([int(a["world"]) % worlds for a in previous], minlength=worlds)
    share = recorded.copy()
    for _ in range(episodes - len(previous)):
        share[share.argmin()] += 1
    count = Count(len(previous), sum(a.get("success", 0) > 0 for a in previous), 0, 0.0)
    if not (recorded < share).any():
        return count
    # a resumed recording needs a new key: the same one would record the same episodes again
    key = jax.random.fold_in(jax.random.key(seed), len(previous))
    k_start, k_rows = jax.random.split(key)
    acting = disturbed(noisy(policy, noise, env), disturbance, env, gust=gust, calm=calm)
    advance = jax.jit(partial(_advance, env, acting, notes, rows), donate_argnums=1)
    actor = jax.jit(partial(start, env, acting))(k_start)
    pieces = [[] for _ in range(worlds)]
    chunk = 0
    while (recorded < share).any() and not stopped():
        actor, fields = advance(params, actor, jax.random.fold_in(k_rows, chunk))
        chunk += 1
        finished = []
        for world, episode in _split_episodes(jax.device_get(fields), pieces):
            if episode is None:
                count = count._replace(broken=count.broken + 1)
            elif recorded[world] < share[world]:
                recorded[world] += 1
                finished.append(_with_attributes(episode, env.spec.success, task=task, world=world, seed=seed))
        recorder.append(finished)
        unfinished = [len(piece["reward"]) for world in np.flatnonzero(recorded < share) for piece in pieces[world]]
        count = count._replace(
            episodes=count.episodes + len(finished),
            successes=count.successes + sum(e.attributes.get("success", 0) > 0 for e in finished),
            under_way=sum(unfinished) / env.spec.limit,
        )
        if count.broken > 2 * (episodes + worlds):
            counts = f"{count.broken} episodes of {task} broke and {count.episodes} were recorded"
            raise FloatingPointError(f"{counts}; set a smaller env.timestep")
        tell(count)
    return count


def noisy(policy: Policy, scale: float | tuple[float, ...], env: Env) -> Policy:
    """`policy` with Gaussian noise of standard deviation `scale` on its actions, clipped to their bounds."""
    bounds = env.spec.action
    scale = jnp.asarray(scale, jnp.float32)

    def act(params: Params, carry, step: TimeStep, key: Key):
        k_policy, k_noise = jax.random.split(key)
        carry, action, extras = policy.act(params, carry, step, k_policy)
        action = action + scale * jax.random.normal(k_noise, action.shape)
        return carry, bounds.clip(action), extras

    return Policy(policy.init, act)


def disturbed(
    policy: Policy, scale: float | tuple[float, ...], env: Env, *, gust: int = 1, calm: float = 0.0
) -> Policy:
    """`policy` under the disturbance described in `record`; its extra INTENDED is the action that it chose."""
    bounds = env.spec.action
    scale = jnp.asarray(scale, jnp.float32)

    def init(worlds: int):
        return policy.init(worlds), jnp.zeros((worlds, *bounds.shape)), jnp.zeros(worlds, jnp.int32)

    def act(params: Params, carry, step: TimeStep, key: Key):
        inner, wind, left = carry
        k_policy, k_wind, k_calm, k_left = jax.random.split(key, 4)
        inner, action, extras = policy.act(params, inner, step, k_policy)
        blows = jax.random.uniform(k_calm, left.shape) >= calm
        drawn = blows[:, None] * scale * jax.random.normal(k_wind, action.shape)
        over = left == 0
        wind = jnp.where(over[:, None], drawn, wind)
        left = jnp.where(over, jax.random.randint(k_left, left.shape, 1, gust + 1), left) - 1
        executed = bounds.clip(action + wind)
        return (inner, wind, left), executed, {**extras, INTENDED: action}

    return Policy(init, act)


def _advance(env: Env, policy: Policy, notes: tuple[str, ...], rows: int, params: Params, actor: ActorState, key: Key):
    """The next rows: (actor, {field: [T, B, ...]}); of a stack its newest frame, as data sets have single frames."""
    actor, trajectory = rollout(env, policy, params, actor, key, rows)
    fields = {f"obs/{name}": values[:, :, 0] for name, values in trajectory.step.obs.items()}
    fields |= {f"infos/{name}": trajectory.extras[name] for name in notes}
    step = trajectory.step
    return actor, fields | {
        "action": trajectory.extras[INTENDED], "reward": step.reward, "discount": step.discount,
        "first": step.first, "last": step.last,
    }  # fmt: skip


def _split_episodes(fields: dict[str, np.ndarray], pieces: list[list[dict]]) -> Iterator[tuple[int, Episode | None]]:
    """(world, episode) for each episode that ended in these rows; the episode is None if its world broke.

    `pieces` holds for each world the rows so far of the unfinished episode, and is updated.
    """
    total = len(fields["first"])
    for world, rows_so_far in enumerate(pieces):
        part = {name: values[:, world] for name, values in fields.items()}
        begin = 0
        for row in np.flatnonzero(part["first"] | part["last"]):
            if part["first"][row]:
                if rows_so_far or row > begin:
                    yield world, None  # no `last` row closed the previous episode
                rows_so_far.clear()
                begin = row
            if part["last"][row]:
                rows_so_far.append({name: values[begin : row + 1] for name, values in part.items()})
                yield world, _episode(rows_so_far)
                rows_so_far.clear()
                begin = row + 1
        if begin < total:
            rows_so_far.append({name: values[begin:] for name, values in part.items()})


def _episode(rows_so_far: list[dict]) -> Episode:
    whole = {name: np.concatenate([piece[name] for piece in rows_so_far]) for name in rows_so_far[0]}
    return Episode(
        obs={name.removeprefix("obs/"): values for name, values in whole.items() if name.startswith("obs/")},
        action=whole["action"][:-1],
        reward=whole["reward"][1:],
        terminated=bool(whole["discount"][-1] == 0),
        infos={name.removeprefix("infos/"): v[:-1] for name, v in whole.items() if name.startswith("infos/")},
    )


def _with_attributes(episode: Episode, success: str | None, **attributes: int | str) -> Episode:
    attributes |= {"total_reward": float(episode.reward.sum()), "final_reward": float(episode.reward[-1])}
    if success is not None:
        attributes["success"] = float(episode.obs[success][-1, 0] > 0)
    return episode._replace(attributes=attributes)
