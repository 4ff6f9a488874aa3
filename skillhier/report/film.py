"""Pictures one after the other as an mp4 that browsers play, with captions; and side by side, as a strip.

Pictures are uint8 [height, width, 3].
"""

import subprocess
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageDraw, ImageFont

FASTEST = 30.0  # pictures a second at most, so that a film of a quick world stays small
GAP = 3  # pixels between the pictures of a strip


class NoFilm(ValueError):
    """A film that cannot be made; one line that says why."""


def pace(interval: float) -> tuple[int, float]:
    """(every how many-th row is a picture, pictures a second), so that a film of rows `interval` s apart runs in real
    time with at most `FASTEST` pictures a second."""
    step = max(1, int(np.ceil(1 / (FASTEST * interval) - 1e-6)))
    return step, 1 / (step * interval)


def write(path: Path, pictures: Iterable[np.ndarray], rate: float) -> int:
    """Writes pictures of one even size as H.264 (yuv420p) to an mp4, whole or not at all; gives back how many.

    rate: pictures a second. Raises NoFilm.
    """
    draft, process, count = path.with_suffix(".part.mp4"), None, 0
    try:
        for picture in pictures:
            height, width = picture.shape[:2]
            if height % 2 or width % 2:
                raise NoFilm(f"a film of {width} x {height} pixels cannot be coded; set --width and --height even")
            process = process or _encoder(draft, width, height, rate)
            process.stdin.write(np.ascontiguousarray(picture).data)
            count += 1
        if process is None:
            raise NoFilm("a film of no pictures; there must be at least one")
        _, said = process.communicate()
        if process.returncode:
            raise NoFilm(f"no film: {_line(said)}; --film=false leaves it out")
    except (OSError, RuntimeError) as error:
        said = _line(process.communicate()[1]) if process else ""
        raise NoFilm(f"no film: {said or error}; --film=false leaves it out") from None
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
    draft.rename(path)
    return count


def _encoder(path: Path, width: int, height: int, rate: float) -> subprocess.Popen:
    """ffmpeg, waiting for pictures. (imageio's own writer forks a process in which JAX has threads.)"""
    given = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {rate:.6f} -i - -an".split()
    made = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "21", "-movflags", "+faststart"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *given, *made, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)


def _line(said: bytes) -> str:
    return " ".join(said.decode(errors="replace").split())[:200]


def caption(picture: np.ndarray, words: str, paint: str | None = None) -> np.ndarray:
    """The picture with `words` in its upper left corner, on a dark ground, behind a square of colour `paint`."""
    found = Image.fromarray(picture)
    pen = ImageDraw.Draw(found, "RGBA")
    size = max(9, picture.shape[0] // 24)
    font, margin = ImageFont.load_default(size), size // 2
    left = top = margin
    wide = pen.textlength(words, font) + (1.4 * size if paint else 0)
    pen.rectangle((left, top, left + wide + 2 * margin, top + size + margin), fill=(16, 20, 26, 165))
    if paint:
        square = (left + margin, top + margin // 2 + size // 8, left + margin + size * 3 // 4, top + margin // 2 + size)
        pen.rectangle(square, fill=paint)
    begin = left + margin + (1.4 * size if paint else 0)
    pen.text((begin, top + margin // 2), words, (245, 247, 250), font, anchor="la")
    return np.asarray(found)


def tiled(pictures: Sequence[np.ndarray], columns: int | None = None) -> np.ndarray:
    """Pictures of one size as one, row by row; nearly as many rows as columns if `columns` says nothing else."""
    columns = columns or int(np.ceil(np.sqrt(len(pictures))))
    blank = np.full_like(pictures[0], 24)
    rows = [list(pictures[i : i + columns]) for i in range(0, len(pictures), columns)]
    rows[-1] += [blank] * (columns - len(rows[-1])) if len(rows) > 1 else []
    return np.concatenate([np.concatenate(row, 1) for row in rows], 0)


def strip(rows: Sequence[Sequence[np.ndarray]], width: int) -> bytes:
    """The JPEG of rows of pictures of one size, each made `width` pixels wide, with lines between them."""
    high, wide = rows[0][0].shape[:2]
    size = (width, round(high * width / wide))
    across, down = max(map(len, rows)), len(rows)
    sheet = Image.new("RGB", (across * (size[0] + GAP) - GAP, down * (size[1] + GAP) - GAP), (128, 136, 148))
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            small = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
            sheet.paste(small, (x * (size[0] + GAP), y * (size[1] + GAP)))
    held = BytesIO()
    sheet.save(held, "JPEG", quality=88, optimize=True)
    return held.getvalue()
