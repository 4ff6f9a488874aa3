"""Where metrics go, and that a resumed run writes none of them twice."""

import io
import json
import math
import struct

import pytest

from skillhier import files
from skillhier.train import metrics


def test_json_lines_hold_a_row_an_epoch_and_null_for_what_is_no_number(tmp_path):
    writer = metrics.json_lines(tmp_path / "metrics.jsonl")
    writer.write(5, {"loss": 0.5, "time/unix": 1.0})
    writer.write(10, {"loss": float("nan"), "elbo": float("inf")})
    writer.close()
    assert metrics.rows(tmp_path / "metrics.jsonl") == [
        {"step": 5, "loss": 0.5, "time/unix": 1.0},
        {"step": 10, "loss": None, "elbo": None},
    ]


def test_a_resumed_run_takes_out_the_lines_after_its_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = metrics.json_lines(path)
    for step in (5, 10, 15):
        writer.write(step, {"loss": step / 10})
    writer.close()
    path.write_text(path.read_text() + '{"step": 20, "lo')  # killed in the middle of a line
    again = metrics.json_lines(path, after=10)
    again.write(15, {"loss": 7.0})
    again.close()
    assert [(row["step"], row["loss"]) for row in metrics.rows(path)] == [(5, 0.5), (10, 1.0), (15, 7.0)]


def test_the_same_figures_give_the_same_bytes(tmp_path):
    for name in "ab":
        writer = metrics.json_lines(tmp_path / name)
        writer.write(5, {"loss": 1 / 3, "elbo": -1e-7})
        writer.close()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def events(folder):
    """(step, name, value) of every scalar in the event files, read as TensorBoard's own records."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(folder.iterdir()):
        content, at = file.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack("<Q", content[at : at + 8])
            event = Event.FromString(content[at + 12 : at + 12 + length])
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            at += 16 + length
    return sorted(found)


def test_events_of_a_resumed_run_are_those_of_one_that_was_never_interrupted(tmp_path):
    for after in (0, 10):  # begun, killed after update 15 with a checkpoint at 10, resumed
        record = metrics.json_lines(tmp_path / "metrics.jsonl", after=after)
        board = metrics.tensorboard(tmp_path / "tensorboard", past=metrics.rows(tmp_path / "metrics.jsonl"))
        for step in (5, 10, 15) if after == 0 else (15, 20):
            for writer in (record, board):
                writer.write(step, {"elbo": step * 0.5, "time/unix": 100.0 + step})
        record.close(), board.close()
        if after == 0:  # files are named by the second: two of one second would be one
            (file,) = (tmp_path / "tensorboard").iterdir()
            file.rename(file.with_name("events.out.tfevents.1.before"))
    assert events(tmp_path / "tensorboard") == [(step, "elbo", step * 0.5) for step in (5, 10, 15, 20)]


def test_events_hold_no_counters(tmp_path):
    row = {"step": 5, "elbo": 0.5, "total/env_steps": 2**24 + 1}  # which single precision would round
    writer = metrics.tensorboard(tmp_path / "tensorboard", past=[row])
    writer.write(10, {"elbo": 1.5, "total/env_steps": 2**25 + 1})
    writer.close()
    assert events(tmp_path / "tensorboard") == [(5, "elbo", 0.5), (10, "elbo", 1.5)]


def test_a_figure_that_is_no_number_is_left_out_of_events_and_bar(tmp_path, caplog):
    writer = metrics.tensorboard(tmp_path / "tensorboard", past=[{"step": 5, "return": None, "elbo": 0.5}])
    writer.write(10, {"return": math.nan, "elbo": -math.inf})
    writer.write(15, {"return": 2.0, "elbo": 1.0})
    writer.close()
    assert events(tmp_path / "tensorboard") == [(5, "elbo", 0.5), (15, "elbo", 1.0), (15, "return", 2.0)]
    assert not caplog.records  # of tensorboardX, a line for each
    out = io.StringIO()
    metrics.progress(10, terms=["return", "elbo"], out=out).write(10, {"return": math.nan, "elbo": 0.5})
    assert "elbo 0.5" in out.getvalue() and "return" not in out.getvalue()


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_on_a_terminal_shows_the_main_terms_and_the_pace():
    screen = Screen()
    bar = metrics.progress(200, terms=["skills/elbo"], label="helms", out=screen)
    bar.write(50, {"skills/elbo": 12.345, "other": 1.0})
    bar.write(100, {"skills/elbo": 13.0})
    bar.close()
    lines = screen.getvalue().split("\r\033[K")
    assert len(lines) == 3 and "\n" not in lines[1]
    assert lines[1].startswith("helms  25% 50/200 [=====               ]")
    assert "elbo 12.3" in lines[1] and "updates/s" in lines[1]


def test_off_a_terminal_a_line_now_and_then_and_always_the_last():
    out = io.StringIO()
    bar = metrics.progress(100, out=out, pause=1e6)
    for step in range(10, 101, 10):
        bar.write(step, {})
    bar.close()
    lines = out.getvalue().splitlines()
    assert len(lines) == 2 and "10/100" in lines[0] and "100% 100/100" in lines[1]
    assert "\r" not in out.getvalue() and "\033" not in out.getvalue()


def test_a_resumed_bar_counts_its_pace_from_where_it_began():
    out = io.StringIO()
    metrics.progress(1000, done=900, out=out).write(1000, {})
    assert "100% 1000/1000" in out.getvalue() and "0:00 left" in out.getvalue()


def test_a_json_file_is_whole_or_not_there(tmp_path):
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "summary.json", {"bad": object()})
    assert not (tmp_path / "summary.json").exists()
    files.write_json(tmp_path / "summary.json", {"elbo": 1.5})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"elbo": 1.5}
