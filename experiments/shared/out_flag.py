"""The flag --out of entry points that write a page and its figures, and how they write them."""

import time
from pathlib import Path

from absl import flags

from experiments.shared import cli
from skillhier import files

flags.DEFINE_string("out", None, "the folder to write to; by default one below runs/ with the time in its name")


def folder(kind: str) -> Path:
    """The folder of --out; by default runs/KIND-<time>."""
    given = flags.FLAGS.out
    return Path(given) if given else Path("runs") / f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}"


def write(out: Path, name: str, content: object, page: str) -> Path:
    """Writes `out`/NAME.json and NAME.html, each whole or not at all; returns the page's path. Raises Refused."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        files.write_json(out / f"{name}.json", content)
        files.write_text(out / f"{name}.html", page)
    except OSError as error:
        raise cli.Refused(f"{out} cannot be written: {error.strerror}; choose another --out") from None
    return out / f"{name}.html"
