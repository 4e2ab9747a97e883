"""The settings of a training, as values that travel together."""
import math
from typing import Any, Callable, Dict, NamedTuple, Optional


class Schedule(NamedTuple):
    """Length and steps of a training."""

    epochs: int
    train_size: int           # images an epoch
    batchsize: int            # images a step of each device
    seed: int = 0
    validate_every: int = 1   # epochs
    scale_lr: bool = False    # see callbacks.Rate
    rate_schedule: str = 'constant'  # see rate_factor()
    first_epoch: int = 0      # epochs before the stage, which `epochs` and the positions count too
    patience: Optional[int] = None  # validations without a better SRCC after which training ends; None for any number
    dynamic_loss_scale: bool = False  # see loss_scaling.py


def rate_factor(schedule: str, done: float, epochs: float) -> float:
    """What the learning rate is multiplied by after `done` of a stage's `epochs`: the values of --rate_schedule."""
    if schedule == 'cosine':
        return (1 + math.cos(math.pi * min(1.0, done / epochs))) / 2
    if schedule.startswith('step:'):
        _, factor, every = schedule.split(':')
        return float(factor) ** int(done / int(every))
    return 1.0


class Saving(NamedTuple):
    """What is written, and where."""

    model_folder: str
    log_folder: str
    checkpoint_steps: Optional[int] = None  # steps between two training states; None for none
    keep: Optional[int] = None              # newest checkpoints that stay; None for all
    keep_best: bool = False                 # the best one too
    more: Callable[[], Dict[str, Any]] = dict  # for the metadata of the run, at the moment of a save


class Head(NamedTuple):
    """Training the head, alone or with the last blocks, on cached features."""

    folder: str                   # of the cache
    crops: Optional[int] = None   # random crops of each training image; None for the whole image
    is_new: bool = False          # has random weights, not those of a file
    from_closed_form: bool = True  # where it is new
    tests_rates: bool = False     # the learning rate is chosen by head.choose_rate()
