"""Runs idealo's trainer and this one on the same images, crops and flips, and compares loss and weights, step by step.

    git clone https://github.com/idealo/image-quality-assessment
    bash run.sh tools/compare_trainer.py --trainer image-quality-assessment/src --images DIR --weights FILE --work DIR

Their network, loss, generator and utilities are imported as they are; crops and flips are drawn by our plan of the
epoch in place of theirs. The images are copied as PNG, as Pillow and TensorFlow decode a JPEG differently. Dropout is
0. Both begin a stage with the same weights, the second of a recipe with theirs after the first. --float64 computes in
float64.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
BATCH, STEPS, SIDE, CROP = 10, 20, 256, 224
LOSS, ADAM, SGD = 1e-5, 1e-3, 1e-5  # bounds: of the loss, and of |w - w'| / |w - w0| for each tensor

# Settings of the recipes of these names; what idealo's trainer lacks, SGD, is compiled into its network.
STAGES = {'idealo, head': {'recipe': 'idealo', 'stage': 0}, 'idealo, all': {'recipe': 'idealo', 'stage': 1},
          'published': {'recipe': 'published', 'stage': 0}, 'card': {'recipe': 'card', 'stage': 0}}


def settings(name):
    """The flags of the stage of a recipe."""
    stage = STAGES[name]
    return json.loads((ROOT / 'recipes' / f'{stage["recipe"]}.json').read_text())['stages'][stage['stage']]['flags']


def start_of(work, name):
    """The file of the weights that a stage begins with."""
    return work / ('theirs idealo, head.npz' if name == 'idealo, all' else 'start.npz')


def train(model, batches):
    """The losses of the steps, and the weights after them."""
    losses = [float(model.train_on_batch(*batch)) for batch in batches]
    return {'losses': np.array(losses), **named(model.get_weights())}


def named(weights):
    return {f'w{number:03d}': array for number, array in enumerate(weights)}


def arrays(path):
    """The weights in a file, in the network's order."""
    found = np.load(str(path))
    return [found[name] for name in sorted(found.files) if name != 'losses']


def theirs(work, trainer, names):
    """Each stage as idealo's trainer/train.py runs it; in a process of its own, as its package is called utils too."""
    sys.path[0] = str(trainer)
    from handlers import data_generator, model_builder
    from tensorflow import keras
    plan = json.loads((work / 'plan.json').read_text())
    crops = iter(())

    def crop(image, dims):
        top, left, _ = next(crops)
        return image[top:top + dims[0], left:left + dims[1]]

    data_generator.utils.random_crop = crop
    flips = iter(())
    data_generator.utils.random_horizontal_flip = lambda image: image[:, ::-1] if next(flips)[2] else image
    for name in names:
        flags = settings(name)
        keras.backend.clear_session()
        nima = model_builder.Nima('MobileNet', 10, flags['learning_rate'], 0, decay=flags['decay'], weights=None)
        nima.build()
        for layer in nima.base_model.layers:
            layer.trainable = flags['trainable'] == 'all'
        nima.compile()
        if flags['optimizer'] == 'sgd':
            nima.nima_model.compile(keras.optimizers.SGD(flags['learning_rate'], momentum=flags['momentum'],
                                                         decay=flags['decay'], nesterov=True), loss=nima.loss)
        nima.nima_model.set_weights(arrays(start_of(work, name)))
        generator = data_generator.TrainDataGenerator(plan['samples'], str(work / 'images'), BATCH, 10,
                                                      nima.preprocessing_function(), 'png', shuffle=False)
        crops, flips = iter(plan['crops']), iter(plan['crops'])
        batches = [generator[step] for step in range(STEPS)]
        np.savez(str(work / f'theirs {name}.npz'), **train(nima.nima_model, batches))
        np.savez(str(work / 'pixels.npz'), images=batches[0][0])


def ours(work, name, data):
    """A stage as train.py runs it on images that are not cached; returns what theirs saves."""
    import tensorflow as tf

    from utils import data_loader, nima
    flags = settings(name)
    tf.keras.backend.clear_session()
    tf.keras.backend.set_learning_phase(1)
    base = tf.keras.applications.MobileNet((CROP, CROP, 3), alpha=1, include_top=False, pooling='avg', weights=None)
    model = nima.with_head(base, 0, flags['trainable'])
    model.compile(nima.optimizer(flags['optimizer'], flags['learning_rate'], momentum=flags.get('momentum', 0.9),
                                 decay=flags['decay']), loss=nima.earth_mover_loss)
    model.set_weights(arrays(start_of(work, name)))
    batches = data_loader.train_generator(BATCH, images=data[0], reading=data[1])
    given = [next(batches) for _ in range(STEPS)]
    batches.close()
    return train(model, given), given[0][0]


