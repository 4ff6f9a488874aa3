"""The command line: what is wrong is said in one line before anything is written, and nothing passes unseen."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kills import wait_until_heard

from experiments.shared import cli, endings
from skillhier.train import run_folder

ROOT = Path(__file__).parent.parent

CONFIG = """
from ml_collections import ConfigDict
from experiments.shared import cli

PRESETS = {"debug": "a minute", "paper": "hours"}
LIMITS = {"train.batch_size": (1, 512), "train.rate": (0.0, 1.0), "agent.sizes": (1, 1024)}
LIMITS |= {"agent.name": ["helms", "npmp"]}
FREE = ("train.updates",)


def get_config(arg):
    chosen = cli.choose(arg, PRESETS, agent=["helms", "npmp"], skills=5)
    return ConfigDict(dict(
        seed=0, data="", agent=dict(name=chosen.agent, skills=chosen.skills, sizes=(256, 256)),
        train=dict(batch_size=8, rate=1e-4, updates=100, shuffle=True),
    ))


def check(config):
    if config.agent.name == "npmp" and config.agent.skills > 1:
        raise cli.Refused("npmp has no skills; set config.agent.skills=1")
"""

ENTRY = '''
"""Trains nothing at all."""
from experiments.shared import cli


def main(run):
    folder, about = cli.open_run(run)
    (folder / "done").write_text(str(run.config.train.batch_size))


if __name__ == "__main__":
    cli.run(main)
'''


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "toy.py"
    file.write_text(CONFIG)
    return file


def parse(*arguments):
    return cli.parse_command("toy", ["toy.py", *map(str, arguments)])


def refusal(*arguments):
    with pytest.raises(cli.Refused) as caught:
        parse(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_second_command_of_a_process_knows_nothing_of_the_first(config):
    refusal("--config=a.py:b", "--check", "--devices=3")
    parse(f"--config={config}:paper")
    assert (cli.flags.FLAGS.check, cli.flags.FLAGS["devices"].present, cli.flags.FLAGS.devices) == (False, 0, 0)
    assert cli.parse_command("toy", ["toy.py"], needs_config=False).config is None


def test_a_preset_its_options_and_single_settings(config, tmp_path):
    run = parse(
        f"--config={config}:paper,agent=npmp,skills=1", "--config.train.rate=0.5", "--config.train.batch_size=1_6",
        "--config.agent.sizes=3,4", "--config.train.shuffle=false", "--config.train.updates", "2e3",
        f"--workdir={tmp_path}",
    )  # fmt: skip
    assert run.config.agent.name == "npmp" and run.config.agent.skills == 1
    assert run.config.train.to_dict() == {"batch_size": 16, "rate": 0.5, "updates": 2000, "shuffle": False}
    assert run.config.agent.sizes == (3, 4) and run.workdir == tmp_path and run.free == ("train.updates",)
    assert run.config.is_locked


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{}:debg"], "preset 'debg' is not known; did you mean debug? choose debug, paper"),
        (["{}"], "preset '' is not known; choose debug, paper"),
        (["{}:debug,agnt=helms"], "option 'agnt' is not known; did you mean agent? choose agent, skills"),
        (["{}:debug,agent=helm"], "agent 'helm' is not known; did you mean helms? choose helms, npmp"),
        (["{}:debug,skills=many"], "skills wants a whole number, not 'many' (now 5)"),
        (["{}:debug", "--config.train.bach=3"], "config.train.bach is not known; did you mean config.train.batch"),
        (["{}:debug", "--config.train=3"], "config.train is a group; set one of train.batch_size"),
        (["{}:debug", "--config.train.batch_size=3.5"], "train.batch_size wants a whole number, not '3.5' (now 8)"),
        (["{}:debug", "--config.train.rate=fast"], "config.train.rate wants a finite number, not 'fast'"),
        (["{}:debug", "--config.train.rate=nan"], "config.train.rate wants a finite number, not 'nan'"),
        (["{}:debug", "--config.train.shuffle=perhaps"], "config.train.shuffle wants true or false, not 'perhaps'"),
        (["{}:debug", "--config.train.batch_size=0"], "config.train.batch_size is 0; it must lie between 1 and 512"),
        (["{}:debug", "--config.agent.sizes=8,0"], "config.agent.sizes is (8, 0); it must lie between 1 and 1024"),
        (["{}:debug", "--config.agent.name=npm"], "config.agent.name 'npm' is not known; did you mean npmp?"),
        (["{}:debug", "--config.agent.name=npmp"], "npmp has no skills; set config.agent.skills=1"),
        (["{}:debug", "--wrkdir=x"], "flag --wrkdir is not known; did you mean --workdir?"),
        (["{}:debug", "--check=maybe"], "flag --check=maybe"),
        (["{}:debug", "leftover"], "'leftover' means nothing here"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line_with_the_nearest_name(config, arguments, said):
    first, *rest = arguments
    assert said in refusal("--config=" + first.format(config), *rest)


def test_a_missing_config_is_refused_and_an_example_given():
    assert "--config is missing" in refusal()
    assert "--config is missing" in refusal("--config.seed=3")


def test_a_config_file_that_is_not_there_or_is_none(config, tmp_path):
    assert "is not known" in refusal(f"--config={tmp_path}/tooy.py:debug")
    (tmp_path / "empty.py").write_text("")
    assert "has no get_config" in refusal(f"--config={tmp_path}/empty.py:debug")


def test_every_typo_of_every_setting_is_refused(config):
    known = cli.flat(cli.load_config(f"{config}:debug")[0])
    for name in known:
        for at in range(len(name)):
            for typo in (name[:at] + name[at + 1 :], name[:at] + "q" + name[at + 1 :], name[:at] + "q" + name[at:]):
                if typo not in known:
                    with pytest.raises(cli.Refused):
                        cli.load_config(f"{config}:debug", [(typo, "1")])


def spawn(tmp_path, *arguments, lines="", **environment):
    (tmp_path / "toy_entry.py").write_text(ENTRY)
    (tmp_path / "toy.py").write_text(CONFIG)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache"), **environment}
    command = [sys.executable, "toy_entry.py", *arguments]
    return subprocess.run(
        command, cwd=tmp_path, env=environment, input=lines, capture_output=True, text=True, timeout=60
    )


def test_the_real_command_refuses_in_one_line_with_code_2_and_writes_nothing(tmp_path):
    told = spawn(tmp_path, "--config=toy.py:debug", "--config.train.bach=3", "--workdir=run")
    assert told.returncode == 2 and told.stdout == ""
    assert len(told.stderr.splitlines()) == 1 and "did you mean config.train.batch_size?" in told.stderr
    assert not (tmp_path / "run").exists() and not (tmp_path / "cache").exists()


def test_the_real_command_checks_and_writes_nothing(tmp_path):
    told = spawn(tmp_path, "--config=toy.py:debug", "--check", "--workdir=run")
    assert told.returncode == 0 and "valid" in told.stdout
    assert not (tmp_path / "run").exists() and not (tmp_path / "cache").exists()


def test_the_real_command_checks_many_at_once(tmp_path):
    asked = [
        ["--config=toy.py:debug", "--config.train.batch_size=3"],
        ["--config=toy.py:debug", "--config.train.bach=3"],
    ]
    asked += [["--config=toy.py:paper"], ["--config=toy.py:debug", "--wrkdir=x"]]
    told = spawn(tmp_path, "--check_each", lines="".join(f"{json.dumps(one)}\n" for one in asked))
    first, second, third, fourth = map(json.loads, told.stdout.splitlines())
    assert told.returncode == 0 and first["config"]["train.batch_size"] == 3
    assert third["config"]["train.batch_size"] == 8, "one command leaves nothing to the next"
    assert (
        "did you mean config.train.batch_size?" in second["refused"] and "did you mean --workdir?" in fourth["refused"]
    )
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["toy.py", "toy_entry.py"]


def test_a_run_that_starts_again_has_no_summary_until_it_is_done(tmp_path):
    run_folder.open_run(tmp_path / "run", "toy", {"seed": 0})
    (tmp_path / "run" / "summary.json").write_text("{}")
    run_folder.open_run(tmp_path / "run", "toy", {"seed": 0})
    assert not (tmp_path / "run" / "summary.json").exists()


def test_the_run_folder_says_what_it_depends_on_and_refuses_another_config(tmp_path):
    asked = ("--config=toy.py:debug", "--workdir=run")
    told = spawn(tmp_path, *asked, "--config.train.batch_size=16")
    assert told.returncode == 0, told.stderr
    assert (tmp_path / "run" / "done").read_text() == "16"
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["entry"] == "toy_entry" and written["config"]["train.batch_size"] == 16
    assert {"versions", "git_commit", "device", "flags", "command"} <= set(written["starts"][0])
    assert (tmp_path / "cache" / "skillhier" / "xla").stat().st_mode & 0o777 == 0o700

    told = spawn(tmp_path, *asked)
    assert told.returncode == 2 and "config.train.batch_size=16, now it is 8" in told.stderr
    told = spawn(tmp_path, *asked, "--config.train.batch_size=16", "--config.train.updates=7")  # one of FREE
    assert told.returncode == 0
    assert len(json.loads((tmp_path / "run" / "config.json").read_text())["starts"]) == 2


def test_a_cache_that_others_can_write_is_refused(tmp_path):
    (tmp_path / "cache" / "skillhier").mkdir(parents=True)
    (tmp_path / "cache" / "skillhier").chmod(0o777)
    told = spawn(tmp_path, "--config=toy.py:debug", "--workdir=run")
    assert told.returncode == 2 and "others can write the compilation cache" in told.stderr
    assert not (tmp_path / "run").exists()


def test_a_folder_that_another_process_works_in_is_refused(tmp_path):
    run_folder.open_run(tmp_path / "run", "toy_entry", {})
    told = spawn(tmp_path, "--config=toy.py:debug", "--workdir=run", "--config.seed=0")
    assert told.returncode == 2 and "was begun with" in told.stderr
    (tmp_path / "run" / "config.json").unlink()
    told = spawn(tmp_path, "--config=toy.py:debug", "--workdir=run")
    assert told.returncode == 2 and "another process works in run" in told.stderr


def test_help_needs_nothing(tmp_path):
    told = spawn(tmp_path, "--help")
    assert told.returncode == 0 and "Trains nothing at all." in told.stdout and "--workdir" in told.stdout


@pytest.mark.parametrize("entry", ["helms_transfer", "lsp", "envs", "watch"])
def test_help_lists_every_flag_and_every_setting_of_the_config(entry):
    """All that the parser would take, also of libraries; settings of another agent with its --config."""
    code = f"""
