"""What a data set holds, and the command line that learns skills from it.

python -m experiments.data --path=datasets/red_on_blue
python -m experiments.data --path=low_dim.hdf5 --subset=train           # the demos of a mask, the episodes of a split
python -m experiments.data --path=old.hdf5 --episode_length=1000        # of a flat file that names no ends

Reads Minari folders, robomimic, D4RL and OGBench files, LeRobot folders, and files in skillhier's own layout
(docs/data.md). Prints the layout, the episodes with their lengths, ends and returns, every entry with its shape and
range, the range of the actions in each dimension, what is constant, and faults.
"""

import sys

from absl import flags

from experiments.shared import cli, data_contents
from skillhier.data import contents

flags.DEFINE_string("path", None, "the data set: a file, or a folder")
flags.DEFINE_string("subset", "", "of the episodes: a mask of a robomimic file, a split of a LeRobot folder")
flags.DEFINE_integer("episode_length", 0, "of all episodes of a flat file that does not say where they end", 0, 10**6)
flags.DEFINE_float("max_gib", 0.0, "GiB that reading may take; 0: what the machine has free", 0.0)


def check(run: cli.Run) -> None:
    """Refuses flags that are missing or do not go together. Raises Refused."""
    args = flags.FLAGS
    if not args.path:
        raise cli.Refused("--path is missing; give the file or the folder of a data set")


def main(run: cli.Run) -> None:
    args = flags.FLAGS
    content = contents.examine(args.path, args.subset or None, args.episode_length or None, args.max_gib or None)
    for line in data_contents.describe(args.path, content):
        print(line)
    suggestion = data_contents.suggest(content, args.subset, args.episode_length)
    print()
    for remark in suggestion.remarks:
        print(remark)
    print("skills are learned from it by\n")
    print(data_contents.command(args.path, suggestion))
    if content.faults:
        print("a run refuses data with faults: mend or remove what is named above", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main, needs_config=False)