def prepare(flags, work):
    """Write what both trainers read, and return our images: PNG files, their votes, the plan, the first weights."""
    import tensorflow as tf
    from PIL import Image

    from utils import nima
    from utils.base.preprocessing import Preprocessing
    from utils.data.ava import Ratings
    from utils.data.bad_images import BadImages
    from utils.data.epoch_plan import epoch_plan
    from utils.data.image_set import ImageSet, Reading
    count, folder = BATCH * STEPS, work / 'images'
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(path for path in flags.images.iterdir() if path.suffix.lower() in ('.jpg', '.jpeg', '.png'))[:count]
    if len(files) < count:
        sys.exit(f'--images {flags.images}: found {len(files)} images, expected {count}')
    for number, path in enumerate(files):
        Image.open(str(path)).convert('RGB').save(str(folder / f'{number}.png'))
    votes = np.random.RandomState(0).multinomial(100, np.full(10, 0.1), count)
    plan = epoch_plan(count, 0)
    (work / 'plan.json').write_text(json.dumps({
        'samples': [{'image_id': str(number), 'label': votes[number].tolist()} for number in plan.order],
        'crops': np.stack([plan.top, plan.left, plan.flip], axis=1).tolist()}))
    base = tf.keras.applications.MobileNet((CROP, CROP, 3), alpha=1, include_top=False, pooling='avg', weights=None)
    model = nima.with_head(base, 0)
    nima.load_weights(model, nima.read_weights(str(flags.weights)))
    np.savez(str(work / 'start.npz'), **named(model.get_weights()))
    names = np.array([str(number) for number in range(count)], object)
    ratings = Ratings(names, np.array([str(folder / f'{name}.png') for name in names], object), votes / 100)
    return ImageSet(ratings, BadImages(count)), Reading(Preprocessing(CROP, 'nearest'))


def row(name, mine, start, work):
    """The stage's largest differences as a row of the table."""
    other = np.load(str(work / f'theirs {name}.npz'))
    loss = np.abs(mine['losses'] - other['losses']).max()
    tensors = [np.linalg.norm(mine[f'w{number:03d}'] - other[f'w{number:03d}']) / moved
               for number, before in enumerate(start)
               for moved in [np.linalg.norm(other[f'w{number:03d}'] - before)] if moved]
    still = sum(np.array_equal(mine[f'w{number:03d}'], before) for number, before in enumerate(start))
    good = loss <= LOSS and max(tensors) <= (SGD if settings(name)['optimizer'] == 'sgd' else ADAM)
    return (f'| {name} | {other["losses"][0]:.6f} to {other["losses"][-1]:.6f} | {loss:.1e} | {np.median(tensors):.1e} '
            f'| {max(tensors):.1e} | {len(tensors)} ({still}) | {"yes" if good else "NO"} |')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ('trainer', 'images', 'weights', 'work'):
        parser.add_argument(f'--{name}', type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument('--stages', nargs='+', choices=list(STAGES), default=list(STAGES))
    parser.add_argument('--float64', action='store_true')
    parser.add_argument('--theirs', action='store_true', help=argparse.SUPPRESS)
    flags = parser.parse_args()
    import tensorflow as tf
    if flags.float64:
        tf.keras.backend.set_floatx('float64')
    if flags.theirs:
        theirs(flags.work, flags.trainer, flags.stages)
        return
    sys.path.insert(0, str(ROOT))
    data = prepare(flags, flags.work)
    subprocess.run([sys.executable, __file__, *sys.argv[1:], '--theirs'], check=True)
    print(f'{STEPS} steps of {BATCH} images, {tf.keras.backend.floatx()}\n\n'
          '| stage | loss of the steps | loss differs by | weights, median | weights, largest | tensors (that stay) | '
          'within bounds |\n|---|---|---:|---:|---:|---:|---|')
    for name in flags.stages:
        mine, pixels = ours(flags.work, name, data)
        print(row(name, mine, arrays(start_of(flags.work, name)), flags.work), flush=True)
    difference = np.abs(pixels - np.load(str(flags.work / 'pixels.npz'))['images']).max()
    print(f'\npixels of the first batch differ by {difference:.1e}')


if __name__ == '__main__':
    main()
