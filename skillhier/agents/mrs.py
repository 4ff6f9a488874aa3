"""MRS: a manager that chooses among goals at several resolutions (Sharma et al., 2025), on Director's two levels.

Read in order: agents/director.py, ops/action_heads.choice, this file. A resolution l is a goal coder that has learned
goals l rows ahead of a state, so what it proposes depends on where one is; `infinity` is Director's coder, which has
learned where one can be at all. The manager says a code for each of the N coders and picks one of them; the goal picked
is held for `period` rows whatever its resolution. Novelty is what the nearest finite coder cannot decode (equation 6).
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from skillhier.agents import director
from skillhier.agents.director import INFINITY, Goals
from skillhier.losses import goal_coder as coder_losses
from skillhier.losses.goal_coder import Coder
from skillhier.ops import action_heads
from skillhier.types import Agent, Array, Key, Metrics, Params, Spec

FINITE = "finite"  # the group of coders that see where they start from
DEFAULTS: dict[str, Any] = {
    **director.DEFAULTS,
    "resolutions": (8, 16, 32, 64),  # rows to a goal, of the finite coders
    "infinity": True,  # and one of goals any number of rows ahead
    "infinity_shared": False,  # it shares layers with the others, and sees zeros in place of a start
    "pair_offset": -1,  # rows added to a resolution in training: -1 as in the authors' code, 0 as the paper says
    "choice_entropy": True,  # the pick too has an entropy bonus
    "entropy_masked": False,  # of codes, only the one picked has it
    "novelty": "nearest",  # least error of the finite coders; or infinity: of that one alone, as in Director
    "novelty_context": "rollout",  # what their codes start from: the start of a rollout, or of each chunk
    "choice": "learned",  # at evaluation: learned, uniform, or a coder's name: 8, infinity
}


def make(spec: Spec, **settings: Any) -> Agent:
    """MRS for worlds of `spec`; settings as in DEFAULTS, which explains them. Raises ValueError."""
    settings = {**DEFAULTS, **settings}
    return director.assemble(spec, settings, make_goals(settings))


def make_goals(settings: Mapping[str, Any]) -> Goals:
    """Goals at the resolutions of the settings. Raises ValueError."""
    finite = tuple(str(resolution) for resolution in settings["resolutions"])
    shared = settings["infinity"] and settings["infinity_shared"] and bool(finite)
    names = (*finite, *([INFINITY] if settings["infinity"] else []))
    _check(settings, finite, names)
    kind, weight = director.code_kind(settings), director.coder_weight(settings)

    # --- coders ---
    nets = {}
    if finite:
        nets[FINITE] = director.make_coders(names if shared else finite, settings, context=True)
    if settings["infinity"] and not shared:
        nets[INFINITY] = director.make_coders((INFINITY,), settings, context=False)
    coders = {
        name: director.coder_of(
            nets[FINITE], lambda params: params[FINITE], i, settings["resolutions"][i] + settings["pair_offset"]
        )
        for i, name in enumerate(finite)
    }
    if shared:
        coders[INFINITY] = _without_context(director.coder_of(nets[FINITE], lambda params: params[FINITE], len(finite)))
    elif settings["infinity"]:
        coders[INFINITY] = director.coder_of(nets[INFINITY], lambda params: params[INFINITY])

    # --- the manager's action ---
    one, count = director.manager_head(settings), len(names)
    if count == 1:
        head = one
        split = lambda action: (action[..., None, :], jnp.ones((*action.shape[:-1], 1)))  # noqa: E731
    else:
        head = action_heads.choice(
            one, count, settings["code_unimix"],
            pick_entropy=settings["choice_entropy"], masked=settings["entropy_masked"],
        )  # fmt: skip
        split = lambda action: action_heads.picked(action, count)  # noqa: E731

    def candidates(params: Params, deter: Array, codes: Array) -> Array:
        """The goals that the codes [..., N, Z] mean at a state, [..., N, D]."""
        if shared:
            return jnp.stack([c.decode(params, deter, codes[..., i, :]) for i, c in enumerate(coders.values())], -2)
        each = [nets[FINITE].decode_all(params[FINITE], deter, codes[..., : len(finite), :])] if finite else []
        if settings["infinity"]:
            each.append(coders[INFINITY].decode(params, deter, codes[..., -1, :])[..., None, :])
        return jnp.concatenate(each, -2)

    def decode(params: Params, deter: Array, action: Array) -> Array:
        codes, pick = split(action)
        return (pick[..., None] * candidates(params, deter, codes)).sum(-2)

    def random(params: Params, deter: Array, key: Key) -> dict[str, Array]:
        goals = candidates(params, deter, director.uniform_codes(key, (*deter.shape[:-1], count), settings))
        return {name: goals[..., i, :] for i, name in enumerate(names)}

    # --- novelty ---
    def novelty(params: Params, deter: Array, key: Key) -> Array:
        if settings["novelty"] == INFINITY or not finite:
            return coder_losses.decoding_error(coders[INFINITY], kind, params, deter, deter, key)
        rows = jnp.arange(len(deter))
        begin = jnp.maximum(rows - 1, 0) // settings["period"] * settings["period"]
        context = deter[begin if settings["novelty_context"] == "chunk" else jnp.zeros_like(rows)]
        stats = kind.stats(nets[FINITE].encode_all(params[FINITE], context, deter))
        codes = kind.sample(stats, kind.noise(key, stats["log_p"].shape[:-2]))
        goals = nets[FINITE].decode_all(params[FINITE], context, codes)  # [T, B, N, D]
        error = jnp.square(goals - deter[..., None, :]).mean(-1)
        return error[..., : len(finite)].min(-1)

    # --- at evaluation, and in numbers ---
    def picking(name: str) -> Callable[[Array, Key], Array]:
        if name == "learned" or count == 1:
            return lambda action, key: action

        def change(action: Array, key: Key) -> Array:
            rows = action.shape[:-1]
            index = jax.random.randint(key, rows, 0, count) if name == "uniform" else names.index(name)
            pick = jnp.broadcast_to(jax.nn.one_hot(index, count), (*rows, count))
            return jnp.concatenate([action[..., :-count], pick], -1)

        return change

    def measure(action: Array) -> Metrics:
        _, pick = split(action)
        return {f"choice_{name}": pick[..., i].mean() for i, name in enumerate(names)} if count > 1 else {}

    def init(key: Key) -> Params:
        return {
            name: net.init(k) for (name, net), k in zip(nets.items(), jax.random.split(key, len(nets)), strict=True)
        }

    return Goals(
        init,
        head,
        decode,
        novelty,
        coder_losses.coder_loss(coders, kind, weight),
        coder_losses.init_slow(coders, weight),
        names,
        random,
        picking(settings["choice"]),
        tuple(picking(name) for name in names),
        measure,
    )


def _without_context(coder: Coder) -> Coder:
    blank = jnp.zeros_like
    return Coder(
        lambda params, context, goal: coder.encode(params, blank(context), goal),
        lambda params, context, code: coder.decode(params, blank(context), code),
        coder.offset,
    )


def _check(settings: Mapping[str, Any], finite: tuple[str, ...], names: tuple[str, ...]) -> None:
    if not names:
        raise ValueError("a manager needs a goal to choose; set agent.resolutions or agent.infinity")
    if len(set(finite)) < len(finite):
        raise ValueError(f"resolutions {', '.join(finite)} name one twice; set agent.resolutions")
    if finite and min(settings["resolutions"]) + settings["pair_offset"] < 1:
        raise ValueError(
            f"a resolution of {min(finite, key=int)} with pair_offset {settings['pair_offset']} joins no two rows; "
            "set either"
        )
    ways = {"novelty": ("nearest", INFINITY), "novelty_context": ("rollout", "chunk"),
            "choice": ("learned", "uniform", *names)}  # fmt: skip
    for name, known in ways.items():
        if settings[name] not in known:
            raise ValueError(
                f"{name} '{settings[name]}' is not known; choose {', '.join(known[:-1])} or {known[-1]} in agent.{name}"
            )
    if settings["novelty"] == INFINITY and not settings["infinity"]:
        raise ValueError("novelty=infinity needs that coder; set agent.infinity=true")