import contextlib, io, json, runpy, sys
from absl import flags
out = io.StringIO()
with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
    runpy.run_module("experiments.{entry}", run_name="__main__", alter_sys=True)
print(json.dumps([out.getvalue(), list(flags.FLAGS)]))
"""
    command = [sys.executable, "-c", code, "--help"]
    file = f"experiments/configs/{entry}.py"
    agent = {"helms_transfer": "debug,agent=mpo", "lsp": "debug,agent=hiro"}.get(entry)
    if agent:
        command.append(f"--config={file}:{agent}")
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    listed, known = json.loads(result.stdout)
    words = set(listed.replace(",", " ").split())
    assert len(known) > 20 and not [flag for flag in known if f"--{flag}" not in words]
    if agent:
        config, _ = cli.load_config(f"{ROOT / file}:{agent}")
        assert not [name for name in cli.flat(config) if f"\n  {name} = " not in listed]


def test_a_damaged_entry_of_the_compilation_cache_is_named_and_compiled_anew(tmp_path):
    """Cut short, empty, or garbage: one line with the folder, and the next start finds it whole."""
    code = """
import jax, jax.numpy as jnp
from experiments.shared import cli
cli.open_cache()
misses = []
jax.monitoring.register_event_listener(lambda name, **_: misses.append(name))
print(float(jax.jit(lambda x: x @ x.T).lower(jnp.ones((2, 2))).compile()(jnp.ones((2, 2)))[0, 0]))
print(misses.count("/jax/compilation_cache/cache_misses"))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}

    def start():
        result = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
        )
        assert result.stdout.split()[0] == "2.0", result.stderr
        return int(result.stdout.split()[1]), result.stderr

    misses, said = start()
    assert misses >= 1 and said == ""
    folder = tmp_path / "skillhier" / "xla"
    (entry,) = folder.glob("jit__lambda*-cache")
    whole = entry.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", bytes(range(256)) * 8):
        entry.write_bytes(damaged)
        misses, said = start()
        assert misses == 1 and len(said.splitlines()) == 1, said
        assert "holds a damaged entry of jit__lambda" in said and f"delete {folder}" in said
        assert entry.read_bytes() != damaged
        assert start() == (0, "")


