"""eval.py --report and --compare: the numbers against NumPy and SciPy, the files, the page in a browser."""
import base64
import csv
import io
import json
import math
import os
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from scipy.stats import spearmanr

import eval as score
from utils import models
from utils.base import errors
from utils.base.errors import InputError
from utils.base.preprocessing import Preprocessing
from utils.data import ava
from utils.model import checkpoint
from utils.scoring import analysis, report, results
from utils.training import log

sys.path.insert(0, str(ROOT / 'tools'))
import check_report  # noqa: E402

METADATA = {'epoch': 2, 'preprocessing': Preprocessing(32).as_json()}
EPOCH = {'loss': 0.1, 'val_loss': 0.2, 'val_srcc': 0.3, 'val_constant_emd_r2': 0.4}
RANKS = np.arange(1.0, 11)
RUN, OTHER = 'a' * 32, 'b' * 32  # ids of runs


def ratings(folder, count, name='{}'):
    """Random votes of images, of which every second exists."""
    shares = np.random.RandomState(3).dirichlet(np.ones(10), count)
    paths = []
    for number in range(count):
        paths.append(str(folder / f'{number}.jpg'))
        if number % 2 == 0:
            Image.new('RGB', (640, 400), (number % 256, 90, 160)).save(paths[-1])
    return ava.Ratings(np.array([name.format(number) for number in range(count)], object), np.array(paths, object),
                       shares)


def predictions(val, seed, weight=0.5):
    noise = np.random.RandomState(seed).dirichlet(np.ones(10), val.count)
    return weight * val.distributions + (1 - weight) * noise


def evaluated(val, *predicted, paths=('/m/a.h5', '/m/b.h5', '/m/c.h5')):
    return results.evaluate(val, paths[:len(predicted)], [({**METADATA}, each) for each in predicted],
                            split='the last of AVA.txt')


def write(folder, found, log=None):
    return report.write(str(folder), found, typed_log=str(log or folder))


# --- intervals, calibration, extremes

def test_each_bootstrap_resample_is_scipys_srcc_of_those_images():
    random = np.random.RandomState(0)
    true, a, b = np.round(random.normal(5, 1, (3, 60)), 1)  # with ties
    draws = analysis.srcc_bootstrap(true, [a, b], resamples=20, seed=7)
    order = np.random.RandomState(7)
    for draw in range(20):
        chosen = order.randint(60, size=60)
        for model, predicted in enumerate((a, b)):
            assert draws[model, draw] == pytest.approx(spearmanr(true[chosen], predicted[chosen])[0], abs=1e-12)


def test_an_interval_is_the_percentiles_of_the_draws_that_are_numbers():
    draws = np.array([*range(101), math.nan])
    found = analysis.interval(50.0, draws)
    assert (found.low, found.high) == (pytest.approx(2.5), pytest.approx(97.5))
    assert (found.resamples, found.undefined) == (102, 1)


def test_differences_are_paired_and_a_constant_model_has_no_interval():
    random = np.random.RandomState(1)
    true = random.normal(5, 1, 300)
    a = true + random.normal(0, 1, 300)
    b = a + random.normal(0, 0.1, 300)
    found = analysis.srcc_intervals(true, [a, b, np.full(300, 5.0) + 1e-9 * true], resamples=200)
    width = [each.high - each.low for each in (found['srcc'][1], found['difference'][1])]
    assert width[1] < 0.5 * width[0]
    assert found['difference'][1].value == found['srcc'][1].value - found['srcc'][0].value
    assert found['srcc'][0].low < found['srcc'][0].value < found['srcc'][0].high
    assert all(math.isnan(each) for each in found['srcc'][2][:3])


def test_calibration_bins_are_equal_parts_by_predicted_std():
    bins = analysis.std_calibration(np.arange(20.0), np.arange(20.0)[::-1])
    assert [each.photographs for each in bins] == [5, 5, 5, 5]
    assert [each.predicted for each in bins] == [2, 7, 12, 17] and [each.true for each in bins] == [17, 12, 7, 2]
    assert analysis.std_calibration(np.ones(4), np.ones(4)) == []


