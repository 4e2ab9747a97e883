"""Every flag of the commands in utils/. No TensorFlow here, so that --help is instant."""
import argparse
import sys
from typing import Optional, Sequence

from utils.defaults import DEMO, DEMO_DATASET, FORMS, IMAGE_SIZE, PADDINGS, RESIZES, from_root
from utils.flag_groups import (
    add_bad_images,
    add_dataset_paths,
    add_skip_bad_labels,
    add_split,
    add_val_size,
    set_val_size,
)
from utils.parser import any_number, count, make_parser, parse_flags, seed, size, soc, typed_path

EXPORT_FORMATS = 'pb', 'saved_model', 'onnx', 'om'


def check_dataset_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of utils/check_dataset.py."""
    parser = make_parser('Check a dataset: labels without a photograph, photographs without a label, photographs that '
                         'cannot be decoded, label lines that cannot be used, training photographs that are for '
                         'validation too. Exit code 1 if anything was found, 0 if there are remarks at most.')
    parser.add_argument('--headers_only', action='store_true',
                        help='a first look: headers and ends of files instead of decoding them')
    add_split(parser)
    add_val_size(parser)
    paths = parser.add_argument_group('paths (typed ones count from the current folder)')
    add_dataset_paths(paths)
    paths.add_argument('--list', type=typed_path, default=from_root('./log/check_dataset.tsv'), metavar='FILE',
                       help='list to write, one finding a line: kind, name, reason, parted by tabs (default: the '
                            "repository's log/check_dataset.tsv)")
    paths.add_argument('--json', type=typed_path, metavar='FILE', help='report to write as JSON (default: none)')
    paths.add_argument('--write_clean', type=typed_path, metavar='FILE',
                       help='label file to write, without the labels that a finding speaks of; must not exist '
                            '(default: none)')
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


def labels_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of utils/labels.py."""
    parser = make_parser('Turn labels in CSV or JSON into lines of AVA.txt: file names with ten votes, with a mean and '
                         'a standard deviation, or with a mean alone.')
    parser.add_argument('file', type=typed_path, metavar='FILE', help='table, .csv or .json')
    parser.add_argument('-o', '--output', type=typed_path, required=True, metavar='AVA.txt',
                        help='label file to write; must not exist')
    parser.add_argument('--range', type=any_number, nargs=2, metavar=('LOW', 'HIGH'),
                        help="the lowest and the highest possible mean, such as 0 100 (default: as the column's name "
                             'says, mean_0_100, else 1 10)')
    parser.add_argument('--shuffle', type=seed, metavar='N',
                        help='shuffle the lines with this seed, so that the last ones, for validation, are like the '
                             'others (default: the order of FILE)')
    add_skip_bad_labels(parser)
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


def records_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of python3 -m utils.records: `command` is 'pack' or 'verify'."""
    parser = make_parser('A packed dataset: photographs resized once, in TFRecord files, for --records of train.py and '
                         'eval.py.')
    commands = parser.add_subparsers(dest='command', metavar='pack|verify')
    commands.required = True

    packing = commands.add_parser(
        'pack', allow_abbrev=False, help='pack the photographs of a dataset',
        description='Pack the training or the validation photographs of a dataset. A command that was stopped goes on '
                    'where it was when it is typed again.')
    packing.add_argument('--use', choices=('training', 'scoring'), required=True,
                         help='training photographs are resized to S*256/224 and cropped later, validation ones to S')
    packing.add_argument('-o', '--output', type=typed_path, required=True, metavar='DIR', help='folder of the pack')
    packing.add_argument('--form', choices=FORMS, default=FORMS[0],
                         help='how pixels are stored: raw is the fastest, png a half and jpeg (quality 95, 4:4:4, '
                              f'other pixels) a fifth as large (default: {FORMS[0]})')
    packing.add_argument('--image_size', type=size, default=IMAGE_SIZE, metavar='S',
                         help=f"side of the model's input in pixels (default: {IMAGE_SIZE})")
    packing.add_argument('--resize', choices=RESIZES, default=RESIZES[0],
                         help=f'as in the record of the model that is trained or scored (default: {RESIZES[0]})')
    add_val_size(packing)
    add_split(packing)
    add_skip_bad_labels(packing)
    add_bad_images(packing)
    add_dataset_paths(packing)

    verifying = commands.add_parser('verify', allow_abbrev=False, help='read all of a pack and compare it with its '
                                    'manifest', description='Read all of a pack and compare it with its manifest.')
    verifying.add_argument('folder', type=typed_path, metavar='DIR', help='folder of a pack')
    return parse_flags(parser, argv, commands=(packing, verifying))


def rank_table_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of python3 -m utils.rank_table: one of `table` and `output`."""
    parser = make_parser("The ranks of this host's Ascend devices, for HCCL: the number of ranks on all hosts, then a "
                         'line RANK DEVICE for each of this host.')
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument('--table', type=typed_path, metavar='FILE', help='rank table to read')
    one.add_argument('--output', type=typed_path, metavar='FILE',
                     help='rank table to write, of the devices in ASCEND_VISIBLE_DEVICES or else all of this host')
    return parse_flags(parser, argv)


