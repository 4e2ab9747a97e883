"""What several files must agree on: the model card's numbers, the repository's root, the demo's settings."""
import os
from typing import Any, Dict

# The model card's numbers, as far as they are the default of a flag and of a function.
VAL_SIZE = 5000
IMAGE_SIZE = 224
MIN_IMAGE_SIZE = 32    # MobileNet's smallest image
NATIVE = 'native'      # --input: the size of the images
MAX_IMAGE_SIZE = 4096
DROPOUT = 0.75

# When a run stops at unreadable images, and what counts as one.
MAX_BAD_IMAGES = 0.01
MAX_MEGAPIXELS = 100

RESIZES = 'bilinear', 'nearest'
FORMS = 'raw', 'jpeg'  # in which a packed dataset stores images
PADDINGS = 'tf', 'symmetric'
ORIENTATIONS = 'ignore', 'apply'  # EXIF's; the first is that of files which do not say
LONGEST_SIDE = 640  # of AVA's images, in pixels
AVA_VOTES = 78, 549  # the fewest and the most for an image of AVA
# Of an NPU, by the names of its documents; force_fp32 and cube_fp16in_fp32out are the same.
BFLOAT16_MODES = 'allow_mix_precision_bf16', 'allow_fp32_to_bf16'
PRECISION_MODES = ('allow_mix_precision', 'allow_fp32_to_fp16', 'force_fp16', 'must_keep_origin_dtype', 'force_fp32',
                   'cube_fp16in_fp32out', *BFLOAT16_MODES)
PRECISION_MODES_V2 = 'mixed_float16', 'mixed_bfloat16', 'cube_fp16in_fp32out', 'origin', 'fp16'
SCORING_MODES = 'force_fp16', 'fp16'  # for inference alone

VERSION = '1.0.0.dev0'  # as checkpoints carry it

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def from_root(path: str) -> str:
    """An absolute path; a relative one, as in edited lines and defaults, counts from the repository's root."""
    return os.path.join(ROOT, os.path.normpath(path))


DEMO_DATASET = from_root('./AVA_dataset/demo')
MODEL = from_root('./model')
DEMO_MODEL = from_root('./model/demo')


def log_folder(model_folder: str) -> str:
    """The log of a run where --TMP_LOG_PATH is not typed: log/, or log/ beside the checkpoints of a typed folder."""
    own = {MODEL: from_root('./log'), DEMO_MODEL: from_root('./log/demo')}
    return own.get(model_folder, os.path.join(model_folder, 'log'))


DEMO: Dict[str, Any] = {  # what --demo sets, unless it is typed
    'train_size': 2240, 'val_size': 400, 'image_size': 64, 'batchsize': 16, 'weights': 'none', 'dropout': 0.2,
    # 980 steps from random weights: a high rate that falls to a seventh. At a rate that stays high the moving
    # averages of BatchNorm lag behind the weights, and the validation SRCC jumps about.
    'learning_rate': 0.1, 'decay': 0.006,
    'base_images_path': os.path.join(DEMO_DATASET, 'image', 'images'),
    'ava_dataset_path': os.path.join(DEMO_DATASET, 'AVA.txt'),
    'TMP_MODEL_PATF': DEMO_MODEL,
}
