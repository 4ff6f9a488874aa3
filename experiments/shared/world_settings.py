"""Which of a config's settings of worlds mean something to the world that it names."""

from collections.abc import Mapping
from typing import Any

from skillhier.envs.render import pixels

PICTURES = (*pixels.SETTINGS, "entries")  # settings of worlds @pixels


def named(settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(the world's name, the settings for it): those of pictures are left out where there are none, and the engine for
    worlds of other libraries, which have their own.
    """
    settings = dict(settings)
    name = settings.pop("name")
    if not name.endswith(pixels.SUFFIX):
        settings = {setting: value for setting, value in settings.items() if setting not in PICTURES}
    if ":" in name:
        settings.pop("engine", None)
    return name, settings
