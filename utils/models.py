"""Model files: import other people's NIMA weights, describe a file.

    bash run.sh -m utils.models import FILE --resize bilinear|nearest --padding tf|symmetric -o MODEL.h5
    bash run.sh -m utils.models describe FILE [--json]
"""
import argparse
import json
import os
from typing import Any, Dict, List, Optional, Sequence

from utils.base import errors, files, preprocessing
from utils.base.defaults import DROPOUT, PADDINGS, RESIZES
from utils.base.errors import InputError
from utils.base.parser import make_parser, parse_flags, typed_path
from utils.base.preprocessing import Preprocessing


def _flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of this command: `command` is 'import' or 'describe'."""
    parser = make_parser("Model files: import other people's NIMA weights, describe a file.")
    commands = parser.add_subparsers(dest='command', metavar='import|describe')
    commands.required = True

    importing = commands.add_parser(
        'import', allow_abbrev=False, help='turn the weights of a NIMA-MobileNet into a checkpoint',
        description='Turn the weights of a NIMA-MobileNet into a checkpoint that eval.py, predict.py and train.py '
                    'take. Such a file does not say how images were resized and convolutions padded in its '
                    'training. Both change the scores by half a point and more, so both flags are required.',
        epilog="idealo's weights_mobilenet_*.hdf5 need nearest and symmetric. titu1994's mobilenet_weights.h5 was "
               'trained with bilinear; its padding is taken to be tf, which was not checked against published scores.')
    importing.add_argument('file', type=typed_path, metavar='FILE', help='Keras weights, .h5 or .hdf5')
    importing.add_argument('--resize', choices=RESIZES, required=True, help='of the images it was trained on')
    importing.add_argument('--padding', choices=PADDINGS, required=True,
                           help='of stride-2 convolutions: tf is ((0, 1), (0, 1)); symmetric is ((1, 1), (1, 1)), '
                                'as in Keras 2.1.5 and 2.1.6')
    importing.add_argument('-o', '--output', type=typed_path, required=True, metavar='MODEL.h5',
                           help='checkpoint to write; must not exist')

    describing = commands.add_parser('describe', allow_abbrev=False, help='print what a model file contains',
                                     description='Print the metadata of a model file, its layers, parameters and size.')
    describing.add_argument('file', type=typed_path, metavar='FILE', help='a checkpoint or Keras weights')
    describing.add_argument('--json', action='store_true', help='as one JSON object')
    return parse_flags(parser, argv, commands=(importing, describing))


def import_weights(path: str, output: str, how: Preprocessing) -> None:
    """Write the checkpoint `output` from the weights of a NIMA-MobileNet (alpha 1, images of side 224).

    InputError where `path` is no such file, is a checkpoint already, or `output` exists.
    """
    from utils.base.scores import SCORES
    from utils.model import model_file
    file = model_file.read(path, 'the weights of a NIMA-MobileNet')
    if file.metadata is not None:
        raise InputError(f'{path} is a checkpoint with metadata already. Use it as it is')
    if file.head is None:
        raise InputError(f'{path}: found no layer of {len(SCORES)} outputs, expected the weights of a complete NIMA, '
                         'head included. For pre-trained weights without a head use train.py --weights')
    if os.path.exists(output):
        raise InputError(f'{output} exists already. Remove it or choose another -o')
    files.require_writable(os.path.dirname(output), '-o')
    import tensorflow as tf

    from utils import nima
    from utils.model import checkpoint
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    tf.compat.v1.keras.backend.clear_session()
    size = how.image_size
    base_model = tf.keras.applications.MobileNet((size, size, 3), include_top=False, pooling='avg', weights=None)
    model = nima.with_head(nima.with_padding(base_model, how.padding), DROPOUT)
    nima.load_weights(model, file)
    checkpoint.save(model, output, {'preprocessing': how.as_json(),
                                    'origin': {'file': os.path.basename(path), 'sha256': files.sha256(path)}})


def describe(path: str) -> Dict[str, Any]:
    """What a model file contains, ready for JSON; `metadata` is None where there are none."""
    from utils.model import model_file
    file = model_file.read(path, 'a checkpoint or Keras weights')
    return {'file': path, 'bytes': os.path.getsize(path), 'network': file.network is not None,
            'layers': file.layer_count, 'layers_with_weights': len(file.weights),
            'parameters': file.parameters, 'head': file.head, 'optimizer': file.optimizer, 'metadata': file.metadata}


def _one_line(value: Any) -> str:
    """A field of the metadata; what was not set, such as a flag without a value, is left out."""
    if not isinstance(value, dict):
        return str(value)
    return ', '.join(f'{key} {part:.4f}' if isinstance(part, float) and 0.001 < abs(part) < 1000 else f'{key} {part}'
                     for key, part in value.items() if part not in (None, {}, [], ''))


def described(found: Dict[str, Any]) -> str:
    """What describe() found, in lines for people."""
    head = f"layer {found['head']!r}, 10 outputs" if found['head'] else 'none of 10 outputs'
    lines = [f"{found['file']}: {found['bytes'] / 1e6:.1f} MB",
             f"contents        {'network and weights' if found['network'] else 'weights alone'}, optimiser "
             f"{found['optimizer'] or 'none'}",
             f"layers          {found['layers']}, {found['layers_with_weights']} of them with weights",
             f"parameters      {found['parameters']:,}",
             f'head            {head}']
    metadata = found['metadata']
    if metadata is None:
        return '\n'.join([*lines, 'metadata        none'])
    if 'preprocessing' in metadata:
        how = preprocessing.from_json(metadata['preprocessing'])
        lines.append(f'pre-processing  images of side {how.image_size}, resize {how.resize}, scaling {how.scaling}, '
                     f'padding {how.padding}, EXIF orientation {how.orientation}, longest side '
                     f'{"not stated" if how.longest_side is None else how.longest_side or "any"}')
    others = {name: value for name, value in metadata.items() if name not in ('preprocessing', 'run')}
    for name, value in {**others, **metadata.get('run', {})}.items():
        lines.append(f'{name:<15} {_one_line(value)}')
    return '\n'.join(lines)


def main(argv: Optional[List[str]] = None) -> Dict[str, Any]:
    """Import or describe, as the flags say; returns what describe() says of the file."""
    flags = _flags(argv)
    if flags.command == 'import':
        import_weights(flags.file, flags.output, Preprocessing(resize=flags.resize, padding=flags.padding))
        found = describe(flags.output)
        print(f'imported {flags.file}\n{described(found)}')
        return found
    found = describe(flags.file)
    print(json.dumps(found, indent=2) if flags.json else described(found))
    return found


if __name__ == '__main__':
    errors.run(main, 'models')
