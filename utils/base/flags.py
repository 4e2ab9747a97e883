"""Groups of flags that several commands share. No TensorFlow here, so that --help is instant."""
import argparse
import functools
from typing import Any, Optional

from utils.base.defaults import (
    LONGEST_SIDE,
    MAX_BAD_IMAGES,
    MAX_MEGAPIXELS,
    PRECISION_MODES,
    PRECISION_MODES_V2,
    VAL_SIZE,
)
from utils.base.label_options import AS_USUAL, ASSUMED_STD, MAX_BAD_LABELS
from utils.base.parser import (
    any_number,
    count,
    longest_side,
    megapixels,
    rate_or_name,
    share,
    size,
    typed_name,
    typed_path,
    typed_split,
    typed_text,
)


def add_val_size(group: Any) -> None:
    group.add_argument('--val_size', type=count, metavar='N',
                       help='validation images: the last N of the labels, or the first N of another --split '
                            f'(default: {VAL_SIZE}, or all of another --split)')


def add_split(group: Any) -> None:
    group.add_argument('--split', type=typed_split, metavar='last|official|FILE',
                       help="validation images: the last ones, AVA's own test list generic_test.jpgl, or a list "
                            'of ids or file names, one a line (default: last)')


def add_test(group: Any, use: str) -> None:
    test = group.add_mutually_exclusive_group()
    test.add_argument('--test_labels', type=typed_path, metavar='FILE',
                      help=f'label file of the test images: {use} (default: no test images)')
    test.add_argument('--test_split', type=typed_split, metavar='official|FILE',
                      help=f'test images by a list of ids or file names of the label file: {use}')


