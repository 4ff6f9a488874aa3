"""Colours, patterns, lights and sky of a model, as numbers that a ray caster can evaluate without table look-ups."""

from typing import NamedTuple

import mujoco
import numpy as np

_ROLE = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)


class Checker(NamedTuple):
    """A floor's pattern in plane coordinates: squares, two by two a texture, and lines along the texture's borders."""

    repeat: np.ndarray  # [2] textures a metre
    shift: np.ndarray  # [2] of the first texture's corner, in textures
    even: np.ndarray  # [3] colour of the first square
    odd: np.ndarray  # [3] of its neighbours
    mark: np.ndarray  # [3] of the lines
    edge: float  # width of a line, both its sides together, in textures


class Lights(NamedTuple):
    """Headlight first, if it is on."""

    ids: np.ndarray  # [L] the model's lights, -1 for the headlight
    directional: np.ndarray  # [L] bool
    shadows: np.ndarray  # [L] bool
    colours: np.ndarray  # [L, 9] ambient, diffuse, specular
    cone: np.ndarray  # [L, 5] attenuation [3], cosine of the cutoff, exponent


def paint(model: mujoco.MjModel, site: bool, i: int, patterned: bool = False) -> np.ndarray:
    """[7] red, green, blue, alpha, emission, specular, shininess of a geom or a site.

    The object's own colour where it was given one, else its material's (MuJoCo's rule). A texture that is not drawn as
    a pattern colours the whole in its mean.
    """
    owner = "site" if site else "geom"
    own, material = getattr(model, f"{owner}_rgba")[i], getattr(model, f"{owner}_matid")[i]
    if material < 0:
        return np.array([*own, 0.0, 0.5, 0.5])
    plain = np.allclose(own, [0.5, 0.5, 0.5, 1.0])
    rgba = np.array(model.mat_rgba[material] if plain else own, float)
    texture = model.mat_texid[material, _ROLE]
    if texture >= 0 and not patterned:
        rgba[:3] *= _texels(model, texture).mean((0, 1))
    return np.array([*rgba, *(getattr(model, f"mat_{k}")[material] for k in ("emission", "specular", "shininess"))])


