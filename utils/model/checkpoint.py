"""Checkpoints: their names, writing them whole or not at all, finding them."""
import contextlib
import io
import json
import os
import re
import shlex
import sys
from typing import Any, Dict, List, Optional, Sequence

from utils.base import files, reading
from utils.base.defaults import DEMO_MODEL
from utils.base.errors import InputError
from utils.base.text import printable
from utils.model import keras_file, model_file, trust, trust_network

SAVE_CURE = 'Free space or choose another --TMP_MODEL_PATF; earlier checkpoints are intact'
CHOICES = 'newest', 'best'  # of --checkpoint, unless a file has that name
_NAME = re.compile(r'model_(\d{3,})\.h5')
_RUN = re.compile(r'[0-9a-f]{32}')  # the id of a run, see training/fit.py


def path_of(folder: str, epoch: int) -> str:
    """The checkpoint of an epoch, counted from 1: FOLDER/model_001.h5."""
    return os.path.join(folder, f'model_{epoch:03d}.h5')


def epoch_of(path: str) -> int:
    """The epoch of a checkpoint's name."""
    return int(_NAME.fullmatch(os.path.basename(path)).group(1))  # type: ignore[union-attr]


def state_path(folder: str) -> str:
    """The training state within an epoch: FOLDER/state.h5."""
    return os.path.join(folder, 'state.h5')


def existing(folder: str) -> List[str]:
    """Paths of the checkpoints in `folder`, oldest epoch first; none where there is no folder.

    InputError where it cannot be listed.
    """
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):  # not asked before: rank 0 may remove it meanwhile
        return []
    except OSError as error:
        raise InputError(f'cannot read {folder}, the folder of checkpoints: {error.strerror}. Change its permissions '
                         'or choose another --TMP_MODEL_PATF') from error
    found = [match for match in map(_NAME.fullmatch, names) if match]
    return [os.path.join(folder, match.group()) for match in sorted(found, key=lambda match: int(match.group(1)))]


def latest(folder: str) -> List[str]:
    """The training state and the newest checkpoint in `folder`, as far as they exist."""
    return [path for path in (state_path(folder), *existing(folder)[-1:]) if os.path.isfile(path)]


# --- overwriting: which run counts is on disk before its first file is, so that a kill at any moment leaves no doubt


def is_run_id(value: Any) -> bool:
    """Whether a value is one that runs are given as their id."""
    return isinstance(value, str) and bool(_RUN.fullmatch(value))


def is_overwritten(folder: str) -> bool:
    """Whether a run is to replace what else is in `folder`, whichever it is."""
    return os.path.lexists(os.path.join(folder, files.OVERWRITE))


def overwriting(folder: str) -> Optional[str]:
    """The id of the run that is to replace what else is in `folder`; None where no run is.

    InputError where that cannot be read: then nobody knows which files are of the run that counts.
    """
    path = os.path.join(folder, files.OVERWRITE)
    try:
        run = reading.read_json(path)['run']
        if is_run_id(run):
            return run
        reason = 'it holds no id of a run'
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = error.strerror
    except (ValueError, LookupError, TypeError):
        reason = 'it holds no id of a run'
    raise InputError(f'cannot read {path}, which says which run --overwrite has begun: {reason}. The folder holds '
                     f'{_by_run(folder) or "no checkpoint"}. Move the files of the other run away, if there are two, '
                     f'and remove {files.OVERWRITE}: what is left is used; or start afresh with --overwrite')


def _by_run(folder: str) -> str:
    """The checkpoints and the training state in `folder`, by the run that wrote them, in words."""
    runs: Dict[str, List[str]] = {}
    for path in (*existing(folder), state_path(folder)):
        with contextlib.suppress(InputError):
            run = str(model_file.read(path, arrays=False).run.get('id', 'without id'))
            runs.setdefault(printable(run[:8]), []).append(os.path.basename(path))
    return ' and '.join(f'{", ".join(names)} of run {run}' for run, names in runs.items())


def announce_overwrite(folder: str, run: str) -> None:
    """Note that the run with this id replaces what is in `folder`; InputError where that cannot be written."""
    path = os.path.join(folder, files.OVERWRITE)
    with files.writing(path, SAVE_CURE):
        if is_overwritten(folder) and not os.path.isfile(path):
            os.remove(path)  # a pipe would wait for its reader
        files.write_json(path, {'run': run})


def finish_overwrite(path: str) -> None:
    """Remove all else that was saved in the folder of `path`, the first file of the run that replaces it."""
    folder = os.path.dirname(path)
    with files.writing(folder, 'Remove the checkpoints of the earlier run yourself'):
        for other in [*existing(folder), state_path(folder), os.path.join(folder, files.OVERWRITE)]:
            if other != path:
                with contextlib.suppress(FileNotFoundError):
                    os.remove(other)


def withdraw_overwrite(folder: str) -> None:
    """Forget a run that was to replace others and ended before it had saved anything."""
    with contextlib.suppress(OSError, InputError):
        run = overwriting(folder)
        if run is not None and not of_run(latest(folder), run):
            os.remove(os.path.join(folder, files.OVERWRITE))


def of_run(paths: Sequence[str], run: str) -> List[str]:
    """Those of the run with this id that can be read."""
    found = []
    for path in paths:
        with contextlib.suppress(InputError):
            if model_file.read(path, arrays=False).run.get('id') == run:
                found.append(path)
    return found


