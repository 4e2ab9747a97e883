"""What train.py adds to a step: pipeline, feed, callbacks and logging, beside the bare step of the same model."""
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import loader_memory, turns  # noqa: E402

MOST = 1.03


def sources(folder: str, image_size: int) -> Dict[str, List[str]]:
    """Where photographs come from, as flags of step_worker.py; packs those in `folder`, raw."""
    packed = os.path.join(folder, 'packed')
    subprocess.run([sys.executable, '-m', 'utils.records', 'pack', '--use', 'training', '-o', packed, '--form', 'raw',
                    '--val_size', '100', '--image_size', str(image_size), '--ava_dataset_path',
                    os.path.join(folder, 'AVA.txt'), '--base_images_path', os.path.join(folder, 'images')],
                   cwd=str(turns.ROOT), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return {'JPEG files': [], 'packed dataset': ['--records', packed]}


def measure(*, quick: bool) -> List[turns.Figure]:
    size, batch, rounds = (32, 10, 1) if quick else (224, 32, 5)
    with tempfile.TemporaryDirectory() as folder:
        loader_memory.link_dataset(folder, 300 if quick else 900, 64 if quick else 640)
        shape = '--folder', folder, '--batchsize', batch, '--image_size', size
        commands = {name: turns.command('step_worker', 'train', *shape, *more)
                    for name, more in sources(folder, size).items()}
        commands['bare'] = turns.command('step_worker', 'bare', *shape)
        commands['kept'] = turns.command('step_worker', 'bare', *shape, '--keep_memory')
        with turns.workers(commands) as started:
            taken = turns.take_turns(started, rounds=rounds, amount=1, warm_up=1)
    how = ('seconds a step of train.py, all of it, and of train_on_batch on a constant batch of the same model, {}; '
           f'batch {batch}, side {size}, {rounds} rounds in turn')
    bare = {'': (taken.pop('bare'), 'in a process that does nothing else'),
            ', freed memory kept': (taken.pop('kept'), 'in a process that keeps freed memory as train.py does')}
    return [turns.Figure(
        f'step of train.py, {name}{more}', turns.seconds(mine, 1), turns.seconds(theirs, 1), turns.ratio(mine, theirs),
        's', f'at most {MOST:g} times the bare step', turns.ratio(mine, theirs) <= MOST, how.format(what))
        for name, mine in taken.items() for more, (theirs, what) in bare.items()]


if __name__ == '__main__':
    turns.main(measure, __doc__ or '')
