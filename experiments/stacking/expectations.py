"""The headline numbers of a run of skills, with their meanings and targets."""

from pathlib import Path
from typing import Any

from skillhier.report.run_page import Headline

LEAST_SHARE = 0.03  # of the held-out steps, for a skill to count as used
MOST_ENTROPY = 0.9  # of a row's skill weights as a share of log K; at 1 all skills are the same
LEAST_SPREAD = 0.03  # m
LEAST_RATIO = 3.0  # of spread to noise


def headlines(summary: dict[str, Any], scripted: bool = True) -> list[Headline]:
    """The headlines that summary.json has the numbers for.

    scripted: the data come from the scripted expert; expert logs, with noisier actions, have other targets.
    """
    items = [
        _usage(summary),
        _entropy(summary),
        _diagonal(summary, scripted),
        _error(summary, scripted),
        _spread(summary),
        _bound(summary),
        _expert(summary),
        _clock(summary),
    ]
    return [item for item in items if item is not None]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _usage(summary: dict) -> Headline | None:
    shares = summary.get("skill_usage")
    if not shares or not all(map(_is_number, shares)):
        return None
    used = sum(share >= LEAST_SHARE for share in shares)
    meaning = f"The least used takes {min(shares):.1%} of the held-out steps."
    return Headline(
        "skills used", f"{used} of {len(shares)}", f"each at least {LEAST_SHARE:.0%}", used == len(shares), meaning
    )


def _entropy(summary: dict) -> Headline | None:
    value = summary.get("skill_entropy")
    if not _is_number(value):
        return None
    meaning = "Mean entropy of a held-out step's skill weights as a share of its maximum. At 1 all skills are the same."
    return Headline("skill entropy", f"{value:.2f}", f"below {MOST_ENTROPY}", value < MOST_ENTROPY, meaning)


def _diagonal(summary: dict, scripted: bool) -> Headline | None:
    value = summary.get("transition_diagonal")
    if not _is_number(value):
        return None
    least = 0.7 if scripted else 0.5
    steps = 1 / max(1 - value, 1e-6)
    meaning = f"Mean diagonal of the transition prior: a skill lasts {steps:.3g} steps on average."
    return Headline("skills persist", f"{value:.3f}", f"at least {least}", value >= least, meaning)


def _error(summary: dict, scripted: bool) -> Headline | None:
    value, single = summary.get("heldout_action_mse"), summary.get("heldout_action_mse_k1")
    if not _is_number(value):
        return None
    meaning = "Squared error per action dimension on held-out episodes."
    if _is_number(summary.get("heldout_explained_variance")):
        meaning += f" {summary['heldout_explained_variance']:.0%} of the actions' variance is explained."
    if not _is_number(single):
        return Headline("held-out action error", f"{value:.4f}", "", None, meaning)
    expected = f"below one component's {single:.4f}" if scripted else f"at most 0.75 of one component's {single:.4f}"
    met = value < single if scripted else value <= 0.75 * single
    return Headline(
        "held-out action error", f"{value:.4f}", expected, met, f"{value / single:.2f} of one component's. {meaning}"
    )


def _spread(summary: dict) -> Headline | None:
    spread, noise = summary.get("fixed_skill_spread"), summary.get("fixed_skill_noise")
    if not _is_number(spread) or not _is_number(noise):
        return None
    expected = f"at least {100 * LEAST_SPREAD:g} cm and {LEAST_RATIO:g} times the noise of {100 * noise:.2f} cm"
    met = spread >= LEAST_SPREAD and spread >= LEAST_RATIO * noise
    return Headline(
        "skills differ",
        f"{100 * spread:.1f} cm",
        expected,
        met,
        "Distance between the mean pinch paths of two skills from the same initial states.",
    )


def _bound(summary: dict) -> Headline | None:
    first, last = summary.get("elbo_first"), summary.get("elbo_last")
    if not _is_number(first) or not _is_number(last):
        return None
    return Headline(
        "bound", f"{last:.2f}", f"rises (from {first:.2f})", last > first, "Per step, in nats, at the end of training."
    )


def _expert(summary: dict) -> Headline | None:
    value = summary.get("expert_success")
    if not _is_number(value):
        return None
    return Headline(
        "expert's success",
        f"{value:.0%}",
        "",
        None,
        "Share of the demonstrations that succeed; failures are included in the data.",
    )


def _clock(summary: dict) -> Headline | None:
    seconds = summary.get("seconds")
    if not isinstance(seconds, dict) or not all(map(_is_number, seconds.values())) or not seconds:
        return None
    parts = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    return Headline("time", f"{sum(seconds.values()) / 60:.1f} min", "", None, f"{parts}.")


def is_log(data: Any) -> bool:
    """Whether a data path has expert logs (.h5 files) rather than recordings of collect.py (Minari folders)."""
    return isinstance(data, str) and (data.endswith(".h5") or any(Path(data).glob("*.h5")))
