"""The skill that a task begins with: returns of each by hand, which run's are tried, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import on_policy_entry
import pytest
from reach_world import reach_world
from roaming import roam
from test_on_policy_run import asked

from experiments.shared import cli, on_policy_run, skill_trial
from skillhier.agents import registry as agents
from skillhier.envs import registry
from skillhier.train import checkpoint

AGENT = "debug,agent=rest"


@pytest.fixture(scope="module", autouse=True)
def gliding():
    """No world is a real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "make", roam)
        yield


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """The folder of a run that has learned skills."""
    folder = tmp_path_factory.mktemp("learned") / "run"
    on_policy_entry.main(asked(folder, preset=AGENT))
    return folder


def made(run):
    """(what the run's agent begins with, its agent)."""
    agent = on_policy_run.make_agent(run, roam(run.config.env.name, worlds=4).spec)
    return agent.learner.init(jax.random.key(5)).params, agent


def test_returns_of_constant_skills_by_hand():
    """At 0 the place is .8 away for 16 rows. Up, .2 or .1 a row, it depends on the share of worlds that want .8."""
    env = reach_world(64)
    agent = agents.make("rest", env.spec, phase="task", skills=3, hidden=(4,), novelty_hidden=(4,))
    params = jax.tree.map(jnp.copy, agent.learner.init(jax.random.key(0)).params)
    last = params["control"]["actor"]["MLP_0"]["Dense_1"]
    last["kernel"], last["bias"] = jnp.zeros_like(last["kernel"]), jnp.array([[0.0], [1.0], [0.5]])
    earned = skill_trial.trial(env, agent)(params)
    assert earned[0] == pytest.approx(16 * 0.2, abs=1e-4)
    shares = []
    for skill, speed in ((1, 0.2), (2, 0.1)):
        place = np.minimum(speed * np.arange(1, 17), 2.0)
        up, down = (float((1 - np.abs(place - wanted)).sum()) for wanted in (0.8, -0.8))
        shares.append((earned[skill] - down) / (up - down))
    assert shares[0] == pytest.approx(shares[1], abs=1e-4)  # the same starts for all
    assert 0 < shares[0] < 1 and 64 * shares[0] == pytest.approx(round(64 * shares[0]), abs=0.01)


def test_the_best_skill_of_the_run_begins_the_task(learned, capsys):
    run = asked(None, "agent.phase=task", preset=AGENT, init_from=f"{learned}:all")
    params, agent = made(run)
    source = checkpoint.read(learned, "learner/params")
    measure = skill_trial.trial(roam(run.config.env.name, worlds=run.config.trial.episodes), agent)
    earned = measure(source)
    assert len(set(np.round(earned, 6))) == 3
    assert float(params["chosen"]) == earned.argmax()
    assert f"{learned}: skill {earned.argmax()} is chosen" in capsys.readouterr().err
    np.testing.assert_array_equal(params["turn"]["batches"], source["turn"]["batches"])


@pytest.mark.parametrize("changes", [("agent.phase=task", "trial.episodes=0"), ("agent.phase=skills",)])
def test_without_a_trial_the_skill_stays_as_it_was(learned, capsys, changes):
    params, _ = made(asked(None, *changes, preset=AGENT, init_from=f"{learned}:all"))
    assert float(params["chosen"]) == 0 and "chosen" not in capsys.readouterr().err


def test_a_task_that_goes_on_keeps_its_skill(learned, tmp_path, capsys):
    """It has chosen before; its checkpoint knows which."""
    changes = ("agent.phase=task", "train.updates=2", "transfer.anew=control/critic")
    on_policy_entry.main(asked(tmp_path / "run", *changes, preset=AGENT, init_from=f"{learned}:all"))
    assert "is chosen" in capsys.readouterr().err
    first = checkpoint.read(tmp_path / "run", "learner/params")
    longer = ("agent.phase=task", "train.updates=4", "transfer.anew=control/critic")
    on_policy_entry.main(asked(tmp_path / "run", *longer, preset=AGENT, init_from=f"{learned}:all"))
    assert "is chosen" not in capsys.readouterr().err
    after = checkpoint.read(tmp_path / "run", "learner/params")
    assert float(after["chosen"]) == float(first["chosen"])
    skill = int(first["chosen"])
    moved = [bool((np.asarray(a) != np.asarray(b)).any()) for a, b in zip(
        *(one["control"]["critic"]["Dense_0"]["kernel"] for one in (first, after)), strict=True)]  # fmt: skip
    assert moved == [i == skill for i in range(3)]


def test_a_part_cannot_be_tried(learned):
    run = asked(None, "agent.phase=task", preset=AGENT, init_from=f"{learned}:control")
    with pytest.raises(cli.Refused, match="^--init_from=.* names a part, and skills are tried as a whole; give"):
        made(run)