def test_the_extremes():
    found = analysis.extremes([5, 5, 1, 9], [6, 4, 5, 8.5], 2)
    assert {name: list(indices) for name, indices in found.items()} == {
        'best': [3, 0], 'worst': [1, 2], 'mistaken': [2, 0]}


def test_the_published_predictions_give_their_metrics(shared):
    golden = np.load(str(shared / 'golden' / 'idealo_mobilenet_on_ava.npz'))
    expected = json.loads((shared / 'golden' / 'idealo_mobilenet_on_ava.json').read_text())
    shares = golden['votes'] / golden['votes'].sum(axis=1, keepdims=True)
    names = np.arange(len(shares)).astype(str).astype(object)
    found = evaluated(ava.Ratings(names, names, shares), golden['y_pred']).models[0]
    for name, value in found.metrics.items():
        assert value == pytest.approx(expected.get(name, value), abs=1e-9)  # published without KRCC
    assert found.srcc.low < expected['srcc_mean'] < found.srcc.high
    # The textbook's standard error of a rank correlation, 1.06 / sqrt(n - 3) on Fisher's scale, is of that size.
    expected_width = 2 * 1.96 * 1.06 / math.sqrt(len(shares) - 3) * (1 - expected['srcc_mean'] ** 2)
    assert found.srcc.high - found.srcc.low == pytest.approx(expected_width, rel=0.15)


# --- the files

def test_the_numbers_in_the_files_are_numpys(tmp_path):
    val = ratings(tmp_path, 30)
    predicted = predictions(val, 1)
    write(tmp_path / 'out', evaluated(val, predicted))
    with open(str(tmp_path / 'out' / 'predictions.csv'), newline='') as stream:
        header, *rows = csv.reader(stream)
    assert header == list(results.COLUMNS)
    means, stds = ([shares @ RANKS for shares in (val.distributions, predicted)],
                      [np.sqrt(((RANKS - (shares @ RANKS)[:, None]) ** 2 * shares).sum(axis=1))
                       for shares in (val.distributions, predicted)])
    assert [row[0] for row in rows] == list(val.ids)
    columns = np.column_stack([means[0], stds[0], means[1], stds[1], means[1] - means[0], predicted])
    np.testing.assert_allclose(np.array([row[1:] for row in rows], float), columns, rtol=0, atol=5.1e-7)
    found = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    model = found['models'][0]
    assert model['metrics']['srcc_mean'] == pytest.approx(spearmanr(*np.round(means, 6))[0], abs=1e-12)
    assert model['metrics']['emd_r1'] == pytest.approx(
        np.abs(np.cumsum(val.distributions, 1) - np.cumsum(predicted, 1)).mean(), abs=1e-12)
    assert model['mean_absolute_error'] == pytest.approx(np.abs(means[1] - means[0]).mean(), abs=1e-12)
    assert found['photographs'] == 30 and found['constant_predictor']['srcc_mean'] is None
    assert model['srcc_mean_interval']['resamples'] == analysis.RESAMPLES


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text = [], ''
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_page_stands_alone_and_escapes_names(tmp_path):
    val = ratings(tmp_path, 12, name='<script>alert({})</script>&"\udcff')
    write(tmp_path / 'out', evaluated(val, predictions(val, 1)))
    page = Page(tmp_path / 'out' / 'report.html')
    assert not [tag for tag, _ in page.tags if tag in ('script', 'link', 'iframe', 'object')]
    for _, attributes in page.tags:
        for name in ('src', 'href', 'xlink:href'):
            assert attributes.get(name, '#').startswith(('#', 'data:image/'))
    ids = [attributes['id'] for _, attributes in page.tags if 'id' in attributes]
    assert len(ids) == len(set(ids)) > 0
    assert 'http' not in (tmp_path / 'out' / 'report.html').read_text(encoding='utf-8')
    assert '<script>alert(0)</script>&"\\xff' in page.text
    assert page.text.count('no thumbnail') > 0 < len([tag for tag, _ in page.tags if tag == 'img'])
    for figure in ('0.510', '0.592', '0.612', '80.4', 'arXiv:1709.05424', 'the last of AVA.txt', 'figures of others'):
        assert figure in page.text


