"""Predict how people would score images, without TensorFlow: with an ONNX model, NumPy, Pillow and ONNX Runtime.

    python3 -m pip install numpy pillow onnxruntime      Python 3.9 or newer; Linux, macOS, Windows; x86 and ARM
    python3 score.py photo.jpg holiday/                  CSV, as predict.py --format csv prints it

The model is the file NAME_image.onnx beside this one, or --model FILE. Whoever trained it makes it from a checkpoint
with  bash run.sh -m utils.export NAME.h5 --format onnx --output DIR  on the machine with TensorFlow 1.15.
This file needs nothing else of the repository: copy both wherever you like. From Python:

    import score
    distributions = score.score(['photo.jpg', 'other.jpg'])      # float32 [2, 10]
    means = distributions @ range(1, 11)                         # from 1 to 10

Pillow decodes JPEG a little differently from TensorFlow: a mean differs by 0.03 on average and 0.06 at most on ten AVA
images, 0.001 and 0.02 on 69 of cameras. The same pixels have the same score: the model holds its own resize.
"""
import argparse
import concurrent.futures
import contextlib
import csv
import functools
import glob
import io
import json
import os
import signal
import sys
import warnings
from typing import Any, Dict, Iterable, Iterator, NamedTuple, Optional, Sequence, Tuple, Union

if __name__ == '__main__':
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # NumPy's import would lose a KeyboardInterrupt
try:
    import numpy as np
    from PIL import Image, ImageCms, UnidentifiedImageError
except ImportError as missing:
    if __name__ != '__main__':
        raise
    sys.exit(f'score.py: error: {missing}. Type {sys.executable} -m pip install numpy pillow onnxruntime')

COLUMNS = 'file', 'mean_score_1_to_10', 'standard_deviation', 'percentile_among_ava_means'
ENDINGS = '.jpg', '.jpeg', '.jfif', '.png', '.gif', '.bmp', '.webp', '.tif', '.tiff', '.heic', '.heif', '.avif'
KINDS = 'JPEG', 'PNG', 'GIF', 'BMP', 'WEBP', 'TIFF', 'AVIF', 'HEIF'  # by a file's content, whatever its name
NO_FILE = 'a pipe, a device or a folder, expected a file'  # which may keep its reader waiting
MAX_PIXELS = 100 * 10 ** 6                      # a few hundred bytes can claim billions
LONGEST_SIDE, SHRINK_BEYOND = 640, 1.25         # AVA's images; see shrunk()
UPRIGHT = {2: 'FLIP_LEFT_RIGHT', 3: 'ROTATE_180', 4: 'FLIP_TOP_BOTTOM', 5: 'TRANSPOSE', 6: 'ROTATE_270',
           7: 'TRANSVERSE', 8: 'ROTATE_90'}     # by EXIF's orientation, the tag 0x0112
Path = Union[str, 'os.PathLike[str]']


class ScoreError(ValueError):
    """A model or an image that cannot be used; the text says which, why, and what to do."""


class Score(NamedTuple):
    """What people would vote."""
    distribution: np.ndarray  # float32 [10], the shares of the scores 1 to 10
    mean: float               # from 1 to 10
    std: float


