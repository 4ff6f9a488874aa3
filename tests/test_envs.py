"""The list of worlds."""

import json
import os
import time

import jax
import pytest

from experiments import envs
from experiments.shared import cli
from skillhier.envs import registry


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the command."""
    with pytest.raises(SystemExit) as stopped:
        cli.run(envs.main, needs_config=False, argv=["envs", *arguments])
    told = capsys.readouterr()
    return stopped.value.code, told.out, told.err


def test_what_the_list_says_of_two_worlds(capsys):
    """Cartpole: cart, cosine and sine of the pole, two velocities; a step of 10 ms, ten seconds."""
    code, out, err = call(capsys, "--name=dmc/cartpole_swingup")
    assert code == 0, err
    rows = [line.split() for line in out.splitlines() if "@" not in line]
    assert rows == [
        ["world", "obs", "action", "steps", "seconds", "interval", "engines"],
        ["dmc.cartpole_swingup", "5", "1", "1000", "10", "0.01", "native", "mjx"],
        ["dmc.cartpole_swingup_sparse", "5", "1", "1000", "10", "0.01", "native", "mjx"],
    ]


def test_pictures_are_told_by_their_size(capsys):
    code, out, err = call(capsys, "--name=dmc.cartpole_balance@")
    assert code == 0, err
    assert out.splitlines()[1].split()[:3] == ["dmc.cartpole_balance@pixels", "64x64x3", "1"]


def test_a_world_without_bodies_has_no_engine(capsys):
    """Position, velocity and three places of the path, two numbers each; goals are two."""
    code, out, err = call(capsys, "--name=point")
    assert code == 0, err
    assert out.splitlines()[1].split() == ["point.path", "10", "2", "200", "200", "1", "jax"]


def test_the_same_as_json(capsys):
    code, out, err = call(capsys, "--name=sawyer.pyramid.set1", "--json")
    assert code == 0, err
    told = json.loads(out)[0]
    spec = registry.make("sawyer.pyramid.set1").spec
    assert (told["stack"], told["stack_order"]) == (3, "newest first") and told["action"] == 5
    assert (told["limit"], told["interval"]) == (400, 0.05)
    assert told["success"] == spec.success
    assert set(told["privileged"]) == {"task.success", "task.staged"}
    assert {**told["entries"], **told["privileged"]} == {k: list(v.shape[1:]) for k, v in spec.obs.items()}
    assert told["observation"] == sum(v.shape[-1] for k, v in spec.obs.items() if k not in spec.privileged)


def test_all_of_them_soon_compiling_nothing_and_making_no_starts(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "XDG_CACHE_HOME", str(tmp_path))  # no bank of starts is there

    def compiles(*arguments, **settings):
        raise AssertionError("something was compiled")

    monkeypatch.setattr(jax, "jit", compiles)
    began = time.process_time()
    code, out, err = call(capsys)
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(registry.names())
    assert time.process_time() - began < 30
    assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--name=dmx",),
            "--name=dmx begins the name of no world; they begin with antmaze or dmc or fetch or point or sawyer",
        ),
        (("--nam=dmc",), "did you mean --name?"),
        (("--workdir=runs/x",), "--workdir means nothing here"),
        (("--config=a.py:b",), "a.py"),
    ],
)
def test_wrong_use_is_one_line(capsys, arguments, said):
    code, out, err = call(capsys, *arguments)
    assert code == 2 and said in err and len(err.splitlines()) == 1 and not out