def test_an_earlier_report_is_replaced_and_nothing_else(tmp_path):
    val = ratings(tmp_path, 12)
    out = tmp_path / 'out'
    write(out, evaluated(val, predictions(val, 1), predictions(val, 2)))
    (out / 'notes.txt').write_text('mine')
    assert (out / 'predictions_2.csv').is_file() and 'Models compared' in (out / 'report.html').read_text()
    write(out, evaluated(val, predictions(val, 2)))
    assert sorted(os.listdir(str(out))) == ['calibration.png', 'histograms.png', 'metrics.json', 'notes.txt',
                                            'predictions.csv', 'report.html', 'scatter.png']
    assert 'Models compared' not in (out / 'report.html').read_text()
    for name in ('calibration', 'histograms', 'scatter'):
        with Image.open(str(out / f'{name}.png')) as image:
            assert min(image.size) > 500


def test_the_same_predictions_make_the_same_report(tmp_path):
    val = ratings(tmp_path, 12)
    for name in 'ab':
        write(tmp_path / name, evaluated(val, predictions(val, 1)), tmp_path)
    for path in (tmp_path / 'a').iterdir():
        assert path.read_bytes() == (tmp_path / 'b' / path.name).read_bytes(), path.name


def write_log(folder, run_id=RUN, epochs=3):
    folder.mkdir(exist_ok=True)
    epoch_log = log.EpochLog(str(folder), run_id, {'device': 'cpu', 'devices': 1, 'batchsize': 2})
    for epoch in range(1, epochs + 1):
        epoch_log.write(epoch, {**EPOCH, 'loss': 0.3 / epoch})
    if run_id is None:  # as before there were run ids
        (folder / 'summary.json').unlink()
    return str(folder)


def test_the_curves_are_the_models_own(tmp_path):
    folder = write_log(tmp_path / 'log')
    val = ratings(tmp_path, 12)
    found = evaluated(val, predictions(val, 1))
    found.models[0].metadata['run'] = {'id': RUN}
    write(tmp_path / 'out', found, folder)
    assert (tmp_path / 'out' / 'curve_loss.png').is_file() and (tmp_path / 'out' / 'curve_srcc.png').is_file()
    rows, sentence = report.training_curves([folder], found.models[0].metadata)
    assert [row['epoch'] for row in rows] == [1, 2]
    assert sentence == f'The epochs up to the model’s, 2, from {folder}/train.csv.'


OLD_METRICS = {'loss': 0.15, 'val_srcc': 0.3, 'val_lcc': None}  # those of EPOCH in the second row


@pytest.mark.parametrize('run_id, metadata, reason', [
    (RUN, {'run': {'id': RUN}}, 'the model’s metadata do not say after which epoch'),
    (RUN, {'epoch': 9, 'run': {'id': RUN}}, 'LOG has no row of epoch 9'),
    (RUN, {'epoch': 2, 'run': {'id': OTHER, 'metrics': OLD_METRICS}}, 'LOG is the log of another run'),
    (None, {'epoch': 2, 'run': {'metrics': {**OLD_METRICS, 'loss': 0.16}}}, 'LOG is the log of another run'),
    (RUN, {'epoch': 2, 'run': {'metrics': {**OLD_METRICS, 'val_srcc': 0.31}}}, 'LOG is the log of another run'),
    (None, {'epoch': 2}, 'LOG cannot be compared: the model’s metadata hold neither run id nor metrics'),
])
def test_no_curve_of_another_run_is_shown(tmp_path, run_id, metadata, reason):
    folder = write_log(tmp_path / 'log', run_id)
    rows, sentence = report.training_curves([folder], metadata)
    assert rows == [] and sentence.startswith('No training curves: ' + reason.replace('LOG', f'{folder}/train.csv'))


@pytest.mark.parametrize('run_id', [None, RUN])
def test_the_curves_of_a_model_without_run_id_are_those_with_its_metrics(tmp_path, run_id):
    folders = [str(tmp_path / 'none'), write_log(tmp_path / 'log', run_id)]
    rows, _ = report.training_curves(folders, {'epoch': 2, 'run': {'metrics': OLD_METRICS}})
    assert len(rows) == 2


