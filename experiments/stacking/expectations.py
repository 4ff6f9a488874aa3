"""The headline figures of a run of skills, what each means, and what one should expect of it."""

from pathlib import Path
from typing import Any

from skillhier.report.run_page import Headline

LEAST_SHARE = 0.03  # of the held-out steps, for a skill to count as used
MOST_DOUBT = 0.9  # entropy of a row's skill weights as a share of log K; at 1 the skills are one skill, K times
LEAST_SPREAD = 0.03  # m
LEAST_RATIO = 3.0  # of spread to noise


def headlines(summary: dict[str, Any], made: bool = True) -> list[Headline]:
    """From summary.json; what it lacks is left out.

    `made`: the scripted expert made the data. Real logs, whose actions are noisier, are held to other figures.
    """
    found = [
        _usage(summary),
        _doubt(summary),
        _diagonal(summary, made),
        _error(summary, made),
        _spread(summary),
        _bound(summary),
        _expert(summary),
        _clock(summary),
    ]
    return [item for item in found if item is not None]


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


def _doubt(summary: dict) -> Headline | None:
    value = summary.get("skill_entropy")
    if not _is_number(value):
        return None
    meaning = "Mean entropy of the skill weights of a held-out step, of what it could be. At 1 all skills do the same."
    return Headline("skills told apart", f"{value:.2f}", f"below {MOST_DOUBT}", value < MOST_DOUBT, meaning)


def _diagonal(summary: dict, made: bool) -> Headline | None:
    value = summary.get("transition_diagonal")
    if not _is_number(value):
        return None
    least = 0.7 if made else 0.5
    steps = 1 / max(1 - value, 1e-6)
    meaning = f"Mean diagonal of the transition prior: a skill lasts {steps:.3g} steps or so."
    return Headline("skills persist", f"{value:.3f}", f"at least {least}", value >= least, meaning)


def _error(summary: dict, made: bool) -> Headline | None:
    value, single = summary.get("heldout_action_mse"), summary.get("heldout_action_mse_k1")
    if not _is_number(value):
        return None
    meaning = "Squared error per action dimension on held-out episodes."
    if not _is_number(single):
        return Headline("held-out action error", f"{value:.4f}", "", None, meaning)
    expected = f"below one component's {single:.4f}" if made else f"at most 0.75 of one component's {single:.4f}"
    met = value < single if made else value <= 0.75 * single
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
        "Distance between the mean pinch paths of two skills from the same starts.",
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
        "Episodes of the demonstrations that end with red stacked, failures kept.",
    )


def _clock(summary: dict) -> Headline | None:
    seconds = summary.get("seconds")
    if not isinstance(seconds, dict) or not all(map(_is_number, seconds.values())) or not seconds:
        return None
    parts = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    return Headline("time", f"{sum(seconds.values()) / 60:.1f} min", "", None, f"{parts}.")


def is_log(data: Any) -> bool:
    """Whether a data path is that of expert logs: bare .h5 files, where our own recordings are Minari folders."""
    return isinstance(data, str) and (data.endswith(".h5") or any(Path(data).glob("*.h5")))
