"""The demo dataset's scenes: landscapes drawn with NumPy and Pillow, and the ways in which they are made worse.

RandomState's stream is frozen, so a seed means the same scenes with every NumPy.
"""
import io
from typing import Any, Tuple

import numpy as np
from numpy.random import RandomState

KINDS = ('blur', 'noise', 'exposure', 'blocks')
IMAGE_SIZE = 88
CANVAS = 2 * IMAGE_SIZE  # objects are drawn at twice the size and shrunk, so that their edges are smooth

# zenith, horizon, sun, distant hills, near ground
PALETTES = np.array((
    ((38, 92, 178), (186, 220, 242), (255, 252, 230), (112, 142, 172), (58, 112, 46)),   # noon
    ((62, 68, 142), (252, 178, 104), (255, 232, 160), (146, 106, 132), (78, 74, 44)),    # sunset
    ((88, 138, 182), (240, 228, 214), (255, 246, 220), (140, 152, 164), (104, 118, 52)),  # morning
    ((84, 60, 132), (246, 156, 160), (255, 238, 206), (118, 82, 132), (58, 70, 78)),     # dusk
    ((104, 124, 144), (218, 224, 228), (246, 246, 242), (128, 140, 146), (72, 98, 66)),  # overcast
    ((44, 120, 190), (244, 226, 182), (255, 250, 224), (190, 138, 98), (176, 132, 76)),  # desert
), np.float32)
WALLS = np.float32(((196, 84, 62), (226, 190, 140), (232, 228, 216), (120, 136, 156), (172, 128, 96), (92, 104, 120)))
FLOWERS = ((240, 70, 70), (250, 210, 60), (250, 250, 250), (200, 110, 220), (255, 150, 60))
WHITE, LIT_WINDOW, LEAF, ROOF = np.float32(((255, 255, 255), (255, 236, 170), (34, 82, 44), (150, 62, 46)))
GREY, CONTRAST = np.float32((116, 122, 124)), 48.0  # mean and standard deviation of every scene


def _mix(near: np.ndarray, far: np.ndarray, share: Any) -> np.ndarray:
    """`near` at share 0, `far` at share 1."""
    return near * (1 - share) + far * share


def _rgb(colour: np.ndarray) -> Tuple[int, ...]:
    return tuple(min(max(int(value), 0), 255) for value in colour.tolist())


def _texture(rng: RandomState, height: int, width: int, cells: int, octaves: int) -> np.ndarray:
    """Fractal noise [height, width] with mean 0 and standard deviation 1; `cells` is the coarsest grid."""
    from PIL import Image
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        rows, columns = min(cells << octave, height), min(cells << octave, width)
        grid = Image.fromarray(rng.standard_normal((rows, columns)).astype(np.float32))
        total += np.asarray(grid.resize((width, height), Image.BICUBIC)) / 1.8 ** octave
    return (total - total.mean()) / total.std()


def _sky(rng: RandomState, palette: np.ndarray, horizon: int) -> np.ndarray:
    """A gradient with clouds and a sun, float32 [IMAGE_SIZE, IMAGE_SIZE, 3]."""
    rows, columns = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE].astype(np.float32)
    depth = np.clip(rows / horizon, 0, 1)[..., None]
    clouds = _texture(rng, IMAGE_SIZE * 2, IMAGE_SIZE, 4, 5)[::2]  # dropping every other row makes the clouds wide
    cover = np.clip((clouds - rng.uniform(-0.2, 1.2)) * 0.9, 0, 0.85)[..., None]
    sky = _mix(_mix(palette[0], palette[1], depth ** 1.4), _mix(palette[2], WHITE, 0.6) * (0.96 - 0.1 * depth), cover)
    distance = np.hypot(rows - horizon * rng.uniform(0.2, 0.9), columns - IMAGE_SIZE * rng.uniform(0.1, 0.9))
    radius = IMAGE_SIZE * rng.uniform(0.03, 0.07)
    disc_and_glow = np.clip(radius - distance, 0, 1) + 0.5 * np.exp(-distance / (4 * radius))
    return _mix(sky, palette[2], np.clip(disc_and_glow, 0, 1)[..., None])


