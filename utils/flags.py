"""Every flag of train.py, eval.py and predict.py. No TensorFlow here, so that --help is instant."""
import argparse
import os
from typing import Optional, Sequence

from utils.defaults import DEMO, DROPOUT, IMAGE_SIZE, from_root
from utils.flag_groups import (
    add_checkpoint,
    add_checkpoint_folder,
    add_dataset_paths,
    add_device,
    add_distribute,
    add_engine,
    add_npu,
    add_reading,
    add_skip_bad_labels,
    add_split,
    add_val_records,
    add_val_size,
    set_val_size,
    settle_engine,
)
from utils.parser import (
    count,
    make_parser,
    not_negative,
    parse_flags,
    part,
    rate,
    seed,
    share,
    size,
    typed_name,
    typed_path,
)

PREDICT_FORMATS = 'table', 'csv', 'json', 'jsonl'
RESUMABLE_FORMATS = 'csv', 'jsonl'


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


def _add_trainable(parser: argparse.ArgumentParser) -> None:
    head = parser.add_argument_group('what is trained')
    head.add_argument('--trainable', choices=('all', 'head'), default='all',
                      help='head trains the last layer alone, on features of the photographs that are computed once '
                           'and kept on disk; --weights CHECKPOINT goes on from there with all layers (default: all)')
    head.add_argument('--crops', type=count, metavar='K',
                      help='with --trainable head: features of K random crops of each training photograph, one an '
                           'epoch in turn, as all layers would be trained on (default: of the whole photograph)')
    head.add_argument('--features', type=typed_path, metavar='DIR',
                      help='with --trainable head: folder that keeps the features, 4 KB for each crop (default: '
                           'features/ in TMP_LOG_PATH)')


def _alone(flags: argparse.Namespace) -> Optional[str]:
    """What is wrong with flags of train.py that need another one; None where they have it."""
    if flags.keep_best and flags.keep is None:
        return '--keep_best: found without --keep, expected both: without --keep all checkpoints stay'
    for name in ('crops', 'features'):
        if getattr(flags, name) is not None and flags.trainable != 'head':
            return f'--{name}: found without --trainable head, expected both: all layers are trained on photographs'
    return None


def _add_checkpoints(parser: argparse.ArgumentParser) -> None:
    saving = parser.add_argument_group('checkpoints')
    saving.add_argument('--resume', action='store_true',
                        help='go on from the newest good checkpoint in TMP_MODEL_PATF, or from the state that '
                             '--checkpoint_steps or a signal saved; type the same flags as at the start')
    saving.add_argument('--overwrite', action='store_true',
                        help='let a new run take the place of the checkpoints in TMP_MODEL_PATF; without it, or '
                             '--resume, they are a reason not to start')
    saving.add_argument('--checkpoint_steps', type=count, metavar='N',
                        help='also save every N steps, to one file, so that a kill costs at most N steps (default: '
                             'after every epoch only)')
    saving.add_argument('--keep', type=count, metavar='N',
                        help='keep the checkpoints of the N newest epochs and remove older ones (default: keep all)')
    saving.add_argument('--keep_best', action='store_true',
                        help='with --keep: also keep the epoch with the highest validation SRCC')


def _add_run(parser: argparse.ArgumentParser) -> None:
    run = parser.add_argument_group('run')
    run.add_argument('--demo', action='store_true',
                     help='train on a small dataset drawn on the spot, with settings that fit it')
    add_split(run)
    add_skip_bad_labels(run)
    add_reading(run)
    add_val_records(run)
    run.add_argument('--seed', type=seed, default=0, metavar='N',
                     help='of weights, order and augmentation; the same seed gives the same run (default: 0)')
    run.add_argument('--validate_every', type=count, default=1, metavar='N',
                     help='score the validation photographs after every N-th epoch, and always after the last '
                          '(default: 1)')
    add_device(run)
    add_distribute(run)


