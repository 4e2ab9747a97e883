"""A long training on a dataset of which a tenth is damaged: every step is taken, and memory does not grow."""
import random
import sys
from pathlib import Path

import pytest
from conftest import ROOT, make_dataset, small_mobilenet

import train
from utils.training.state import TrainingState

sys.path.insert(0, str(ROOT / 'tests' / 'fuzz'))
STEPS, SETTLED, BATCHSIZE, IMAGES, VAL = 500, 150, 4, 220, 20
MORE = 16 << 20  # bytes, of some 600 MB; as much as 20 images of a camera


def resident():
    """Bytes of memory that this process has."""
    return int(Path('/proc/self/statm').read_text().split()[1]) * 4096


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_five_hundred_steps_with_every_tenth_image_damaged(tmp_path, monkeypatch, capsys):
    from mutate import mutated_bytes
    dataset = make_dataset(tmp_path / 'data', IMAGES)
    for number, path in enumerate(sorted(dataset.images.iterdir())):
        if number % 10 == 0:
            path.write_bytes(mutated_bytes(random.Random(number), path.read_bytes()))
    used, after = [], TrainingState.on_batch_end

    def measured(state, *given, **named):
        used.append(resident())
        return after(state, *given, **named)

    monkeypatch.setattr(TrainingState, 'on_batch_end', measured)
    with small_mobilenet():
        history = train.main([
            *dataset.flags, '--val_size', str(VAL), '--batchsize', str(BATCHSIZE), '--image_size', '32', '--weights',
            'none', '--device', 'cpu', '--max_bad_images', '0.2', '--TMP_MODEL_PATF', str(tmp_path / 'model'),
            '--epochs', str(STEPS * BATCHSIZE // (IMAGES - VAL)), '--keep', '1', '--seed', '1'])
    assert len(used) == STEPS and all(loss < 1 for loss in history.history['loss'])
    reported = capsys.readouterr().err.count(': unreadable (')
    assert IMAGES // 20 < reported <= IMAGES // 10
    assert max(used[SETTLED:]) - used[SETTLED] < MORE, [value >> 20 for value in used[::25]]
