"""Datasets to measure with: images of AVA's size with labels."""
import os
import subprocess
import sys
from typing import Any, List

from benchmarks import turns

LONG_SIDE = 640  # of AVA's images
FILES = 40       # that a long list of images links to


def make(folder: str, count: int, side: int) -> None:
    """`count` images of about AVA's size and compression with labels: of the real ones at hand, or drawn."""
    import numpy as np
    from PIL import Image
    os.makedirs(os.path.join(folder, 'images'))
    real = sorted((turns.SHARED / 'ava_sample' / 'images').glob('*.jpg'))
    random = np.random.RandomState(0)
    with open(os.path.join(folder, 'AVA.txt'), 'w') as labels:
        for number in range(count):
            if real:
                picture = Image.open(str(real[number % len(real)])).convert('RGB')
                cut = random.randint(0, 40, 4)  # no two files are alike
                picture = picture.crop((cut[0], cut[1], picture.width - cut[2], picture.height - cut[3]))
            else:
                picture = Image.fromarray(_waves(random))
            scale = side / max(picture.size)
            picture = picture.resize([max(1, round(length * scale)) for length in picture.size], Image.LANCZOS)
            picture.save(os.path.join(folder, 'images', f'{number}.jpg'), quality=90)
            votes = ' '.join(map(str, random.randint(1, 60, 10)))
            labels.write(f'{number + 1} {number} {votes} 0 0 1\n')


def _waves(random: Any) -> Any:
    """Waves with noise, uint8 [480, 640, 3]."""
    import numpy as np
    rows, columns = np.mgrid[:480, :640]
    waves = [np.sin(rows / random.uniform(9, 90) + columns / random.uniform(9, 90) + phase) for phase in range(3)]
    return np.clip(127 + 70 * np.stack(waves, -1) + random.normal(0, 9, (480, 640, 3)), 0, 255).astype(np.uint8)


def link(folder: str, lines: int, side: int) -> None:
    """A label file of `lines` lines, with every image there: hard links to a few, so that the disk is not full."""
    few = os.path.join(folder, 'few')
    make(few, FILES, side)
    os.makedirs(os.path.join(folder, 'images'))
    with open(os.path.join(folder, 'AVA.txt'), 'w') as labels:
        for number in range(lines):
            source = os.path.join(few, 'images', f'{number % FILES}.jpg')
            os.link(source, os.path.join(folder, 'images', f'{number}.jpg'))
            labels.write(f'{number + 1} {number} {1 + number % 7} 2 5 17 38 36 {15 + number % 5} 6 5 1 1 22 1396\n')


def paths(folder: str) -> List[str]:
    """The flags of train.py that say where the dataset is."""
    return ['--ava_dataset_path', os.path.join(folder, 'AVA.txt'), '--base_images_path', os.path.join(folder, 'images')]


def ratings(folder: str) -> Any:
    from utils.data import ava
    return ava.read(*paths(folder)[1::2])


def pack(folder: str, form: str, *, val_size: int, image_size: int) -> str:
    """The training images as a packed dataset in `folder`; its path."""
    packed = os.path.join(folder, form)
    subprocess.run([sys.executable, '-m', 'utils.records', 'pack', '--use', 'training', '-o', packed, '--form', form,
                    '--val_size', str(val_size), '--image_size', str(image_size), *paths(folder)],
                   cwd=str(turns.ROOT), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return packed
