"""What is done to an image before the network sees it; every checkpoint carries it."""
from typing import Any, Dict, NamedTuple

from utils.base.defaults import IMAGE_SIZE, MAX_IMAGE_SIZE, PADDINGS, RESIZES
from utils.base.text import short

SCALING = '(x - 127.5) / 127.5'


class Preprocessing(NamedTuple):
    """By default the model card's.

    image_size  side in pixels of the network's input
    resize      to a square: 'bilinear' is TF 1's own (no half-pixel centres), 'nearest' has half-pixel centres
    padding     before stride-2 convolutions: 'tf' is ((0, 1), (0, 1)), 'symmetric' ((1, 1), (1, 1)) as in Keras
                2.1.5 and 2.1.6
    scaling     of pixels in [0, 255], as a formula
    """

    image_size: int = IMAGE_SIZE
    resize: str = 'bilinear'
    padding: str = 'tf'
    scaling: str = SCALING

    def as_json(self) -> Dict[str, Any]:
        """The fields by name."""
        return dict(self._asdict())


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
    unknown += [name for name, value, known in (('resize', made.resize, RESIZES), ('padding', made.padding, PADDINGS),
                                                ('scaling', made.scaling, (SCALING,))) if value not in known]
    if unknown:
        raise ValueError(f'{short(unknown[0])} = {short(found[unknown[0]])}')
    return made
