"""Which networks of a file are built: Keras's own layers, no code, an output of ten.

The file's JSON is checked before Keras sees it; nothing here builds or runs what it checks.
"""
from typing import Any, Dict, FrozenSet, Iterator

from utils.base.scores import SCORES
from utils.base.text import short
from utils.model import trust_graph
from utils.model.trust import DistrustError

LAYER_COUNT = 3000  # NASNetLarge has 1040
SIZE = 1 << 20      # of a whole number in a network, such as a layer's units
DILATION = 64       # of a convolution, whose memory grows with its square; published ones are up to 36


def _words(text: str) -> FrozenSet[str]:
    return frozenset(text.split())


LAYERS = _words('''
    InputLayer Dense Conv2D Conv2DTranspose SeparableConv2D DepthwiseConv2D
    BatchNormalization BatchNormalizationV1 BatchNormalizationV2 LayerNormalization
    Activation ReLU LeakyReLU PReLU ELU ThresholdedReLU Softmax
    MaxPooling2D AveragePooling2D GlobalMaxPooling2D GlobalAveragePooling2D ZeroPadding2D Cropping2D UpSampling2D
    Add Subtract Multiply Average Maximum Minimum Concatenate Dot Flatten Reshape Permute
    ActivityRegularization Dropout SpatialDropout2D AlphaDropout GaussianDropout GaussianNoise''')
_ACTIVATIONS = _words('linear relu softmax sigmoid tanh elu selu softplus softsign hard_sigmoid exponential swish')
_HELPERS = {  # what a setting may name, by the end of its key
    'initializer': _words('''
        Zeros Ones Constant RandomNormal RandomUniform TruncatedNormal VarianceScaling Orthogonal Identity
        GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform zeros ones constant random_normal
        random_uniform truncated_normal orthogonal identity glorot_normal glorot_uniform he_normal he_uniform
        lecun_normal lecun_uniform'''),
    'regularizer': frozenset({'L1L2', 'L1', 'L2', 'l1', 'l2', 'l1_l2'}),
    'constraint': _words('MaxNorm NonNeg UnitNorm MinMaxNorm max_norm non_neg unit_norm min_max_norm'),
}
_PLAIN = _words('''
    name trainable batch_input_shape sparse ragged units filters kernel_size strides padding data_format
    dilation_rate groups use_bias depth_multiplier axis momentum epsilon center scale renorm renorm_momentum fused
    rate noise_shape seed pool_size keepdims max_value negative_slope threshold target_shape size interpolation
    cropping alpha theta shared_axes axes normalize dims stddev l1 l2 output_padding''')
_DTYPES = frozenset({'float16', 'float32', 'float64'})
_PASSES_ON = frozenset({'Activation', 'Softmax', 'Dropout', 'Flatten', 'Reshape', 'GlobalAveragePooling2D',
                        'GlobalMaxPooling2D'})  # layers after the one with ten outputs


def check(config: Any) -> None:
    """DistrustError unless the parsed `model_config` is a network of Keras's own layers with an output of ten."""
    layers = list(_layers(config))
    if len(layers) > LAYER_COUNT:
        raise DistrustError(f'a network of {len(layers)} layers')
    for layer in layers:
        _check_layer(layer)
    trust_graph.check(config)
    _check_output(config)


def _layers(network: Any) -> Iterator[Dict[str, Any]]:
    """All layers of a network, those of networks inside it too; DistrustError where one is not of Keras's form."""
    waiting = [network]
    while waiting:
        settings = _settings(waiting.pop())
        if isinstance(settings, list):  # a Sequential of older Keras versions
            settings = {'layers': settings}
        unknown = set(settings) - {'name', 'layers', 'input_layers', 'output_layers', 'build_input_shape', 'trainable',
                                   'batch_input_shape'}
        if unknown or not isinstance(settings.get('layers'), list):
            raise DistrustError(f'a network with {sorted(unknown) or "no layers"}')
        for layer in settings['layers']:
            if _class(layer) in trust_graph.NETWORKS:
                waiting.append(layer)
                _check_calls(layer)
            else:
                yield layer


def _class(part: Any) -> str:
    name = part.get('class_name') if isinstance(part, dict) else None
    if not isinstance(name, str):
        raise DistrustError(f'a network with {short(part)} where a layer is expected')
    return name


def _settings(part: Any) -> Any:
    """The `config` of a network."""
    if _class(part) not in trust_graph.NETWORKS:
        raise DistrustError(f'a network of the class {short(part["class_name"])}')
    if not isinstance(part.get('config'), (dict, list)):
        raise DistrustError('a network without settings')
    return part['config']


