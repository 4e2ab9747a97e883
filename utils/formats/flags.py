"""The flags of utils/export.py. No TensorFlow here, so that --help is instant."""
import argparse
import sys
from typing import Optional, Sequence

from utils.base.flags import (
    add_bad_images,
    add_dataset_paths,
    add_input_size,
    add_label_options,
    add_split,
    add_val_size,
    settle_split,
)
from utils.base.parser import count, make_parser, parse_flags, soc, typed_path
from utils.formats.exporters import FORMATS, Options


def export_flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags: `command` is 'bins', 'srcc' or, for an export itself, None; `options` is that of its format."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ['bins']:
        return _bins_flags(words[1:])
    if words[:1] == ['srcc']:
        return _srcc_flags(words[1:])
    parser = make_parser('Export a checkpoint, with a model card, and compare the exported model with it: where a '
                         'share of a distribution differs by more than 1e-5, nothing is exported. "bins --help" and '
                         '"srcc --help" explain how to score an offline model with msame.')
    parser.usage = ('%(prog)s MODEL.h5 --format ' + '|'.join(FORMATS) + ' --output DIR [...]\n'
                    '       %(prog)s bins MODEL.h5 --output DIR [...]\n       %(prog)s srcc BINS OUTPUTS')
    parser.set_defaults(command=None)
    parser.add_argument('file', type=typed_path, metavar='MODEL.h5', help='a checkpoint')
    parser.add_argument('--format', choices=list(FORMATS), required=True,
                        help='; '.join(f'{name}: {each.help}' for name, each in FORMATS.items()))
    parser.add_argument('--output', '-o', type=typed_path, required=True, metavar='DIR',
                        help='the export is the new folder DIR/FORMAT, or DIR/saved_model/VERSION')
    parser.add_argument('--photographs', type=typed_path, nargs='+', metavar='PATH',
                        help='images, or folders of them, on which the exported model is compared (default: the first '
                             'of the dataset, or scenes of the demo dataset where there is none)')
    parser.add_argument('--batchsize', type=count, metavar='N',
                        help='fixed batch size of the exported model; not for saved_model (default: any batch size; '
                             'om: 1)')
    add_input_size(parser)
    parser.add_argument('--model_version', type=count, metavar='N',
                        help='of a saved_model; TensorFlow Serving serves the highest (default: 1)')
    parser.add_argument('--soc_version', type=soc, metavar='NAME', help='processor, for om (default: Ascend310)')
    parser.add_argument('--aipp', action='store_true',
                        help='om: let the device scale pixels, so that it takes uint8 instead of floats')
    parser.add_argument('--threads', type=count, metavar='N',
                        help='CPU threads (default: one for each core this process may use)')
    return _with_options(parser, parse_flags(parser, words))


def _with_options(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> argparse.Namespace:
    """The flags with `options`; ends the command where one was typed that its format does not read."""
    typed = {name: getattr(flags, name) for name in Options._fields if getattr(flags, name)}
    for name in typed:
        if name not in FORMATS[flags.format].flags:
            fitting = ', '.join(kind for kind, each in FORMATS.items() if name in each.flags)
            parser.error(f'--{name} is for --format {fitting}, not for {flags.format}: leave it out')
    flags.options = Options(**{**({'batchsize': 1} if flags.format == 'om' else {}), **typed})
    return flags


def _bins_flags(words: Sequence[str]) -> argparse.Namespace:
    parser = make_parser('Write the validation images as the .bin files that msame feeds to an offline model, and '
                         'their labels for the command srcc.')
    parser.prog += ' bins'
    parser.set_defaults(command='bins')
    parser.add_argument('file', type=typed_path, metavar='MODEL.h5',
                        help='the checkpoint that was exported')
    parser.add_argument('--output', '-o', type=typed_path, required=True, metavar='DIR',
                        help='new folder; msame reads DIR/inputs')
    parser.add_argument('--batchsize', type=count, default=1, metavar='N',
                        help='images in a file, as the offline model takes them; the last file is filled up with zeros '
                             '(default: 1)')
    parser.add_argument('--uint8', action='store_true',
                        help='pixels as whole numbers, for an offline model that was exported with --aipp')
    add_val_size(parser)
    add_split(parser)
    add_label_options(parser)
    add_bad_images(parser)
    add_dataset_paths(parser)
    return settle_split(parser, parse_flags(parser, words))


def _srcc_flags(words: Sequence[str]) -> argparse.Namespace:
    parser = make_parser('Score what msame wrote: the metrics that eval.py prints, for an offline model.')
    parser.prog += ' srcc'
    parser.set_defaults(command='srcc')
    parser.add_argument('bins', type=typed_path, metavar='BINS', help='the folder that the command bins made')
    parser.add_argument('outputs', type=typed_path, metavar='OUTPUTS',
                        help='the folder that msame wrote, --outfmt BIN or TXT; files in any order, in subfolders too')
    return parse_flags(parser, words)
