"""The stages of a training: which one a run is in, what follows it, and what is done when all are trained."""
from typing import Any, Callable, Optional, Sequence, Tuple

from utils.training import resume
from utils.training.recipe import Stage
from utils.training.resume import Start

Report = Callable[[str], Any]


def stage_of(start: Start, stages: Sequence[Stage]) -> Tuple[int, Start]:
    """The index of the stage that `start` is in, their number where all are done, and `start` with its first epoch.

    InputError where the run was begun with another recipe.
    """
    if start.file is None:
        return 0, start
    stored, now = start.run.get('recipe') or {}, stages[0].recipe
    if stored.get('sha256') != (now and now.sha256) and max(stored.get('stages', 1), len(stages)) > 1:
        raise resume.another_run(start.file.path, 'the recipe', *(
            f'{each["name"]} (hash {each["sha256"][:12]})' if each else 'none'
            for each in (stored, now and now._asdict())))
    index, first = stored.get('stage', 1) - 1, stored.get('first_epoch', 0)
    flags = stages[index].flags
    if start.position.epoch >= first + flags.epochs or _stopped_early(start, flags.patience):
        return index + 1, start._replace(first_epoch=start.position.epoch, begins_stage=True)
    return index, start._replace(first_epoch=first)


def next_stage(folder: str, stages: Sequence[Stage], index: int, report: Report) -> Tuple[int, Start]:
    """The index of the stage after `index`, which was trained into `folder`, and where it starts.

    It starts from the last checkpoint's file, as a run that is resumed there does: both give the same bits.
    """
    if index + 1 == len(stages):
        return index + 1, Start(folder)
    return stage_of(resume.find(folder, resume=True, overwrite=False, own_folder=False, report=report), stages)


def _stopped_early(start: Start, patience: Optional[int]) -> bool:
    run = start.run
    return patience is not None and run.get('stopped_early', False) and run.get('flags', {}).get('patience') == patience


def rate(start: Start, typed: Any) -> Tuple[float, bool]:
    """The learning rate, with 'auto' the stored one of a resumed stage, or any; and whether it is yet to be chosen."""
    is_new = start.file is None or start.begins_stage
    chosen = typed if typed != 'auto' else 1.0 if is_new else start.run['flags']['learning_rate']
    return chosen, typed == 'auto' and is_new


def report_done(start: Start, stage: Stage, report: Report) -> None:
    """Report that no epoch is left of a run whose last stage is `stage`."""
    patience = stage.flags.patience
    if _stopped_early(start, patience):
        report(f'{start.path}: the training was ended by --patience {patience}. Use a higher --patience to continue')
    else:
        report(f'{start.path}: all {start.position.epoch} epochs are trained already. Use a higher --epochs for more '
               'of them')