def _check_layer(layer: Dict[str, Any]) -> None:
    name = _class(layer)
    if name not in LAYERS:
        raise DistrustError(f'a layer of the class {short(name)}, which may run code of its own or is not for images')
    if set(layer) - {'class_name', 'config', 'name', 'inbound_nodes'} or not isinstance(layer.get('config'), dict):
        raise DistrustError(f'a layer {name} with {sorted(set(layer))}')
    _check_calls(layer)
    for key, value in layer['config'].items():
        _check_setting(name, key, value)


def _check_calls(layer: Dict[str, Any]) -> None:
    """DistrustError where a layer is called with anything but the outputs of others.

    In a training mode, BatchNorm and Dropout would make an image's scores depend on its batch or on chance.
    """
    calls = layer.get('inbound_nodes', [])
    if not isinstance(calls, list):
        raise DistrustError(f'a layer {_class(layer)} that is called with {short(calls)}')
    for call in calls:
        for source in call if isinstance(call, list) else [call]:
            options = source[3] if isinstance(source, list) and len(source) == 4 else {}
            if not isinstance(source, list) or not isinstance(options, dict) or set(options) - {'training', 'mask'} or (
                    any(value is not None and value is not False for value in options.values())):
                raise DistrustError(f'a layer {_class(layer)} that is called with {short(source)}')


def _check_setting(layer: str, key: str, value: Any) -> None:
    """DistrustError unless Keras's layers have such a setting, of plain values or Keras's own parts."""
    kind = key.rpartition('_')[2]
    where = f'a layer {layer} with {short(key)} {short(value)}'
    if key == 'activation':
        known = value is None or value in _ACTIVATIONS if isinstance(value, (str, type(None))) else False
    elif key == 'dtype':
        known = value is None or (isinstance(value, str) and value in _DTYPES)
    elif kind in _HELPERS:
        known = value is None or _is_helper(kind, value)
    else:
        known = key in _PLAIN and _is_plain(value, DILATION if key == 'dilation_rate' else SIZE)
    if not known:
        raise DistrustError(f'{where}, which this version does not know')


def _is_helper(kind: str, value: Any) -> bool:
    """Whether a value is the name of Keras's own initialiser, regulariser or constraint, or that with numbers."""
    if isinstance(value, str):
        return value in _HELPERS[kind]
    return (isinstance(value, dict) and set(value) <= {'class_name', 'config'}
            and isinstance(value.get('class_name'), str) and value['class_name'] in _HELPERS[kind]
            and isinstance(value.get('config'), dict)
            and all(isinstance(part, (int, float, str, type(None))) and _is_plain(part)
                    for part in value['config'].values()))


def _is_plain(value: Any, limit: int = SIZE) -> bool:
    """Whether a setting is a number of an ordinary size, a short text, or a list of these."""
    if isinstance(value, list):
        return len(value) < 1000 and all(_is_plain(part, limit) for part in value)
    if isinstance(value, str):
        return len(value) < 1000
    return value is None or (isinstance(value, (int, float)) and abs(value) <= limit)


def _check_output(config: Any) -> None:
    """DistrustError unless the last layer with weights has ten outputs."""
    settings = config['config']
    layers = settings['layers'] if isinstance(settings, dict) else settings
    by_name = {layer.get('name', layer['config'].get('name')): layer for layer in layers
               if isinstance(layer.get('config'), dict)}
    last = layers[-1] if layers else {}
    if isinstance(settings, dict) and 'output_layers' in settings:
        outputs = settings['output_layers']
        if not isinstance(outputs, list) or len(outputs) != 1:
            raise DistrustError('a network with other than one output')
        last = by_name.get(_first_name(outputs))
    for _ in layers:
        if last is None or _class(last) not in _PASSES_ON:
            break
        sources = last.get('inbound_nodes') or []
        last = by_name.get(_first_name(sources)) if sources else layers[max(layers.index(last) - 1, 0)]
    if last is not None and _class(last) in trust_graph.NETWORKS:
        _check_output(last)
        return
    found = (last or {}).get('config', {})
    count = found.get('units', found.get('filters'))
    if count != len(SCORES):
        raise DistrustError(f'a network whose last layer has {short(count)} outputs')


def _first_name(calls: Any) -> Any:
    """The first layer's name in nested lists such as [[["dense", 0, 0, {}]]]."""
    while isinstance(calls, list) and calls:
        calls = calls[0]
    return calls if isinstance(calls, str) else None
