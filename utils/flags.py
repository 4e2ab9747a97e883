"""Every flag of the scripts and of utils.nima. No TensorFlow here, so that --help is instant."""
import argparse
import os
from typing import Any, Dict, Optional, Sequence

from utils.parser import count, make_parser, not_negative, parse_flags, rate, seed, share, size, typed_name, typed_path

# The model card's numbers, as far as they are the default of a flag and of a function.
VAL_SIZE = 5000
IMAGE_SIZE = 224
DROPOUT = 0.75

RESIZES = 'bilinear', 'nearest'
PADDINGS = 'tf', 'symmetric'
PRECISION_MODES = 'allow_mix_precision', 'allow_fp32_to_fp16', 'force_fp16', 'must_keep_origin_dtype'

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def from_root(path: str) -> str:
    """An absolute path; a relative one, as in edited lines and defaults, counts from the repository's root."""
    return os.path.join(ROOT, os.path.normpath(path))


def edited_name(text: str) -> str:
    """An edited line that is a name, as it stands, or a path, by from_root()."""
    return from_root(text) if os.path.dirname(text) else text


DEMO_DATASET = from_root('./AVA_dataset/demo')
DEMO_MODEL = from_root('./model/demo')
DEMO: Dict[str, Any] = {  # what --demo sets, unless it is typed
    'train_size': 2240, 'val_size': 400, 'image_size': 64, 'batchsize': 16, 'weights': 'none', 'dropout': 0.2,
    # 980 steps from random weights: a high rate that falls to a seventh. At a rate that stays high the moving
    # averages of BatchNorm lag behind the weights, and the validation SRCC jumps about.
    'learning_rate': 0.1, 'decay': 0.006,
    'base_images_path': os.path.join(DEMO_DATASET, 'image', 'images'),
    'ava_dataset_path': os.path.join(DEMO_DATASET, 'AVA.txt'),
    'TMP_MODEL_PATF': DEMO_MODEL,
    'TMP_LOG_PATH': from_root('./log/demo'),
}


def _add_val_size(group: Any) -> None:
    group.add_argument('--val_size', type=count, default=VAL_SIZE, metavar='N',
                       help=f'photographs kept for validation, the last N of the labels (default: {VAL_SIZE})')


def _add_dataset_paths(group: Any) -> None:
    group.add_argument('--base_images_path', type=typed_path, metavar='DIR',
                       help='folder of the photographs (default: the line in utils/data_loader.py)')
    group.add_argument('--ava_dataset_path', type=typed_path, metavar='FILE',
                       help='label file, AVA.txt (default: the line in utils/data_loader.py)')


def _add_skip_bad_labels(group: Any) -> None:
    group.add_argument('--skip_bad_labels', action='store_true',
                       help='leave out label lines that cannot be used, and say how many, instead of stopping')


def _add_device(group: Any) -> None:
    group.add_argument('--device', choices=('auto', 'npu', 'gpu', 'cpu'), default='auto',
                       help='where the model runs (default: auto, the Ascend NPU or the GPU that is there, else '
                            'the CPU)')
    group.add_argument('--threads', type=count, metavar='N',
                       help='CPU threads of one operation; another number changes the last bits of the weights '
                            '(default: one for each core this process may use)')