def score(paths: Union[Path, Sequence[Path]], model: Optional[str] = None) -> np.ndarray:
    """Vote distributions, float32 [N, 10], of N image files, in their order; find() lists those of a folder.

    A file that cannot be read is a warning, its row NaN. `model`: see only_model(). ScoreError where there is none.
    """
    files = [os.fspath(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
    found = np.full((len(files), 10), np.nan, np.float32)
    for number, (_, result) in enumerate(Model(model).score(files)):
        if isinstance(result, ScoreError):
            warnings.warn(str(result), stacklevel=2)
        else:
            found[number] = result.distribution
    return found


class Model:
    """A model in ONNX Runtime."""

    def __init__(self, path: Optional[str] = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ScoreError(f'{error}. Type {sys.executable} -m pip install onnxruntime') from error
        self.path = path or only_model()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # images are scored side by side
        try:
            if os.path.exists(self.path) and not os.path.isfile(self.path):
                raise ValueError(NO_FILE)
            self._session = onnxruntime.InferenceSession(self.path, options, providers=['CPUExecutionProvider'])
            fields = self._session.get_modelmeta().custom_metadata_map
            self.fields: Dict[str, Any] = {name: json.loads(text) for name, text in fields.items()}
            self._percentiles = self.fields['ava_mean_percentiles']
        except Exception as error:  # ONNX Runtime's own have no common class
            reason = ' '.join(str(error).split())[:200]
            raise ScoreError(f'{self.path}: not a NAME_image.onnx of utils/export.py ({reason})') from error

    def score(self, paths: Iterable[str]) -> Iterator[Tuple[str, Union[Score, ScoreError]]]:
        """Each file with its score, or with the error of reading it, in order; as many at a time as there are cores."""
        def one(path: str) -> Tuple[str, Union[Score, ScoreError]]:
            try:
                pixels = read(path, self.fields.get('longest_side', LONGEST_SIDE))
            except ScoreError as error:
                return path, error
            return path, self.score_pixels(pixels)

        cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
        with concurrent.futures.ThreadPoolExecutor(cores) as pool:
            yield from pool.map(one, paths)

    def score_pixels(self, pixels: np.ndarray) -> Score:
        """The score of one upright image, uint8 [H, W, 3], RGB."""
        distribution, mean, std = self._session.run(['distribution', 'mean', 'std'], {'image': pixels})
        if not (distribution.min() >= 0 and abs(distribution.sum() - 1) < 0.01):  # neither holds for NaN
            found = 'no shares of votes' if np.isfinite(distribution).all() else 'NaN: its training diverged'
            raise ScoreError(f'{self.path} predicts {found}. Get another model')
        return Score(distribution, float(mean), float(std))

    def row(self, path: str, found: Score) -> Tuple[str, float, float, float]:
        """The values of COLUMNS; the percentile is the share in per cent of AVA's images with a lower mean."""
        percentile = np.interp(found.mean, self._percentiles, np.arange(len(self._percentiles)))
        return printable(path), round(found.mean, 6), round(found.std, 6), round(float(percentile), 1)


def only_model() -> str:
    """The NAME_image.onnx beside this file or in the current folder; ScoreError unless there is exactly one."""
    folders = dict.fromkeys([os.path.dirname(os.path.abspath(__file__)), os.getcwd()])
    found = [path for folder in folders for path in glob.glob(os.path.join(glob.escape(folder), '*_image.onnx'))]
    if len(found) != 1:
        raise ScoreError(f'found {", ".join(sorted(found)) or "no NAME_image.onnx"} in {" and ".join(folders)}, '
                         'expected one. Name it with --model FILE; utils/export.py MODEL.h5 --format onnx makes one')
    return found[0]


def read(path: str, longest_side: int = LONGEST_SIDE) -> np.ndarray:
    """The image in a file, uint8 [H, W, 3], RGB: the first of several, shrunk() and upright; transparency is ignored.

    ScoreError where it cannot be read or has more than MAX_PIXELS.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError(NO_FILE)
        with open(path, 'rb') as stream:
            image = Image.open(stream, formats=readable_kinds())
            if image.size[0] * image.size[1] > MAX_PIXELS:
                raise ValueError(f'more than {MAX_PIXELS // 10 ** 6} megapixels: {image.size[0] * image.size[1]}')
            way = UPRIGHT.get(image.getexif().get(0x0112, 1)) if image.format != 'TIFF' else None
            if image.format == 'TIFF':
                image.load()  # Pillow turns it itself
                if image.mode in 'IF':
                    raise ValueError('pixels of 32 bits, of which nothing says what is white')
            image = shrunk(image, longest_side)
            return np.asarray(image.transpose(getattr(Image.Transpose, way)) if way else image)
    except Exception as error:  # Pillow fails in many ways on damaged files
        raise ScoreError(why_unreadable(path, error)) from error


@functools.lru_cache(None)
def readable_kinds() -> Tuple[str, ...]:
    """Those of KINDS that this Pillow reads; HEIF, an iPhone's HEIC, with the package pillow-heif alone."""
    with contextlib.suppress(ImportError):
        import pillow_heif
        pillow_heif.register_heif_opener()  # which turns images upright itself
    Image.init()
    return tuple(kind for kind in KINDS if kind in Image.OPEN)


def why_unreadable(path: str, error: Exception) -> str:
    """The error of reading an image, as a sentence."""
    if os.path.isdir(path):
        return f'{path} is a folder without images. -r looks into its folders too'
    if isinstance(error, UnidentifiedImageError):
        return f'{path}: not a {", ".join(readable_kinds())} file (an iPhone\'s HEIC needs the package pillow-heif)'
    if isinstance(error, OSError) and error.strerror:
        return f'cannot read {path}: {error.strerror}'
    return f'{path}: unreadable image ({" ".join(str(error).split()) or type(error).__name__})'


def shrunk(image: Any, longest_side: int) -> Any:
    """The image as RGB; one whose longest side exceeds 1.25 times `longest_side` is brought to that by averaging areas.

    0 leaves all as they are. A model was trained on images of that size: from a camera they get another score.
    """
    longest = max(image.size)
    if not longest_side or longest <= int(SHRINK_BEYOND * longest_side):
        return as_rgb(image)
    height, width = (max(1, round(side * longest_side / longest)) for side in image.size[::-1])
    for ratio in (8, 4, 2):  # a JPEG is decoded smaller, by averaging too, and faster
        if longest > ratio * longest_side:
            image.draft('RGB', (max(1, image.size[0] // ratio), max(1, image.size[1] // ratio)))
            break
    pixels = averaged(averaged(np.asarray(as_rgb(image)), height, axis=0), width, axis=1)
    return Image.fromarray(np.rint(pixels).astype(np.uint8))


def averaged(pixels: np.ndarray, length: int, axis: int) -> np.ndarray:
    """`pixels` with `length` of them along `axis`, float64, each the mean of the part that it covers."""
    pixels = np.moveaxis(pixels, axis, 0)  # Pillow's BOX takes whole pixels only, which scores 0.08 higher
    edges = np.arange(length + 1) * len(pixels) / length
    whole = np.minimum(edges.astype(int), len(pixels) - 1)
    sums = np.cumsum(pixels, axis=0, dtype=np.int32 if pixels.dtype == np.uint8 else np.float64)
    before = sums[whole] - pixels[whole] * (1 - (edges - whole))[:, np.newaxis, np.newaxis]
    return np.moveaxis(np.diff(before, axis=0) * length / len(pixels), 0, axis)


def as_rgb(image: Any) -> Any:
    """Any of Pillow's images as RGB; 16 bits by their upper 8, Display P3 as sRGB where predict.py does so."""
    if image.mode.startswith('I'):
        image = Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8))
    rgb, profile = image.convert('RGB'), image.info.get('icc_profile')
    if profile and image.mode in ('RGB', 'RGBA') and image.format not in KINDS[:3]:  # those TensorFlow reads
        with contextlib.suppress(ImageCms.PyCMSError, ImportError, OSError):  # a damaged profile says nothing
            found = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if 'P3' in ImageCms.getProfileDescription(found):
                return ImageCms.profileToProfile(rgb, found, ImageCms.createProfile('sRGB'))
    return rgb


def find(paths: Iterable[str], recursive: bool = False) -> Iterator[str]:
    """The files that `paths` mean: a folder its images by name, but hidden ones; all else, and one without, itself."""
    for path in paths:
        inside = list(images_in(path, recursive)) if os.path.isdir(path) else []
        yield from inside or [path]


def images_in(folder: str, recursive: bool) -> Iterator[str]:
    """The images in a folder, by name; links to folders are not followed."""
    for name in sorted(name for name in os.listdir(folder) if not name.startswith('.')):
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            if recursive and not os.path.islink(path):
                yield from images_in(path, recursive)
        elif name.lower().endswith(ENDINGS):
            yield path


def printable(name: str) -> str:
    """`name` with codes such as \\x1b in place of what a terminal or UTF-8 cannot hold."""
    def code(character: str) -> str:
        number = ord(character) - (0xdc00 if 0xdc80 <= ord(character) <= 0xdcff else 0)  # a byte of a file name
        return f'\\x{number:02x}' if number < 0x100 else f'\\u{number:04x}' if number < 0x10000 else f'\\U{number:08x}'
    return ''.join(each if each.isprintable() else code(each) for each in name)


def flags_of(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(prog='score.py', description=(
        'Print as CSV the mean score (1 to 10) that people would give to each image, the std of their votes, the '
        "mean's percentile among 43,533 AVA images. Files that cannot be scored are reported; the exit code is 1."))
    parser.add_argument('images', nargs='+', metavar='PATH', help='an image (JPEG, PNG, GIF, BMP, WebP, TIFF, AVIF; '
                                                                  'HEIC with the package pillow-heif), or a folder')
    parser.add_argument('-r', '--recursive', action='store_true', help='look into the folders of folders too')
    parser.add_argument('--model', metavar='FILE', help='NAME_image.onnx (default: in . or beside score.py)')
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print the scores as the flags say; returns the number of files that could not be scored."""
    flags = flags_of(argv)
    files, model, failed = list(find(flags.images, flags.recursive)), Model(flags.model), 0
    lines = csv.writer(sys.stdout, lineterminator='\n')
    for number, (path, found) in enumerate(model.score(files)):
        if isinstance(found, ScoreError):
            failed += 1
            try:
                print(printable(str(found)), file=sys.stderr, flush=True)
            except OSError:  # it is full, or read no longer: no further line is written to it
                sys.stderr = open(os.devnull, 'w')  # noqa: SIM115
            continue
        if number == failed:
            lines.writerow(COLUMNS)
        lines.writerow(model.row(path, found))
        sys.stdout.flush()
    if failed:
        raise ScoreError(f'{failed} of {len(files)} files could not be scored (listed above)')
    return failed


if __name__ == '__main__':
    warnings.simplefilter('ignore')  # Pillow's on large images and odd metadata
    sys.stderr = sys.stderr or open(os.devnull, 'w')  # noqa: SIM115  closed by >&-, as standard output may be
    if sys.stdout is None:
        sys.exit('score.py: error: standard output is closed. Redirect it to a file, or to /dev/null for no output')
    sys.stdout.reconfigure(encoding='utf-8', newline='\n')  # type: ignore[attr-defined]
    try:
        try:
            main()
        finally:
            sys.stdout.flush()  # at exit it would be too late for a sentence
    except ScoreError as error:
        sys.exit(f'score.py: error: {printable(str(error))}')
    except OSError as error:
        if error.filename:
            sys.exit(f'score.py: error: cannot read {printable(str(error.filename))}: {error.strerror}')
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit writes what is left
        sys.exit(141 if isinstance(error, BrokenPipeError) else 'score.py: error: cannot write to standard output: '
                 f'{error.strerror}. Free space or redirect it elsewhere')