def _land(rng: RandomState, scene: np.ndarray, palette: np.ndarray, horizon: int) -> None:
    """Two to four ridges, the nearer the darker, and the plain before them, painted into `scene` in place."""
    rows = np.arange(IMAGE_SIZE, dtype=np.float32)[:, None]
    grain = _texture(rng, IMAGE_SIZE, IMAGE_SIZE, 16, 3)
    count = rng.randint(2, 5)
    for share in np.arange(1, count + 1) / count:
        height = IMAGE_SIZE * rng.uniform(0.1, 0.3) * (1.3 - share)
        ridge = horizon - height * (0.7 + 0.6 * _texture(rng, 1, IMAGE_SIZE, rng.randint(2, 5), 5))
        light = 1 + np.clip(np.gradient(ridge[0]) * -0.2, -0.25, 0.25)  # slopes that face the light are brighter
        painted = _mix(palette[3], palette[4], 0.8 * share ** 1.5) * ((1 + 0.1 * share * grain) * light)[..., None]
        scene[:] = _mix(scene, painted, np.clip(rows - ridge, 0, 1)[..., None])
    depth = np.clip((rows - horizon) / (IMAGE_SIZE - horizon), 0, 1)[..., None]
    plain = _mix(_mix(palette[4], palette[1], 0.25), palette[4], depth) * (1 + 0.08 * grain)[..., None]
    scene[horizon:] = plain[horizon:]


def _city(rng: RandomState, pen: Any, palette: np.ndarray, horizon: int) -> None:
    """Three rows of buildings with lit and dark windows, the far ones pale."""
    for row, share in enumerate((0.65, 0.35, 0.0)):
        left, base = -CANVAS * rng.uniform(0, 0.1), horizon + 4 + 5 * row
        while left < CANVAS:
            width, height = CANVAS * rng.uniform(0.09, 0.2), CANVAS * rng.uniform(0.16, 0.46) * (1 - 0.2 * row)
            wall = _mix(WALLS[rng.randint(len(WALLS))], palette[1], share) * rng.uniform(0.75, 1.05)
            top, right, step = base - height, left + width, rng.randint(8, 13)
            pen.rectangle((left, top, right, base), fill=_rgb(wall))
            pen.rectangle((left + width * 0.78, top, right, base), fill=_rgb(wall * 0.7))  # the side in shadow
            pen.rectangle((left - 1, top - 3, right + 1, top), fill=_rgb(wall * 0.55))
            panes = _rgb(wall * 0.35), _rgb(_mix(LIT_WINDOW, palette[1], share / 2))
            for y in np.arange(top + 5, base - step * 0.6, step):
                for x in np.arange(left + 4, right - step * 0.6, step):
                    pen.rectangle((x, y, x + step * 0.45, y + step * 0.55), fill=panes[rng.uniform() < 0.3])
            left += width * rng.uniform(1.0, 1.6 + row)


def _village(rng: RandomState, pen: Any, palette: np.ndarray, horizon: int) -> None:
    """Houses with tiled roofs, a door and two windows, before a few trees."""
    _forest(rng, pen, palette, horizon, count=8)
    for left in np.sort(rng.uniform(0, 0.85, rng.randint(2, 5))) * CANVAS:
        width, height = CANVAS * rng.uniform(0.15, 0.26), CANVAS * rng.uniform(0.1, 0.16)
        base = horizon + CANVAS * rng.uniform(0.02, 0.1)
        top, right, roof = base - height, left + width, ROOF * rng.uniform(0.6, 1.3)
        pen.rectangle((left, top, right, base), fill=_rgb(WALLS[rng.randint(len(WALLS))] * 1.05))
        for line in np.arange(0, 0.7, 0.02):
            inset, y = width * 0.3 * line - 5, top - height * line
            pen.line((left + inset, y, right - inset, y), fill=_rgb(roof * (0.7 if line % 0.16 < 0.03 else 1)), width=2)
        pen.rectangle((left + width * 0.42, base - height * 0.55, left + width * 0.58, base), fill=(84, 54, 40))
        for x in (left + width * 0.12, left + width * 0.68):
            y, side = top + height * 0.25, width * 0.2
            pen.rectangle((x, y, x + side, y + side), fill=(60, 74, 96), outline=(250, 250, 244), width=2)


def _forest(rng: RandomState, pen: Any, palette: np.ndarray, horizon: int, count: int = 26) -> None:
    """Conifers and broad-leaved trees, the far ones first."""
    for base in np.sort(rng.uniform(0, 0.14, count)) * CANVAS + horizon:
        x, height = rng.uniform(0, CANVAS), CANVAS * rng.uniform(0.14, 0.24) + (base - horizon)
        green = _mix(LEAF, palette[4], rng.uniform(0, 0.7)) * rng.uniform(0.7, 1.25)
        pen.rectangle((x - 2, base - height * 0.35, x + 2, base), fill=(74, 54, 40))
        if rng.uniform() < 0.6:
            for level in np.linspace(0.15, 0.72, 4):
                half, top = height * (0.26 - 0.22 * level), base - height * min(level + 0.4, 1)
                low = base - height * level
                pen.polygon(((x - half, low), (x, top), (x, low)), fill=_rgb(green * 1.25))
                pen.polygon(((x, low), (x, top), (x + half, low)), fill=_rgb(green * 0.75))
            continue
        radius = height * 0.06
        for dx, dy, shade in zip(rng.normal(0, 0.13, 40), rng.normal(0, 0.12, 40), np.linspace(0.6, 1.6, 40)):
            cx, cy = x + (dx - (shade - 1) * 0.08) * height, base + (dy - 0.62 - shade * 0.06) * height
            pen.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=_rgb(green * shade))