def test_the_log_beside_the_checkpoint_comes_first_and_another_runs_is_passed_over(tmp_path):
    val = ratings(tmp_path, 12)
    beside, typed = write_log(tmp_path / 'model', OTHER), write_log(tmp_path / 'typed')
    found = evaluated(val, predictions(val, 1), paths=[f'{beside}/a.h5'])
    found.models[0].metadata['run'] = {'id': RUN}
    write(tmp_path / 'out', found, typed)
    assert f'from {typed}/train.csv' in Page(tmp_path / 'out' / 'report.html').text
    write_log(tmp_path / 'model', RUN)
    write(tmp_path / 'out', found, typed)
    assert f'from {beside}/train.csv' in Page(tmp_path / 'out' / 'report.html').text
    log.keep_other(beside, OTHER)
    assert len(report.training_curves([beside], found.models[0].metadata)[0]) == 2
    rows, sentence = report.training_curves([str(tmp_path / 'nowhere')], found.models[0].metadata)
    assert rows == [] and sentence == f'No training curves: {tmp_path}/nowhere/train.csv does not exist.'


@pytest.mark.parametrize('orientation, size', [('apply', (40, 60)), ('ignore', (60, 40))])
def test_images_are_shown_as_the_network_sees_them(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (60, 40)).save(str(tmp_path / 'a.jpg'), exif=exif)
    shown = report.thumbnail(str(tmp_path / 'a.jpg'), orientation == 'apply')
    assert Image.open(io.BytesIO(base64.b64decode(shown.split(',')[1]))).size == size
    val = ratings(tmp_path, 12)
    found = evaluated(val, predictions(val, 1))
    found.models[0].metadata['preprocessing'] = Preprocessing(32, orientation=orientation).as_json()
    write(tmp_path / 'out', found)
    assert ('turned as their EXIF data say' in Page(tmp_path / 'out' / 'report.html').text) == (orientation == 'apply')


@pytest.mark.parametrize('count', [1, 2, 7])
def test_a_model_that_predicts_the_same_for_everything(tmp_path, count):
    val = ratings(tmp_path, count)
    found = evaluated(val, np.tile(val.distributions.mean(axis=0), (count, 1)), predictions(val, 2))
    write(tmp_path / 'out', found)
    metrics = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert metrics['models'][0]['metrics']['srcc_mean'] is None
    assert metrics['models'][0]['srcc_mean_interval']['low'] is None
    text = Page(tmp_path / 'out' / 'report.html').text
    assert 'undefined' in text and 'undefined' in results.text(found)
    assert ('too few to part them' in text) == (count == 7)


def test_models_of_the_same_name_have_their_paths(tmp_path):
    val = ratings(tmp_path, 12)
    found = evaluated(val, *[predictions(val, 1)] * 3, paths=('/m/a.h5', '/n/a.h5', '/n/b.h5'))
    assert [model.name for model in found.models] == ['/m/a.h5', '/n/a.h5', 'b.h5']


# --- what can go wrong