def train_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of train.py; --demo changes the defaults of those that were not typed."""
    parser = make_parser('Train NIMA on AVA: a MobileNet that predicts how votes from 1 to 10 spread.')
    card = parser.add_argument_group("the model card's flags")
    card.add_argument('--epochs', type=count, default=7, metavar='N', help='epochs to train (default: 7)')
    card.add_argument('--batchsize', type=count, default=100, metavar='N',
                      help='photographs a step of each device (default: 100)')
    card.add_argument('--train_size', type=count, default=250502, metavar='N',
                      help="photographs an epoch, the first N of the epoch's shuffle (default: 250502)")
    add_val_size(card)

    _add_model(parser)
    _add_trainable(parser)
    _add_run(parser)
    _add_checkpoints(parser)
    add_npu(parser)

    _add_training_paths(parser)
    flags = set_val_size(parse_flags(parser, argv, demo=DEMO))
    wrong = _alone(flags)
    if wrong:
        parser.error(wrong)
    flags.features = flags.features or os.path.join(flags.TMP_LOG_PATH, 'features')
    return flags


def _add_training_paths(parser: argparse.ArgumentParser) -> None:
    paths = parser.add_argument_group('paths (typed ones count from the current folder)')
    add_dataset_paths(paths)
    paths.add_argument('--TMP_WEIGHTS_PATH', type=typed_path, metavar='DIR',
                       help='folder of pre-trained weights (default: the line in train.py)')
    paths.add_argument('--TMP_MODEL_PATF', type=typed_path, default=from_root('./model'), metavar='DIR',
                       help="folder that receives model_001.h5, ... (default: the repository's model/)")
    paths.add_argument('--TMP_LOG_PATH', type=typed_path, default=from_root('./log'), metavar='DIR',
                       help="folder of TensorBoard's events, train.csv, train.jsonl and summary.json (default: the "
                            "repository's log/)")


def eval_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of eval.py; --demo changes the defaults of those that were not typed."""
    parser = make_parser('Score a NIMA checkpoint on the validation photographs: SRCC, LCC, accuracy, EMD.')
    card = parser.add_argument_group("the model card's flags")
    card.add_argument('--batchsize', type=count, default=100, metavar='N',
                      help='photographs a step; the scores do not depend on it (default: 100)')
    add_val_size(card)

    run = parser.add_argument_group('run')
    add_checkpoint(run)
    run.add_argument('--demo', action='store_true', help='score what train.py --demo trained')
    run.add_argument('--compare', type=typed_name, nargs='+', default=[], metavar='MODEL',
                     help="score these models too, on the same photographs, each with its own pre-processing: names "
                          'in TMP_MODEL_PATF or paths')
    run.add_argument('--report', type=typed_path, metavar='DIR',
                     help='write metrics.json, predictions.csv, report.html and its figures into this folder, over '
                          'those of an earlier report (needs requirements-report.txt)')
    add_split(run)
    add_skip_bad_labels(run)
    add_reading(run)
    add_device(run)
    add_engine(run)
    add_npu(parser)

    paths = parser.add_argument_group('paths (typed ones count from the current folder)')
    add_dataset_paths(paths)
    add_checkpoint_folder(paths)
    paths.add_argument('--TMP_LOG_PATH', type=typed_path, default=from_root('./log'), metavar='DIR',
                       help="folder of the training's train.csv, for the report's curves (default: the repository's "
                            'log/)')
    return settle_engine(parser, set_val_size(parse_flags(parser, argv, demo=DEMO)))


def predict_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of predict.py; `format` is that of the ending of --output where it is not typed."""
    parser = make_parser('Predict the votes that photographs would get: their mean score, from 1 to 10, its percentile '
                         'among the means of 43,533 real AVA photographs, and the standard deviation of the votes. '
                         'A file that is no photograph is named and does not stop the rest; the exit code is then 1.')
    _add_photographs(parser)
    _add_output(parser)
    model = parser.add_argument_group('model')
    add_checkpoint(model)
    add_checkpoint_folder(model)
    model.add_argument('--batchsize', type=count, default=32, metavar='N',
                       help='photographs a step; the scores do not depend on it (default: 32)')
    add_device(model)
    add_engine(model)
    add_npu(parser)
    flags = settle_engine(parser, parse_flags(parser, argv))
    if flags.format is None:
        ending = os.path.splitext(flags.output or '')[1].lower()[1:]
        flags.format = ending if ending in PREDICT_FORMATS else PREDICT_FORMATS[0]
    wrong = _senseless(flags.resume, flags.format, flags.output, rank=flags.rank or flags.top is not None,
                       sheet=flags.contact_sheet)
    if wrong:
        parser.error(wrong)
    return flags


def _add_photographs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('photographs', nargs='+', metavar='PATH',
                        help='a photograph (JPEG, PNG, GIF; with Pillow also BMP and WebP), a folder of them, a '
                             "pattern in quotes such as '*.jpg', or - for a list on standard input, one name a line")
    parser.add_argument('-r', '--recursive', action='store_true', help='look into the folders of folders too')
    parser.add_argument('--shard', type=part, metavar='I/N',
                        help='score only the I-th of every N photographs, I from 1 to N: a part for each of N '
                             'machines')


def _add_output(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group('output')
    output.add_argument('--format', choices=PREDICT_FORMATS,
                        help='json is one array of objects, jsonl an object on each line (default: the ending of '
                             '--output, or table)')
    output.add_argument('--shares', action='store_true', help='print the ten predicted shares of votes too')
    output.add_argument('--rank', action='store_true', help='the highest mean first, once all are scored')
    output.add_argument('--top', type=count, metavar='N', help='only the N highest means, ranked')
    output.add_argument('--output', type=typed_path, metavar='FILE',
                        help='new file for the scores, written as they come (default: standard output)')
    output.add_argument('--resume', action='store_true',
                        help='go on with an --output in csv or jsonl: what stands there is not scored again')
    output.add_argument('--contact_sheet', type=typed_path, metavar='FILE',
                        help='PNG of the highest ranked pictures, 100 or --top, with their scores; needs Pillow')


def _senseless(resume: bool, kind: str, output: Optional[str], *, rank: bool, sheet: Optional[str]) -> Optional[str]:
    """What is wrong with flags of predict.py that do not go together; None where they do."""
    if sheet is not None and sheet == output:
        return 'found the same FILE in --output and --contact_sheet, expected two'
    if not resume:
        return None
    if output is None:
        return 'found --resume without --output, expected the FILE to go on with: add --output FILE'
    if kind not in RESUMABLE_FORMATS:
        return f'found --resume with the format {kind}, expected one that grows by lines: type --format csv or jsonl'
    if rank or sheet is not None:
        what = '--rank or --top' if rank else '--contact_sheet'
        return (f'found --resume with {what}, expected one of them: ranking needs the scores of all photographs, so '
                'leave out --resume')
    return None
