"""The acceptance kit as a whole: on a CPU, in emulated float16, through the stand-in of several releases."""
import base64
import errno
import functools
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from float16 import MODES, emulated
from test_npu import NPU, adapter, no_device  # noqa: F401  skips where there is no contract

from utils import accept
from utils.acceptance import fixture, host, kit, references, speed
from utils.acceptance.outcome import FAIL, NOT_CHECKED, PASS
from utils.base import files
from utils.base.defaults import PRECISION_MODES, PRECISION_MODES_V2
from utils.base.errors import InputError
from utils.device import device, versions

ALONE = {'speed': NOT_CHECKED, 'ranks alike': NOT_CHECKED, 'ranks as one': NOT_CHECKED}


def statuses(checks):
    return {each['check']: each['status'] for each in checks}


def test_all_checks_pass_on_a_cpu(tmp_path, capsys):
    found = accept.main(['--small', '--device', 'cpu', '--json', str(tmp_path / 'kit.json')])
    assert statuses(found['checks'][0]) == {**dict.fromkeys(kit.CHECKS, PASS), **ALONE}
    assert json.loads((tmp_path / 'kit.json').read_text()) == found
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'device: cpu (asked for)' and lines[-1] == 'PASS: 13 checks, 3 not checked'
    assert [line.split('  ')[0] for line in lines[3:-1]] == list(kit.CHECKS)
    assert found['versions']['tensorflow'] == tf.__version__ and found['passed']


@pytest.mark.slow
@pytest.mark.parametrize('mode, nearest', [
    ('float16', True), *(pytest.param(*each, marks=pytest.mark.slow) for each in
                         [('float16', False), ('mixed', True), ('mixed', False), ('bfloat16', True)])])
def test_an_emulated_precision_without_a_fault_passes(mode, nearest):
    """Rounded to the nearest, and towards 0."""
    with device.open_run('cpu', threads=2) as run, emulated(mode, nearest):
        outcomes = kit.check_all(kit.Plan(fixture.SMALL, mode, speed=False), run)
    assert [each for each in outcomes if each.status == FAIL] == []
    drift = {each.check: each.deviation for each in outcomes}
    assert drift['forward pass'] > 1e-4 and drift['gradients'] > 1e-3  # the emulation rounds


@pytest.mark.slow
def test_all_checks_pass_at_full_size():
    found = accept.main(['--device', 'cpu'])
    assert statuses(found['checks'][0]) == {**dict.fromkeys(kit.CHECKS, PASS), **ALONE}


@pytest.mark.slow
@pytest.mark.parametrize('size', [fixture.SMALL, fixture.FULL], ids=lambda size: size.name)
def test_float16_passes_at_both_sizes(size):
    with device.open_run('cpu', threads=2) as run, emulated('float16', nearest=False):
        outcomes = kit.check_all(kit.Plan(size, 'float16', speed=False), run)
    assert [each for each in outcomes if each.status == FAIL] == []


# --- through the stand-in

@pytest.mark.parametrize('adapter', [*(pytest.param(each, marks=pytest.mark.slow) for each in ('r1.2.0', 'r1.9.0')),
                                     'r1.15.0'], indirect=True)
def test_the_kit_keeps_the_contract(adapter, monkeypatch):  # noqa: F811
    monkeypatch.setattr(speed, 'STEPS', 1)
    found = accept.main(['--small', '--device', 'npu', '--precision_mode', 'force_fp16'])
    assert statuses(found['checks'][0]) == {**dict.fromkeys(kit.CHECKS, PASS), 'ranks alike': NOT_CHECKED,
                                            'ranks as one': NOT_CHECKED}
    assert (found['bounds'], found['device']) == ('float16', 'npu')
    session, *hosts = adapter.reports()
    assert session['parameters'] == {**NPU, 'precision_mode': 'force_fp16'}
    assert {each['kind'] for each in hosts} == {'host'} and not any(each['open'] for each in (session, *hosts))
    assert len(session['steps']) == 10


# --- what a rank, a host and an installation may have

def test_another_libjpeg_is_named(monkeypatch, tmp_path):
    reference = references.content()['host']
    with device.open_run('cpu') as run:
        right = host.check(reference, str(tmp_path), run.host_config)
        monkeypatch.setattr(tf.image, 'decode_jpeg', functools.partial(tf.image.decode_jpeg,
                                                                       dct_method='INTEGER_ACCURATE'))
        decoding, resizing = host.check(reference, str(tmp_path), run.host_config)
    assert [each.status for each in right] == [PASS, PASS]
    assert (decoding.status, decoding.where, resizing.status) == (FAIL, 'image.jpg', PASS)
    assert decoding.deviation >= 1 and 'a TensorFlow with another libjpeg' in decoding.text


def test_the_shipped_png_holds_what_pillow_decodes_of_it():
    import io

    from PIL import Image
    reference = references.content()['host']
    image = Image.open(io.BytesIO(base64.b64decode(reference['files']['image.png'])))
    assert host.digest(np.asarray(image)) == reference['digests']['image.png'] == reference['digests']['image.jpg']