def test_a_config_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    for content in ("", "{", "[]", "{}", '{"config": 3, "starts": []}'):
        (tmp_path / "run" / "config.json").write_text(content)
        with pytest.raises(run_folder.RunFolderError, match="config.json is no config of a run"):
            run_folder.open_run(tmp_path / "run", "toy", {})
    with pytest.raises(run_folder.RunFolderError, match="no config of a run"):
        run_folder.settings(tmp_path)


def test_a_config_comes_back_as_it_went(tmp_path):
    run_folder.open_run(tmp_path / "run", "toy", {"seed": 0, "agent.sizes": (3, 4), "agent.inner.rate": 1e-4})
    assert run_folder.settings(tmp_path / "run") == {"seed": 0, "agent": {"sizes": (3, 4), "inner": {"rate": 1e-4}}}


def test_sigterm_before_the_loop_ends_the_command_with_0_and_a_line(tmp_path):
    (tmp_path / "slow_entry.py").write_text(
        ENTRY.replace("folder, about", "import time; time.sleep(30); folder, about")
    )
    (tmp_path / "toy.py").write_text(CONFIG)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "slow_entry.py", "--config=toy.py:debug"]
    child = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "cache" / "skillhier" / "xla").exists() and child.poll() is None:
        time.sleep(0.01)
    time.sleep(0.2)
    child.terminate()
    said = child.communicate(timeout=20)[1]
    assert child.returncode == 0 and said.startswith("stopped; the same command") and said.count("\n") == 1


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the test reads which signals a process hears")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("after", [0.0, 0.7])  # s since it listens: packages are being imported
def test_a_signal_while_packages_are_imported_is_one_line_too(tmp_path, number, after):
    command = [sys.executable, "-m", "experiments.lsp", "--config=experiments/configs/lsp.py:debug", "--check"]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until_heard(child)
    time.sleep(after)
    child.send_signal(number)
    out, said = child.communicate(timeout=30)
    word, code = ("stopped", 0) if number == signal.SIGTERM else ("interrupted", 130)
    assert (child.returncode, out) == (code, "")
    assert said == f"{word}; the same command goes on from what was saved\n"


