"""Choosing a device, and the session that Keras gets."""
import os
import subprocess
import sys

import pytest
import tensorflow as tf
from conftest import ROOT

from utils.base.errors import InputError
from utils.device import device


def test_auto_takes_the_cpu_where_no_gpu_is_listed_and_says_so(capsys):
    with device.open_run('auto') as run:
        assert run.device == 'cpu'
    assert capsys.readouterr().out == 'device: cpu (TensorFlow lists no GPU)\n'


def test_auto_takes_a_listed_gpu(monkeypatch, capsys):
    monkeypatch.setattr(tf.config.experimental, 'list_physical_devices', lambda kind: ['GPU:0', 'GPU:1'])
    assert device.choose('auto') == 'gpu' and device.choose('cpu') == 'cpu'
    assert capsys.readouterr().out.splitlines() == ['device: gpu (TensorFlow lists 2 GPU)', 'device: cpu (asked for)']


def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(InputError, match=r'--device gpu: TensorFlow lists no GPU\. Install .* --device cpu'):
        device.choose('gpu')


def test_threads_are_explicit_and_the_session_is_keras_own():
    with device.open_run('cpu', threads=3):
        config = tf.compat.v1.keras.backend.get_session()._config
        assert (config.intra_op_parallelism_threads, config.inter_op_parallelism_threads) == (3, 3)
    with device.open_run('cpu'):
        config = tf.compat.v1.keras.backend.get_session()._config
        assert config.intra_op_parallelism_threads == len(os.sched_getaffinity(0))


def test_the_session_is_closed_after_an_error():
    with pytest.raises(KeyError), device.open_run('cpu'):
        session = tf.compat.v1.keras.backend.get_session()
        raise KeyError
    with pytest.raises(RuntimeError, match='closed'):
        session.run(tf.constant(1))


ORDER = '''
import sys
import tensorflow as tf
opened = []
original = tf.compat.v1.Session.__init__
def record(self, *arguments, **named):
    opened.append(named["config"].intra_op_parallelism_threads)
    original(self, *arguments, **named)
tf.compat.v1.Session.__init__ = record
import {script}
{script}.main(sys.argv[1:])
print(opened)
'''


@pytest.mark.slow  # the stand-in's short tests see the order too
def test_keras_session_is_the_first_of_the_process_in_train_and_eval(dataset, tmp_path):
    common = [*dataset.flags, '--device', 'cpu', '--threads', '2', '--val_size', '4', '--TMP_MODEL_PATF', str(tmp_path)]
    runs = {'train': ['--epochs', '1', '--image_size', '32', '--batchsize', '4', '--weights', 'none',
                      '--TMP_LOG_PATH', str(tmp_path)],
            'eval': ['--checkpoint', 'model_001.h5']}
    for script, more in runs.items():
        done = subprocess.run([sys.executable, '-c', ORDER.format(script=script), *common, *more], cwd=str(ROOT),
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        opened = done.stdout.splitlines()[-1]
        assert opened.startswith('[2, 0')
