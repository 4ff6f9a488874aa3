"""What an agent with goals remembers and chooses in its episodes, and how its choices lie in its memory."""

from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.shared import saved
from skillhier.envs.render import viewer
from skillhier.rollout import rollout, start
from skillhier.types import Env, Key

CLUSTERS, PERPLEXITY = 20, 30  # of k-means and of t-SNE: MRS, Figure 6
POINTS = 1500  # rows that are clustered and drawn, at most
SHUFFLES = 200  # permutations of the choices


class Visits(NamedTuple):
    """Rows of episodes, [T, B] each."""

    deter: np.ndarray  # [T, B, D] memory
    choice: np.ndarray  # [T, B] int, the coder whose goal is in force
    obs: dict[str, np.ndarray]  # the newest frame of what is seen, [T, B, ...]
    records: Any  # physics, leaves [T, B, ...]; None without physics of ours


def collect(env: Env, agent: saved.Agent, key: Key, rows: int, drawn: bool) -> Visits:
    """`rows` rows of the agent as it is evaluated, in every world of `env`. drawn: with the physics."""
    policy = agent.act(None)
    shown = viewer.shown(env) if drawn else env
    policy = viewer.unaware(policy) if drawn else policy
    start_key, key = jax.random.split(key)

    @jax.jit
    def episodes(params):
        _, taken = rollout(shown, policy, params, start(shown, policy, start_key), key, rows)
        seen = {name: taken.step.obs[name][:, :, 0] for name in env.spec.visible}
        record = taken.step.obs[viewer.RECORD] if drawn else None
        notes = [taken.extras[name] for name in ("belief/deter", "goal/code", "goal_renewed")]
        return notes, seen, record

    (deter, code, renewed), seen, records = jax.device_get(episodes(agent.params))
    coders = len(agent.coders)
    pick = code[..., -coders:].argmax(-1) if coders > 1 else np.zeros(renewed.shape, int)
    return Visits(deter, held(pick, renewed), seen, records)


def held(values: np.ndarray, renewed: np.ndarray) -> np.ndarray:
    """Values [T, B] of the rows where they were renewed, held until the next one; the first row is always one."""
    last = np.maximum.accumulate(np.where(renewed, np.arange(len(renewed))[:, None], 0))
    return np.take_along_axis(values, last, 0)


def map_of(visits: Visits, seed: int) -> dict[str, Any]:
    """Where choices lie in memory: places in two dimensions (t-SNE), and how pure k-means clusters are, for JSON.

    purity: the mean over clusters of the share of their most frequent choice; by_chance: the same with the choices
    shuffled, its mean and the 2.5th and 97.5th percentile.
    """
    from sklearn import cluster, manifold  # seconds to import

    rng = np.random.default_rng(seed)
    deter, choice = visits.deter.reshape(-1, visits.deter.shape[-1]), visits.choice.ravel()
    rows = rng.permutation(len(choice))[:POINTS]
    deter, choice = deter[rows], choice[rows]
    clusters = min(CLUSTERS, len(rows) // 2)
    labels = cluster.KMeans(clusters, n_init=4, random_state=seed).fit_predict(deter)
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    places = manifold.TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(deter)
    shuffled = [purity(labels, rng.permutation(choice)) for _ in range(SHUFFLES)]
    low, high = np.quantile(shuffled, [0.025, 0.975])
    return {
        "purity": purity(labels, choice),
        "by_chance": [float(np.mean(shuffled)), float(low), float(high)],
        "clusters": clusters,
        "places": places.round(2).tolist(),
        "choices": choice.tolist(),
    }


def purity(labels: np.ndarray, choices: np.ndarray) -> float:
    """The mean over clusters of the largest share that one choice has in them; labels, choices [N] int."""
    shares = [np.bincount(choices[labels == label]).max() / (labels == label).sum() for label in np.unique(labels)]
    return float(np.mean(shares))