def test_the_references_are_small_and_say_where_they_come_from():
    assert os.path.getsize(references.PATH) <= 200_000
    content = references.content()
    assert content['made_by'] == 'tools/acceptance_references.py'
    assert {part: len(commit) for part, commit in content['commits'].items()} == dict.fromkeys(
        ('host', 'bounds', 'small', 'full'), 40)
    assert set(content['sizes']) == {fixture.SMALL.name, fixture.FULL.name}
    assert set(references.BOUNDS_OF) == {*PRECISION_MODES, *PRECISION_MODES_V2}
    assert set(references.BOUNDS_OF.values()) == set(content['bounds']) == set(MODES)
    for size in content['sizes'].values():
        for bounds in content['bounds'].values():
            assert {check: set(named) for check, named in bounds.items()} == {
                check: set(named) for check, named in size['figures'].items()}
            assert all(bound > 0 for named in bounds.values() for bound in named.values())


def test_a_device_that_raises_an_error_is_a_failure_of_the_check(monkeypatch):
    def broken(*_):
        raise tf.errors.InternalError(None, None, 'GeOp1_0GEOP::::DoRunAsync Failed')

    monkeypatch.setattr(kit.measure, 'forward', broken)
    monkeypatch.setattr(kit, 'build_network', lambda *_: None)
    with device.open_run('cpu') as run:
        outcomes = kit.check_all(kit.Plan(fixture.SMALL, 'float32', speed=True), run)
    found = {outcome.check: outcome for outcome in outcomes}
    assert found['forward pass'].status == FAIL and 'DoRunAsync Failed' in found['forward pass'].text
    assert {outcome.status for check, outcome in found.items() if check != 'forward pass'} == {NOT_CHECKED}


@pytest.mark.parametrize('text', ['', '{}', '{"sizes": {"64 pix'])
def test_references_that_are_missing_or_damaged_are_an_error_with_the_cure(tmp_path, monkeypatch, text):
    monkeypatch.setattr(references, 'PATH', str(tmp_path / 'references.json'))
    if text:
        (tmp_path / 'references.json').write_text(text)
    with pytest.raises(InputError, match=r'references\.json .*Bring it back: git -C .* checkout utils/acceptance/r'):
        references.content.__wrapped__()


FULL_DISK = OSError(errno.ENOSPC, 'No space left on device')


@pytest.mark.parametrize('raised', [
    FULL_DISK, files.cannot_write('model_001.h5', FULL_DISK, 'Choose another --TMP_MODEL_PATF')])
def test_a_full_temporary_folder_is_no_fault_of_the_device(tmp_path, monkeypatch, raised):
    def full(*_):
        raise raised from FULL_DISK

    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    monkeypatch.setattr(kit, 'build_network', full)
    with pytest.raises(InputError, match=f'^cannot write {tmp_path}: No space left on device. Free space or set TMPDIR '
                                         'to another folder$'):
        kit.check_all(kit.Plan(fixture.SMALL, 'float32', speed=False), device.Run('cpu', None))
    assert os.listdir(str(tmp_path)) == []


def test_a_folder_in_place_of_the_json_is_found_first(tmp_path):
    with pytest.raises(InputError, match=f'^--json {tmp_path} is a folder. Type the name of a file$'):
        accept.main(['--small', '--device', 'cpu', '--json', str(tmp_path)])


@pytest.mark.parametrize('size, published', [(fixture.SMALL, False), (fixture.FULL, True)])
def test_the_publishers_speed_is_that_of_the_full_network(monkeypatch, size, published):
    seconds = dict.fromkeys(['step', 'feed', 'device', 'compile', 'read_back'], 1.0)
    monkeypatch.setattr(speed, 'measure', lambda *_: seconds)
    assert ('0.1459' in speed.check(None, size).text) == published


PLANTED = '''
import runpy, sys
from utils.acceptance import fixture
images = fixture.images
fixture.images = lambda *given: images(*given)[..., ::-1]
sys.argv = ['accept', '--small', '--device', 'cpu']
runpy.run_module('utils.accept', run_name='__main__')
'''


@pytest.mark.slow
def test_a_failure_is_an_exit_code_and_the_last_line():
    done = subprocess.run([sys.executable, '-c', PLANTED], cwd=str(ROOT), capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1] == 'FAIL: forward pass; what fails first is the cause to look for'


def test_versions_come_from_the_files_of_the_installation(tmp_path, monkeypatch):
    for name in versions.CANN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(versions, 'INSTALLED', str(tmp_path))
    assert versions.versions() == {'CANN': None, 'driver': None, 'firmware': None}
    (tmp_path / 'driver').mkdir()
    (tmp_path / 'driver' / 'version.info').write_text('Version=20.2.0\nascendhal_version=4.0.0\n')
    (tmp_path / 'opp').mkdir()
    (tmp_path / 'opp' / 'version.cfg').write_text('# version: 1.0\nruntime_running_version=[7.0.0.5.242:7.0.0]\n')
    monkeypatch.setenv('ASCEND_OPP_PATH', str(tmp_path / 'opp'))
    assert versions.versions() == {'CANN': '7.0.0.5.242:7.0.0', 'driver': '20.2.0', 'firmware': None}
