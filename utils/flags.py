"""Every flag of train.py and eval.py. No TensorFlow here, so that --help is instant."""
import argparse
import math
import os
from typing import Any, Callable, Dict, Optional, Sequence

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def from_root(path: str) -> str:
    """An absolute path; a relative one, as in edited lines and defaults, counts from the repository's root."""
    return os.path.join(ROOT, os.path.normpath(path))


DEMO_DATASET = from_root('./AVA_dataset/demo')
DEMO_MODEL = from_root('./model/demo')
DEMO: Dict[str, Any] = {  # what --demo sets, unless it is typed
    'image_size': 96, 'batchsize': 16, 'learning_rate': 0.05, 'train_size': 1600, 'val_size': 400,
    'weights': 'none',
    'base_images_path': os.path.join(DEMO_DATASET, 'image', 'images'),
    'ava_dataset_path': os.path.join(DEMO_DATASET, 'AVA.txt'),
    'TMP_MODEL_PATF': DEMO_MODEL,
    'TMP_LOG_PATH': from_root('./log/demo'),
}


def _typed_path(text: str) -> str:
    """An absolute path; a relative one, as typed by a person, counts from the current folder."""
    if not text:
        raise argparse.ArgumentTypeError('found an empty path, expected a file or a folder')
    return os.path.abspath(os.path.expanduser(text))


def _number(kind: Callable[[str], Any], accepts: Callable[[Any], bool], expected: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not math.isfinite(value) or not accepts(value):
            raise argparse.ArgumentTypeError(f'found {text!r}, expected {expected}')
        return value
    return parse


count = _number(int, lambda n: n >= 1, 'a whole number from 1')
seed = _number(int, lambda n: 0 <= n < 2 ** 32, 'a whole number from 0 to 4294967295')
size = _number(int, lambda n: n >= 32, "a whole number from 32, MobileNet's smallest image")
rate = _number(float, lambda x: x > 0, 'a number above 0')
share = _number(float, lambda x: 0 <= x < 1, 'a number from 0 up to, but not, 1')
not_negative = _number(float, lambda x: x >= 0, 'a number from 0')


def _parser(description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(description=description, allow_abbrev=False,
                                   formatter_class=lambda prog: argparse.HelpFormatter(prog, width=100))


def _parse(parser: argparse.ArgumentParser, argv: Optional[Sequence[str]],
           demo: Dict[str, Any]) -> argparse.Namespace:
    flags = parser.parse_args(argv)
    if flags.demo:
        parser.set_defaults(**{name: value for name, value in demo.items() if hasattr(flags, name)})
        flags = parser.parse_args(argv)
    return flags


def _add_val_size(group: Any) -> None:
    group.add_argument('--val_size', type=count, default=5000, metavar='N',
                       help='photographs kept for validation, the last N of the labels (default: 5000)')


def _add_dataset_paths(group: Any) -> None:
    group.add_argument('--base_images_path', type=_typed_path, metavar='DIR',
                       help='folder of the photographs (default: the line in utils/data_loader.py)')
    group.add_argument('--ava_dataset_path', type=_typed_path, metavar='FILE',
                       help='label file, AVA.txt (default: the line in utils/data_loader.py)')


def _add_device(group: Any) -> None:
    group.add_argument('--device', choices=('auto', 'gpu', 'cpu'), default='auto',
                       help='where the model runs (default: auto, a GPU where TensorFlow lists one)')
    group.add_argument('--threads', type=count, metavar='N',
                       help='CPU threads of one operation; another number changes the last bits of the weights '
                            '(default: one for each core this process may use)')


def _add_model(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group('model and optimiser')
    model.add_argument('--image_size', type=size, default=224, metavar='S',
                       help="side of the model's input in pixels; photographs are resized to S*256/224 and "
                            'cropped (default: 224)')
    model.add_argument('--weights', metavar='NAME|PATH|none',
                       help='pre-trained MobileNet without top: a name in TMP_WEIGHTS_PATH, a path, or none '
                            '(default: the line in train.py)')
    model.add_argument('--dropout', type=share, default=0.75, metavar='P',
                       help='share of features dropped before the last layer (default: 0.75)')
    model.add_argument('--optimizer', choices=('sgd', 'adam'), default='sgd',
                       help='sgd is the card\'s, adam is what the published code ran (default: sgd)')
    model.add_argument('--learning_rate', type=rate, default=1e-4, metavar='R', help='(default: 1e-4)')
    model.add_argument('--momentum', type=share, default=0.9, metavar='M',
                       help='of SGD, with Nesterov (default: 0.9)')
    model.add_argument('--decay', type=not_negative, default=1e-6, metavar='D',
                       help="Keras's decay of the learning rate: R / (1 + D * steps); the card calls it weight "
                            'decay (default: 1e-6)')


def train_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of train.py; --demo changes the defaults of those that were not typed."""
    parser = _parser('Train NIMA on AVA: a MobileNet that predicts how votes from 1 to 10 spread.')
    card = parser.add_argument_group("the model card's flags")
    card.add_argument('--epochs', type=count, default=7, metavar='N', help='epochs to train (default: 7)')
    card.add_argument('--batchsize', type=count, default=100, metavar='N',
                      help='photographs a step (default: 100)')
    card.add_argument('--train_size', type=count, default=250502, metavar='N',
                      help="photographs an epoch, the first N of the epoch's shuffle (default: 250502)")
    _add_val_size(card)

    _add_model(parser)

    run = parser.add_argument_group('run')
    run.add_argument('--demo', action='store_true',
                     help='train on a small dataset drawn on the spot, with settings that fit it')
    run.add_argument('--seed', type=seed, default=0, metavar='N',
                     help='of weights, order and augmentation; the same seed gives the same run (default: 0)')
    _add_device(run)

    paths = parser.add_argument_group('paths (typed ones count from the current folder)')
    _add_dataset_paths(paths)
    paths.add_argument('--TMP_WEIGHTS_PATH', type=_typed_path, metavar='DIR',
                       help='folder of pre-trained weights (default: the line in train.py)')
    paths.add_argument('--TMP_MODEL_PATF', type=_typed_path, default=from_root('./model'), metavar='DIR',
                       help="folder that receives model_001.h5, ... (default: the repository's model/)")
    paths.add_argument('--TMP_LOG_PATH', type=_typed_path, default=from_root('./log'), metavar='DIR',
                       help="folder of TensorBoard's and the CSV log (default: the repository's log/)")
    return _parse(parser, argv, DEMO)


def eval_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of eval.py; --demo changes the defaults of those that were not typed."""
    parser = _parser('Score a NIMA checkpoint on the validation photographs: SRCC, LCC, accuracy, EMD.')
    card = parser.add_argument_group("the model card's flags")
    card.add_argument('--batchsize', type=count, default=100, metavar='N',
                      help='photographs a step; the scores do not depend on it (default: 100)')
    _add_val_size(card)

    run = parser.add_argument_group('run')
    run.add_argument('--checkpoint', metavar='NAME|PATH',
                     help='a name in TMP_MODEL_PATF or a path (default: the line in eval.py)')
    run.add_argument('--demo', action='store_true', help='score what train.py --demo trained')
    _add_device(run)

    paths = parser.add_argument_group('paths (typed ones count from the current folder)')
    _add_dataset_paths(paths)
    paths.add_argument('--TMP_MODEL_PATF', type=_typed_path, metavar='DIR',
                       help='folder of the checkpoints (default: the line in eval.py)')
    return _parse(parser, argv, DEMO)