def settle_split(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> argparse.Namespace:
    """The flags with the card's --split and --val_size where they were not typed; a --val_size of None means all.

    Two label files are a split that is named after the second one; ends the command where --split is typed too.
    """
    if flags.labels.val_path and flags.split:
        parser.error('--split and --val_dataset_path both say which images are for validation: leave one of them out')
    flags.split = flags.labels.val_path or flags.split or 'last'
    if flags.val_size is None and flags.split == 'last':
        flags.val_size = VAL_SIZE
    return flags


def add_dataset_paths(group: Any) -> None:
    group.add_argument('--base_images_path', type=typed_path, metavar='DIR',
                       help='folder of the images (default: the line in utils/data_loader.py)')
    group.add_argument('--ava_dataset_path', type=typed_path, metavar='FILE',
                       help='label file, AVA.txt or a table (default: the line in utils/data_loader.py)')


def add_label_options(group: Any, *, skip: bool = True, two_files: bool = True) -> None:
    """How the label file is read: flags.labels, a LabelOptions. `skip`: with the flags on bad lines."""
    add = functools.partial(group.add_argument, action=_LabelOption, dest='labels', default=AS_USUAL)
    add('--range', type=any_number, nargs=2, metavar=('WORST', 'BEST'), const='scale',
        help="values of the worst and the best possible mean or rating in a table, such as 0 100, or 1 0 where a low "
             "value is better (default: as in the column's name, mean_0_100, else 1 10, where that is plausible)")
    add('--std', type=rate_or_name, metavar='S|COLUMN', const='std',
        help='standard deviation of the votes, in points of 1 to 10, for labels that are a mean alone, or the column '
             f'that has it, on the scale of the means (default: {ASSUMED_STD:g}, or the column std)')
    add('--ignore_columns', type=typed_text, nargs='+', metavar='NAME', const='ignored',
        help="columns of a table that are not read, by name or with a star, as 'quality*' (default: those without a "
             'known name)')
    if skip:
        add('--skip_bad_labels', nargs=0, const='skip_bad',
            help='leave out label lines that cannot be used, and report how many, instead of stopping')
        add('--max_bad_labels', type=share, metavar='P', const='max_bad',
            help=f'largest share of lines that --skip_bad_labels leaves out (default: {MAX_BAD_LABELS})')
    if two_files:
        add('--val_dataset_path', type=typed_path, metavar='FILE', const='val_path',
            help='label file of the validation images, where a dataset comes as two files; instead of --split')


class _LabelOption(argparse.Action):
    """Collects the typed flags of add_label_options() in one LabelOptions; `const` is the field."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: Optional[str] = None) -> None:
        value = True if values == [] else tuple(values) if isinstance(values, list) else values
        namespace.labels = namespace.labels._replace(**{self.const: value})


def add_bad_images(group: Any) -> None:
    group.add_argument('--max_bad_images', type=share, default=MAX_BAD_IMAGES, metavar='P',
                       help=f'largest share of unreadable images allowed (default: {MAX_BAD_IMAGES}); training '
                            'replaces them by others, scoring leaves them out')
    group.add_argument('--max_megapixels', type=megapixels, default=str(MAX_MEGAPIXELS), dest='max_pixels', metavar='N',
                       help='an image whose header states more is not decoded and counts as unreadable (default: '
                            f'{MAX_MEGAPIXELS})')


def add_reading(group: Any) -> None:
    add_bad_images(group)
    group.add_argument('--records', type=typed_path, metavar='DIR',
                       help='read the images from a packed dataset (bash run.sh -m utils.records pack)')


def add_orientation(group: Any) -> None:
    group.add_argument('--exif_orientation', choices=('apply', 'ignore'), metavar='apply|ignore',
                       help='turn images upright as their EXIF data say, or take them as they are stored (default: '
                            "ignore for AVA.txt, as AVA's raters saw them so, apply for other labels; of --records "
                            'what they were packed with)')


def add_longest_side(group: Any, default: str) -> None:
    group.add_argument('--longest_side', type=longest_side, metavar='PIXELS|none',
                       help='images more than 1.25 times as long are brought to this length first, by means of areas; '
                            f'none for models of noise and sharpness, which a mean removes (default: {default})')


def add_input_size(group: Any) -> None:
    group.add_argument('--image_size', '--input', type=size, metavar='S',
                       help="side of the model's input in pixels, with the same weights; scores change with it "
                            "(default: the checkpoint's)")


def add_image_form(group: Any) -> None:
    add_orientation(group)
    add_longest_side(group, f"{LONGEST_SIDE} for AVA.txt, else the median of the training images; of --records what "
                            'they were packed with')


def add_val_records(group: Any) -> None:
    group.add_argument('--val_records', type=typed_path, metavar='DIR',
                       help='read the validation images from a packed dataset for scoring')


def add_device(group: Any) -> None:
    group.add_argument('--device', choices=('auto', 'npu', 'gpu', 'cpu'), default='auto',
                       help='where the model runs (default: auto, an Ascend NPU, else a GPU, else the CPU)')
    group.add_argument('--threads', type=count, metavar='N',
                       help='CPU threads of one operation; another number changes the last bits of '
                            'the results '
                            '(default: one for each core this process may use)')


def add_distribute(group: Any) -> None:
    group.add_argument('--distribute', choices=('auto', 'none', 'hccl', 'horovod'), default='auto',
                       help='how the processes of many devices communicate: hccl between Ascend NPUs, horovod '
                            'between CPUs or GPUs (default: auto, as train_8p.sh or horovodrun has set, else none)')
    group.add_argument('--scale_lr', action='store_true',
                       help='with N devices, raise the learning rate from R to N * R in the first epoch; --batchsize '
                            'is that of one device')


def add_engine(group: Any) -> None:
    group.add_argument('--engine', choices=('tf', 'openvino'), default='tf',
                       help='what computes the scores: TensorFlow on the device, or OpenVINO on the CPU, which is '
                            'faster there, with the same scores to 1e-4; needs requirements-export.txt (default: '
                            'tf)')
    group.add_argument('--fast', action='store_true',
                       help='with --engine openvino: compute in bfloat16 where the CPU has it; measured, mean '
                            'scores change by 0.03 on average and 0.15 at most')


def settle_engine(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> argparse.Namespace:
    """The flags with the device of the engine; ends the command where the two do not go together."""
    if flags.fast and flags.engine != 'openvino':
        parser.error('--fast needs --engine openvino')
    if flags.engine == 'openvino':
        if flags.device not in ('auto', 'cpu'):
            parser.error(f'--engine openvino runs on the CPU: leave out --device {flags.device}')
        flags.device = 'cpu'
    return flags


def add_npu(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('Ascend NPU (no effect on other devices; all but the first are off by default)')
    add = functools.partial(group.add_argument, action=_Npu, dest='npu', default={})
    add('--precision_mode', choices=PRECISION_MODES,
        help=f'(default: {PRECISION_MODES[0]}); force_fp16 is for scoring alone, cube_fp16in_fp32out and *_bf16 need '
             'CANN 6.3.RC1, *_bf16 an Atlas A2 or A3')
    add('--precision_mode_v2', choices=PRECISION_MODES_V2,
        help='instead of --precision_mode, CANN 6.3.RC2 or later; fp16 is for scoring alone, mixed_bfloat16 needs an '
             'Atlas A2 or A3')
    add('--modify_mixlist', type=typed_path, metavar='FILE',
        help='JSON list of operators whose precision differs from that of allow_mix_precision or mixed_float16 '
             '(CANN 5.0.2 or later)')
    add('--deterministic', nargs=0, help='the same computation gives the same bits (CANN 6.3.RC1 or later)')
    add('--op_compiler_cache_dir', type=typed_path, metavar='DIR',
        help='keeps compiled operators, so that the next run starts faster')
    add('--profiling_dump_path', type=typed_path, metavar='DIR', help='records profiles of the device')
    add('--data_dump_path', type=typed_path, metavar='DIR', help='records inputs and outputs of all operators')
    add('--data_dump_step', metavar='STEPS', help="of --data_dump_path, such as '0|5|10-20' (default: 0)")
    add('--dump_data', choices=('tensor', 'stats'),
        help='of --data_dump_path: all numbers, or minimum, maximum and mean of each tensor (CANN 6.0.RC1 or later)')
    add('--dump_layer', metavar='NAMES',
        help="of --data_dump_path: these operators alone, such as 'conv1/Conv2D dense/MatMul' (CANN 6.0.RC1 or later)")
    add('--over_dump_path', type=typed_path, metavar='DIR',
        help='records the operators that overflow; the loss does not show it, as float16 saturates on a 910')
    add('--hccl_timeout', type=count, metavar='SECONDS',
        help='how long a rank waits for another (CANN 5.0.4 or later; its default is 1836; on a first-generation 910 '
             'at most 17340)')
    add('--op_wait_timeout', type=count, metavar='SECONDS',
        help='how long an operator waits (CANN 5.0.4 or later; its default is 120)')


class _Npu(argparse.Action):
    """Collects the typed flags of an NPU in one dict, by name."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: Optional[str] = None) -> None:
        namespace.npu = {**namespace.npu, self.option_strings[0][2:]: True if self.nargs == 0 else values}


def add_checkpoint(group: Any) -> None:
    group.add_argument('--checkpoint', type=typed_name, metavar='NAME|PATH|newest|best',
                       help='a name in TMP_MODEL_PATF or a path; newest epoch or best validation SRCC of those there '
                            '(default: the line in eval.py)')


def add_checkpoint_folder(group: Any) -> None:
    group.add_argument('--TMP_MODEL_PATF', type=typed_path, metavar='DIR',
                       help='folder of the checkpoints (default: the line in eval.py)')
