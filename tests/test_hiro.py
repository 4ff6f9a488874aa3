"""HIRO: goals that move with the state, their correction, what each level learns from, and that both learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from leftovers import same
from reach_world import STEP, reach_world
from specs import spec_of

from skillhier import rollout
from skillhier.agents import goal_space, hiro, registry
from skillhier.data import online, replay
from skillhier.envs import registry as worlds
from skillhier.losses.levels import task_reward
from skillhier.ops import relative_goals, temporal
from skillhier.train import evaluate, loop
from skillhier.types import TimeStep, Trajectory

PERIOD, B = 3, 4
SMALL = {"goal": ("place",), "period": PERIOD, "hidden": (16, 16), "manager_every": 1}


# --- goals ---


def test_a_goal_moves_with_the_state():
    """g' = s + g - s' by hand; rolled along a path it is always the target minus the state."""
    np.testing.assert_allclose(
        relative_goals.moved(jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0]), jnp.array([0.75, 2.0])), [0.75, -1.0]
    )
    path, goal = jax.random.normal(jax.random.key(0), (11, 5, 3)), jax.random.normal(jax.random.key(1), (5, 3))
    target = path[0] + goal
    for state, later in zip(path, path[1:], strict=False):
        goal = relative_goals.moved(goal, state, later)
        np.testing.assert_allclose(goal, target - later, atol=1e-5)


def test_the_worker_is_paid_minus_the_distance_to_the_target():
    np.testing.assert_allclose(relative_goals.distance_reward(jnp.array([3.0, -4.0])), -5.0)
    reached = jax.value_and_grad(lambda x: relative_goals.distance_reward(x))(jnp.zeros(3))
    np.testing.assert_allclose(reached[0], -1e-5, rtol=1e-5)
    assert not jnp.isnan(reached[1]).any()
    rows = lived(rows=6, last=(3,))
    place = rows.step.obs["place"][..., 0, 0]
    paid = hiro.goal_reward(goal_space.make(reach_world(B).spec, ("place",)))({}, rows, None)
    np.testing.assert_allclose(paid[1:], -np.abs(rows.extras["goal"][:-1, :, 0] - place[1:]), atol=1e-4)
    np.testing.assert_array_equal(paid[0], 0.0)


def test_candidates_are_draws_the_change_and_the_goal_within_range():
    goal, change = jnp.array([[0.5, 9.0]]), jnp.array([[0.2, -1.0]])
    half = jnp.array([1.0, 4.0])
    options = relative_goals.candidates(jax.random.key(0), goal, change, half)
    assert options.shape == (10, 1, 2)
    np.testing.assert_allclose(options[-2:, 0], [[0.2, -1.0], [0.5, 4.0]])  # 9 is out of range
    many = relative_goals.candidates(jax.random.key(0), goal, 0 * change, 100 * half, draws=20_000)[:-2, 0]
    np.testing.assert_allclose(many.mean(0), [0.0, 0.0], atol=4.0)
    clipped = relative_goals.candidates(jax.random.key(0), goal, 0 * change, half, draws=20_000)[:-2, 0]
    assert (jnp.abs(clipped) <= half).all()
    # half the range is two standard deviations: 4.6 of 100 draws lie beyond, and are clipped
    np.testing.assert_allclose((jnp.abs(clipped) == half).mean(0), 0.0455, atol=0.006)
    np.testing.assert_allclose(jnp.abs(many).mean(0), 50 * half * (2 / np.pi) ** 0.5, rtol=0.05)


def test_errors_of_actions_count_by_their_range_and_only_where_taken():
    action, mean = jnp.array([[[1.0, 0.0]], [[5.0, 5.0]]]), jnp.zeros((1, 2, 1, 2)).at[0, 0, 0, 1].set(6.0)
    score = relative_goals.match(action, mean, jnp.array([0.5, 2.0]), jnp.array([[True], [False]]))
    np.testing.assert_allclose(score, [[-(2.0**2 + 3.0**2)]])


@pytest.mark.parametrize("which", ["change", "goal"])
def test_the_correction_finds_the_goal_that_explains_the_actions(which):
    """A worker that acts by what is left of its goal: the true goal is chosen, unless another one was claimed."""
    rows, half = 5, jnp.array([2.0, 3.0])
    state = jnp.cumsum(0.2 * jax.random.normal(jax.random.key(0), (rows, B, 2)), 0)
    end = state[-1] + 0.1
    claimed = jnp.array([[1.5, -2.0]] * B)
    true = {"change": end - state[0], "goal": claimed}[which]
    act = lambda left: jnp.tanh(left)  # noqa: E731
    action = act(relative_goals.moved(true, state[0], state))
    taken = jnp.ones((rows, B), bool).at[3:, 1].set(False)
    action = action.at[3:, 1].set(jnp.nan)  # an option cut short: what follows is another one's

    def run(**changes):
        given = {"goal": claimed, "action": action} | changes
        return relative_goals.corrected(
            jax.random.key(1), act, state=state, end=end, taken=taken, goal_range=half, action_range=jnp.ones(2),
            **given,
        )  # fmt: skip

    np.testing.assert_allclose(run(), true, atol=1e-6)
    # actions of no candidate: the nearest is a draw for some
    other = run(action=act(relative_goals.moved(jnp.array([0.3, 1.9]), state[0], state)))
    options = relative_goals.candidates(jax.random.key(1), claimed, end - state[0], half)
    assert (jnp.abs(options - other).max(-1).min(0) < 1e-6).all() and (other != claimed).any()


# --- the state that goals speak of ---


def test_known_robots_have_goals_of_their_own():
    """The sizes of the fact sheet, and the half-ranges of the models' joints."""
    sizes = {}
    for task, joints in (("cheetah_run", 6), ("hopper_hop", 4), ("walker_walk", 0), ("quadruped_walk", 16)):
        space = goal_space.make(worlds.make(f"dmc.{task}", worlds=1).spec)
        sizes[task] = len(space.half_range)
        if not joints:
            continue
        from dm_control import suite

        model = suite.load(*task.split("_")).physics.model
        ranges = model.jnt_range[model.jnt_limited.astype(bool) & (model.jnt_type == 3)][:16]
        halves = space.half_range[:16] if joints == 16 else space.half_range[2:]
        np.testing.assert_allclose(halves, 0.5 * (ranges[:, 1] - ranges[:, 0]), rtol=1e-3)
    assert sizes == {"cheetah_run": 8, "hopper_hop": 6, "walker_walk": 15, "quadruped_walk": 20}


