"""The flags of train.py. No TensorFlow here, so that --help is instant."""
import argparse
import os
import sys
from typing import List, Optional, Sequence, Union

from utils.base.defaults import DEMO, DROPOUT, IMAGE_SIZE, MODEL, SCORING_MODES, log_folder
from utils.base.flags import (
    add_dataset_paths,
    add_device,
    add_distribute,
    add_image_form,
    add_label_options,
    add_npu,
    add_reading,
    add_split,
    add_test,
    add_val_records,
    add_val_size,
    settle_split,
)
from utils.base.parser import (
    Parser,
    count,
    crops,
    make_parser,
    not_negative,
    parse_flags,
    pattern,
    rate,
    rate_or_auto,
    rate_schedule,
    seed,
    share,
    size_or_native,
    trainable,
    typed_name,
    typed_path,
)
from utils.training import recipe
from utils.training.plan import Head, Saving, Schedule
from utils.training.recipe import Stage

# The model card's, and two that improve on the closed form: docs/training.md. Of the last blocks 0.003 is too much.
RATE, HEAD_RATE, LAST_RATE = 1e-4, 0.01, 1e-3


def _loss_scale(text: str) -> Union[float, str]:
    return text if text == 'dynamic' else rate(text)


def _add_model(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group('model and optimiser')
    model.add_argument('--image_size', '--input', type=size_or_native, default=IMAGE_SIZE, metavar='S|native',
                       help="side of the model's input in pixels, with the same weights, or for native the median of "
                            "the training images' longest sides; training images are resized to S*256/224 and cropped "
                            f'(default: {IMAGE_SIZE})')
    model.add_argument('--weights', type=typed_name, metavar='NAME|PATH|none',
                       help='pre-trained MobileNet without top, or a NIMA model, whose head, resize and padding are '
                            'used too: a name in TMP_WEIGHTS_PATH, a path, or none for random weights (default: the '
                            'line in train.py)')
    model.add_argument('--dropout', type=share, metavar='P',
                       help=f'dropout rate before the last layer (default: {DROPOUT}, of a head on cached features 0)')
    model.add_argument('--optimizer', choices=('sgd', 'adam'), default='sgd',
                       help="sgd is the model card's, adam that of the published code (default: sgd)")
    model.add_argument('--learning_rate', type=rate_or_auto, metavar='R|auto',
                       help='initial learning rate; auto, with --trainable head, tries some on the cached features '
                            f'(default: {RATE:g}, on cached features {HEAD_RATE:g} for head, {LAST_RATE:g} for last:N)')
    model.add_argument('--momentum', type=share, default=0.9, metavar='M',
                       help='Nesterov momentum of SGD (default: 0.9)')
    model.add_argument('--decay', type=not_negative, default=1e-6, metavar='D',
                       help="Keras's decay of the learning rate: R / (1 + D * steps); the model card calls it "
                            'weight decay (default: 1e-6)')
    model.add_argument('--rate_schedule', type=rate_schedule, default='constant', metavar='S',
                       help='how the learning rate changes beside --decay: constant, cosine (to 0 at the last epoch), '
                            'or step:FACTOR:EPOCHS, times FACTOR every EPOCHS epochs (default: constant)')
    model.add_argument('--head_rate_factor', type=rate, default=1.0, metavar='X',
                       help='with --optimizer sgd: learning rate of the last layer in units of that of all others '
                            '(default: 1)')
    model.add_argument('--loss_scale', type=_loss_scale, default=1.0, metavar='X|dynamic',
                       help='multiplies the loss and divides the gradients, so that small gradients do not vanish '
                            'in half precision; dynamic, on a CPU or GPU: skips steps that overflow, and adapts '
                            '(default: 1)')


def _add_trainable(parser: argparse.ArgumentParser) -> None:
    head = parser.add_argument_group('what is trained')
    head.add_argument('--trainable', type=trainable, default='all', metavar='all|head|last:N',
                      help='all layers; or the head, which is the last layer alone; or the last N of the 13 '
                           'depthwise-separable blocks and the head. The last two train on what the layers before '
                           'them make of each image, computed once and cached on disk; all layers can be trained '
                           'afterwards with --weights CHECKPOINT (default: all)')
    head.add_argument('--freeze_batchnorm', action='store_true',
                      help='BatchNorm uses its moving averages in training too; they, its scale and its offset do not '
                           'change. Below the blocks of --trainable last:N this is always so')
    head.add_argument('--crops', type=crops, metavar='K|fresh',
                      help='with --trainable head or last:N: cache the features of K random crops of each training '
                           'image and use one crop an epoch in turn; or cache nothing and draw fresh crops in each '
                           'epoch, with BatchNorm of --trainable head on the statistics of the batch (default: the '
                           'whole image)')
    head.add_argument('--head_start', choices=('closed_form', 'random'), default='closed_form',
                      help="with cached features and weights without a head: start from the ridge regression to the "
                           'mean score on the cached features, or from random weights (default: closed_form)')
    head.add_argument('--features', type=typed_path, metavar='DIR',
                      help='folder of the cached features, for each crop 4 KB with --trainable head, 0.1 to '
                           '1.6 MB with last:N (default: features/ in TMP_LOG_PATH)')


def _alone(flags: argparse.Namespace) -> Optional[str]:
    """The error where a flag is typed without the one it needs; None where there is none."""
    if flags.keep_best and flags.keep is None:
        return '--keep_best needs --keep: without it all checkpoints stay'
    if flags.group is not None and flags.split not in ('last', flags.labels.val_path):
        return '--group needs --split last: a list says itself which images are for validation'
    if flags.head_rate_factor != 1 and flags.optimizer != 'sgd':
        return ("--head_rate_factor needs --optimizer sgd: it scales the last layer's gradient, and Adam divides by "
                "the gradient's size again")
    if flags.learning_rate == 'auto' and (flags.trainable != 'head' or flags.crops == 'fresh'):
        return '--learning_rate auto needs --trainable head and cached features, on which it tries rates: type a rate'
    if flags.group is not None and flags.labels.val_path:
        return '--group cuts the validation images out of one label file: leave it or --val_dataset_path out'
    for name in ('crops', 'features') if flags.recipe is None else ('crops',):  # of stages that need no cache too
        if getattr(flags, name) is not None and flags.trainable == 'all':
            return (f'--{name} needs --trainable head or last:N: all layers are trained on images, not on cached '
                    'features')
    for name in ('precision_mode', 'precision_mode_v2'):
        if flags.npu.get(name) in SCORING_MODES:
            return (f"--{name} {flags.npu[name]} forces float16 everywhere, which Ascend's documents allow for "
                    'inference alone. Leave it out, which is allow_mix_precision')
    return None


def _add_checkpoints(parser: argparse.ArgumentParser) -> None:
    saving = parser.add_argument_group('checkpoints')
    saving.add_argument('--resume', action='store_true',
                        help='continue the run in TMP_MODEL_PATF from its newest checkpoint or training state, with '
                             'the same flags as at its start')
    saving.add_argument('--overwrite', action='store_true',
                        help='replace the checkpoints in TMP_MODEL_PATF by those of a new run; without this or '
                             '--resume a run does not start where there are checkpoints')
    saving.add_argument('--checkpoint_steps', type=count, metavar='N',
                        help='save the training state every N steps too, in one file, so that a kill costs at most N '
                             'steps (default: save after every epoch only)')
    saving.add_argument('--keep', type=count, metavar='N',
                        help='keep the checkpoints of the N newest epochs and remove older ones (default: keep all)')
    saving.add_argument('--keep_best', action='store_true',
                        help='with --keep: also keep the epoch with the highest validation SRCC')


def _add_run(parser: argparse.ArgumentParser) -> None:
    run = parser.add_argument_group('run')
    run.add_argument('--demo', action='store_true',
                     help='train on a small dataset drawn on the spot, with settings that fit it')
    run.add_argument('--recipe', type=typed_name, metavar='NAME|FILE',
                     help="train as a recipe says, in one or more stages: a name in recipes/ (card, published, idealo, "
                          'paper, small) or a file; typed flags win over its own (default: as the flags say)')
    add_split(run)
    add_test(run, 'training never opens them; eval.py scores them with the same flag')
    run.add_argument('--group', type=pattern, metavar='PATTERN|column',
                     help='images of one group are all in training or all in validation: those with the same match of '
                          'this regular expression in the file name, of its first (...) where it has one, or, for '
                          "column, those with the same value in the label file's column group (default: each image "
                          'for itself)')
    add_label_options(run)
    add_reading(run)
    add_image_form(run)
    add_val_records(run)
    run.add_argument('--seed', type=seed, default=0, metavar='N',
                     help='seed of weights, order and augmentation; the same seed gives the same run (default: 0)')
    run.add_argument('--validate_every', type=count, default=1, metavar='N',
                     help='score the validation images after every N-th epoch and after the last (default: 1)')
    run.add_argument('--patience', type=count, metavar='N',
                     help='end the training after N validations in a row without a better validation SRCC (default: '
                          'train all --epochs)')
    add_device(run)
    add_distribute(run)


def train_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of train.py, with a recipe those of its first stage."""
    return train_stages(argv)[0].flags


def train_stages(argv: Optional[Sequence[str]] = None) -> List[Stage]:
    """The stages of a training, of which all but those of a recipe have one; a typed flag wins over the recipe's.

    InputError where the recipe cannot be used.
    """
    parser, typed = _parser(), list(sys.argv[1:] if argv is None else argv)
    named = parse_flags(parser, typed, demo=DEMO).recipe  # its flags may be what typed ones need
    if named is None:
        return [Stage(_flags(parser, typed))]
    found = recipe.read(named)
    if len(found.flags) > 1 and recipe.without(typed, '--epochs') != typed:
        parser.error(f'--epochs: the recipe {found.name} says how many epochs each of its {len(found.flags)} stages '
                     'has. Leave the flag out, or give --recipe the path of a changed copy')
    parser.prog += f': recipe {found.name}'
    return [Stage(_flags(parser, [*recipe.words(flags), *typed]), number, len(found.flags), found)
            for number, flags in enumerate(found.flags, 1)]


def schedule_of(flags: argparse.Namespace, first_epoch: int) -> Schedule:
    """The schedule of a stage that begins after `first_epoch` epochs."""
    return Schedule(
        epochs=first_epoch + flags.epochs, train_size=flags.train_size, batchsize=flags.batchsize, seed=flags.seed,
        validate_every=flags.validate_every, scale_lr=flags.scale_lr, rate_schedule=flags.rate_schedule,
        first_epoch=first_epoch, patience=flags.patience, dynamic_loss_scale=flags.loss_scale == 'dynamic')


def saving_of(flags: argparse.Namespace) -> Saving:
    """What a training writes, and where."""
    return Saving(flags.TMP_MODEL_PATF, flags.TMP_LOG_PATH, checkpoint_steps=flags.checkpoint_steps, keep=flags.keep,
                  keep_best=flags.keep_best)


def head_of(flags: argparse.Namespace, is_new: bool, tests_rates: bool) -> Optional[Head]:
    """How the head is trained on cached features; None where no features are cached."""
    if not _on_features(flags):
        return None
    return Head(flags.features, flags.crops, is_new=is_new, from_closed_form=flags.head_start == 'closed_form',
                tests_rates=tests_rates)


def _on_features(flags: argparse.Namespace) -> bool:
    return bool(flags.trainable != 'all' and flags.crops != 'fresh')


def _usual_rate(flags: argparse.Namespace) -> float:
    if not _on_features(flags):
        return RATE
    return HEAD_RATE if flags.trainable == 'head' else LAST_RATE


def _flags(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """The flags; --demo changes the defaults of those that were not typed."""
    flags = settle_split(parser, parse_flags(parser, argv, demo=DEMO))
    on_features = _on_features(flags)
    # Dropout on frozen features cost .09 of SRCC: docs/training.md.
    flags.dropout = (0.0 if on_features else DROPOUT) if flags.dropout is None else flags.dropout
    flags.learning_rate = flags.learning_rate or _usual_rate(flags)
    wrong = _alone(flags)
    if wrong:
        parser.error(wrong)
    flags.TMP_LOG_PATH = flags.TMP_LOG_PATH or log_folder(flags.TMP_MODEL_PATF)
    flags.features = flags.features or os.path.join(flags.TMP_LOG_PATH, 'features')
    return flags


def _parser() -> Parser:
    parser = make_parser('Train NIMA on AVA: a MobileNet that predicts the distribution of the votes from 1 to 10.')
    card = parser.add_argument_group("the model card's flags")
    card.add_argument('--epochs', type=count, default=7, metavar='N', help='epochs to train (default: 7)')
    card.add_argument('--batchsize', type=count, default=100, metavar='N',
                      help='images a step on each device (default: 100)')
    card.add_argument('--train_size', type=count, default=250502, metavar='N',
                      help="images an epoch, the first N of the epoch's shuffle (default: 250502)")
    add_val_size(card)

    _add_model(parser)
    _add_trainable(parser)
    _add_run(parser)
    _add_checkpoints(parser)
    add_npu(parser)

    _add_training_paths(parser)
    return parser


def _add_training_paths(parser: argparse.ArgumentParser) -> None:
    paths = parser.add_argument_group('paths (typed ones count from the current folder)')
    add_dataset_paths(paths)
    paths.add_argument('--TMP_WEIGHTS_PATH', type=typed_path, metavar='DIR',
                       help='folder of pre-trained weights (default: the line in train.py)')
    paths.add_argument('--TMP_MODEL_PATF', type=typed_path, default=MODEL, metavar='DIR',
                       help="folder of the checkpoints model_001.h5, ... (default: the repository's model/)")
    paths.add_argument('--TMP_LOG_PATH', type=typed_path, metavar='DIR',
                       help='folder of train.csv, summary.json and the TensorBoard events (default: log/ in a typed '
                            "TMP_MODEL_PATF, else the repository's log/)")
