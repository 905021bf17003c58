"""What light, rain, lens and sensor make of a picture painted in plain daylight."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from recipes.od_seg.paint import Lamp, Painted
from recipes.od_seg.world import Look, World

Picture = NDArray[np.float32]  # (height, width, 3), 0..255


def expose(painted: Painted, world: World, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture as the camera delivers it: red, green, blue. `rng` is the moment's own: noise differs from frame to frame."""
    look = world.look
    fixed = np.random.default_rng([22, world.seed])  # what stays the same in every frame of a scene
    picture = painted.picture.astype(np.float32)
    picture = _LIT[look.light](picture, painted, fixed) * look.exposure
    if look.rain:
        picture = _rain(picture, painted, look, rng)
    if look.blur:
        sigma = look.blur / 1000 * picture.shape[1]
        picture = cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.float32)
    return _sensor(picture, look, rng)


def _day(picture: Picture, painted: Painted, fixed: np.random.Generator) -> Picture:
    del painted
    warm = np.array([1 + fixed.normal(0, 0.04), 1.0, 1 + fixed.normal(0, 0.05)], np.float32)
    contrast = float(fixed.uniform(0.75, 1.15))
    return (picture - 128) * contrast * warm + 128


def _dusk(picture: Picture, painted: Painted, fixed: np.random.Generator) -> Picture:
    tint = np.array([0.64, 0.56, 0.54], np.float32) * float(fixed.uniform(0.7, 1.1)) + np.array([0.07, 0.01, 0.0], np.float32)
    rows = np.linspace(1.25, 0.85, picture.shape[0], dtype=np.float32)[:, None, None]
    return picture * tint * rows + _glow(painted, 0.6)


def _night(picture: Picture, painted: Painted, fixed: np.random.Generator) -> Picture:
    height, width = picture.shape[:2]
    pools = cv2.resize(fixed.uniform(0.05, 0.75, (3, 6)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    rows = np.linspace(0.35, 1.1, height, dtype=np.float32)[:, None]
    light: Picture = np.clip(pools * rows + float(fixed.uniform(0.16, 0.3)), 0.08, 1.1)[..., None]
    sodium = np.array([1.05, 0.88, 0.62] if fixed.random() < 0.6 else [0.86, 0.95, 1.05], np.float32)
    return picture * light * sodium * 0.75 + _glow(painted, 1.0)


def _infrared(picture: Picture, painted: Painted, fixed: np.random.Generator) -> Picture:
    """Grey, lit by the camera's own ring of diodes: bright in the middle and near, the sky black."""
    height, width = picture.shape[:2]
    mix = fixed.dirichlet([3, 4, 2]).astype(np.float32)
    grey = picture @ mix * float(fixed.uniform(0.8, 1.1)) + float(fixed.uniform(0, 25))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    away = np.hypot((x / width - 0.5) * 1.5, (y / height - float(fixed.uniform(0.5, 0.75))) * 1.4)
    light = np.clip(1.15 - away * float(fixed.uniform(0.6, 1.1)), 0.22, 1.15)
    top = np.clip(y / height * 2.5 + 0.25, 0.25, 1.0)
    lit = grey * light * top + _glow(painted, 1.0).mean(axis=2)
    return np.repeat(lit[..., None], 3, axis=2)


_LIT = {"day": _day, "dusk": _dusk, "night": _night, "infrared": _infrared}


def _glow(painted: Painted, strength: float) -> Picture:
    """Lamps and the light around them."""
    height, width = painted.areas.shape
    points: NDArray[np.uint8] = np.zeros((height // 2, width // 2, 3), np.uint8)
    for lamp in painted.lamps:
        if _shows(lamp, painted):
            radius = max(1, round(lamp.radius * 0.5))
            cv2.circle(points, (round(lamp.x / 2), round(lamp.y / 2)), radius, lamp.color, -1, cv2.LINE_AA)
    near = cv2.GaussianBlur(points, (0, 0), width * 0.0012)
    far = cv2.GaussianBlur(points.astype(np.float32), (0, 0), width * 0.007)
    both = near.astype(np.float32) * 0.8 + far * 2.0
    return cv2.resize(both, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32) * strength


def _shows(lamp: Lamp, painted: Painted) -> bool:
    """Whether it is in the picture, and on a vehicle rather than behind a tree."""
    height, width = painted.areas.shape
    x, y = round(lamp.x), round(lamp.y)
    if not (0 <= x < width and 0 <= y < height):
        return False
    owner = int(painted.owner[y, x])
    return owner > 0 and painted.labels[owner - 1] is not None


def _rain(picture: Picture, painted: Painted, look: Look, rng: np.random.Generator) -> Picture:
    """A wet street that mirrors, streaks in the air, less contrast."""
    height, width = picture.shape[:2]
    smeared = cv2.blur(picture, (3, max(3, height // 12)))
    wet = (painted.areas != 255)[..., None] * np.float32(0.35 * look.rain)
    picture = picture * (1 - wet) + smeared * wet
    streaks: NDArray[np.uint8] = np.zeros((height, width), np.uint8)
    lean = float(rng.normal(0, 0.12))
    for x, y, long in rng.uniform((0, -40, 0.008), (width, height, 0.035), (int(500 * look.rain), 3)):
        end = (round(x + lean * long * width), round(y + long * width))
        cv2.line(streaks, (round(x), round(y)), end, int(rng.integers(60, 190)), max(1, width // 900), cv2.LINE_AA)
    grey = np.float32(picture.mean())
    faded = picture * (1 - 0.25 * look.rain) + grey * 0.25 * look.rain
    return faded + streaks[..., None] * np.float32(0.3)


def _sensor(picture: Picture, look: Look, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Noise: fine in brightness, coarser in colour, and none in the colour of an infrared picture, which has none."""
    height, width = picture.shape[:2]
    fine = rng.standard_normal((height, width), np.float32) * np.float32(look.noise)
    noise = cv2.merge([fine, fine, fine])
    if look.light != "infrared":
        coarse = rng.standard_normal((height // 2 + 1, width // 2 + 1, 3), np.float32) * np.float32(look.noise * 0.5)
        noise = cv2.add(noise, cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))
    return cv2.add(picture.astype(np.float32, copy=False), noise, dtype=cv2.CV_8U).astype(np.uint8, copy=False)
