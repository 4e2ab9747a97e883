"""The flags of eval.py and predict.py. No TensorFlow here, so that --help is instant."""
import argparse
import os
from typing import Optional, Sequence

from utils.base.defaults import DEMO
from utils.base.flags import (
    add_checkpoint,
    add_checkpoint_folder,
    add_dataset_paths,
    add_device,
    add_engine,
    add_input_size,
    add_label_options,
    add_longest_side,
    add_npu,
    add_reading,
    add_split,
    add_test,
    add_val_size,
    settle_engine,
    settle_split,
)
from utils.base.parser import (
    count,
    make_parser,
    parse_flags,
    part,
    typed_name,
    typed_path,
)

PREDICT_FORMATS = 'table', 'csv', 'json', 'jsonl'
RESUMABLE_FORMATS = 'csv', 'jsonl'
ENDINGS = {'csv': 'csv', 'json': 'json', 'jsonl': 'jsonl', 'txt': 'table', '': 'table'}  # of --output


def eval_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of eval.py; --demo changes the defaults of those that were not typed."""
    parser = make_parser('Score a NIMA checkpoint on the validation images: SRCC, LCC, accuracy, EMD.')
    card = parser.add_argument_group("the model card's flags")
    card.add_argument('--batchsize', type=count, default=100, metavar='N',
                      help='images a step; the scores do not depend on it (default: 100)')
    add_val_size(card)

    run = parser.add_argument_group('run')
    add_checkpoint(run)
    run.add_argument('--demo', action='store_true', help='score what train.py --demo trained')
    run.add_argument('--compare', type=typed_name, nargs='+', default=[], metavar='MODEL',
                     help='score these models too, on the same images, each with its own pre-processing: names in '
                          'TMP_MODEL_PATF or paths')
    run.add_argument('--report', type=typed_path, metavar='DIR',
                     help='write metrics.json, predictions.csv, report.html and its figures into this folder, over '
                          'those of an earlier report (needs requirements-report.txt)')
    add_split(run)
    add_test(run, 'they are scored instead of the validation images')
    add_label_options(run)
    add_reading(run)
    add_input_size(run)
    add_device(run)
    add_engine(run)
    add_npu(parser)

    paths = parser.add_argument_group('paths (typed ones count from the current folder)')
    add_dataset_paths(paths)
    add_checkpoint_folder(paths)
    paths.add_argument('--TMP_LOG_PATH', type=typed_path, metavar='DIR',
                       help="folder of the training's train.csv, for the report's curves, where it is not beside "
                            'the checkpoint (default: the one that train.py writes to)')
    flags = parse_flags(parser, argv, demo=DEMO)
    test = '--test_labels' if flags.test_labels else '--test_split' if flags.test_split else None
    if test and (flags.val_size is not None or flags.split or flags.labels.val_path):
        parser.error(f'{test} scores all test images and none of validation. Leave out '
                     f'{"--split" if flags.split else "--val_dataset_path" if flags.labels.val_path else "--val_size"}')
    return settle_engine(parser, settle_split(parser, flags))


def predict_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of predict.py; `format` is that of the ending of --output where it is not typed."""
    parser = make_parser('Predict the votes that images would get: their mean score, from 1 to 10, its percentile '
                         'among the mean scores of 43,533 real AVA images, and the standard deviation of the votes. A '
                         'file that cannot be scored is reported and does not stop the rest; the exit code is then 1.')
    _add_images(parser)
    _add_output(parser)
    model = parser.add_argument_group('model')
    add_checkpoint(model)
    add_checkpoint_folder(model)
    model.add_argument('--batchsize', type=count, default=32, metavar='N',
                       help='images a step; the scores do not depend on it (default: 32)')
    add_input_size(model)
    add_longest_side(model, "the checkpoint's; 640, AVA's, where it has none")
    add_device(model)
    add_engine(model)
    add_npu(parser)
    flags = settle_engine(parser, parse_flags(parser, argv))
    if flags.format is None:
        ending = os.path.splitext(flags.output or '')[1].lower()[1:]
        if ending not in ENDINGS:
            known = ', '.join(f'.{each}' for each in ENDINGS if each)
            parser.error(f'--output: found the ending .{ending}, expected {known}. Use one of them, or add --format')
        flags.format = ENDINGS[ending]
    flags.is_ranked = flags.rank or flags.top is not None
    wrong = _senseless(flags)
    if wrong:
        parser.error(wrong)
    return flags


def _add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('images', nargs='+', metavar='PATH',
                        help='an image (JPEG, PNG, GIF, BMP; with requirements-photos.txt also WebP, TIFF, HEIC and '
                             "AVIF), a folder of them, a pattern in quotes such as '*.jpg', or - for a list on "
                             'standard input, one name a line')
    parser.add_argument('-r', '--recursive', action='store_true', help='look into the folders of folders too')
    parser.add_argument('--shard', type=part, metavar='I/N',
                        help='score only the I-th of every N images, I from 1 to N: a part for each of N machines')


def _add_output(parser: argparse.ArgumentParser) -> None:
    output = parser.add_argument_group('output')
    output.add_argument('--format', choices=PREDICT_FORMATS,
                        help='json is one array of objects, jsonl an object on each line (default: the ending of '
                             '--output, or table)')
    output.add_argument('--shares', action='store_true', help='print the ten shares of the votes too')
    output.add_argument('--rank', action='store_true', help='sort by mean score, the highest first, and print the rank')
    output.add_argument('--top', type=count, metavar='N', help='the N highest mean scores only, with their rank')
    output.add_argument('--output', type=typed_path, metavar='FILE',
                        help='new file for the scores, written as they come (default: standard output)')
    output.add_argument('--resume', action='store_true',
                        help='continue an --output in csv or jsonl: images in it are not scored again')
    output.add_argument('--contact_sheet', type=typed_path, metavar='FILE',
                        help='PNG of the 100, or --top, highest ranked images with their scores; needs Pillow')


def _senseless(flags: argparse.Namespace) -> Optional[str]:
    """What is wrong with flags of predict.py that do not go together; None where they do."""
    if flags.contact_sheet is not None and flags.contact_sheet == flags.output:
        return '--output and --contact_sheet name the same FILE. Use two'
    if not flags.resume:
        return None
    if flags.output is None:
        return '--resume needs the FILE to continue: add --output FILE'
    if flags.format not in RESUMABLE_FORMATS:
        return f'--resume cannot continue the format {flags.format}. Use --format csv or jsonl'
    if flags.is_ranked or flags.contact_sheet is not None:
        what = '--rank or --top' if flags.is_ranked else '--contact_sheet'
        return f'--resume does not go with {what}, which needs the scores of all images. Leave out --resume'
    return None