def export_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of python3 -m utils.export: `command` is 'bins', 'srcc' or, for an export itself, None."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ['bins']:
        return _bins_flags(words[1:])
    if words[:1] == ['srcc']:
        return _srcc_flags(words[1:])
    parser = make_parser('Export a checkpoint, with a model card, and compare what was exported with the checkpoint on '
                         'photographs: a share of votes that differs by more than 1e-5 ends the command without an '
                         'export. "bins --help" and "srcc --help" tell how to score an offline model with msame.')
    parser.usage = ('%(prog)s MODEL.h5 --format ' + '|'.join(EXPORT_FORMATS) + ' --output DIR [...]\n'
                    '       %(prog)s bins MODEL.h5 --output DIR [...]\n       %(prog)s srcc BINS OUTPUTS')
    parser.set_defaults(command=None)
    parser.add_argument('file', type=typed_path, metavar='MODEL.h5', help='a checkpoint')
    parser.add_argument('--format', choices=EXPORT_FORMATS, required=True,
                        help='pb: frozen graph; saved_model: for TensorFlow Serving; onnx (needs '
                             'requirements-export.txt); om: what atc makes an Ascend offline model from, and that '
                             'model where atc is on the PATH')
    parser.add_argument('--output', '-o', type=typed_path, required=True, metavar='DIR',
                        help='the export is the new folder DIR/FORMAT, or DIR/saved_model/VERSION')
    parser.add_argument('--photographs', type=typed_path, nargs='+', metavar='PATH',
                        help='photographs, or folders of them, on which the exported model is compared (default: the '
                             'first of the dataset, or scenes of the demo dataset where there is none)')
    parser.add_argument('--batchsize', type=count, metavar='N',
                        help='the only number of photographs that the exported model takes; not for saved_model '
                             '(default: any number; om: 1)')
    parser.add_argument('--model_version', type=count, default=None, metavar='N',
                        help='of a saved_model; TensorFlow Serving serves the highest (default: 1)')
    parser.add_argument('--soc_version', type=soc, metavar='NAME', help='processor, for om (default: Ascend310)')
    parser.add_argument('--aipp', action='store_true',
                        help='om: let the device scale pixels, so that it takes uint8 instead of floats')
    parser.add_argument('--threads', type=count, metavar='N',
                        help='CPU threads (default: one for each core this process may use)')
    return _settle_export(parser, parse_flags(parser, words))


def _settle_export(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> argparse.Namespace:
    """The flags with the defaults of their format; ends the command where they do not go together."""
    for name, kind in (('model_version', 'saved_model'), ('soc_version', 'om'), ('aipp', 'om')):
        if getattr(flags, name) and flags.format != kind:
            parser.error(f'--{name}: found with --format {flags.format}, expected --format {kind}: leave it out')
    if flags.batchsize and flags.format == 'saved_model':
        parser.error('--batchsize: found with --format saved_model, which takes any number of photographs: leave it '
                     'out')
    flags.model_version = flags.model_version or 1
    if flags.format == 'om':
        flags.batchsize, flags.soc_version = flags.batchsize or 1, flags.soc_version or 'Ascend310'
    return flags


def _bins_flags(words: Sequence[str]) -> argparse.Namespace:
    parser = make_parser('Write the validation photographs as the .bin files that msame feeds to an offline model, and '
                         'their labels for the command srcc.')
    parser.prog += ' bins'
    parser.set_defaults(command='bins')
    parser.add_argument('file', type=typed_path, metavar='MODEL.h5',
                        help='the checkpoint that was exported: it says size and resize')
    parser.add_argument('--output', '-o', type=typed_path, required=True, metavar='DIR',
                        help='new folder; msame reads DIR/inputs')
    parser.add_argument('--batchsize', type=count, default=1, metavar='N',
                        help='photographs in a file, that of the offline model; the last file is filled up with zeros '
                             '(default: 1)')
    parser.add_argument('--uint8', action='store_true',
                        help='pixels as whole numbers, for an offline model that was exported with --aipp')
    add_val_size(parser)
    add_split(parser)
    add_skip_bad_labels(parser)
    add_bad_images(parser)
    add_dataset_paths(parser)
    return set_val_size(parse_flags(parser, words))


def _srcc_flags(words: Sequence[str]) -> argparse.Namespace:
    parser = make_parser('Score what msame wrote: the metrics that eval.py prints, for an offline model.')
    parser.prog += ' srcc'
    parser.set_defaults(command='srcc')
    parser.add_argument('bins', type=typed_path, metavar='BINS', help='the folder that the command bins made')
    parser.add_argument('outputs', type=typed_path, metavar='OUTPUTS',
                        help='the folder that msame wrote, --outfmt BIN or TXT; in any order, in folders of its own')
    return parse_flags(parser, words)