def _meadow(rng: RandomState, pen: Any, palette: np.ndarray, horizon: int) -> None:
    """Grass and flowers, nearer ones larger, with a pond or a fence."""
    deep, y = CANVAS - horizon, horizon + (CANVAS - horizon) * rng.uniform(0.25, 0.5)
    has_pond = rng.uniform() < 0.4
    if has_pond:
        left, right = CANVAS * rng.uniform(-0.1, 0.3), CANVAS * rng.uniform(0.6, 1.1)
        for share in np.linspace(0, 1, 8):  # the sky's reflection
            pen.ellipse((left + 20 * share, y - deep * 0.12 * (1 - share), right - 20 * share, y + deep * 0.2),
                        fill=_rgb(_mix(palette[1], palette[0], 0.3 + 0.5 * share)))
    for share, x, lean, shade in zip(np.sort(rng.uniform(0.08, 1, 240)), rng.uniform(0, CANVAS, 240),
                                     rng.normal(0, 5, 240), rng.uniform(0.7, 1.35, 240)):
        root, radius = horizon + share * deep, 1 + 5 * share
        if has_pond and abs(root - y) < 0.2 * deep and left < x < right:
            continue
        tip = root - 26 * share
        pen.line((x, root, x + lean * share, tip), fill=_rgb(palette[4] * shade), width=3)
        if lean > 7:
            pen.ellipse((x - radius, tip - radius, x + radius, tip + radius), fill=FLOWERS[int(shade * 100) % 5])
    if not has_pond:
        posts = [(x, y - 22, x + 4, y) for x in np.arange(rng.uniform(0, 14), CANVAS, 14)]
        for wood in (*posts, (0, y - 17, CANVAS, y - 15), (0, y - 8, CANVAS, y - 6)):
            pen.rectangle(wood, fill=(226, 214, 196))


def draw_scene(rng: RandomState) -> np.ndarray:
    """An undegraded, well exposed landscape, uint8 [IMAGE_SIZE, IMAGE_SIZE, 3]."""
    from PIL import Image, ImageDraw
    palette = np.clip(PALETTES[rng.randint(len(PALETTES))] + rng.normal(0, 9, (5, 3)), 0, 255).astype(np.float32)
    horizon = int(IMAGE_SIZE * rng.uniform(0.5, 0.64))
    scene = _sky(rng, palette, horizon)
    _land(rng, scene, palette, horizon)
    canvas = Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8)).resize((CANVAS, CANVAS), Image.BICUBIC)
    pen = ImageDraw.Draw(canvas)
    (_city, _village, _forest)[rng.randint(3)](rng, pen, palette, 2 * horizon)
    _meadow(rng, pen, palette, 2 * horizon)
    scene = np.asarray(canvas.resize((IMAGE_SIZE, IMAGE_SIZE), Image.BOX), np.float32)
    # Every scene starts from the same good exposure, contrast and white balance.
    scene = (scene - scene.mean((0, 1))) / scene.std((0, 1)) * CONTRAST + GREY
    return np.clip(scene + 0.5, 0, 255).astype(np.uint8)


def degrade(pixels: np.ndarray, kind: str, amount: float, rng: RandomState) -> np.ndarray:
    """`pixels` (uint8 [H, W, 3]) made worse in one of the KINDS; amount 0 is hardly visible, 1 is ruined."""
    from PIL import Image, ImageFilter
    if kind == 'blur':
        return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.3 + 3.7 * amount ** 1.3)))
    if kind == 'noise':
        return np.clip(pixels + rng.normal(0, 2 + 78 * amount, pixels.shape) + 0.5, 0, 255).astype(np.uint8)
    if kind == 'exposure':
        linear = (pixels / 255) ** 2.2 * 2.0 ** (3 * amount * rng.choice((-1, 1)))  # up to 3 stops under or over
        return (np.clip(linear, 0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)
    assert kind == 'blocks', kind
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'JPEG', quality=int(round(20 * 0.05 ** amount)))
    return np.asarray(Image.open(buffer))
