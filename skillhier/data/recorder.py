"""Episodes of any policy in any Env, recorded as a data set, by the one rollout."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.data.minari import Episode, Recorder
from skillhier.rollout import ActorState, rollout, start
from skillhier.types import Env, Key, Params, Policy, TimeStep

INTENDED = "recorder.intended"  # the note that holds the action before it was disturbed


class Count(NamedTuple):
    """How a recording stands."""

    episodes: int  # of this task in the folder
    successes: int  # of those
    broken: int  # episodes dropped since the start because their world broke
    under_way: float  # episodes' worth of steps that are not yet written


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

    Every world gives its equal share (the first ones one more where it does not come out even), so that worlds
    with different tasks, and short episodes, weigh as they should. An episode whose world broke is dropped.

    Args:
      task: names the episodes in the folder; those that are there under the same name count.
      noise: standard deviation of Gaussian noise on the actions, of all or of each; recorded as executed.
      disturbance: of noise that is executed and not recorded, so that the data show how a policy recovers and what it
        would have done (DART; Laskey et al., CoRL 2017). One draw lasts 1 to `gust` control steps; of the draws a share
        `calm` is none.
      notes: entries of the policy's extras to keep, in infos.
      rows: rows that are rolled out between two looks at them.
      tell: is called after those rows.
    """
    worlds = env.spec.worlds
    there = [a for a in recorder.attributes if a.get("task") == task]
    given = np.bincount([int(a["world"]) % worlds for a in there], minlength=worlds)
    share = given.copy()
    for _ in range(episodes - len(there)):
        share[share.argmin()] += 1
    count = Count(len(there), sum(a.get("success", 0) > 0 for a in there), 0, 0.0)
    if not (given < share).any():
        return count
    # a recording that goes on draws anew: the same key would record the same episodes twice
    key = jax.random.fold_in(jax.random.key(seed), len(there))
    k_start, k_rows = jax.random.split(key)
    acting = disturbed(noisy(policy, noise, env), disturbance, env, gust=gust, calm=calm)
    advance = jax.jit(partial(_advance, env, acting, notes, rows), donate_argnums=1)
    actor = jax.jit(partial(start, env, acting))(k_start)
    pieces = [[] for _ in range(worlds)]
    chunk = 0
    while (given < share).any() and not stopped():
        actor, seen = advance(params, actor, jax.random.fold_in(k_rows, chunk))
        chunk += 1
        finished = []
        for world, episode in _cut(jax.device_get(seen), pieces):
            if episode is None:
                count = count._replace(broken=count.broken + 1)
            elif given[world] < share[world]:
                given[world] += 1
                finished.append(_described(episode, env.spec.success, task=task, world=world, seed=seed))
        recorder.append(finished)
        waiting = [len(piece["reward"]) for world in np.flatnonzero(given < share) for piece in pieces[world]]
        count = count._replace(
            episodes=count.episodes + len(finished),
            successes=count.successes + sum(e.attributes.get("success", 0) > 0 for e in finished),
            under_way=sum(waiting) / env.spec.limit,
        )
        if count.broken > 2 * (episodes + worlds):
            done = f"{count.broken} episodes of {task} broke and {count.episodes} were recorded"
            raise FloatingPointError(f"{done}; set a smaller env.timestep")
        tell(count)
    return count


def noisy(policy: Policy, scale: float | tuple[float, ...], env: Env) -> Policy:
    """`policy` with Gaussian noise of standard deviation `scale` on its actions, kept within their bounds."""
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
    """`policy` under gusts of noise as `record` tells of them, noting as INTENDED what it chose."""
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
    """The next rows: (actor, {field: [T, B, ...]}); of a stack the newest frame, which is what a data set keeps."""
    actor, seen = rollout(env, policy, params, actor, key, rows)
    fields = {f"obs/{name}": values[:, :, 0] for name, values in seen.step.obs.items()}
    fields |= {f"infos/{name}": seen.extras[name] for name in notes}
    step = seen.step
    return actor, fields | {
        "action": seen.extras[INTENDED], "reward": step.reward, "discount": step.discount,
        "first": step.first, "last": step.last,
    }  # fmt: skip


def _cut(seen: dict[str, np.ndarray], pieces: list[list[dict]]) -> Iterator[tuple[int, Episode | None]]:
    """(world, episode) for each that ended in the rows seen, None for one whose world broke.

    `pieces` holds per world what is known of the episode under way, and is brought up to date.
    """
    total = len(seen["first"])
    for world, held in enumerate(pieces):
        part = {name: values[:, world] for name, values in seen.items()}
        begin = 0
        for row in np.flatnonzero(part["first"] | part["last"]):
            if part["first"][row]:
                if held or row > begin:
                    yield world, None  # no `last` closed what came before
                held.clear()
                begin = row
            if part["last"][row]:
                held.append({name: values[begin : row + 1] for name, values in part.items()})
                yield world, _episode(held)
                held.clear()
                begin = row + 1
        if begin < total:
            held.append({name: values[begin:] for name, values in part.items()})


def _episode(held: list[dict]) -> Episode:
    whole = {name: np.concatenate([piece[name] for piece in held]) for name in held[0]}
    return Episode(
        obs={name.removeprefix("obs/"): values for name, values in whole.items() if name.startswith("obs/")},
        action=whole["action"][:-1],
        reward=whole["reward"][1:],
        terminated=bool(whole["discount"][-1] == 0),
        infos={name.removeprefix("infos/"): v[:-1] for name, v in whole.items() if name.startswith("infos/")},
    )


def _described(episode: Episode, success: str | None, **attributes: int | str) -> Episode:
    attributes |= {"total_reward": float(episode.reward.sum()), "final_reward": float(episode.reward[-1])}
    if success is not None:
        attributes["success"] = float(episode.obs[success][-1, 0] > 0)
    return episode._replace(attributes=attributes)
