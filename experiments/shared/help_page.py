"""What --help prints: an entry point's docstring, its presets, settings and flags."""

import sys
from collections.abc import Sequence

from absl import flags

from experiments.shared.settings import CONFIGS, flat, load_config, presets

CLI = "experiments.shared.cli"  # which defines the flags that all entry points share


def text(name: str, doc: str, argv: Sequence[str] = ()) -> str:
    """The entry point's docstring, its presets and their times, all of its settings, all flags.

    Settings are those of the --config in `argv`, since they depend on options such as the agent; else of the first
    preset.
    """
    lines = [doc.strip(), ""]
    known = presets(name)
    if known:
        file = f"experiments/configs/{name}.py"
        lines += [f"presets (--config={file}:PRESET):"]
        lines += [f"  {preset:<14} {purpose}" for preset, purpose in known.items()]
    given = [argument.partition("=")[2] for argument in argv if argument.lstrip("-").startswith("config=")]
    if known or given:
        address = given[-1] if given else f"{CONFIGS / name}.py:{next(iter(known))}"
        config, _ = load_config(address)
        lines += ["", f"settings (--config.NAME=VALUE), here as in {address.partition(':')[2]}:"]
        lines += [f"  {path} = {value}" for path, value in sorted(flat(config).items())]
        lines += ["  those of another preset or agent: --help with its --config"]
    ours, others = split_flags(name)
    lines += ["", "flags:"]
    lines += [f"  --{flag.name:<12} {flag.help}" for flag in ours]
    lines += ["", f"flags of libraries: {', '.join(f'--{flag}' for flag in others)}"]
    return "\n".join(lines)


def split_flags(name: str) -> tuple[list[flags.Flag], list[str]]:
    """The flags of the entry point `name`, with those that all share; and the names of those that libraries define."""
    modules = flags.FLAGS.flags_by_module_dict()
    ours = {CLI, sys.argv[0], f"experiments.{name}"}  # absl names the file that was run by its command
    ours |= {module for module in modules if module.startswith("experiments.") and module.count(".") == 2}  # its parts
    mine = {flag.name: flag for module in ours for flag in modules.get(module, [])}
    return [mine[flag] for flag in sorted(mine)], sorted(set(flags.FLAGS) - set(mine))
