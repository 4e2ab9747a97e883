"""How a label file is read, as the flags say."""
from typing import NamedTuple, Optional, Tuple, Union

ASSUMED_STD = 1.0     # of the votes, on 1 to 10, where a label is a mean alone; docs/datasets.md has the figures
MAX_BAD_LABELS = 0.01  # share of the lines that skip_bad may leave out


class LabelOptions(NamedTuple):
    """The flags of add_labels() in flags.py, by their meaning."""

    skip_bad: bool = False              # leave out lines that cannot be used
    max_bad: float = MAX_BAD_LABELS     # more of them stop
    scale: Optional[Tuple[float, float]] = None  # the values that become 1 and 10; the first is the worst
    std: Union[None, float, str] = None  # of the votes, on 1 to 10, where a label is a mean alone; or a column's name
    ignored: Tuple[str, ...] = ()       # columns that are not read
    val_path: Optional[str] = None      # label file of the validation images, where the split is in two files


AS_USUAL = LabelOptions()
