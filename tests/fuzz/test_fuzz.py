"""Whatever is damaged: one sentence or a right result; never another exception, a hang, or a file that is not whole.

By default a few seconds for each kind. For hours:  pytest tests/fuzz --fuzz_seconds 3600 --fuzz_seed 1 -s
What fails is repeated by its seed and number, which the failure names.
"""
import contextlib
import io
import json
import random
import signal
import time

import malicious
import mutate
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from utils import data_loader, models, nima
from utils.base.errors import InputError
from utils.base.label_options import LabelOptions
from utils.base.preprocessing import Preprocessing
from utils.data import ava, decoding, image_files
from utils.model import bounds, build, checkpoint, trust, trust_network
from utils.scoring.flags import eval_flags, predict_flags
from utils.training.flags import train_flags

PATIENCE = 60  # seconds for one case: a hang is longer


@pytest.fixture
def cases(request):
    """Numbered generators of randomness until the time is up, and a report of how many there were."""
    seconds, seed = request.config.getoption('--fuzz_seconds'), request.config.getoption('--fuzz_seed')
    counts = {}

    def all_of(least=20):
        end, number = time.monotonic() + seconds, 0
        while number < least or time.monotonic() < end:
            yield number, random.Random(f'{request.node.name} {seed} {number}')
            number += 1

    all_of.counts = counts
    yield all_of
    print(f'{request.node.name}, seed {seed}: {counts}')


@contextlib.contextmanager
def judged(cases, case):
    """One sentence or a result: anything else fails with the case."""
    def hang(*_):
        raise AssertionError(f'{case!r}: no answer within {PATIENCE} seconds')

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(PATIENCE)
    try:
        yield
        verdict = 'taken'
    except InputError as error:
        assert str(error) and '\n' not in str(error) and len(str(error)) < 4000, (case, str(error))
        verdict = 'refused'
    except Exception as error:
        raise AssertionError(f'{case!r}: {type(error).__name__}: {error}') from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    cases.counts[verdict] = cases.counts.get(verdict, 0) + 1


# --- images


def images():
    """Small good files of several forms."""
    pixels = np.random.RandomState(0).randint(0, 256, (40, 56, 3)).astype(np.uint8)
    photo = np.add.outer(np.arange(40), np.arange(56)).astype(np.uint8)
    for kind, mode, more in (('JPEG', 'RGB', {}), ('JPEG', 'RGB', {'progressive': True}), ('JPEG', 'L', {}),
                             ('JPEG', 'CMYK', {}), ('PNG', 'RGB', {}), ('PNG', 'P', {}), ('PNG', 'RGBA', {}),
                             ('GIF', 'P', {}), ('BMP', 'RGB', {})):
        for each in (Image.fromarray(pixels), Image.fromarray(photo)):
            buffer = io.BytesIO()
            each.convert('RGB').convert(mode).save(buffer, kind, **more)
            yield buffer.getvalue()


def test_images(cases, tmp_path):
    """The reader of predict.py gives numbers in range or a sentence; training and the check decide alike."""
    seeds = list(images())
    seeds += [seed[:-20] for seed in seeds] + [seeds[0][:-2] + bytes(14) + seeds[0][-2:]]  # which Pillow alone reads
    with contextlib.closing(image_files.ImageReader(Preprocessing(32))) as reader:
        batch = {}
        for number, draw in cases(least=64):
            data = seeds[number] if number < len(seeds) else mutate.mutated_bytes(draw, draw.choice(seeds))
            path = tmp_path / f'{number % 64}.jpg'
            path.write_bytes(data)
            batch[str(path)] = False
            with judged(cases, number):
                found = reader.read(str(path))
                assert found.shape == (32, 32, 3) and found.min() >= -1 and found.max() <= 1
                batch[str(path)] = True
            if len(batch) == 64:
                for (file, is_read), verdict in zip(batch.items(), data_loader.verdicts(list(batch))):
                    if decoding.NOT_READ not in (verdict or ''):  # such a one is read by Pillow, or converted first
                        assert is_read == (verdict is None), (number, file, verdict)
                batch = {}


# --- labels


