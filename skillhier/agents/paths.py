"""Parameters by the path of their names, 'critic' or 'control/actor/mid': which lie below it, what belongs to them."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import jax

from skillhier.types import Params


def mask(params: Params, paths: Iterable[str]) -> Params:
    """Which parameters lie below one of `paths`, in the form of `params`."""
    paths = tuple(paths)

    def below(tree: Params, path: str) -> Params:
        if _below(path, paths) or not isinstance(tree, Mapping):
            return jax.tree.map(lambda _: _below(path, paths), tree)
        return {name: below(child, _join(path, name)) for name, child in tree.items()}

    return below(params, "")


def known(params: Params, path: str = "") -> list[str]:
    """All paths in `params`, those of groups before those of their parts."""
    if not isinstance(params, Mapping):
        return []
    inside = [[_join(path, name), *known(child, _join(path, name))] for name, child in params.items()]
    return [one for paths in inside for one in paths]


def check(params: Params, paths: Iterable[str]) -> None:
    """Raises ValueError, one line with the nearest path that there is, where one of `paths` is none of `params`."""
    there = known(params)
    for path in paths:
        if path not in there:
            near = difflib.get_close_matches(path, there, n=1, cutoff=0.5)
            guess = f"did you mean {near[0]}? " if near else ""
            tops = [name for name in there if name.count("/") < 2]
            raise ValueError(f"'{path}' is no part of the parameters; {guess}there are {', '.join(tops)}")


def without(params: Params, paths: Iterable[str], path: str = "") -> Params:
    """`params` without what lies below one of `paths`, and without groups that this leaves empty."""
    paths = tuple(paths)
    if not isinstance(params, Mapping):
        return params
    rest = {
        name: without(child, paths, _join(path, name))
        for name, child in params.items()
        if not _below(_join(path, name), paths)
    }
    return {name: child for name, child in rest.items() if not isinstance(child, Mapping) or child}


def belonging(state: Any, params: Params, paths: Iterable[str]) -> Any:
    """Which leaves of an optimiser's state belong to the parameters below `paths` alone, in the form of `state`.

    A leaf belongs to the parameter whose path ends its own ('0/mu/critic/w') and whose shape it has. One that belongs
    to none, such as a count of steps, goes with the others of the nearest part of the state that has some: with the
    parameters below `paths` only if all of those are.
    """
    chosen = {_names(at): below for at, below in jax.tree_util.tree_leaves_with_path(mask(params, paths))}
    shapes = {_names(at): leaf.shape for at, leaf in jax.tree_util.tree_leaves_with_path(params)}
    leaves, structure = jax.tree_util.tree_flatten_with_path(state)

    def owner(at: tuple[str, ...], leaf: Any) -> tuple[str, ...] | None:
        ends = (at[begin:] for begin in range(len(at)))
        return next((end for end in ends if shapes.get(end) == leaf.shape), None)

    owners = {_names(at): owner(_names(at), leaf) for at, leaf in leaves}

    def belongs(at: tuple[str, ...]) -> bool:
        for depth in range(len(at), -1, -1):
            beside = [one for name, one in owners.items() if name[:depth] == at[:depth] and one is not None]
            if beside:
                return all(chosen[one] for one in beside)
        return False

    return jax.tree.unflatten(structure, [belongs(_names(at)) for at, _ in leaves])


def _names(at: tuple) -> tuple[str, ...]:
    """Where a leaf is, as names; a name with slashes in it, such as an optimiser's label, as several."""
    return tuple(jax.tree_util.keystr(at, simple=True, separator="/").split("/"))


def _join(path: str, name: str) -> str:
    return f"{path}/{name}".strip("/")


def _below(path: str, tops: tuple[str, ...]) -> bool:
    return any(path == top or path.startswith(f"{top}/") for top in tops)
