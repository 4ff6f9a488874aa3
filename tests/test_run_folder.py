"""Run folders of other settings and other versions are refused in one line, and left as they are."""

import pytest

from skillhier.train import run_folder

OLD = {"seed": 0, "agent.name": "mpo", "agent.spread": 0.7, "train.collect": 4, "train.updates": 100}
NEW = {"seed": 0, "agent.name": "mpo", "agent.init_stddev": 0.7, "train.unroll_length": 4, "train.updates": 100}


def refused(path, settings, free=()) -> str:
    before = (path / "config.json").read_bytes()
    with pytest.raises(run_folder.RunFolderError) as caught:
        run_folder.open_run(path, "helms_transfer", settings, free)
    assert (path / "config.json").read_bytes() == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_of_a_version_with_other_names_is_refused(tmp_path):
    run_folder.open_run(tmp_path, "helms_transfer", OLD)
    said = refused(tmp_path, NEW)
    assert said == (
        f"{tmp_path} was begun with config.agent.init_stddev=absent, now it is 0.7; continue with the settings and the "
        "version that began it (names may have changed), or choose another --workdir"
    )
    said = refused(tmp_path, {"seed": 0, "agent.name": "mpo", "agent.spread": 0.7, "train.updates": 100})
    assert "was begun with config.train.collect=4, now it is absent" in said
    run_folder.open_run(tmp_path, "helms_transfer", NEW, free=("agent.spread", "agent.init_stddev", "train.collect",
                                                               "train.unroll_length"))  # fmt: skip


def test_a_value_that_differs_is_named_before_names_that_do(tmp_path):
    run_folder.open_run(tmp_path, "helms_transfer", OLD)
    said = refused(tmp_path, NEW | {"seed": 1})
    assert "config.seed=0, now it is 1; continue with the former value, or choose another --workdir" in said
    assert "config.agent.name=mpo, now it is bc" in refused(tmp_path, {"seed": 0, "agent.name": "bc", "agent.a": 1})