QUADRUPED = {"egocentric_state": (1, 44), "torso_velocity": (1, 3), "torso_upright": (1, 1), "imu": (1, 6)}


def test_a_goal_space_is_read_from_the_newest_frame():
    space = goal_space.make(spec_of({"a": (3, 5), "b": (2, 2)}), ("a[1:3]", "b", "a[-1:]"), (1.0, 2.0, 3.0))
    obs = {"a": jnp.arange(15.0).reshape(1, 3, 5), "b": 100 + jnp.arange(4.0).reshape(1, 2, 2)}
    np.testing.assert_array_equal(space.read(obs), [[1, 2, 100, 101, 4]])
    np.testing.assert_array_equal(space.half_range, [1, 1, 2, 2, 3])


def test_half_ranges():
    spec = spec_of({"a": (1, 2), "b": (1, 1), "hidden": (1, 1)}, privileged=("hidden",))
    given = {half: goal_space.make(spec, (), half).half_range.tolist() for half in (0.5, (), (1, 2), (1, 2, 3))}
    assert given == {0.5: [0.5] * 3, (): [1.0] * 3, (1, 2): [1, 1, 2], (1, 2, 3): [1, 2, 3]}
    run = goal_space.make(spec_of(QUADRUPED), velocity=5.0).half_range
    np.testing.assert_allclose(run[[0, 1, 16, 17, 18, 19]], [np.pi * 5 / 18, np.pi * 4 / 18, 5, 5, 5, 1], rtol=1e-6)
    assert (goal_space.make(spec_of(QUADRUPED), ("torso_upright",)).half_range == 1).all()