def labels():
    votes = [0, 1, 5, 17, 38, 36, 15, 6, 5, 1]
    lines = [f'{number + 1} {1000 + number} {" ".join(map(str, votes))} 1 22 1396' for number in range(6)]
    yield 'AVA.txt', '\n'.join(lines) + '\n'
    names = ','.join(f'v{score}' for score in range(1, 11))
    yield 'a.csv', f'file,{names}\n' + ''.join(f'{n}.jpg,{",".join(map(str, votes))}\n' for n in range(6))
    yield 'b.csv', 'file;mean;std\n' + ''.join(f'"{n}.jpg";{2 + n},5;1,4\n' for n in range(6))
    yield 'c.csv', 'file,mean\na.jpg,5\n"b.jpg,5\n' + 'c.jpg,5\n' * 20000          # a quote that stays open
    yield 'd.json', json.dumps([{'image_id': str(n), 'label': votes} for n in range(6)])
    yield 'e.json', '[{"file": "a.jpg", "mean": ' + '9' * 5000 + '}]'              # a number that Python refuses


def test_labels(cases, tmp_path):
    """Ratings whose rows are distributions of unique names, or a sentence that names the file."""
    seeds = list(labels())
    alphabet = b'0123456789.,;\t "\'-+e{}[]:\n\r\\/N\xff\xc3'
    for number, draw in cases(least=200):
        name, text = seeds[number] if number < len(seeds) else draw.choice(seeds)
        data = text.encode()
        if number >= len(seeds):
            data = mutate.mutated_bytes(draw, data, alphabet)
            if name.endswith('.json') and draw.random() < 0.5 and not name.startswith('e'):
                data = json.dumps(mutate.mutated_value(draw, json.loads(text), ['file', 'mean', 'std', 'v1'])).encode()
        path = tmp_path / name
        path.write_bytes(data)
        with judged(cases, number):
            try:
                found = ava.read_labels(str(path), LabelOptions(skip_bad=draw.random() < 0.5, max_bad=1))
            except InputError as error:
                assert str(path) in str(error), (number, str(error))
                assert 'int_max_str' not in str(error) and '32770' not in str(error), (number, str(error))
                raise
            assert len(set(found.ids)) == len(found.ids) == len(found.distributions)
            assert np.isfinite(found.distributions).all() and (found.distributions >= 0).all()
            np.testing.assert_allclose(found.distributions.sum(axis=1), 1, atol=1e-6)


# --- model files


def small_network():
    tf.compat.v1.keras.backend.clear_session()
    layers = tf.keras.layers
    image = tf.keras.Input((32, 32, 3), name='input_1')
    inner = tf.keras.Sequential([layers.Conv2D(4, 3, input_shape=(32, 32, 3), name='c'), layers.ReLU(name='r')], 's')
    left, right = inner(image), layers.Conv2D(4, 3, name='conv')(image)
    features = layers.GlobalAveragePooling2D(name='pool')(layers.Add(name='add')([left, right]))
    return tf.keras.Model(image, layers.Dense(10, activation='softmax', name='dense')(features))


def failed_before(network):
    """What looped for ever or took all memory: malicious.py's alterations of the network, as values."""
    class File:
        def __init__(self):
            self.attrs = {'model_config': json.dumps(network)}
    for name in ('a layer that feeds itself', 'a layer that a later one feeds', 'a call that is never made',
                 'a magnification', 'a border', 'channels between', 'a layer for nothing', 'two layers of a name'):
        file = File()
        malicious.ALTERED[name][0](file)
        yield json.loads(file.attrs['model_config'])


