"""Views of a trajectory: what a level sees of it."""

from collections.abc import Callable

from skillhier.types import Trajectory


def acting_on(name: str) -> Callable[[Trajectory], Trajectory]:
    """The view of a level whose action at a row is what the policy noted there under `name`, [T, B, ...]."""

    def view(batch: Trajectory) -> Trajectory:
        if name not in batch.extras:
            known = ", ".join(sorted(batch.extras)) or "nothing"
            raise ValueError(f"the level acts on '{name}', and the rows hold {known}; let the replay keep it")
        return batch._replace(action=batch.extras[name])

    return view