def test_a_missing_package_is_named_before_anything_is_scored(tmp_path, monkeypatch):
    monkeypatch.setattr(errors.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(InputError, match=r'^--report needs matplotlib and Pillow, which .* Type .*'
                                         r'pip install -r .*requirements-report\.txt$'):
        report.check(str(tmp_path / 'out'))
    assert os.listdir(str(tmp_path)) == []


def test_a_file_where_the_folder_belongs(dataset, tmp_path):
    (tmp_path / 'out').write_text('')
    (tmp_path / 'model_007.h5').write_text('')  # is not opened before the folder is tried
    with pytest.raises(InputError, match='^cannot write .*/out: .*choose another --report'):
        score.main([*dataset.flags, '--val_size', '4', '--device', 'cpu', '--report', str(tmp_path / 'out'),
                    '--TMP_MODEL_PATF', str(tmp_path)])


@pytest.mark.parametrize('error, raised', [(KeyboardInterrupt(), KeyboardInterrupt),
                                           (OSError(28, 'No space left on device'), InputError)])
def test_an_interrupted_report_leaves_no_half_page(tmp_path, monkeypatch, error, raised):
    val = ratings(tmp_path, 12)
    out = tmp_path / 'out'
    write(out, evaluated(val, predictions(val, 1)))
    before = (out / 'report.html').read_bytes()
    replace = os.replace

    def stopped(source, target):
        if target.endswith('report.html'):
            raise error
        replace(source, target)

    monkeypatch.setattr(os, 'replace', stopped)
    with pytest.raises(raised):
        write(out, evaluated(val, predictions(val, 2)))
    assert (out / 'report.html').read_bytes() == before
    assert not list(out.glob('*.tmp'))


# --- eval.py as a whole

@pytest.fixture(scope='module')
def two_models(tmp_path_factory):
    """A folder with two small networks that tell images apart, each with a pre-processing of its own."""
    import tensorflow as tf
    layers = tf.keras.layers
    folder = tmp_path_factory.mktemp('models')
    for name, seed, size, resize in (('model_007.h5', 1, 32, 'bilinear'), ('other.h5', 2, 64, 'nearest')):
        tf.compat.v1.keras.backend.clear_session()
        image = layers.Input((size, size, 3))
        features = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation='relu')(image))
        model = tf.keras.Model(image, layers.Dense(10, activation='softmax')(features))
        random = np.random.RandomState(seed)
        model.set_weights([random.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
        checkpoint.save(model, str(folder / name), {'preprocessing': Preprocessing(size, resize).as_json()})
    return folder


def test_models_are_compared_on_the_same_images(dataset, two_models, tmp_path, capsys):
    flags = [*dataset.flags, '--val_size', '8', '--batchsize', '3', '--device', 'cpu', '--TMP_MODEL_PATF',
             str(two_models)]
    alone = [score.main([*flags, '--checkpoint', name]) for name in ('model_007.h5', 'other.h5')]
    capsys.readouterr()
    both = score.main([*flags, '--compare', 'other.h5', '--report', str(tmp_path / 'out')])
    assert both == pytest.approx(alone[0], abs=1e-6)
    found = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    for metrics, model in zip(alone, found['models']):
        assert model['metrics'] == pytest.approx(metrics, abs=1e-6)
    assert found['models'][1]['srcc_mean_difference_to_first']['value'] == pytest.approx(
        alone[1]['srcc_mean'] - alone[0]['srcc_mean'], abs=1e-6)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ['model_007.h5', 'other.h5', 'constant'] for line in lines)
    assert any(line.startswith('SRCC of other.h5 less that of model_007.h5: ') for line in lines)
    assert lines[-1] == f'loss  {both["emd_r2"]:f}     srcc {both["srcc_mean"]:f}'


def test_a_model_to_compare_with_that_is_not_there(dataset, two_models):
    with pytest.raises(InputError, match=r'no\.h5: no such checkpoint, but model_007\.h5'):
        score.main([*dataset.flags, '--val_size', '4', '--device', 'cpu', '--TMP_MODEL_PATF', str(two_models),
                    '--compare', 'no.h5'])


def test_a_model_is_not_compared_with_itself(dataset, two_models):
    with pytest.raises(InputError, match=r'^--compare: .*model_007\.h5 is named twice\. Name other models'):
        score.main([*dataset.flags, '--val_size', '4', '--device', 'cpu', '--TMP_MODEL_PATF', str(two_models),
                    '--compare', 'other.h5', 'model_007.h5'])


@pytest.mark.slow
def test_the_trained_model_on_real_photographs(shared, tmp_path):
    """The report's numbers are NumPy's, from the votes in AVA.txt and the predictions in predictions.csv."""
    models.import_weights(str(shared / 'weights' / 'nima_aesthetic_idealo_dequantised.h5'), str(tmp_path / 'model.h5'),
                          Preprocessing(resize='nearest', padding='symmetric'))
    lines = (shared / 'ava_sample' / 'AVA.txt').read_text().split('\n')
    lines = [line for line in lines if line]
    out = tmp_path / 'report'
    metrics = score.main(['--ava_dataset_path', str(shared / 'ava_sample' / 'AVA.txt'), '--base_images_path',
                          str(shared / 'ava_sample' / 'images'), '--val_size', '10', '--batchsize', '4', '--device',
                          'cpu', '--checkpoint', str(tmp_path / 'model.h5'), '--report', str(out)])
    votes = {line.split()[1]: np.array(line.split()[2:12], float) for line in lines}
    with open(str(out / 'predictions.csv')) as stream:
        rows = {row['id']: row for row in csv.DictReader(stream)}
    assert sorted(rows) == sorted(votes)
    true = np.array([votes[name] / votes[name].sum() for name in rows])
    predicted = np.array([[float(row[f'predicted_share_{number}']) for number in range(1, 11)]
                          for row in rows.values()])
    assert metrics['srcc_mean'] == pytest.approx(spearmanr(true @ RANKS, predicted @ RANKS)[0], abs=1e-9)
    assert metrics['lcc_mean'] == pytest.approx(np.corrcoef(true @ RANKS, predicted @ RANKS)[0, 1], abs=1e-5)
    distance = np.cumsum(true, 1) - np.cumsum(predicted, 1)
    assert metrics['emd_r1'] == pytest.approx(np.abs(distance).mean(), abs=1e-5)
    assert metrics['emd_r2'] == pytest.approx(np.sqrt((distance ** 2).mean(axis=1)).mean(), abs=1e-5)
    assert metrics['accuracy_gt5'] == np.mean((true @ RANKS > 5) == (predicted @ RANKS > 5))
    assert json.loads((out / 'metrics.json').read_text())['models'][0]['metrics'] == pytest.approx(metrics)
    # The mean scores that the model's makers published, for the five photographs that they name.
    for name, published in (('42039', 5.2282), ('42040', 4.6879), ('42041', 5.2865), ('42042', 5.1272),
                            ('42044', 5.7950)):
        assert float(rows[name]['predicted_mean_1_to_10']) == pytest.approx(published, abs=0.05)


# --- in a browser

@pytest.mark.skipif(check_report.find_chromium() is None, reason='no chromium and no google-chrome on the PATH')
def test_the_report_in_a_browser(tmp_path):
    val = ratings(tmp_path, 40, name='a_rather_long_name_of_an_image_without_any_blank_{}')
    scored = evaluated(val, predictions(val, 1), predictions(val, 2), predictions(val, 3), paths=(
        '/m/model_007.h5', '/m/a_rather_long_name_of_a_model_without_any_blank_2026-11.h5', '/m/aesthetic.h5'))
    scored.models[0].metadata['run'] = {'id': RUN}
    write(tmp_path / 'out', scored, write_log(tmp_path / 'log'))
    found = check_report.check(str(tmp_path / 'out'))
    assert {name: each['wrong'] for name, each in found.items()} == {
        name: [] for name in ('phone light', 'desk light', 'phone dark', 'desk dark', 'print')}
    extremes = analysis.extremes(val.distributions @ RANKS, predictions(val, 1) @ RANKS, 8)
    shown = len({index for indices in extremes.values() for index in indices if index % 2 == 0})
    assert found['phone dark']['images'] >= shown > 0


@pytest.mark.skipif(check_report.find_chromium() is None, reason='no chromium and no google-chrome on the PATH')
def test_the_browser_sees_what_is_wrong(tmp_path):
    (tmp_path / 'report.html').write_text(
        '<html><meta name="viewport" content="width=device-width"><img src="http://example.invalid/a.png" alt="far">'
        '<div style="width:1500px">wide</div><div class="wide" style="overflow-x:auto;width:9px">scrolls</div>'
        '<script>console.error("sick")</script></html>')
    browser = check_report.Chromium()
    try:
        wrong = '\n'.join(check_report.look(browser, tmp_path / 'report.html', 390, 'light')['wrong'])
    finally:
        browser.close()
    for complaint in ('pixels wide', 'cut off: <div style', 'cut off: <div class="wide', 'missing image: far', 'sick',
                      'asked a network: http://example.invalid/a.png'):
        assert complaint in wrong
