"""A small Monte-Carlo renderer: scenes of textured shapes, lit by a lamp and the sky.

Paths start at the camera, bounce off matt surfaces, and at every bounce a shadow ray goes to a
random point of the lamp (next-event estimation; Kajiya 1986). Few paths a pixel give a noisy
picture, many a clean one. Besides come the guides that renderers give for free: albedo and normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genloom.types import Array, Floats

FAR = np.float32(1e4)
EPSILON = np.float32(1e-3)
FOCAL = np.float32(2.4)
"""Focal length, in halves of the picture's width."""
BOUNCES = 2
"""Surfaces that light may meet on its way from the lamp to the camera."""
CHUNK = 1 << 17
"""Paths followed together, at most."""


@dataclass(frozen=True)
class Texture:
    """A colour that varies in space; `kind`: `plain`, `checker`, `stripes`, `rings` or `spots`."""

    kind: str
    first: Floats
    second: Floats
    size: float

    def at(self, points: Floats) -> Floats:
        """Albedo N×3 at points N×3."""
        p = points / np.float32(self.size)
        if self.kind == "checker":
            which = (np.floor(p + 1e-3).sum(1) % 2).astype(np.float32)
        elif self.kind == "stripes":
            which = (np.floor(p[:, 0] + p[:, 1] * 0.5 + p[:, 2]) % 2).astype(np.float32)
        elif self.kind == "rings":
            which = 0.5 + 0.5 * np.sin(6 * np.sqrt((p**2).sum(1)))
        elif self.kind == "spots":
            inside = ((p - np.floor(p) - 0.5) ** 2).sum(1) < 0.12
            which = inside.astype(np.float32)
        else:
            which = np.zeros(len(p), np.float32)
        mixed: Floats = self.first + which.astype(np.float32)[:, None] * (self.second - self.first)
        return mixed


@dataclass(frozen=True)
class Scene:
    """Balls and boxes on a floor, a round lamp above, a sky.

    Attributes:
        balls: M×4, centre and radius.
        boxes: K×6, lowest and highest corner.
        textures: of the floor, then of the balls, then of the boxes.
        lamp: position and radius; `light` its radiance, (3,).
        sky: radiance of the sky, (3,).
        eye: position of the camera; `axes` its right, up and forward directions, 3×3.
    """

    balls: Floats
    boxes: Floats
    textures: tuple[Texture, ...]
    lamp: Floats
    light: Floats
    sky: Floats
    eye: Floats
    axes: Floats


def random_scene(random: np.random.Generator) -> Scene:
    """A scene with five to eleven shapes."""
    count = int(random.integers(3, 7))
    radii = random.uniform(0.25, 0.8, count)
    places = random.uniform(-1.8, 1.8, (count, 2))
    balls = np.column_stack([places[:, 0], radii, places[:, 1], radii])
    corners = random.uniform(-2.0, 1.6, (int(random.integers(2, 6)), 2))
    sizes = random.uniform(0.2, 0.9, (len(corners), 3)) * (1, 1.6, 1)
    low = np.column_stack([corners[:, 0], np.zeros(len(corners)), corners[:, 1]])
    boxes = np.column_stack([low, low + sizes])
    textures = tuple(_texture(random) for _ in range(1 + len(balls) + len(boxes)))
    angle, height = random.uniform(0, 2 * np.pi), random.uniform(1.0, 3.5)
    eye = np.array([4.2 * np.cos(angle), height, 4.2 * np.sin(angle)])
    lamp = np.append(random.uniform(-2, 2, 3) + np.array([0, 4, 0]), random.uniform(0.3, 1.0))
    tint = 1 - 0.35 * random.random(3)
    light = tint * random.uniform(6.0, 25.0) / lamp[3] ** 2
    sky = (1 - 0.4 * random.random(3)) * random.uniform(0.05, 0.5)
    floats = (np.asarray(a, np.float32) for a in (balls, boxes, lamp, light, sky, eye))
    b, x, lamp32, light32, sky32, eye32 = floats
    return Scene(b, x, textures, lamp32, light32, sky32, eye32, _axes(eye, random))