def _add_npu(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('Ascend NPU (without effect on other devices; all but the first are off by '
                                      'default)')

    def add(name: str, **settings: Any) -> None:
        group.add_argument(name, action=_Npu, dest='npu', default={}, **settings)

    add('--precision_mode', choices=PRECISION_MODES, help=f'(default: {PRECISION_MODES[0]})')
    add('--modify_mixlist', type=typed_path, metavar='FILE',
        help='JSON list of operators whose precision differs from that of allow_mix_precision (CANN 5.0.2 or later)')
    add('--op_compiler_cache_dir', type=typed_path, metavar='DIR',
        help='keeps compiled operators, which makes the next first step shorter')
    add('--profiling_dump_path', type=typed_path, metavar='DIR', help='records profiles of the device')
    add('--data_dump_path', type=typed_path, metavar='DIR', help='records inputs and outputs of all operators')
    add('--data_dump_step', metavar='STEPS', help="of --data_dump_path, such as '0|5|10-20' (default: 0)")
    add('--over_dump_path', type=typed_path, metavar='DIR', help='records the operators that overflow')


class _Npu(argparse.Action):
    """Collects the typed flags of an NPU in one dict, by name."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: Optional[str] = None) -> None:
        namespace.npu = {**namespace.npu, self.option_strings[0][2:]: values}


def _add_model(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group('model and optimiser')
    model.add_argument('--image_size', type=size, default=IMAGE_SIZE, metavar='S',
                       help="side of the model's input in pixels; photographs are resized to S*256/224 and "
                            f'cropped (default: {IMAGE_SIZE})')
    model.add_argument('--weights', type=typed_name, metavar='NAME|PATH|none',
                       help='pre-trained MobileNet without top, or a whole NIMA, whose head, resize and padding are '
                            'then taken too: a name in TMP_WEIGHTS_PATH, a path, or none (default: the line in '
                            'train.py)')
    model.add_argument('--dropout', type=share, default=DROPOUT, metavar='P',
                       help=f'share of features dropped before the last layer (default: {DROPOUT})')
    model.add_argument('--optimizer', choices=('sgd', 'adam'), default='sgd',
                       help='sgd is the card\'s, adam is what the published code ran (default: sgd)')
    model.add_argument('--learning_rate', type=rate, default=1e-4, metavar='R', help='(default: 1e-4)')
    model.add_argument('--momentum', type=share, default=0.9, metavar='M',
                       help='of SGD, with Nesterov (default: 0.9)')
    model.add_argument('--decay', type=not_negative, default=1e-6, metavar='D',
                       help="Keras's decay of the learning rate: R / (1 + D * steps); the card calls it weight "
                            'decay (default: 1e-6)')
    model.add_argument('--loss_scale', type=rate, default=1.0, metavar='X',
                       help='multiplies the loss and divides its gradients, which keeps small ones from vanishing '
                            'in half precision (default: 1)')


def train_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of train.py; --demo changes the defaults of those that were not typed."""
    parser = make_parser('Train NIMA on AVA: a MobileNet that predicts how votes from 1 to 10 spread.')
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
    _add_skip_bad_labels(run)
    run.add_argument('--seed', type=seed, default=0, metavar='N',
                     help='of weights, order and augmentation; the same seed gives the same run (default: 0)')
    _add_device(run)
    _add_npu(parser)

    paths = parser.add_argument_group('paths (typed ones count from the current folder)')
    _add_dataset_paths(paths)
    paths.add_argument('--TMP_WEIGHTS_PATH', type=typed_path, metavar='DIR',
                       help='folder of pre-trained weights (default: the line in train.py)')
    paths.add_argument('--TMP_MODEL_PATF', type=typed_path, default=from_root('./model'), metavar='DIR',
                       help="folder that receives model_001.h5, ... (default: the repository's model/)")
    paths.add_argument('--TMP_LOG_PATH', type=typed_path, default=from_root('./log'), metavar='DIR',
                       help="folder of TensorBoard's and the CSV log (default: the repository's log/)")
    return parse_flags(parser, argv, demo=DEMO)


def _add_checkpoint(group: Any) -> None:
    group.add_argument('--checkpoint', type=typed_name, metavar='NAME|PATH',
                       help='a name in TMP_MODEL_PATF or a path (default: the line in eval.py)')


def _add_checkpoint_folder(group: Any) -> None:
    group.add_argument('--TMP_MODEL_PATF', type=typed_path, metavar='DIR',
                       help='folder of the checkpoints (default: the line in eval.py)')


def eval_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of eval.py; --demo changes the defaults of those that were not typed."""
    parser = make_parser('Score a NIMA checkpoint on the validation photographs: SRCC, LCC, accuracy, EMD.')
    card = parser.add_argument_group("the model card's flags")
    card.add_argument('--batchsize', type=count, default=100, metavar='N',
                      help='photographs a step; the scores do not depend on it (default: 100)')
    _add_val_size(card)

    run = parser.add_argument_group('run')
    _add_checkpoint(run)
    run.add_argument('--demo', action='store_true', help='score what train.py --demo trained')
    _add_skip_bad_labels(run)
    _add_device(run)
    _add_npu(parser)

    paths = parser.add_argument_group('paths (typed ones count from the current folder)')
    _add_dataset_paths(paths)
    _add_checkpoint_folder(paths)
    return parse_flags(parser, argv, demo=DEMO)


def predict_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of predict.py."""
    parser = make_parser('Predict the votes that photographs would get: their mean score, from 1 to 10, and the '
                         'standard deviation.')
    parser.add_argument('photographs', nargs='+', metavar='PATH',
                        help='a photograph, or a folder: its .jpg, .jpeg, .png and .gif files')
    _add_checkpoint(parser)
    _add_checkpoint_folder(parser)
    parser.add_argument('--format', choices=('table', 'csv', 'json'), default='table',
                        help='of the results on standard output (default: table)')
    parser.add_argument('--batchsize', type=count, default=32, metavar='N',
                        help='photographs a step; the scores do not depend on it (default: 32)')
    _add_device(parser)
    _add_npu(parser)
    return parse_flags(parser, argv)


def check_dataset_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of utils/check_dataset.py."""
    parser = make_parser('Check a dataset: labels without a photograph, photographs without a label, photographs that '
                         'cannot be decoded, label lines that cannot be used. Exit code 1 if anything was found.')
    paths = parser.add_argument_group('paths (typed ones count from the current folder)')
    _add_dataset_paths(paths)
    paths.add_argument('--list', type=typed_path, default=from_root('./log/check_dataset.tsv'), metavar='FILE',
                       help='list to write, one finding a line: kind, name, reason, parted by tabs (default: the '
                            "repository's log/check_dataset.tsv)")
    return parse_flags(parser, argv)


def demo_dataset_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of utils/demo_dataset.py."""
    parser = make_parser('Draw a demo dataset: small scenes, degraded by known amounts, with votes that fall with '
                         'them.')
    parser.add_argument('--output', type=typed_path, default=DEMO_DATASET, metavar='DIR',
                        help="folder to make (default: the repository's AVA_dataset/demo)")
    for name, kind, default in (('train_size', count, DEMO['train_size']), ('val_size', count, DEMO['val_size']),
                                ('seed', seed, 0)):
        parser.add_argument('--' + name, type=kind, default=default, metavar='N', help=f'(default: {default})')
    return parse_flags(parser, argv)


def nima_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of python3 -m utils.nima: `command` is 'import' or 'describe'."""
    parser = make_parser("Model files: import other people's NIMA weights, describe a file.")
    commands = parser.add_subparsers(dest='command', metavar='import|describe')
    commands.required = True

    importing = commands.add_parser(
        'import', allow_abbrev=False, help='turn the weights of a NIMA-MobileNet into a checkpoint',
        description='Turn the weights of a NIMA-MobileNet into a checkpoint that eval.py, predict.py and train.py '
                    'take. How photographs were resized and images padded in its training stands in no such file '
                    'and moves the scores by half a point and more, so both must be said.',
        epilog="idealo's weights_mobilenet_*.hdf5 need nearest and symmetric. titu1994's mobilenet_weights.h5 was "
               'trained with bilinear; its padding is taken to be tf, which was not checked against published scores.')
    importing.add_argument('file', type=typed_path, metavar='FILE', help='Keras weights, .h5 or .hdf5')
    importing.add_argument('--resize', choices=RESIZES, required=True, help='of the photographs it was trained on')
    importing.add_argument('--padding', choices=PADDINGS, required=True,
                           help='of stride-2 convolutions: tf is ((0, 1), (0, 1)); symmetric is ((1, 1), (1, 1)), '
                                'as in Keras 2.1.5 and 2.1.6')
    importing.add_argument('-o', '--output', type=typed_path, required=True, metavar='MODEL.h5',
                           help='checkpoint to write; must not exist')

    describing = commands.add_parser('describe', allow_abbrev=False, help='print what stands in a model file',
                                     description='Print the record of a model file, its layers, parameters and size.')
    describing.add_argument('file', type=typed_path, metavar='FILE', help='a checkpoint or Keras weights')
    describing.add_argument('--json', action='store_true', help='as one JSON object')
    return parse_flags(parser, argv, commands=(importing, describing))