@pytest.mark.parametrize(
    ("goal", "half", "said"),
    [
        (("c",), (), "'c' is not known; choose of a, b in agent.goal"),
        (("pixels",), (), r"'pixels' has shape \[64, 64, 3\]; choose of a, b in agent.goal"),
        ((), (), r"'pixels' has shape \[64, 64, 3\]; choose of a, b in agent.goal"),
        (("a[2:]",), (), r"the goal 'a\[2:\]' is empty, for the entry has 2 numbers; set agent.goal"),
        (("a", "b"), (1, 2, 3, 4), "4 half-ranges do not fit goals of 2 entries and 3 numbers; set agent.goal_half"),
        (("a",), (0.0,), "half-ranges of goals must be above 0, got 0; set agent.goal_half_range"),
    ],
)
def test_a_goal_that_cannot_be_is_refused_in_a_line(goal, half, said):
    spec = spec_of({"a": (1, 2), "b": (1, 1), "pixels": (1, 64, 64, 3)})
    with pytest.raises(ValueError, match=said) as error:
        goal_space.make(spec, goal, half)
    assert "\n" not in str(error.value)


def test_pictures_and_settings_that_cannot_be_are_refused_in_a_line():
    spec = spec_of({"a": (1, 2), "pixels": (1, 64, 64, 3)})
    with pytest.raises(ValueError, match=r"'pixels' has shape \[64, 64, 3\]; name others in agent.high"):
        hiro.make(spec, goal=("a",))
    with pytest.raises(ValueError, match="name others in agent.low"):
        hiro.make(spec, goal=("a",), high=("a",))
    hiro.make(spec, goal=("a",), high=("a",), low=("a",))
    for setting in ("period", "delay", "manager_every"):
        with pytest.raises(ValueError, match=f"{setting} must be >= 1, got 0; set agent.{setting}"):
            hiro.make(reach_world(B).spec, **{setting: 0})
    parts = spec_of({"a": (1, 2)})._replace(action={"move": None, "grip": None})
    with pytest.raises(ValueError, match="actions have the parts move, grip"):
        hiro.make(parts)
    agent = hiro.make(reach_world(B).spec, **SMALL)
    params = jax.eval_shape(agent.learner.init, jax.random.key(0))
    with pytest.raises(ValueError, match="windows of 3 rows hold no goal of 3; set train.sequence_length to 6"):
        jax.eval_shape(agent.learner.update, params, lived(rows=3), jax.random.key(0))


# --- acting ---


@functools.cache
def played(explore=True, rows=20, **settings):
    """(agent, parameters, trajectory with all notes) of episodes of eight steps."""
    env = reach_world(B, limit=8)
    agent = hiro.make(env.spec, **SMALL | settings)
    policy = agent.explore if explore else agent.exploit

    @jax.jit
    def run(key):
        params = agent.learner.init(key).params
        last = params["manager"]["actor"]["Dense_2"]
        last["kernel"] *= 100.0  # goals that differ
        actor = rollout.start(env, policy, key)
        return params, rollout.rollout(env, policy, params, actor, key, rows)[1]

    return agent, *run(jax.random.key(0))


def test_a_goal_is_held_moves_with_the_state_and_ends_with_the_episode():
    _, _, rows = played()
    place = rows.step.obs["place"][:, :, 0]
    renewed, first = np.asarray(rows.extras["goal_renewed"]), np.asarray(rows.step.first)
    age = 0
    for t in range(len(renewed)):
        age = 0 if first[t, 0] else age + 1
        assert (renewed[t] == (age % PERIOD == 0)).all()
        if age % PERIOD:
            moved = relative_goals.moved(rows.extras["goal_left"][t - 1], place[t - 1], place[t])
            np.testing.assert_allclose(rows.extras["goal_left"][t], moved, atol=1e-6)
            np.testing.assert_array_equal(rows.extras["goal"][t], rows.extras["goal"][t - 1])
        np.testing.assert_allclose(rows.extras["goal_left"][t], rows.extras["goal"][t] - place[t], atol=1e-6)
    assert (np.abs(rows.extras["goal_left"][renewed]) <= 1 + 1e-6).all()


