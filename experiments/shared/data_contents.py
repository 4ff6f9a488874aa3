"""What a data set holds in words, and the settings with which skills are learned from it."""

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from experiments.shared import cli
from experiments.stacking import demonstrations as stacking
from skillhier.data import contents, dataset, units
from skillhier.data.contents import Contents

WINDOW = 25  # steps that windows of experiments.helms_offline have by default
FEWEST = 5  # steps of a window that is suggested
OUTSIDE = re.compile(r"goal|object|target|task|puck|cube|block", re.IGNORECASE)  # entries about the world, not the body


class Suggestion(NamedTuple):
    """Settings of experiments.helms_offline for a data set, and why."""

    settings: tuple[str, ...]  # --config.NAME=VALUE, but for data.path
    remarks: tuple[str, ...]
    stacking: bool  # the data have all entries of the stacking worlds, which are the default


def suggest(content: Contents, subset: str = "", episode_length: int = 0) -> Suggestion:
    """The settings that the data need. Raises Refused where no skills can be learned from them."""
    data, chosen, remarks = content.data, [], []
    is_stacking = set(stacking.WIDTHS) <= set(data.obs)
    if not content.vectors:
        raise cli.Refused(
            f"{', '.join(content.stored) or 'nothing'}: no vector that varies, and skills are learned from vectors; "
            "give data with measured positions, angles or velocities"
        )
    if len(data.length) < 2:
        raise cli.Refused("found 1 episode, needs at least 2, one of which is held out; give data of more episodes")
    if not is_stacking:
        inside = [name for name in content.vectors if not OUTSIDE.search(name)] or content.vectors
        chosen += [f"--config.agent.low={','.join(inside)}", f"--config.agent.mid={','.join(content.vectors)}"]
        if len(inside) < len(content.vectors):
            outside = [name for name in content.vectors if name not in inside]
            remarks.append(f"{', '.join(outside)}: by their names not of the body, and so not seen by the low level")
    if subset:
        chosen.append(f"--config.data.subset={subset}")
    if episode_length:
        chosen.append(f"--config.data.episode_length={episode_length}")
    short = int((data.length < WINDOW).sum())
    if short and (data.length >= WINDOW).sum() >= max(2, 0.8 * len(data.length)):
        chosen.append("--config.data.drop_short=true")
        remarks.append(f"{short} of {len(data.length)} episodes are shorter than a window of {WINDOW} steps")
    elif short:
        window = max(FEWEST, int(np.quantile(data.length, 0.1)))
        chosen += [f"--config.train.sequence_length={window}"]
        chosen += ["--config.data.drop_short=true"] if (data.length < window).any() else []
        remarks.append(f"most episodes are shorter than a window of {WINDOW} steps: windows have {window}")
    if is_stacking:  # learned as their results in docs/results.md were
        return Suggestion(tuple(chosen), tuple(remarks), True)
    flips = [f"{name}:{first}" for name in content.vectors for first, n in units.sign_flips(data, name) if n]
    if flips:
        chosen.append(f"--config.data.quaternions={','.join(flips)}")
        remarks.append(f"{', '.join(flips)}: quaternions whose sign flips; they are seen with one sign")
    small = {name: data.obs[name].std(0).max() for name in content.vectors}
    small = {name: value for name, value in small.items() if value < dataset.FLOOR}
    if small:
        least = max(1e-3, float(f"{min(small.values()):.0e}"))
        chosen.append(f"--config.data.least_deviation={least:g}")
        remarks.append(f"{', '.join(small)}: nearly constant, deviation at most {max(small.values()):.2g}")
    return Suggestion(tuple(chosen), tuple(remarks), False)


def command(path: str, suggestion: Suggestion) -> str:
    """The command line that learns skills from the data."""
    parts = [f"--config.data.path={path}", *suggestion.settings]
    line = "python -m experiments.helms_offline --config=experiments/configs/helms_offline.py:quickstart"
    return " \\\n    ".join([line, *map(shlex.quote, parts), "--workdir=runs/my_skills"])


def describe(path: str, content: Contents) -> Iterator[str]:
    """The lines that say what the data hold."""
    data = content.data
    yield f"{path}: {content.layout}"
    said = {name: content.about[name] for name in ("world", "control_timestep", "robot", "version", "env_spec")
            if isinstance(content.about.get(name), str | float | int)}  # fmt: skip
    if said:
        yield "says of itself: " + ", ".join(f"{name} {str(value)[:60]}" for name, value in said.items())
    lengths = data.length
    yield (
        f"{len(lengths)} episodes of {lengths.min()} to {lengths.max()} steps, {np.median(lengths):g} in the median, "
        f"{lengths.sum():,} in all" + (f"; {len(content.faults)} faults, see below" if content.faults else "")
    )
    ended = int(data.info["terminated"].sum())
    yield f"ends: {ended} by the task, {len(lengths) - ended} by the clock or where the recording stops"
    earned = contents.returns(data)
    yield f"returns: {earned.min():.4g} to {earned.max():.4g}, {earned.mean():.4g} on average"
    success = stacking.share_successful(data)
    if success is not None:
        yield f"success: {success:.1%} of the episodes"
    yield ""
    yield f"{'observation entry':34}{'shape':16}{'values':26}deviation"
    for name, stored in content.stored.items():
        yield f"  {name:32}{_entry(name, stored, content)}"
    yield ""
    rows = units.acted(data)
    yield f"{'action dimension':50}{'values':26}deviation"
    still, hardly = units.constant(rows), units.nearly_constant(rows)
    for i, column in enumerate(rows.T):
        note = "   constant" if still[i] else "   nearly constant" if hardly[i] else ""
        yield f"  {i:<48}{_range(column):26}{column.std():.3g}{note}"
    scale = units.action_scale(rows)
    how = "as they are" if scale is None else "normalised (config.data.actions=auto), and acting undoes it"
    yield f"  actions are learned {how}"
    yield from (f"note: {note}" for note in data.notes)
    for fault in content.faults[:20]:
        yield f"fault: {fault}"
    if len(content.faults) > 20:
        yield f"and {len(content.faults) - 20} faults more"


def _entry(name: str, stored, content: Contents) -> str:
    shape = str(list(stored.shape))
    if name not in content.data.obs:
        what = "text, not read" if stored.dtype == "text" else f"{stored.dtype}, read where it is named"
        pictures = " (pictures: not by skills)" if len(stored.shape) == 3 else ""
        return f"{shape:16}{what}{pictures}"
    rows = content.data.obs[name]
    deviation, still = rows.std(0), units.constant(rows)
    notes = ["privileged"] if name in content.about.get("privileged", ()) else []
    if still.all():
        notes.append("constant")
    elif still.any():
        notes.append(f"constant in column {', '.join(map(str, np.flatnonzero(still)))}")
    if not still.all() and deviation.max() < dataset.FLOOR:
        notes.append("nearly constant")
    notes += [
        f"a quaternion from column {first} on, {n} sign flips" for first, n in units.sign_flips(content.data, name)
    ]
    spread = f"{deviation.min():.3g} to {deviation.max():.3g}"
    return f"{str(list(rows.shape[1:])):16}{_range(rows):26}{spread}{'   ' if notes else ''}{'; '.join(notes)}"


def _range(values: np.ndarray) -> str:
    return f"{values.min():.4g} to {values.max():.4g}"