def _texture(random: np.random.Generator) -> Texture:
    kind = str(random.choice(["plain", "checker", "stripes", "rings", "spots"]))
    first, second = random.uniform(0.05, 0.95, (2, 3)).astype(np.float32)
    return Texture(kind, first, second, float(random.uniform(0.06, 0.5)))


def _axes(eye: Array, random: np.random.Generator) -> Floats:
    target = np.array([random.uniform(-0.5, 0.5), random.uniform(0.2, 0.8), 0.0])
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(right, forward), forward]).astype(np.float32)


def render(scene: Scene, size: int, paths: int, random: np.random.Generator) -> Floats:
    """Mean radiance of `paths` paths through each pixel, size×size×3, linear, 0 and more."""
    total = np.zeros((size * size, 3), np.float32)
    pixels = np.arange(size * size)
    for start in range(0, len(pixels) * paths, CHUNK):
        these = pixels[np.arange(start, min(start + CHUNK, len(pixels) * paths)) % len(pixels)]
        origins, directions = _rays(scene, size, these, random)
        np.add.at(total, these, _radiance(scene, origins, directions, random))
    return (total / np.float32(paths)).reshape(size, size, 3)


def guides(scene: Scene, size: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Albedo and normal of what each pixel sees, size×size×3; the sky has albedo 1 and normal 0.

    Means over 16 places in each pixel, as renderers give them; normals are in world space.
    """
    pixels = np.arange(size * size)
    albedo, normal = np.zeros((2, size * size, 3), np.float32)
    for _ in range(16):
        origins, directions = _rays(scene, size, pixels, random)
        distance, colour, normals = _seen(scene, origins, directions)
        hit = (distance < FAR)[:, None]
        albedo += np.where(hit, colour, 1)
        normal += np.where(hit, normals, 0)
    shape, share = (size, size, 3), np.float32(1 / 16)
    return (albedo * share).reshape(shape), (normal * share).reshape(shape)


def displayed(radiance: Floats) -> Floats:
    """Radiance as a picture in [0, 1]: compressed (x / (1 + x), Reinhard 2002), gamma of sRGB."""
    x = radiance / (1 + radiance)
    curved = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-6) ** (1 / 2.4) - 0.055)
    return np.asarray(curved, np.float32)


def _rays(
    scene: Scene, size: int, pixels: Array, random: np.random.Generator
) -> tuple[Floats, Floats]:
    """A ray through a random point of each pixel."""
    rows, columns = np.divmod(pixels, size)
    across = random.random((2, len(pixels)), np.float32)
    x = (columns.astype(np.float32) + across[0]) / size * 2 - 1
    y = 1 - (rows.astype(np.float32) + across[1]) / size * 2
    right, up, forward = scene.axes
    directions = forward * FOCAL + x[:, None] * right + y[:, None] * up
    return np.broadcast_to(scene.eye, directions.shape), _unit(directions.astype(np.float32))


def _radiance(
    scene: Scene, origins: Floats, directions: Floats, random: np.random.Generator
) -> Floats:
    """What comes back along each ray."""
    result = np.zeros_like(directions)
    carried = np.ones_like(directions)
    alive = np.arange(len(directions))
    for bounce in range(BOUNCES):
        distance, colour, normal = _seen(scene, origins, directions)
        hit = distance < FAR
        result[alive[~hit]] += carried[~hit] * scene.sky
        alive, carried = alive[hit], carried[hit] * colour[hit]
        normal = normal[hit]
        points = origins[hit] + distance[hit, None] * directions[hit] + EPSILON * normal
        result[alive] += carried * _lit(scene, points, normal, random)
        if bounce + 1 < BOUNCES:
            origins, directions = points, _scattered(normal, random)
    return result


def _lit(scene: Scene, points: Floats, normal: Floats, random: np.random.Generator) -> Floats:
    """Light of the lamp that a matt white surface sends back."""
    lamp = scene.lamp[:3] + scene.lamp[3] * _sphere(len(points), random)
    towards = lamp - points
    distance = np.sqrt((towards**2).sum(1, keepdims=True))
    towards = towards / distance
    facing = np.maximum((towards * normal).sum(1), 0)
    free = _distance(scene, points, towards) >= distance[:, 0] - scene.lamp[3]
    # A ball of radius r seen from afar is a disc of area π r²; a matt surface sends 1/π of it back.
    strength = facing * free * scene.lamp[3] ** 2 / distance[:, 0] ** 2
    lit: Floats = strength[:, None] * scene.light
    return lit


def _scattered(normal: Floats, random: np.random.Generator) -> Floats:
    """Directions off matt surfaces, by the cosine law."""
    return _unit(normal + 0.999 * _sphere(len(normal), random))


def _sphere(count: int, random: np.random.Generator) -> Floats:
    z = random.random(count, np.float32) * 2 - 1
    angle = random.random(count, np.float32) * np.float32(2 * np.pi)
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=1)


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.sqrt((vectors**2).sum(1, keepdims=True))
    return unit


def _seen(scene: Scene, origins: Floats, directions: Floats) -> tuple[Floats, Floats, Floats]:
    """Distance to what each ray meets first, its albedo and its normal."""
    nearest, which = _floor(origins, directions), np.zeros(len(directions), np.int64)
    shapes = [_ball(ball, origins, directions) for ball in scene.balls]
    shapes += [_box(box, origins, directions) for box in scene.boxes]
    for number, distance in enumerate(shapes, 1):
        closer = distance < nearest
        nearest, which = np.where(closer, distance, nearest), np.where(closer, number, which)
    points = origins + nearest[:, None] * directions
    colour, normal = np.zeros_like(directions), np.zeros_like(directions)
    for number, texture in enumerate(scene.textures):
        mine = (which == number) & (nearest < FAR)
        colour[mine] = texture.at(points[mine])
        normal[mine] = _normal(scene, number, points[mine])
    return nearest, colour, normal


def _normal(scene: Scene, number: int, points: Floats) -> Floats:
    if number == 0:
        return np.tile(np.array([0, 1, 0], np.float32), (len(points), 1))
    if number <= len(scene.balls):
        ball = scene.balls[number - 1]
        outwards: Floats = (points - ball[:3]) / ball[3]
        return outwards
    box = scene.boxes[number - 1 - len(scene.balls)]
    middle, half = (box[3:] + box[:3]) / 2, (box[3:] - box[:3]) / 2
    away = (points - middle) / half
    side = np.abs(away).argmax(1)
    normal = np.zeros_like(points)
    rows = np.arange(len(points))
    normal[rows, side] = np.sign(away[rows, side])
    return normal


def _distance(scene: Scene, origins: Floats, directions: Floats) -> Floats:
    """Distance to what each ray meets first."""
    nearest = _floor(origins, directions)
    for ball in scene.balls:
        nearest = np.minimum(nearest, _ball(ball, origins, directions))
    for box in scene.boxes:
        nearest = np.minimum(nearest, _box(box, origins, directions))
    return nearest


def _floor(origins: Floats, directions: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = -origins[:, 1] / directions[:, 1]
    return np.where(distance > EPSILON, distance, FAR).astype(np.float32).clip(max=FAR)


def _ball(ball: Floats, origins: Floats, directions: Floats) -> Floats:
    away = origins - ball[:3]
    half = (away * directions).sum(1)
    root = half * half - (away * away).sum(1) + ball[3] ** 2
    distance = -half - np.sqrt(np.maximum(root, 0))
    return np.where((root > 0) & (distance > EPSILON), distance, FAR).astype(np.float32)


def _box(box: Floats, origins: Floats, directions: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = (box[:3] - origins) / directions, (box[3:] - origins) / directions
    first, last = np.minimum(one, two).max(1), np.maximum(one, two).min(1)
    return np.where((first < last) & (first > EPSILON), first, FAR).astype(np.float32)