def test_exploration_is_noise_at_both_levels_and_exploitation_has_none():
    def goals_and_actions(**settings):
        _, _, rows = played(**settings)
        return rows.extras["goal"], rows.action

    goals, actions = goals_and_actions(explore=False)
    quiet = goals_and_actions(goal_noise=0.0, action_noise=0.0)
    np.testing.assert_array_equal(goals, quiet[0])
    np.testing.assert_array_equal(actions, quiet[1])
    noisy = goals_and_actions(action_noise=0.0)
    assert (noisy[0][0] != goals[0]).all()
    only = goals_and_actions(goal_noise=0.0)
    np.testing.assert_array_equal(only[0][0], goals[0])
    assert (only[1][0] != actions[0]).all()


# --- learning ---


def lived(rows, last=(), opens=True):
    """Rows of a point that drifts, with goals of PERIOD rows from row 0 on; episodes close at `last`."""
    keys = jax.random.split(jax.random.key(3), 4)
    place = jnp.cumsum(0.1 * jax.random.normal(keys[0], (rows, B)), 0)
    closes = jnp.zeros((rows, B), bool).at[jnp.array(last, int)].set(True)
    first = jnp.concatenate([jnp.full((1, B), opens), closes[:-1]])
    age, renewed = -1, []
    for t in range(rows):
        age = 0 if bool(first[t, 0]) else age + 1
        renewed.append(age % PERIOD == 0)
    target = place + jax.random.uniform(keys[1], (rows, B), minval=-1.0)
    held = jnp.array([max(i for i in range(t + 1) if renewed[i]) for t in range(rows)])
    obs = {"place": place[..., None, None], "wanted": jnp.ones((rows, B, 1, 1))}
    reward = jnp.where(first, 0.0, jax.random.uniform(keys[2], (rows, B)))
    step = TimeStep(obs, reward, jnp.ones((rows, B)), first, closes)
    action = jax.random.uniform(keys[3], (rows, B, 1), minval=-1.0)
    renewed = jnp.broadcast_to(jnp.array(renewed)[:, None], (rows, B))
    return Trajectory(step, action, {"goal": target[held][..., None], "goal_renewed": renewed})


def test_the_first_whole_goal_of_a_window_is_the_managers_transition():
    """Its rows and reward: within an episode, cut short by its end, after the end, and where a world broke."""

    def joined(rows):
        short, which = temporal.first_segment(rows, "goal")
        valid = ~short.step.last[0] & ~short.step.first[1]
        return which[:, 0].tolist(), bool(valid[0]), short

    rows = lived(rows=7)
    which, valid, short = joined(rows)
    assert (which, valid) == ([0, 3], True)
    np.testing.assert_allclose(short.step.reward[1], rows.step.reward[1:4].sum(0), rtol=1e-6)
    assert "goal/row" not in short.extras
    tail = lambda rows, start: jax.tree.map(lambda x: x[start:], rows)  # noqa: E731
    assert joined(tail(rows, 1))[:2] == ([2, 5], True)  # the goal under way at the window's first row is not whole
    cut = lived(rows=9, last=(4,))
    assert joined(tail(cut, 1))[:2] == ([2, 3], True)  # rows 3 and 4: the clock cuts it short
    assert joined(tail(cut, 4))[:2] == ([1, 4], True)  # begins with the last row; the transition is after it
    broken = rows._replace(step=rows.step._replace(first=rows.step.first.at[2].set(True)))
    assert joined(broken)[:2] == ([3, 6], True)  # from row 0 on the world broke: the next one
    assert not joined(tail(rows, 4))[1]


@functools.cache
def programs(**settings):
    """The compiled start and update of an agent."""
    learner = hiro.make(reach_world(B).spec, **SMALL | settings).learner
    return jax.jit(learner.init), jax.jit(learner.update)