def require_savable(model: Any) -> None:
    """InputError where the checkpoints of `model` would be refused: better before the first step than after days."""
    try:
        trust_network.check(json.loads(model.to_json()))
    except (trust.DistrustError, TypeError, NotImplementedError) as error:  # the others where it cannot be described
        raise InputError(f'the model in train.py: found {error}; its checkpoints could not be loaded. Build it of '
                         "Keras's own layers without Lambda: edit the line of base_model") from error


def save(model: Any, path: str, metadata: Dict[str, Any]) -> None:
    """Write a Keras model, weights and optimiser state, with its metadata; `path` is as it was before or complete.

    The file is written beside `path` under a name that ends in .tmp, flushed to the disk, read back from there byte
    by byte and checked as any file is; then it gets its name. A missing folder is made. model_file says what
    metadata hold. InputError where the file cannot be written or does not read back.
    """
    import h5py
    arrays, buffer = keras_file.read(model), io.BytesIO()
    with h5py.File(buffer, 'w') as file:
        keras_file.write(model, arrays, file)
        model_file.write_metadata(file, metadata)
    with files.writing(path, SAVE_CURE), files.new_file(path) as temporary:
        files.flush(temporary, buffer.getbuffer())
        files.require_same(temporary, buffer.getbuffer())
        trust.trust_own(temporary)
        model_file.read(temporary)


def _val_srccs(paths: Sequence[str]) -> Dict[str, Optional[float]]:
    """The validation SRCC of each of these checkpoints that can be read; None where it is undefined."""
    found = {}
    for path in paths:
        with contextlib.suppress(InputError):
            found[path] = model_file.read(path, arrays=False).run.get('metrics', {}).get('val_srcc')
    return found


def best(folder: str) -> Optional[str]:
    """The checkpoint in `folder` with the highest validation SRCC, the newest of several; None without any SRCC."""
    return _best(_val_srccs(existing(folder)))


def _best(srccs: Dict[str, Optional[float]]) -> Optional[str]:
    known = [(srcc, number, path) for number, (path, srcc) in enumerate(srccs.items()) if srcc is not None]
    return max(known)[2] if known else None


def prune(folder: str, keep: int, *, keep_best: bool) -> List[str]:
    """Remove all but the `keep` newest epochs' checkpoints; returns the paths of those that are removed.

    With `keep_best` the best() one stays too. What cannot be read stays and does not count.
    """
    srccs = _val_srccs(existing(folder))
    best_path = _best(srccs) if keep_best else None
    removed = [path for path in list(srccs)[:-keep] if path != best_path]
    for path in removed:
        os.remove(path)
    return removed


def find(folder: str, checkpoint: str, command: Sequence[str] = ()) -> str:
    """The path of `checkpoint`: an absolute path, a name in `folder`, or 'newest' or 'best' of those in it.

    Where there is no such file, the InputError lists those that are there, and repeats the words of `command`, where
    given, with one of them.
    """
    path = os.path.join(folder, checkpoint)
    if os.path.isfile(path):
        return path
    if checkpoint in CHOICES:
        return _choose(folder, checkpoint)
    inside = os.path.isdir(path)
    folder = path if inside else os.path.dirname(path)
    trained, others = existing(folder), _other_models(folder)
    if not trained and not others:
        raise InputError(f'{path}: no checkpoint, and no other in that folder. {_train_first(folder)}')
    names = ', '.join(map(os.path.basename, trained or others))
    choice = (trained[-1:] or others)[0]
    what = f'{path} is a folder with {names}' if inside else f'{path}: no such checkpoint, but {names}'
    other = ', or --checkpoint newest or best (the highest validation SRCC)' if trained and not inside else ''
    raise InputError(f'{what}. Type {_again(command, choice)}{other}')


def find_or_usual(folder: str, typed: Optional[str], usual: str, command: Sequence[str] = ()) -> str:
    """find() of the typed checkpoint, or of the usual one; then it prints to standard error if there is a newer one."""
    path = find(folder, typed or usual, command)
    if not typed and usual not in CHOICES:
        with contextlib.suppress(InputError, OSError):
            newest = _choose(folder, 'newest')
            if newest != path and path in existing(folder) and os.path.isfile(newest):
                print(printable(f'{path}: {os.path.basename(newest)} is newer: --checkpoint newest takes it'),
                      file=sys.stderr)
    return path


def _choose(folder: str, choice: str) -> str:
    trained, run = existing(folder), overwriting(folder)
    trained = (of_run(trained, run) if run else []) or trained
    if not trained:
        raise InputError(f'--checkpoint {choice}: no checkpoint in {folder}. {_train_first(folder)}')
    chosen = trained[-1] if choice == 'newest' else _best(_val_srccs(trained))
    if chosen is None:
        raise InputError(f'--checkpoint best: no checkpoint in {folder} has a validation SRCC. Use --checkpoint newest')
    return chosen


def _train_first(folder: str) -> str:
    demo = ' --demo' if folder == DEMO_MODEL else ''
    return f'Train first (bash train_1p.sh{demo}), or choose another --TMP_MODEL_PATF or --checkpoint'


def _other_models(folder: str) -> List[str]:
    """The .h5 files in `folder` that are no epoch's checkpoint, such as imported ones, by name."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in names
            if name.endswith('.h5') and name != state_path('') and not _NAME.fullmatch(name)]


def _again(command: Sequence[str], path: str) -> str:
    """`command` with another --checkpoint, as a shell reads it; the flag alone where no command is given."""
    kept = [word for before, word in zip(['', *command], command)
            if '--checkpoint' not in (before, word) and not word.startswith('--checkpoint=')]
    return ' '.join(map(shlex.quote, [*kept, '--checkpoint', path]))
