"""Make or verify a packed dataset: images resized once, in sharded TFRecord files, for --records.

    bash run.sh -m utils.records pack --use training|scoring -o DIR [--form raw|jpeg] [...]
    bash run.sh -m utils.records verify DIR
"""
import argparse
import os
from typing import Any, Dict, List, Optional, Sequence

from utils.base import errors
from utils.base.defaults import FORMS, IMAGE_SIZE, RESIZES
from utils.base.flags import (
    add_bad_images,
    add_dataset_paths,
    add_image_form,
    add_label_options,
    add_split,
    add_val_size,
    settle_split,
)
from utils.base.parser import make_parser, parse_flags, size, typed_path
from utils.base.preprocessing import Preprocessing


def _flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of this command: `command` is 'pack' or 'verify'."""
    parser = make_parser('Make or verify a packed dataset: images resized once, in TFRecord files, for --records of '
                         'train.py and eval.py.')
    commands = parser.add_subparsers(dest='command', metavar='pack|verify')
    commands.required = True

    packing = commands.add_parser(
        'pack', allow_abbrev=False, help='pack the images of a dataset',
        description='Pack the training or the validation images of a dataset. Run again, a command that was stopped '
                    'resumes after the last finished shard.')
    packing.add_argument('--use', choices=('training', 'scoring'), required=True,
                         help='training images are resized to S*256/224 and cropped later, validation images to S')
    packing.add_argument('-o', '--output', type=typed_path, required=True, metavar='DIR',
                         help='folder of the packed dataset')
    packing.add_argument('--form', choices=FORMS, default=FORMS[0],
                         help='how pixels are stored: raw is the fastest; jpeg (quality 95, 4:4:4) takes a fifth of '
                              f'the space, and its pixels differ (default: {FORMS[0]})')
    packing.add_argument('--image_size', type=size, default=IMAGE_SIZE, metavar='S',
                         help=f"side of the model's input in pixels (default: {IMAGE_SIZE})")
    packing.add_argument('--resize', choices=RESIZES, default=RESIZES[0],
                         help=f'the resize in the metadata of the model to train or score (default: {RESIZES[0]})')
    add_image_form(packing)
    add_val_size(packing)
    add_split(packing)
    add_label_options(packing)
    add_bad_images(packing)
    add_dataset_paths(packing)

    verifying = commands.add_parser('verify', allow_abbrev=False, help='compare a packed dataset with its manifest',
                                    description='Read a whole packed dataset and compare it with its manifest.')
    verifying.add_argument('folder', type=typed_path, metavar='DIR', help='folder of the packed dataset')
    flags = parse_flags(parser, argv, commands=(packing, verifying))
    return settle_split(packing, flags) if flags.command == 'pack' else flags


def main(argv: Optional[List[str]] = None) -> Dict[str, Any]:
    """Pack or verify as the flags say; returns the manifest."""
    flags = _flags(argv)
    from utils.data import packed
    if flags.command == 'verify':
        manifest = packed.verify(flags.folder)
    else:
        os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # it repeats why each image is unreadable
        from utils import data_loader
        from utils.data import fitting, pack
        labels = data_loader.dataset_paths(flags.ava_dataset_path)[0]
        train, val = data_loader.read_split(flags.val_size, split=flags.split, labels=flags.ava_dataset_path,
                                            images=flags.base_images_path, options=flags.labels,
                                            to_train=int(flags.use == 'training'), report=print)
        how = fitting.fit(Preprocessing(flags.image_size, flags.resize),
                          fitting.Typed(flags.exif_orientation, flags.longest_side), train if train.count else val,
                          labels, report=print)
        manifest = pack.pack({'training': train, 'scoring': val}[flags.use], flags.output, how, use=flags.use,
                             form=flags.form,
                             max_bad_images=flags.max_bad_images, max_pixels=flags.max_pixels)
    written = sum(shard['bytes'] for shard in manifest['shards'])
    print(f'{manifest["photographs"]} images for {manifest["use"]}, {manifest["side"]}x{manifest["side"]} as '
          f'{manifest["form"]}, {len(manifest["bad"])} of them unreadable, {len(manifest["shards"])} shards, '
          f'{written} bytes')
    return manifest


if __name__ == '__main__':
    errors.run(main, 'records')
