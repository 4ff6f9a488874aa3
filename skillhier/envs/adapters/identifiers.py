"""What gymnasium calls our worlds. Imports nothing, for `import skillhier` must stay light."""

NAMESPACE, VERSION = "skillhier", 0


def identifier(name: str) -> str:
    """The id of the world `name`; gymnasium allows no `@`: `dmc.cheetah_run@pixels` is `dmc.cheetah_run.pixels`."""
    return f"{NAMESPACE}/{name.replace('@', '.')}-v{VERSION}"