def updated(updates, rows=None, **settings):
    """States before and after each update on the same rows, and the metrics of each."""
    init, update = programs(**settings)
    rows = lived(rows=7) if rows is None else rows
    states, metrics = [init(jax.random.key(0))], []
    for i in range(updates):
        state, measured = update(states[-1], rows, jax.random.key(i))
        states.append(state)
        metrics.append(measured)
    return states, metrics


def test_each_level_moves_at_its_own_updates():
    """Critics at every update and every third; actors and targets at every second of these; encoders never."""
    states, metrics = updated(7, manager_every=3)
    moved = {}
    for level in ("manager", "worker"):
        for part in ("actor", "critic"):
            trees = [state.params[level][part] for state in states], [s.slow[level]["target"][part] for s in states]
            for kind, tree in zip(("", " target"), trees, strict=True):
                pairs = zip(tree, tree[1:], strict=False)
                moved[f"{level} {part}{kind}"] = [i + 1 for i, (a, b) in enumerate(pairs) if not same(a, b)]
    assert moved == {
        "worker critic": [1, 2, 3, 4, 5, 6, 7],
        "worker actor": [2, 4, 6],
        "worker critic target": [2, 4, 6],
        "worker actor target": [2, 4, 6],
        "manager critic": [3, 6],
        "manager actor": [6],
        "manager critic target": [6],
        "manager actor target": [6],
    }
    assert same(states[0].params["encoders"], states[-1].params["encoders"])
    measured = [bool(np.isfinite(m["manager/critic_loss"])) for m in metrics]
    assert measured == [False, False, True, False, False, True, False]
    assert all(np.isfinite(m["worker/critic_loss"]) for m in metrics) and states[-1].health.skipped == 0
    new, old, average = (x["worker"] for x in (states[2].params, states[0].params, states[2].slow))
    expected = jax.tree.map(lambda a, b: a + 0.005 * (b - a), old["critic"], new["critic"])
    for a, b in zip(*map(jax.tree.leaves, (average["target"]["critic"], expected)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_rewards_reach_the_level_that_is_paid_them():
    """The task's reward moves the manager alone, the goals of the rows both."""
    rows = lived(rows=7)
    richer = rows._replace(step=rows.step._replace(reward=rows.step.reward + 5.0))
    further = rows._replace(extras={**rows.extras, "goal": rows.extras["goal"] + 0.3})
    base, rich, far = (updated(1, r)[0][1].params for r in (rows, richer, further))
    assert same(base["worker"], rich["worker"]) and not same(base["manager"]["critic"], rich["manager"]["critic"])
    assert not same(base["worker"]["critic"], far["worker"]["critic"])


def test_the_managers_target_is_a_tenth_of_the_sum_of_rewards():
    """New critics are near zero, so their target is the reward; with the clock's cut two rewards are all there is."""
    rows = lived(rows=7)
    _, (metrics,) = updated(1, rows)
    value = 0.1 * rows.step.reward[1:4].sum(0).mean()
    np.testing.assert_allclose(metrics["manager/target"], value, atol=0.02)


def test_the_worker_learns_from_the_first_transition_or_from_all():
    rows = lived(rows=7)
    place, target = rows.step.obs["place"][:, :, 0, 0], rows.extras["goal"][..., 0]
    paid = -jnp.abs(target[:-1] - place[1:])
    for settings, expected in (({}, paid[0]), ({"worker_transitions": 0}, paid)):
        (metrics,) = updated(1, rows, **settings)[1]
        np.testing.assert_allclose(metrics["worker/target"], expected.mean(), atol=0.02)


def test_the_worker_may_be_paid_otherwise():
    """The seam of agents whose worker is paid the task's reward, among others; it is computed before the view."""
    rows = lived(rows=7)
    (metrics,) = updated(1, rows, worker_reward=task_reward)[1]
    np.testing.assert_allclose(metrics["worker/target"], rows.step.reward[1].mean(), atol=0.02)


def test_a_goals_last_transition_bootstraps_from_the_same_goal():
    """The goal set at row 3 does not matter to the transition from row 2 to it."""
    rows = jax.tree.map(lambda x: x[2:], lived(rows=9))
    other = rows._replace(extras={**rows.extras, "goal": rows.extras["goal"].at[1:].add(0.5)})
    one, two = (updated(2, r)[0][-1].params["worker"] for r in (rows, other))
    assert same(one, two)


def test_goals_are_corrected_before_the_manager_learns():
    """Actions taken under a goal that the rows do not name: with correction, what the critic is taught changes."""
    rows = lived(rows=7)
    other = rows._replace(action=-rows.action)

    def critic(r, **settings):
        return updated(1, r, **settings)[0][1].params["manager"]["critic"]

    assert same(critic(rows, corrections=0), critic(other, corrections=0))
    assert not same(critic(rows), critic(rows, corrections=0))


def test_windows_of_no_transition_teach_nothing():
    rows = lived(rows=7)
    closed = rows._replace(step=rows.step._replace(last=jnp.ones_like(rows.step.last)),
                           action=jnp.full_like(rows.action, jnp.nan))  # fmt: skip
    states, (metrics,) = updated(1, closed)
    assert metrics["worker/critic_loss"] == metrics["manager/critic_loss"] == 0 and states[-1].health.skipped == 0


@functools.cache
def trained(seed=0, epochs=4, **settings):
    """(return before, return after) of the greedy agent in the world of a point."""
    env = reach_world(16)
    fast = {"goal": ("place",), "period": 4, "hidden": (64, 64), "gamma": 0.9, "learning_rate": 3e-3,
            "actor_learning_rate": 1e-3, "tau": 0.02, "manager_every": 2, "worker_transitions": 0,
            "goal_noise": 0.3}  # fmt: skip
    agent = registry.make("hiro", env.spec, **fast | settings)
    memory = replay.make(400, env.spec, extras=agent.replay_extras)
    source = online.online(
        env, agent.explore, memory, unroll_length=4, batch_size=32, sequence_length=8, prefill=40,
        first_params=lambda key: agent.learner.init(key).params,
    )  # fmt: skip
    run = loop.epoch(agent.learner, source, 200)
    state = loop.start(agent.learner, source, jax.random.key(seed))
    measure = evaluate.episodes(env, agent.exploit)
    before = float(measure(state.learner.params, jax.random.key(1))["return"])
    for _ in range(epochs):
        state, metrics, _ = run(state)
    assert state.learner.health.skipped == 0 and np.isfinite(metrics["manager/q"])
    return before, float(measure(state.learner.params, jax.random.key(1))["return"])


def test_it_learns_to_be_where_it_should():
    """14.8 of 16 is the most: the way takes four steps. Standing still is paid 3.2."""
    before, after = trained()
    assert before < 4.5 and after > 13.5


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_other_seeds_learn_it_too(seed):
    assert trained(seed)[1] > 13.5


@pytest.mark.slow
def test_a_manager_without_a_worker_that_learns_stays_poor():
    assert trained(epochs=3, worker_reward=lambda params, batch, key: jnp.zeros_like(batch.step.reward))[1] < 10


def test_an_epoch_exports_for_accelerators():
    env, key = reach_world(2), jax.random.key(0)
    agent = hiro.make(env.spec, **SMALL)
    memory = replay.make(100, env.spec, extras=agent.replay_extras)
    source = online.online(env, agent.explore, memory, unroll_length=4, batch_size=4, sequence_length=7, prefill=20,
                           first_params=lambda key: agent.learner.init(key).params)  # fmt: skip
    state = loop.RunState(jax.eval_shape(agent.learner.init, key), jax.eval_shape(source.init, key), key)
    exported = jax.export.export(loop.epoch(agent.learner, source, 2), platforms=("cuda", "tpu"))(state)
    assert exported.platforms == ("cuda", "tpu")


def test_its_defaults_are_those_of_its_functions():
    import inspect

    given = {**inspect.signature(hiro.two_levels).parameters, **inspect.signature(hiro.make).parameters}
    assert {name: given[name].default for name in hiro.DEFAULTS} == hiro.DEFAULTS
    assert registry.defaults("hiro") == hiro.DEFAULTS and STEP > 0
