"""The nouns of the house. Everything else is a function of these.

Letters used in shape comments everywhere:
  T  rows in time        B  worlds, or sequences of a batch
  N  samples             K  skills (mixture components)
  A  action size         S  frames in a stack, newest first
  D  size of one observation entry
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

Array = jax.Array
Key = jax.Array  # a typed PRNG key
Scalar = jax.Array  # []
Action = Any  # an array [B, A], or a dict of parts
Params = Any  # a dict with named children
Slow = Any  # what moves without a gradient: target copies, running scales
OptState = Any
Carry = Any
EnvState = Any
SourceState = Any
Metrics = dict[str, jax.Array]  # named 'level/quantity', scalars


class TimeStep(NamedTuple):
    """What worlds show; every leaf [B, ...].

    The reward arrives with the observation it led to, and a reset takes a step of its own: the row
    with `last` holds the true final observation, the next row is `first`. A `first` row that follows
    no `last` row says that the world broke in between; no transition leads to it.
    """

    obs: dict[str, Array]  # entry -> [B, ...]
    reward: Array  # [B] paid on arriving here; 0 where first
    discount: Array  # [B] 0 only where the task itself ended on arriving here, else 1
    first: Array  # [B] bool: opens an episode
    last: Array  # [B] bool: closes one, by the task or by the clock


class Trajectory(NamedTuple):
    """Rows in time order; every leaf [T, B, ...]."""

    step: TimeStep  # what was seen at row t
    action: Action  # what was done there; means nothing where step.last
    extras: dict[str, Array]  # what the policy noted about its choice: skill, renewed, ...


class Bounds(NamedTuple):
    """An array's shape and its closed range, the same for every element."""

    shape: tuple[int, ...]
    low: float
    high: float

    def clip(self, array: Array) -> Array:
        return jax.numpy.clip(array, self.low, self.high)


class Spec(NamedTuple):
    """What an Env promises of one world, batch axis left out."""

    obs: dict[str, jax.ShapeDtypeStruct]
    action: Bounds | dict[str, Any]  # one array, or a tree of parts with the Bounds of each
    worlds: int
    interval: float  # s between two actions
    limit: int  # control steps before an episode is cut
    privileged: tuple[str, ...] = ()  # entries that agents do not see unless they are named
    success: str | None = None  # the entry that shows 1 on the last row of an episode that succeeded
    restorable: bool = True  # a state that was saved can be gone on from; else a resumed run opens its worlds anew

    @property
    def visible(self) -> tuple[str, ...]:
        """The entries that are not privileged: what agents see unless told otherwise."""
        return tuple(name for name in self.obs if name not in self.privileged)


class Env(NamedTuple):
    """One world or many, simulated or learned. Actions beyond spec.action are clipped by the env."""

    reset: Callable[[Key], tuple[EnvState, TimeStep]]
    step: Callable[[EnvState, Action], tuple[EnvState, TimeStep]]
    spec: Spec


class Policy(NamedTuple):
    """Whatever acts. `init(worlds)` gives the carry; a policy starts anew by itself where step.first."""

    init: Callable[[int], Carry]
    act: Callable[[Params, Carry, TimeStep, Key], tuple[Carry, Action, dict[str, Array]]]


class Health(NamedTuple):
    """How a learner has fared with bad numbers (NaN, Inf) in losses or gradients."""

    skipped: Array  # [] int32 updates left out so far because of them
    streak: Array  # [] int32 how many of them are the last ones in a row
    stuck: Array  # [] bool: too many in a row; the learner stands still


class LearnerState(NamedTuple):
    params: Params  # all that acting needs; which parts learn is said by optimiser labels
    slow: Slow
    opt: OptState
    steps: Array  # [] int32 updates so far, those left out included
    health: Health


class Learner(NamedTuple):
    """Whatever learns."""

    init: Callable[[Key], LearnerState]
    update: Callable[[LearnerState, Trajectory, Key], tuple[LearnerState, Metrics]]
    from_params: Callable[[Params], LearnerState] | None = None  # the first state of a learner with these parameters
    freeze: Callable[[tuple[str, ...]], Callable] | None = None  # paths of parameters -> `update` without them


class Source(NamedTuple):
    """Where batches come from."""

    init: Callable[[Key], SourceState]
    next: Callable[[SourceState, Params, Key], tuple[SourceState, Trajectory, Metrics]]
    peek: Callable[..., Trajectory] | None = None  # (state, key, length=None) -> a batch, of windows of that length
    constant: bool = False  # the state is data that `next` gives back as it is: not saved, one copy for all seeds
    worlds: Callable[[SourceState], Any] | None = None  # a state -> the axis that counts worlds of each leaf, or -1
    rings: tuple[str, ...] = ()  # replays in the state, by name: checkpoints save their new rows (train.ring_files)
    given: Any = None  # arrays that `init` takes after the key, whole for every seed: no constants of a program
    reopen: Callable[[SourceState, Key], SourceState] | None = None  # of a restored state whose worlds are gone


class Agent(NamedTuple):
    """A learner and the policies it trains: no mode flag. Offline and online agents are the same record."""

    learner: Learner
    explore: Policy  # samples; collects data
    exploit: Policy  # takes what is likeliest; is evaluated
    replay_extras: Mapping[str, jax.ShapeDtypeStruct] = MappingProxyType({})  # notes of `explore` that it learns from
    assess: Callable[[Params, Trajectory, Key], dict[str, Array]] | None = None  # figures of held-out windows
    hold: Callable[..., Policy] | None = None  # hold(skill, *, sample=False): acts with one skill throughout
    skills: int = 0  # how many `hold` knows
    infer: Callable[[Params, Trajectory], Array] | None = None
    # ^ (params, windows of [T + look-ahead, B]) -> how much each skill is believed to act at each row, [T, B, K]
    dream: Callable[[Params, Trajectory, int, Key], dict[str, dict[str, Array]]] | None = None
    # ^ (params, windows [T, B], rows of context, key) -> what was seen, believed and dreamt of them, entry by entry
    propose: Callable[[Params, Array, Key], dict[str, dict[str, Array]]] | None = None
    # ^ (params, memories [..., D] of its model, key) -> by coder: what a random goal of it looks like, entry by entry
    coders: tuple[str, ...] = ()  # whose goals it proposes, in the order of its manager's choice


Loss = Callable[[Params, Trajectory, Key], tuple[Scalar, Metrics]]
SlowLoss = Callable[[Params, Slow, Trajectory, Key], tuple[Scalar, tuple[Slow, Metrics]]]