def test_a_signal_ends_the_command_while_a_program_waits_for_python(tmp_path):
    """A compiled program that calls back to Python would wait for an interpreter that is gone."""
    waits = """
import time
import jax
from experiments.shared import cli


def main(run):
    def slowly():
        open("begun", "w").close()
        time.sleep(0.2)
        return jax.numpy.float32(1).__array__()

    told = jax.ShapeDtypeStruct((), jax.numpy.float32)
    step = lambda i, x: x + jax.pure_callback(slowly, told)
    jax.jit(lambda: jax.lax.fori_loop(0, 1000, step, jax.numpy.float32(0)))().block_until_ready()


if __name__ == "__main__":
    cli.run(main, needs_config=False)
"""
    (tmp_path / "waits.py").write_text(waits)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    child = subprocess.Popen(
        [sys.executable, "waits.py"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "begun").exists() and child.poll() is None:
        time.sleep(0.01)
    child.terminate()
    try:
        child.wait(20)
    finally:
        child.kill()
    assert child.returncode == 0 and "stopped; the same command" in child.stderr.read()


def test_who_is_refused_does_not_wait_for_what_has_begun(tmp_path):
    """A program in flight that would call back to an interpreter on its way out: a run was seen to wait for ever."""
    refused = """
import jax, jax.numpy as jnp
from experiments.shared import cli


def main(run):
    told = jax.ShapeDtypeStruct((), jnp.float32)
    long = jax.jit(lambda x: jax.lax.fori_loop(0, 400, lambda i, x: jnp.tanh(x @ x), x))
    back = jax.jit(lambda x: jax.pure_callback(lambda x: open("called", "w").close() or x, told, x[0, 0]))
    x = jnp.ones((1000, 1000))
    back(long(x))
    raise cli.Refused("that is not possible; set something else")


if __name__ == "__main__":
    cli.run(main, needs_config=False)
"""
    (tmp_path / "refused.py").write_text(refused)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "refused.py"]
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert told.returncode == 2 and "that is not possible" in told.stderr
    assert not (tmp_path / "called").exists()


def test_numerics_are_set_before_a_device_is_used():
    script = (
        "import os, sys, jax\n"
        "from absl import flags\n"
        "from experiments.shared import cli\n"
        "flags.FLAGS(sys.argv)\n"
        "cli.set_numerics()\n"
        "print(os.environ.get('XLA_FLAGS'), jax.config.jax_default_matmul_precision, len(jax.devices()))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XLA_", "JAX_"))}
    environment |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}  # one device on every machine
    for arguments, said in (
        ([], "None None 1"),
        (["--deterministic", "--matmul_precision=high"], "--xla_gpu_deterministic_ops=true high 1"),
    ):
        command = [sys.executable, "-c", script, *arguments]
        told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert told.stdout.strip() == said, told.stderr


def test_a_reader_that_has_seen_enough_is_no_error():
    command = [sys.executable, "-m", "experiments.collect", "--help"]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.close()
    assert child.stderr.read() == b"" and child.wait(timeout=60) == 0


def test_a_config_of_ones_own_that_lacks_a_setting_is_told_which(tmp_path):
    (tmp_path / "older.py").write_text(CONFIG.replace("train=dict(batch_size=8, ", "train=dict("))
    completed = spawn(tmp_path, "--config=older.py:debug", "--workdir=run")
    assert completed.returncode == 2 and not (tmp_path / "run").exists()
    assert completed.stderr == (
        "the config has no setting 'batch_size', which this version wants; compare it with experiments/configs\n"
    )


def test_other_errors_of_that_kind_keep_their_traceback():
    try:
        {}["batch_size"]
    except KeyError as error:
        assert endings.missing_setting(error) is None