def test_networks(cases):
    """What the check lets pass is built in the time of any network, its size is known, and it scores each image alone.

    Most of the networks differ as people's do, and a good part of them is taken.
    """
    images = np.random.RandomState(0).uniform(-1, 1, (2, 96, 96, 3)).astype(np.float32)
    network = json.loads(small_network().to_json())
    seeds = [network, *failed_before(network)]
    words = ['input_1', 'conv', 's', 'c', 'pool', 'add', 'dense', 'Conv2D', 'Model', 'Sequential', 'UpSampling2D',
             'Lambda', 'relu', 'valid', 'channels_first', 'inbound_nodes']
    for number, draw in cases():
        if number < len(seeds):
            config = seeds[number]
        elif number % 4:
            config = mutate.mutated_network(draw, network)
        else:
            config = mutate.mutated_value(draw, draw.choice(seeds[:3]), words)
        tf.compat.v1.keras.backend.clear_session()
        with judged(cases, number):
            trust_network.check(trust.parse_json(json.dumps(config), 'a network'))
            try:
                model = tf.keras.models.model_from_json(json.dumps(config))
                build.require_nima('x.h5', model.input_shape, model.output_shape)
                side = model.input_shape[1] or 32
                bounds.require_bounded(model, side)
            except InputError:
                raise
            except Exception as error:  # build.for_scoring() makes it a sentence
                raise InputError('tf.keras cannot build it') from error
            assert bounds.size(model).largest <= bounds.LEAST[0] or number >= len(seeds)
            together, alone = (np.concatenate([model.predict_on_batch(part) for part in np.split(images, count)])
                               for images, count in ((images[:, :side, :side], 1), (images[:, :side, :side], 2)))
            assert together.shape == (2, 10)
            np.testing.assert_allclose(together, alone, atol=1e-2 if together.dtype == np.float16 else 1e-5)
        assert number == 0 or number >= len(seeds) or cases.counts.get('taken') == 1, (number, 'was refused before')
    assert 10 * cases.counts['taken'] > number


def test_model_files(cases, tmp_path):
    """A file with changed bytes is described as it was, or refused in a sentence; it never ends the process."""
    model = small_network()
    model.compile(nima.optimizer('sgd', 0.1, momentum=0.9, decay=0), nima.earth_mover_loss)
    good = tmp_path / 'good.h5'
    checkpoint.save(model, str(good), {'preprocessing': Preprocessing(32).as_json()})
    expected, data = models.describe(str(good)), good.read_bytes()
    path = tmp_path / 'x.h5'
    for number, draw in cases(least=5):
        path.write_bytes(mutate.mutated_bytes(draw, data))
        with judged(cases, number):
            found = models.describe(str(path))
            json.dumps(found)
            assert found['parameters'] == expected['parameters'] or not found['network'], number


# --- command lines


def test_command_lines(cases, tmp_path, monkeypatch, capsys):
    """Flags, or one sentence with exit code 2; nothing is written."""
    monkeypatch.chdir(str(tmp_path))
    parsers = train_flags, eval_flags, predict_flags
    typed = []
    for parse in parsers:
        with contextlib.suppress(SystemExit):
            parse(['--help'])
        typed.append([word.rstrip(',]') for word in capsys.readouterr().out.split() if word.startswith(('--', '[--'))])
    values = [*map(str, mutate.NUMBERS), *(text for text in mutate.TEXTS if '\0' not in text), 'nan', 'inf', '1/2',
              '2/1', 'x.json', 'x.xlsx', 'cpu', 'newest', '--', '-', '-h', '@x']
    for _, draw in cases(least=200):
        which = draw.randrange(len(parsers))
        argv = [draw.choice([*typed[which], *values]).lstrip('[') for _ in range(draw.randint(0, 6))]
        with judged(cases, (parsers[which].__name__, argv)):
            try:
                parsers[which](argv)
            except SystemExit as ended:
                said = capsys.readouterr().err
                is_sentence = said.count('\n') == 1 and ': error: ' in said
                assert ended.code == 0 or (ended.code == 2 and is_sentence), (argv, said)
                if ended.code:
                    raise InputError('refused') from None
    assert list(tmp_path.iterdir()) == []


def test_the_mutators_are_repeatable_and_change_things():
    value = {'a': [1, 2, {'b': 'c'}]}
    for number in range(50):
        first, second = (mutate.mutated_bytes(random.Random(number), b'0123456789') for _ in range(2))
        assert first == second
        assert repr(mutate.mutated_value(random.Random(number), value)) == repr(
            mutate.mutated_value(random.Random(number), value))
    assert len({mutate.mutated_bytes(random.Random(number), b'0123456789') for number in range(50)}) > 40
    assert value == {'a': [1, 2, {'b': 'c'}]}


def test_the_judge_sees_what_is_wrong(cases):
    for error in (ValueError('x'), KeyError('x')):
        with pytest.raises(AssertionError, match='7: .*Error'), judged(cases, 7):
            raise error
    with pytest.raises(AssertionError), judged(cases, 7):
        raise InputError('two\nlines')
