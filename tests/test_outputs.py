"""All that commands write: on a full disk, on a read-only one, in a folder that goes away; whole or a sentence."""
import contextlib
import os
import shutil
import threading

import pytest
from conftest import disk, make_dataset, make_model, small_mobilenet

import eval as score
import predict
import train
from utils import check_dataset, demo_dataset, export, labels, records
from utils.base.errors import InputError

FILL = 'fill'
NOT_WHOLE = '.partial', '.csv', '.f32'  # rows as they are computed: all are complete but perhaps the last


@pytest.fixture(scope='module')
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp('given')
    return make_dataset(folder / 'data', 12), str(make_model(folder / 'model.h5'))


def head(dataset, model, out, *more):
    with small_mobilenet():
        train.main([*dataset.flags, '--val_size', '4', '--batchsize', '4', '--epochs', '1', '--image_size', '32',
                    '--weights', 'none', '--device', 'cpu', '--trainable', 'head', '--features', f'{out}/features',
                    '--TMP_MODEL_PATF', str(dataset.folder / 'model'), '--overwrite', *more])


def converted_labels(dataset, model, out):
    table = dataset.folder / 'labels.csv'
    table.write_text('file,mean\n' + ''.join(f'{number}.jpg,{number - 995}.5\n' for number in range(1000, 1004)))
    labels.main([str(table), '-o', f'{out}/new/AVA.txt', '--base_images_path', str(dataset.images)])


COMMANDS = {
    'check_dataset --list --json --write_clean': lambda dataset, model, out: check_dataset.main([
        *dataset.flags, '--list', f'{out}/list', '--json', f'{out}/json', '--write_clean', f'{out}/clean']),
    'check_dataset --convert': lambda dataset, model, out: check_dataset.main([
        *dataset.flags, '--list', str(dataset.folder / 'list'), '--convert', f'{out}/converted']),
    'demo_dataset': lambda dataset, model, out: demo_dataset.main([
        '--output', f'{out}/demo', '--train_size', '2', '--val_size', '1']),
    'labels': converted_labels,
    'predict --output s.csv': lambda dataset, model, out: predict.main([
        str(dataset.images), '--checkpoint', model, '--device', 'cpu', '--output', f'{out}/s.csv', '--format', 'csv']),
    'predict --output s.json': lambda dataset, model, out: predict.main([
        str(dataset.images), '--checkpoint', model, '--device', 'cpu', '--output', f'{out}/s.json', '--format',
        'json']),
    'predict --contact_sheet': lambda dataset, model, out: predict.main([
        str(dataset.images), '--checkpoint', model, '--device', 'cpu', '--contact_sheet', f'{out}/sheet.html']),
    'eval --report': lambda dataset, model, out: score.main([
        *dataset.flags, '--val_size', '4', '--checkpoint', model, '--device', 'cpu', '--report', f'{out}/report']),
    'records pack': lambda dataset, model, out: records.main([
        'pack', *dataset.flags, '--use', 'scoring', '--val_size', '4', '--image_size', '32', '-o', f'{out}/packed']),
    'train --features': head,
    **{f'export --format {kind}': lambda dataset, model, out, kind=kind: export.main([
        model, '--format', kind, '-o', f'{out}/export', '--photographs', str(dataset.images)])
        for kind in ('pb', 'saved_model', 'onnx', 'om')},
    'export bins': lambda dataset, model, out: export.main([
        'bins', model, *dataset.flags, '--val_size', '4', '-o', f'{out}/bins']),
}


def run(name, given, out):
    """Whether the command ended without a sentence."""
    try:
        COMMANDS[name](*given, out)
    except InputError as error:
        assert '\n' not in str(error) and str(out) in str(error), error
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize('name', COMMANDS)
def test_a_full_disk(name, given, tmp_path):
    with disk(tmp_path / 'out', 'size=1m') as out:
        with contextlib.suppress(OSError), open(str(out / FILL), 'wb', 0) as stream:
            while stream.write(bytes(4096)) == 4096:
                pass
        for room in (0, 2 * 4096):
            with open(str(out / FILL), 'r+b') as stream:
                stream.truncate(os.path.getsize(str(out / FILL)) - room)
            was_written = run(name, given, out)
            assert room or not was_written
            left = [path.name for path in out.rglob('*') if path.is_file() and path.name != FILL]
            assert was_written or all(each.endswith(NOT_WHOLE) or each == 'list' for each in left), left
            for each in out.iterdir():
                if each.name != FILL:
                    shutil.rmtree(str(each)) if each.is_dir() else each.unlink()


@pytest.mark.slow
@pytest.mark.parametrize('name', COMMANDS)
def test_a_read_only_disk(name, given, tmp_path):
    with disk(tmp_path / 'out', 'ro') as out:
        assert not run(name, given, out)


@pytest.mark.slow
@pytest.mark.parametrize('name', COMMANDS)
def test_a_folder_that_goes_away_again_and_again(name, given, tmp_path):
    ended, out = threading.Event(), tmp_path / 'out'

    def remove():
        while not ended.wait(0.001):
            shutil.rmtree(str(out), ignore_errors=True)

    remover = threading.Thread(target=remove)
    remover.start()
    try:
        run(name, given, out)
    finally:
        ended.set()
        remover.join()
