"""Draws docs/demo.png: scenes of the demo dataset with true and predicted votes.

    python3 tools/demo_picture.py [FOLDER]      a checkout in which train.py --demo has run; needs matplotlib
"""
import sys
from pathlib import Path

import numpy as np

SHOWN = 6


def scenes_and_votes(checkout):
    """Paths, true [N, 10] and predicted [N, 10] votes of a few validation scenes, best to worst."""
    sys.path.insert(0, str(checkout))
    from utils import data_loader, nima
    from utils.base import defaults
    from utils.base.preprocessing import Preprocessing
    from utils.data.bad_images import BadImages
    from utils.data.image_set import ImageSet, Reading
    from utils.device import device
    from utils.model import build, model_file
    _, val = data_loader.read_split(defaults.DEMO['val_size'], labels=str(checkout / 'AVA_dataset/demo/AVA.txt'),
                                    images=str(checkout / 'AVA_dataset/demo/image/images'))
    order = np.argsort(-(val.distributions @ np.arange(1, 11)))
    few = val.take(order[np.linspace(0.02 * val.count, 0.98 * val.count, SHOWN).astype(int)])
    with device.open_run('cpu') as run:
        model = build.for_scoring(model_file.read(str(checkout / 'model/demo/model_007.h5')))
        run.initialise()
        images, _ = next(data_loader.val_batches(ImageSet(few, BadImages(few.count)), SHOWN, Reading(
            Preprocessing(model.input_shape[1]), session_config=run.host_config)))
        return few.paths, few.distributions, nima.predict(model, images, SHOWN)


def draw(paths, true, predicted, output):
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(2, len(paths), figsize=(2.1 * len(paths), 3.9), gridspec_kw={'height_ratios': [3, 2]})
    scores = np.arange(1, 11)
    for column, path in enumerate(paths):
        image, votes = axes[:, column]
        image.imshow(plt.imread(path))
        image.axis('off')
        means = true[column] @ scores, predicted[column] @ scores
        image.set_title('true {:.1f}, predicted {:.1f}'.format(*means), fontsize=9)
        votes.bar(scores, true[column], color='#b8c4d6', label='true votes')
        votes.step(scores, predicted[column], where='mid', color='#c2410c', linewidth=1.8, label='predicted')
        votes.set(ylim=(0, 0.45), xticks=(1, 5, 10), yticks=())
        votes.spines[['top', 'right', 'left']].set_visible(False)
    axes[1, 0].legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(str(output), dpi=110, facecolor='white')


def main():
    here = Path(__file__).resolve().parent
    checkout = Path(sys.argv[1]).resolve() if sys.argv[1:] else here.parent
    draw(*scenes_and_votes(checkout), here.parent / 'docs' / 'demo.png')


if __name__ == '__main__':
    main()