def checker(model: mujoco.MjModel, site: bool, i: int) -> Checker | None:
    """The pattern of a plane whose texture is a checker, as MuJoCo makes it; None for all else."""
    material = -1 if site or model.geom_type[i] != mujoco.mjtGeom.mjGEOM_PLANE else model.geom_matid[i]
    texture = model.mat_texid[material, _ROLE] if material >= 0 else -1
    if texture < 0 or model.tex_type[texture] != mujoco.mjtTexture.mjTEXTURE_2D:
        return None
    texels = _texels(model, texture)
    tall, wide = texels.shape[:2]
    even, odd = texels[tall // 4, wide // 4], texels[tall // 4, 3 * wide // 4]
    inside = texels[tall // 20 : -(tall // 20) or None, wide // 20 : -(wide // 20) or None]
    rows, columns = np.indices((tall, wide))
    squares = np.where(((rows < tall / 2) == (columns < wide / 2))[..., None], even, odd)
    squares = squares[tall // 20 : -(tall // 20) or None, wide // 20 : -(wide // 20) or None]
    if (np.abs(inside - squares).max(-1) > 0.01).mean() > 0.05:
        return None
    marked = texels[0]  # the first row is a line where there is one
    lines = np.abs(marked - marked[0]).max() < 0.01 and np.abs(even - odd).max() > 0.01
    size, repeat = model.geom_size[i, :2], model.mat_texrepeat[material].astype(float)
    if not model.mat_texuniform[material]:
        repeat = repeat / np.where(size > 0, size, 1)
    # from one corner of the plane to the other; from the middle where it has no end
    edge = 2.0 / wide if lines else 0.0
    return Checker(repeat * [0.5, -0.5], 0.5 * repeat * np.maximum(size, 0), even, odd, marked[0], edge)


def lights(model: mujoco.MjModel) -> Lights:
    """Lights that are on; of the kinds that MuJoCo's renderer knows (spot and directional)."""
    spot, sun = (int(getattr(mujoco.mjtLightType, f"mjLIGHT_{name}")) for name in ("SPOT", "DIRECTIONAL"))
    rows = []
    head = model.vis.headlight
    if head.active:
        rows.append((-1, True, False, [*head.ambient, *head.diffuse, *head.specular], [1, 0, 0, -1, 0]))
    for i in range(model.nlight):
        if model.light_active[i] and model.light_type[i] in (spot, sun):
            colour = [*model.light_ambient[i], *model.light_diffuse[i], *model.light_specular[i]]
            cutoff = np.cos(np.radians(model.light_cutoff[i])) if model.light_cutoff[i] < 180 else -1.0
            cone = [*model.light_attenuation[i], cutoff, model.light_exponent[i]]
            rows.append((i, model.light_type[i] == sun, bool(model.light_castshadow[i]), colour, cone))
    kinds = (np.int64, bool, bool, float, float)
    return Lights(*(np.array([row[k] for row in rows], kind) for k, kind in enumerate(kinds)))


def sky(model: mujoco.MjModel) -> np.ndarray | None:
    """[6, 3] the skybox's colours as a polynomial in the sine of the elevation; None where it is black.

    For cameras that turn. The suite's skies are gradients from top to bottom; stars are drawn in the mean.
    """
    faces = _sky(model)
    if faces is None:
        return None
    side = faces.shape[1]
    faces = faces if len(faces) == 6 else np.repeat(faces[:1], 6, 0)  # right, left, up, down, front, back
    height, across = np.meshgrid(
        -(2 * np.arange(side) + 1) / side + 1, (2 * np.arange(side) + 1) / side - 1, indexing="ij"
    )
    level = height / np.sqrt(1 + height**2 + across**2)
    top = 1 / np.sqrt(1 + height**2 + across**2)
    sine = np.stack([level, level, top, -top, level, level])[:, ::8, ::8].ravel()
    powers = sine[:, None] ** np.arange(6)
    return np.linalg.lstsq(powers, _blocks(faces).reshape(-1, 3), rcond=None)[0]


def _sky(model: mujoco.MjModel) -> np.ndarray | None:
    """The faces [1 or 6, side, side, 3] of the skybox; None where there is none."""
    textures = np.flatnonzero(model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX)
    if not len(textures):
        return None
    texels = _texels(model, textures[0])
    return texels.reshape(-1, texels.shape[1], texels.shape[1], 3)


def sky_seen(
    model: mujoco.MjModel, right_up_back: np.ndarray, pitch: float, height: int, width: int
) -> np.ndarray | None:
    """[height * width, 3] the skybox as a camera with these axes [3, 3] sees it, stars and all; None where it is black.

    The sky is infinitely far: to a camera that never turns it is always the same picture.
    """
    faces = _sky(model)
    if faces is None:
        return None
    side = faces.shape[1]
    many = int(np.clip(np.ceil(0.7 * pitch * side), 1, 8))  # samples a pixel and axis, about one a texel
    across = pitch * ((np.arange(width * many) + 0.5) / many - width / 2)
    up = pitch * (height / 2 - (np.arange(height * many) + 0.5) / many)
    across, up = np.meshgrid(across, up)
    x, y, z = (axis[0] * across + axis[1] * up - axis[2] for axis in right_up_back)
    x, y, z = x, z, -y  # OpenGL's cube, which MuJoCo turns about x
    size = np.abs([x, y, z])
    axis = size.argmax(0)
    face = 2 * axis + (np.choose(axis, [x, y, z]) < 0)
    column = np.choose(face, [-z, z, x, x, x, -x]) / size.max(0)
    row = np.choose(face, [-y, -y, z, -z, -y, -y]) / size.max(0)
    column, row = (np.clip(((v + 1) / 2 * side).astype(int), 0, side - 1) for v in (column, row))
    samples = faces[face if len(faces) == 6 else 0, row, column]
    return samples.reshape(height, many, width, many, 3).mean((1, 3)).reshape(-1, 3)


def _blocks(faces: np.ndarray) -> np.ndarray:
    """Every eighth texel, as the mean of those around it: stars are few."""
    side = faces.shape[1] // 8 * 8
    small = faces[:, :side, :side].reshape(6, side // 8, 8, side // 8, 8, 3).mean((2, 4))
    rows = np.arange(-(-faces.shape[1] // 8)).clip(max=side // 8 - 1)
    return small[:, rows][:, :, rows]


def _texels(model: mujoco.MjModel, texture: int) -> np.ndarray:
    """[height, width, 3] of 0 to 1."""
    tall, wide, channels = (int(getattr(model, f"tex_{k}")[texture]) for k in ("height", "width", "nchannel"))
    start = model.tex_adr[texture]
    texels = model.tex_data[start : start + tall * wide * channels].reshape(tall, wide, channels) / 255
    return texels[..., :3] if channels >= 3 else np.repeat(texels[..., :1], 3, -1)
