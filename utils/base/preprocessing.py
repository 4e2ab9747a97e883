"""What is done to an image before the network sees it; every checkpoint carries it."""
from typing import Any, Callable, Dict, NamedTuple, Optional

from utils.base.defaults import IMAGE_SIZE, LONGEST_SIDE, MAX_IMAGE_SIZE, ORIENTATIONS, PADDINGS, RESIZES
from utils.base.text import short

SCALING = '(x - 127.5) / 127.5'
REDUCED_FROM = 1.25  # times the longest side: AVA's images, of up to 800 pixels, are not reduced to LONGEST_SIDE
ANY_SIZE = 0         # as longest_side


class Preprocessing(NamedTuple):
    """By default the model card's.

    image_size   side in pixels of the network's input
    resize       to a square: 'bilinear' is TF 1's own (no half-pixel centres), 'nearest' has half-pixel centres
    padding      before stride-2 convolutions: 'tf' is ((0, 1), (0, 1)), 'symmetric' ((1, 1), (1, 1)) as in Keras
                 2.1.5 and 2.1.6
    scaling      of pixels in [0, 255], as a formula
    orientation  of the file's EXIF data: 'apply' turns the image upright, 'ignore' leaves it as it is stored
    longest_side in pixels, to which an image is brought before the resize, each pixel the mean of its area, where its
                 own is more than REDUCED_FROM times as long; ANY_SIZE for never; None, which is never too, where
                 nothing says it, as in files from before this field
    """

    image_size: int = IMAGE_SIZE
    resize: str = 'bilinear'
    padding: str = 'tf'
    scaling: str = SCALING
    orientation: str = ORIENTATIONS[0]
    longest_side: Optional[int] = None

    def as_json(self) -> Dict[str, Any]:
        """The fields by name, without a longest side that nothing says."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    def for_any_image(self, path: str, report: Callable[[str], Any]) -> 'Preprocessing':
        """This one for the images of anyone, which are upright and of the size that the model of file `path` knows.

        `report`, such as print, gets a sentence on what the file does not say so.
        """
        if self.orientation == 'ignore':
            report(f'{path}: trained on images as they are stored; here their EXIF data turn them upright')
        if self.longest_side is None:
            report(f"{path}: does not say how large its training images were; larger ones are brought to AVA's "
                   f'{LONGEST_SIDE} pixels')
        return self._replace(orientation='apply',
                             longest_side=LONGEST_SIDE if self.longest_side is None else self.longest_side)


def from_json(found: Any) -> Preprocessing:
    """The pre-processing that as_json() gave; an absent field has its default.

    ValueError, which names the field, for an unknown field or value: scores would differ without it.
    """
    if not isinstance(found, dict):
        raise ValueError(f'{short(found)} instead of fields')
    made = Preprocessing(**{name: found[name] for name in Preprocessing._fields if name in found})
    unknown = sorted(set(found) - set(Preprocessing._fields))
    if type(made.image_size) is not int or not 1 <= made.image_size <= MAX_IMAGE_SIZE:
        unknown.append('image_size')
    if 'longest_side' in found and (type(made.longest_side) is not int or made.longest_side < ANY_SIZE):
        unknown.append('longest_side')
    unknown += [name for name, value, known in (('resize', made.resize, RESIZES), ('padding', made.padding, PADDINGS),
                                                ('scaling', made.scaling, (SCALING,)),
                                                ('orientation', made.orientation, ORIENTATIONS)) if value not in known]
    if unknown:
        raise ValueError(f'{short(unknown[0])} = {short(found[unknown[0]])}')
    return made
