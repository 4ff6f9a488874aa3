"""How far ahead should a goal lie? A point follows paths by goals near and far, with noise on them and without.

python -m experiments.mrs_path
python -m experiments.mrs_path --dynamics=damped --hold=1 --ahead=1,2,4,8 --noise=0,0.5 --out=runs/paths

Nothing is learned: each look-ahead of --ahead is held to alone, and two rules choose among them by what lies ahead: the
farthest that does not pass the next turn; the nearest less than --within units before a turn, elsewhere the farthest.
Goals are renewed every --hold steps, with the noise of --noise. A second part has goals to both sides of a straight
path in turn. Writes path.html (self-contained) and path.json, by default to runs/path-<time>. MRS, Figure 1.
"""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from experiments.following import followers, measures, page
from experiments.shared import cli, out_flag, settings
from skillhier.envs import point, registry
from skillhier.report import statistics
from skillhier.rollout import rollout, start

NEAREST = 0.01  # units of a look-ahead, at least
REACH = 32.0  # units of a goal at action 1; the farthest look-ahead and its noise must fit
STRAIGHTS = 5  # of a path


class Followed(NamedTuple):
    """Episodes of one follower, as arrays of numpy."""

    positions: np.ndarray  # [T, B, 2]
    gaps: np.ndarray  # [T, B] units from the path
    finished: np.ndarray  # [T, B] bool, whether the end has been reached
    goals: np.ndarray  # [T, B, 2] in force
    paths: np.ndarray  # [B, V, 2] vertices


flags.DEFINE_list("ahead", ["1", "2", "4", "8", "16"], "look-aheads, units along the path")
flags.DEFINE_list("noise", ["0", "0.25", "0.5", "1"], "standard deviations of the noise on goals, units")
flags.DEFINE_integer("hold", 8, "steps that a goal is held", 1, 1000)
flags.DEFINE_float("within", 3.0, "units before a turn at which the second rule looks no farther than it must", 0, 1e6)
flags.DEFINE_enum("turns", "mixed", point.TURNS, "of the paths")
flags.DEFINE_enum("dynamics", "velocity", point.DYNAMICS, "of the point")
flags.DEFINE_integer("paths", 128, "how many", 2, 10**6)
flags.DEFINE_integer("path_seed", 0, "of paths and noise", 0, 2**31 - 1)


def check(run: cli.Run) -> None:
    """Refuses lists that are no numbers. Raises Refused."""
    numbers("ahead", point.STRAIGHT, positive=True)
    numbers("noise", REACH / 8)


def main(run: cli.Run) -> None:
    args = flags.FLAGS
    ahead = numbers("ahead", point.STRAIGHT, positive=True)  # what a point sees of its path
    noises = numbers("noise", REACH / 8)
    begin = time.perf_counter()
    content = {
        "world": {"turns": args.turns, "dynamics": args.dynamics},
        "ahead": ahead,
        "hold": args.hold,
        "within": args.within,
        "paths": args.paths,
        **along(ahead, noises),
        "side": followers.SIDE,
        "sides": beside(ahead, noises),
    }
    written = out_flag.write(out_flag.folder("path"), "path", content, page.page(content))
    for noise, at in content["noises"].items():
        print(page.sentence(noise, at))
    print(f"page: {written}, in {time.perf_counter() - begin:.0f} s")


def numbers(flag: str, most: float, positive: bool = False) -> list[float]:
    """The numbers of a flag, rising, from 0 to `most`; from NEAREST on if `positive`. Raises Refused."""
    given = flags.FLAGS[flag].value
    try:
        values = sorted({settings.finite(float(text)) for text in given})
    except ValueError:
        values = []
    if not values or not all(0 <= value <= most for value in values) or (positive and values[0] < NEAREST):
        least = f"from {NEAREST:g}" if positive else "from 0"
        raise cli.Refused(f"--{flag}={','.join(given)}: give numbers {least} to {most:g}, with commas between")
    return values


def along(ahead: list[float], noises: list[float]) -> dict[str, Any]:
    """Figures of every follower at every noise, and their tracks of the first path."""
    args = flags.FLAGS
    slowest = min(min(ahead), args.hold) / args.hold  # units a step
    rows = math.ceil(1.25 * STRAIGHTS * point.STRAIGHT / slowest) + 1
    named = followers.compared(ahead, args.within)
    programs = {name: program(choose, rows, turns=args.turns) for name, choose in named.items()}
    result = {}
    for noise in noises:
        taken = {name: follow(noise) for name, follow in programs.items()}
        values = {name: measures.measure(of.positions, of.gaps, of.finished) for name, of in taken.items()}
        errors = {name: of["error"] for name, of in values.items()}
        best = measures.best_alone(errors, tuple(f"{units:g}" for units in ahead))
        result[f"{noise:g}"] = {
            "followers": {
                name: {figure: statistics.mean_with_interval(of[figure]) for figure in of}
                for name, of in values.items()
            },
            "best": best,
            "beside_best": {
                name: statistics.mean_with_interval(errors[name] - errors[best])[1:] for name in followers.CHOOSING
            },
            "tracks": {name: track(of) for name, of in taken.items()},
        }
    return {"path": next(iter(taken.values())).paths[0].tolist(), "noises": result}


def beside(ahead: list[float], noises: list[float]) -> dict[str, Any]:
    """The same where goals lie to both sides of a straight path in turn: noise -> units -> track, missed, jitter."""
    args = flags.FLAGS
    rows = 10 * args.hold + 1
    result: dict[str, Any] = {f"{noise:g}": {} for noise in noises}
    for units in ahead:
        follow = program(followers.fixed(units), rows, turns="none", side=followers.SIDE)
        for noise in noises:
            of = follow(noise)
            ends = np.arange(args.hold, rows, args.hold)
            missed = np.linalg.norm(of.positions[ends] - of.goals[ends - 1], axis=-1)
            result[f"{noise:g}"][f"{units:g}"] = {
                "missed": float(missed.mean()),
                "jitter": float(measures.measure(of.positions, of.gaps, of.finished)["jitter"].mean()),
                "track": track(of),
            }
    return result


def program(choose: followers.Choose, rows: int, turns: str, side: float = 0.0) -> Callable[[float], Followed]:
    """noise -> the episodes of a follower; the same paths at every call."""
    args = flags.FLAGS
    env = registry.make("point.path", worlds=args.paths, turns=turns, dynamics=args.dynamics, straights=STRAIGHTS,
                        reach=REACH, limit=rows)  # fmt: skip
    policy = followers.follower(choose, args.hold, REACH, side)

    @jax.jit
    def follow(noise):
        start_key, key = jax.random.split(jax.random.key(args.path_seed))
        begun = start(env, policy, start_key)
        _, taken = rollout(env, policy, noise, begun, key, rows)
        shown = {name: taken.step.obs[name][:, :, 0] for name in ("position", "success")}
        finished = shown["success"][..., 0] > 0
        return Followed(shown["position"], -taken.step.reward, finished, taken.extras["goal"], begun.env.memory.path)

    return lambda noise: jax.tree.map(np.asarray, follow(noise))


def track(of: Followed) -> list[list[float]]:
    """Where the first episode went, to its end."""
    finished = of.finished[:, 0]
    return of.positions[: int(np.argmax(finished)) + 1 if finished.any() else None, 0].round(2).tolist()


if __name__ == "__main__":
    cli.run(main, needs_config=False)
