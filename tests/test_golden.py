"""What an earlier commit wrote is treated as that commit's own code does, to the last bit; see golden_base.py."""
import json
import tempfile
from pathlib import Path

import golden_base
import pytest
from conftest import ROOT
from golden_base import FROM_BASE, HEAD, PACKS, VAL, Code, Written, differences, epoch_differences, stamps

pytestmark = pytest.mark.slow
LAST = 'whole/model_002.h5'


@pytest.fixture(scope='module')
def old():
    """What the earlier commit wrote; nothing in it may change."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        code = golden_base.check_out(ROOT, folder / 'code')
        golden_base.draw_dataset(folder / 'data')
        (folder / 'weights').mkdir()
        golden_base.draw_weights(folder / 'weights')
        yield Written(Code(code, folder / 'old', folder / 'data'), folder / 'weights')


@pytest.fixture
def new(old):
    """The present code, with an empty folder for copies."""
    with tempfile.TemporaryDirectory() as name:
        yield Code(ROOT, Path(name) / 'new', old.code.data)


def test_what_is_compared_tells_photographs_and_steps_apart(old):
    for rows in old.rows.values():
        assert len({row.split(',', 1)[1] for row in rows}) == len(rows)
    assert 'nan' not in old.scores and 'undefined' not in old.scores[::2]
    folder = old.code.out / 'whole'
    changed = differences(folder / 'model_001.h5', folder / 'model_002.h5')
    assert any(name.startswith('model_weights/conv1') for name in changed)
    assert any(name.startswith('optimizer_weights/') for name in changed)


@pytest.mark.parametrize('begun', ['state.h5', 'model_001.h5'])
def test_a_run_that_was_stopped_goes_on(old, new, begun):
    new.take(old.code, 'base.h5', 'stopped')
    if begun != 'state.h5':
        (new.out / 'stopped' / 'state.h5').unlink()
    new.train('stopped', *FROM_BASE, '--resume')
    assert differences(old.code.out / LAST, new.out / 'stopped' / 'model_002.h5') == []
    assert epoch_differences(old.code.out / 'whole', new.out / 'stopped') == []


def test_a_checkpoint_is_scored_alike(old, new):
    new.take(old.code, 'whole', 'scoring-jpeg')
    assert new.scores(LAST, '--val_size', str(golden_base.COUNT)) == old.scores
    assert new.scores(LAST, '--val_size', str(VAL), '--records', 'scoring-jpeg') == old.packed_scores


@pytest.mark.parametrize('name', [LAST, 'imported.h5'])
def test_photographs_get_the_same_rows(old, new, name):
    new.take(old.code, name.split('/')[0])
    assert new.rows(name) == old.rows[name]


def test_a_frozen_graph_is_the_same_bytes(old, new):
    new.take(old.code, 'whole')
    assert new.frozen(LAST) == old.frozen


@pytest.mark.parametrize('form', ['raw', 'jpeg'])
def test_training_on_packs(old, new, form):
    new.take(old.code, f'training-{form}', f'scoring-{form}')
    before, after = old.code.out / f'from-{form}', new.train_packed(form)
    assert differences(before / 'model_001.h5', after / 'model_001.h5') == []
    assert epoch_differences(before, after) == []


def shards(folder):
    return json.loads((folder / 'manifest.json').read_text())['shards']


@pytest.mark.parametrize('use, form', PACKS)
def test_a_pack_is_the_same_bytes(old, new, use, form):
    before, after = old.code.out / f'{use}-{form}', new.pack(use, form)
    assert shards(after) == shards(before)
    for path in before.glob('*.tfrecord'):
        assert (after / path.name).read_bytes() == path.read_bytes()


def test_a_pack_is_not_made_again(old, new):
    new.take(old.code, 'training-raw')
    before = stamps(new.out, '*.tfrecord')
    assert new.pack('training', 'raw') and stamps(new.out, '*.tfrecord') == before


@pytest.mark.parametrize('more', [[], ['--resume']], ids=['a new run', 'a resumed run'])
def test_the_head_is_trained_on_features_computed_before(old, new, more):
    new.take(old.code, 'imported.h5', 'features')
    before = stamps(new.out, 'features.f32')
    if more:
        new.take(old.code, 'head')
        (new.out / 'head' / 'model_002.h5').unlink()
    new.train('head', *HEAD, *more)
    assert len(before) == 2 and stamps(new.out, 'features.f32') == before
    for epoch in (1, 2):
        assert differences(*(code.out / 'head' / f'model_{epoch:03d}.h5' for code in (old.code, new))) == []
    assert epoch_differences(old.code.out / 'head', new.out / 'head') == []
