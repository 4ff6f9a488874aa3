"""Settings of worlds that a config has for all of them, and that mean nothing to some."""

from collections.abc import Mapping
from typing import Any

from skillhier.envs.render import pixels


def suited(world: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that mean something to worlds of that name, for registry.make."""
    if not world.endswith(pixels.SUFFIX):  # how pictures are drawn means nothing where there are none
        settings = {name: value for name, value in settings.items() if name not in (*pixels.SETTINGS, "entries")}
    if ":" in world:  # other libraries have engines of their own
        settings = {name: value for name, value in settings.items() if name != "engine"}
    return dict(settings)
