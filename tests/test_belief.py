"""Acting on a belief: the filter hears the action that was executed and begins anew with an episode."""

import jax
import jax.numpy as jnp
import numpy as np

from skillhier.policies.belief import believe
from skillhier.policies.flat import flat
from skillhier.policies.hierarchy import hierarchy
from skillhier.types import Policy, TimeStep

B = 2
OPENS = [(True, True), (False, False), (False, True), (False, False), (False, False)]


def observe(params, latents, action, obs, first, key):
    """Remembers the sum of all actions since the episode began, and what it sees now."""
    total = jnp.where(first[:, None], 0.0, latents["total"] + action)
    return {"total": total, "seen": obs["x"]}


def blank(worlds):
    return {"total": jnp.full((worlds, 1), jnp.nan), "seen": jnp.full((worlds, 1), jnp.nan)}


def step(t):
    first = jnp.array(OPENS[t])
    return TimeStep({"x": jnp.full((B, 1), float(t))}, jnp.zeros(B), jnp.ones(B), first, jnp.zeros(B, bool))


def play(policy, rows=5, params=None):
    carry, played = policy.init(B), []
    for t in range(rows):
        carry, action, notes = policy.act(params, carry, step(t), jax.random.key(t))
        played.append((carry, np.asarray(action), {name: np.asarray(x) for name, x in notes.items()}))
    return played


def constant(value):
    return flat(lambda params, obs, key: (jnp.full((B, 1), value), {"shown": obs["seen"]}))


def test_the_policy_sees_the_latent_and_its_notes_stand_beside_the_latents():
    played = play(believe(observe, blank, constant(0.5), 1))
    for t, (_, _, notes) in enumerate(played):
        assert set(notes) == {"shown", "belief/total", "belief/seen"}
        assert (notes["shown"] == t).all() and (notes["belief/seen"] == t).all()


def test_the_filter_begins_anew_where_an_episode_does():
    """No value of the blank latent survives: it is not even a number here."""
    totals = [notes["belief/total"][:, 0].tolist() for _, _, notes in play(believe(observe, blank, constant(0.5), 1))]
    assert totals == [[0.0, 0.0], [0.5, 0.5], [1.0, 0.0], [1.5, 0.5], [2.0, 1.0]]


def test_it_hears_what_was_executed_noise_and_clip_included():
    played = play(believe(observe, blank, constant(0.9), 1, noise=0.5))
    actions = [action for _, action, _ in played]
    assert max(a.max() for a in actions) == 1.0 and min(a.min() for a in actions) < 0.85  # clipped, and noisy
    for (carry, action, notes), (_, _, later), opens in zip(played, played[1:], OPENS[1:], strict=False):
        assert (np.asarray(carry.action) == action).all()
        heard = np.where(np.array(opens)[:, None], 0.0, notes["belief/total"] + action)
        np.testing.assert_allclose(later["belief/total"], heard, rtol=1e-6)


def test_a_policy_beyond_its_range_is_clipped_without_noise_too():
    carry, action, _ = play(believe(observe, blank, constant(3.0), 1), rows=1)[0]
    assert (action == 1.0).all() and (np.asarray(carry.action) == 1.0).all()


def test_the_world_gets_its_own_units():
    _, action, _ = play(believe(observe, blank, constant(0.5), 1, to_world=lambda a: 10 * a), rows=1)[0]
    carry, _, later = play(believe(observe, blank, constant(0.5), 1, to_world=lambda a: 10 * a), rows=2)[1]
    assert (action == 5.0).all() and (later["belief/total"] == 0.5).all()


def test_the_hold_counter_restarts_with_the_episode():
    count = Policy(lambda worlds: jnp.zeros(worlds), lambda params, n, step, key: (n + 1, n, {}))
    worker = flat(lambda params, obs, key: (obs["skill"][:, None] / 10, {}))
    held = hierarchy(count, worker, 3, initial_choice=lambda worlds: jnp.zeros(worlds))
    played = play(believe(observe, blank, held, 1))
    renewed = [notes["skill_renewed"].tolist() for _, _, notes in played]
    assert renewed == [[True, True], [False, False], [False, True], [True, False], [False, False]]
    assert [notes["skill"].tolist() for _, _, notes in played][-1] == [1.0, 1.0]
