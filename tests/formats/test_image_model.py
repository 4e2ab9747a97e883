"""MODEL_image.onnx: the network sees the pixels that TensorFlow's own resize gives, whatever the size of the image."""
import importlib.util
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_dataset, make_model
from PIL import Image

from utils import export, score_utils
from utils.base.percentiles import AVA_MEANS
from utils.data import decoding
from utils.formats import image_model, onnx_model
from utils.formats.frozen import INPUT

MISSING = [name for name in onnx_model.EXPORT_PACKAGES if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f'requirements-export.txt is not installed: {MISSING}')

SIDES = [(1, 1), (1, 640), (640, 1), (5000, 17), (17, 5000), (224, 224), (223, 225), (448, 112), (480, 640), (2, 3),
         (333, 500), (1023, 767)]


@pytest.fixture(scope='module', params=[(224, 'nearest'), (224, 'bilinear'), (37, 'nearest'), (37, 'bilinear')],
                ids=lambda param: '-'.join(map(str, param)))
def exported(request, tmp_path_factory):
    """The path of an exported image model, its side and its resize."""
    folder = tmp_path_factory.mktemp('export')
    size, resize = request.param
    make_model(folder / 'model.h5', size, resize)
    images = make_dataset(folder / 'data', 2).images
    exif = Image.Exif()
    exif[0x0112] = 6  # no export turns images
    large = Image.fromarray(np.random.RandomState(0).randint(256, size=(900, 1300, 3)).astype(np.uint8))
    for name, more in (('large.jpg', {'exif': exif}), ('large.png', {}), ('large.bmp', {})):
        large.save(str(images / name), **more)
    card = export.main([str(folder / 'model.h5'), '--format', 'onnx', '--output', str(folder), '--batchsize', '3',
                        '--photographs', str(images)])
    assert sorted(card['files']) == ['model.onnx', 'model_image.onnx']
    return folder / 'onnx' / 'model_image.onnx', size, resize


def session_of(path, more=()):
    """ONNX Runtime's session of a model, which hands out what its nodes `more` compute too."""
    import onnx
    import onnxruntime
    model = onnx.load(str(path))
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in more)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=['CPUExecutionProvider'])


def images_of(sides):
    random = np.random.RandomState(0)
    return [random.randint(256, size=(height, width, 3)).astype(np.uint8) for height, width in sides]


def as_tensorflow_resizes(images, size, resize):
    """float32 [N, S, S, 3] in [-1, 1], as eval.py reads the same pixels from a file."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        contents = tf.compat.v1.placeholder(tf.string, ())
        pixels = decoding.decode(contents, size, resize)
        found = []
        for image in images:
            stream = io.BytesIO()
            Image.fromarray(image).save(stream, 'PNG')
            found.append(session.run(pixels, {contents: stream.getvalue()}))
    return (np.stack(found) - np.float32(127.5)) / np.float32(127.5)


def test_the_network_sees_the_same_pixels_to_the_last_bit(exported):
    path, size, resize = exported
    session = session_of(path, [INPUT])
    images = images_of(SIDES)
    for image, expected in zip(images, as_tensorflow_resizes(images, size, resize)):
        np.testing.assert_array_equal(session.run([INPUT], {image_model.IMAGE: image})[0], expected[np.newaxis])


def test_every_length_of_a_side_takes_the_same_pixels(exported):
    path, size, resize = exported
    session = session_of(path, [INPUT])
    images = images_of([(side, 2) for side in range(1, 1500, 7)] + [(1, 3 * side) for side in range(1, 1500, 11)])
    for image, expected in zip(images, as_tensorflow_resizes(images, size, resize)):
        np.testing.assert_array_equal(session.run([INPUT], {image_model.IMAGE: image})[0][0], expected)


def test_distribution_mean_and_std_are_those_of_the_network_alone(exported):
    path, size, resize = exported
    whole, network = session_of(path), session_of(path.parent / 'model.onnx')
    images = images_of(SIDES[:3])
    expected = network.run(None, {INPUT: as_tensorflow_resizes(images, size, resize)})[0]
    assert network.get_inputs()[0].shape[0] == 3  # a fixed batch size is the network's alone
    found = [whole.run(['distribution', 'mean', 'std'], {'image': image}) for image in images]
    shares, means, stds = (np.array(column) for column in zip(*found))
    assert (shares.shape, means.shape, stds.shape) == ((3, 10), (3,), (3,))
    np.testing.assert_allclose(shares, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(means, score_utils.mean_score(expected), rtol=0, atol=1e-5)
    np.testing.assert_allclose(stds, score_utils.std_score(expected), rtol=0, atol=1e-5)
    assert [(each.name, each.shape, each.type) for each in whole.get_inputs()] == [
        ('image', ['H', 'W', 3], 'tensor(uint8)')]


def test_the_model_says_how_its_images_are_prepared(exported):
    path, size, resize = exported
    found = {name: json.loads(text) for name, text in session_of(path).get_modelmeta().custom_metadata_map.items()}
    assert (found['image_size'], found['resize'], found['longest_side'], found['orientation']) == (
        size, resize, 640, 'apply')
    assert found['ava_mean_percentiles'] == AVA_MEANS.tolist()


def test_the_report_compares_both_models(exported):
    report = json.loads((exported[0].parent / 'parity.json').read_text())
    assert report['passed'] and report['photographs'] == 5 and list(report['largest_difference']) == [
        'ONNX Runtime', 'ONNX Runtime, model_image.onnx']
    card = json.loads((exported[0].parent / 'model_card.json').read_text())
    assert card['inputs']['model_image.onnx: image'] == 'uint8 [H, W, 3] of any size, RGB, upright'
    assert card['outputs']['model_image.onnx: std'] == 'float32, standard deviation of the votes'
