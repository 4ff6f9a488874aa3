"""Films (mp4, playable in browsers) and strips of images, with captions. Images are uint8 [height, width, 3]."""

import subprocess
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from skillhier import files

MAX_RATE = 30.0  # frames a second: limits the size of films of worlds with short control steps
GAP = 3  # pixels between the images of a strip


class FilmError(ValueError):
    """A film that cannot be written; the message is one line."""


def pace(interval: float) -> tuple[int, float]:
    """(rows per frame, frames a second) at which a film of rows `interval` s apart runs in real time.

    The rate is at most `MAX_RATE`.
    """
    step = max(1, int(np.ceil(1 / (MAX_RATE * interval) - 1e-6)))
    return step, 1 / (step * interval)


def write(path: Path, images: Iterable[np.ndarray], rate: float) -> int:
    """Writes images of one even size as H.264 (yuv420p) to an mp4, atomically; returns their number.

    rate: frames a second. Raises FilmError.
    """
    try:
        with files.draft(path) as part:
            return _encode(part, images, rate)
    except OSError as error:
        raise FilmError(f"no film: {error.strerror}; --film=false leaves it out") from None


def _encode(path: Path, images: Iterable[np.ndarray], rate: float) -> int:
    process, count = None, 0
    try:
        for image in images:
            height, width = image.shape[:2]
            if height % 2 or width % 2:
                raise FilmError(f"a film of {width} x {height} pixels cannot be encoded; set --width and --height even")
            process = process or _encoder(path, width, height, rate)
            process.stdin.write(np.ascontiguousarray(image).data)
            count += 1
        if process is None:
            raise FilmError("a film needs at least one image, got none")
        _, stderr = process.communicate()
        if process.returncode:
            raise FilmError(f"no film: {_line(stderr)}; --film=false leaves it out")
    except (OSError, RuntimeError) as error:
        stderr = _line(process.communicate()[1]) if process else ""
        raise FilmError(f"no film: {stderr or error}; --film=false leaves it out") from None
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
    return count


def _encoder(path: Path, width: int, height: int, rate: float) -> subprocess.Popen:
    """ffmpeg, reading raw images from its standard input. (imageio's own writer forks, which JAX's threads forbid.)"""
    source = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {rate:.6f} -i - -an".split()
    codec = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "21", "-movflags", "+faststart"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *source, *codec, "-f", "mp4", str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)


def _line(output: bytes) -> str:
    return " ".join(output.decode(errors="replace").split())[:200]


def caption(image: np.ndarray, words: str, paint: str | None = None) -> np.ndarray:
    """The image with `words` in its upper left corner, on a dark background, after a square of colour `paint`."""
    captioned = Image.fromarray(image)
    pen = ImageDraw.Draw(captioned, "RGBA")
    size = max(9, image.shape[0] // 24)
    font, margin = ImageFont.load_default(size), size // 2
    left = top = margin
    wide = pen.textlength(words, font) + (1.4 * size if paint else 0)
    pen.rectangle((left, top, left + wide + 2 * margin, top + size + margin), fill=(16, 20, 26, 165))
    if paint:
        square = (left + margin, top + margin // 2 + size // 8, left + margin + size * 3 // 4, top + margin // 2 + size)
        pen.rectangle(square, fill=paint)
    begin = left + margin + (1.4 * size if paint else 0)
    pen.text((begin, top + margin // 2), words, (245, 247, 250), font, anchor="la")
    return np.asarray(captioned)


def tiled(images: Sequence[np.ndarray], columns: int | None = None) -> np.ndarray:
    """Images of one size in a grid, row by row; as square as possible unless `columns` is set."""
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    blank = np.full_like(images[0], 24)
    rows = [list(images[i : i + columns]) for i in range(0, len(images), columns)]
    rows[-1] += [blank] * (columns - len(rows[-1])) if len(rows) > 1 else []
    return np.concatenate([np.concatenate(row, 1) for row in rows], 0)


def strip(rows: Sequence[Sequence[np.ndarray]], width: int) -> bytes:
    """A JPEG of rows of images of one size, each scaled to a width of `width` pixels, with lines between them."""
    high, wide = rows[0][0].shape[:2]
    size = (width, round(high * width / wide))
    across, down = max(map(len, rows)), len(rows)
    sheet = Image.new("RGB", (across * (size[0] + GAP) - GAP, down * (size[1] + GAP) - GAP), (128, 136, 148))
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            small = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
            sheet.paste(small, (x * (size[0] + GAP), y * (size[1] + GAP)))
    buffer = BytesIO()
    sheet.save(buffer, "JPEG", quality=88, optimize=True)
    return buffer.getvalue()
