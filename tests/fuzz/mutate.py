"""Damage, seeded: bytes as disks and networks damage them, values of JSON as people and attackers do."""
import copy

NUMBERS = 0, -1, 1, 2, 10, 255, 2 ** 16, 2 ** 20, 2 ** 31, 2 ** 63, 10 ** 30, 0.5, -0.0, 1e308
TEXTS = '', 'a', '0', 'NaN', '../x', '\0', '\ud800', 'x' * 5000, '中', '=1+1', '"', ',', '\n', '1e999', '9' * 5000


def mutated_bytes(random, data, alphabet=None):
    """`data` with one to four places changed: bits, bytes, parts cut out, doubled, exchanged or filled."""
    data = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(data) + 1)
        length = min(len(data) - at, random.choice((1, 2, 4, 16, 256, len(data))))
        kind = random.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            data[at:at + 1] = bytes([random.choice(alphabet) if alphabet else random.randrange(256)])
        elif kind == 2:
            del data[at:at + length]
        elif kind == 3:
            data[at:at] = data[at:at + length]
        elif kind == 4:
            data[at:at + length] = bytes([random.choice((0, 255, random.randrange(256)))]) * length
        elif kind == 5:
            other = random.randrange(len(data) + 1)
            data[at:at + length] = data[other:other + length]
        else:
            del data[at:]
    return bytes(data)


def mutated_value(random, value, words=()):
    """A copy of a JSON value in which one to three parts are replaced, removed, doubled or exchanged.

    `words` are texts that mean something in it.
    """
    value = copy.deepcopy(value)
    for _ in range(random.randint(1, 3)):
        holder, key = random.choice(places([value]))
        kind = random.randrange(5)
        if kind == 0:
            other, other_key = random.choice(places([value]))
            holder[key] = copy.deepcopy(other[other_key])
        elif kind == 1 and isinstance(holder, list):
            holder.insert(random.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
        elif kind == 2 and holder is not value and len(holder) > 1:
            del holder[key]
        elif kind == 3:
            holder[key] = random.choice([*NUMBERS, None, True, [], {}])
        else:
            holder[key] = random.choice([*TEXTS, *words, *words])
    return value


def places(value):
    """All (holder, key) of a JSON value, the value itself in a list."""
    found, waiting = [], [value]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        found += [(holder, key) for key in keys]
        waiting += [holder[key] for key in keys if isinstance(holder[key], (dict, list))]
    return found


# What people choose, by a setting's name; most networks with them can be built.
SETTINGS = {
    'filters': (1, 4, 8), 'units': (10, 10, 1), 'kernel_size': ([1, 1], [3, 3], [5, 2], [40, 40]),
    'strides': ([1, 1], [2, 2], [3, 1]), 'padding': ('valid', 'same'), 'pool_size': ([2, 2], [3, 1]),
    'activation': ('linear', 'relu', 'softmax', 'tanh', 'elu', 'softsign'), 'use_bias': (True, False),
    'dilation_rate': ([1, 1], [2, 2]), 'max_value': (None, 6.0), 'negative_slope': (0.0, 0.1), 'threshold': (0.0, 1.0),
    'trainable': (True, False), 'dtype': ('float32', 'float64', 'float16'), 'name': ('conv', 'other'),
    'data_format': ('channels_last', 'channels_first'), 'batch_input_shape': ([None, None, None, 3], [1, 32, 32, 3],
                                                                              [None, 64, 64, 3], [None, 32, 48, 3])}
INSERTED = (
    ('Activation', {'activation': 'tanh'}), ('ReLU', {'max_value': 6.0}), ('Dropout', {'rate': 0.5}), ('ELU', {}),
    ('BatchNormalization', {'axis': [3], 'momentum': 0.9, 'epsilon': 0.001}), ('GaussianNoise', {'stddev': 1.0}),
    ('ZeroPadding2D', {'padding': [[0, 1], [2, 0]]}), ('Cropping2D', {'cropping': [[1, 0], [0, 3]]}),
    ('UpSampling2D', {'size': [2, 3]}), ('MaxPooling2D', {'pool_size': [2, 2], 'strides': [1, 2]}), ('Flatten', {}),
    ('Conv2D', {'filters': 4, 'kernel_size': [3, 3]}), ('Dense', {'units': 10}), ('Reshape', {'target_shape': [-1]}),
    ('Softmax', {'axis': -1}), ('Softmax', {'axis': 0}), ('Permute', {'dims': [2, 1, 3]}), ('PReLU', {}))


def mutated_network(random, network):
    """A copy of a network in Keras's JSON with one to three changes as people make them."""
    network = copy.deepcopy(network)
    for number in range(random.randint(1, 3)):
        layers = network['config']['layers']
        layer = random.choice(layers)
        inner = layer['config'].get('layers') if isinstance(layer['config'], dict) else None
        settings = random.choice(inner)['config'] if inner else layer['config']
        sources = [source for each in layers for call in each['inbound_nodes'] for source in call]
        source = random.choice(sources)
        kind = random.randrange(6)
        known = [key for key in settings if key in SETTINGS]
        if kind <= 1 and known:
            key = random.choice(known)
            settings[key] = random.choice(SETTINGS[key])
        elif kind == 2:
            name, (class_name, more) = f'new_{number}', random.choice(INSERTED)
            layers.insert(random.randrange(1, len(layers) + 1), {
                'class_name': class_name, 'name': name, 'config': {'name': name, **more},
                'inbound_nodes': [[list(source)]]})
            source[:3] = name, 0, 0
        elif kind == 3:
            source[0] = random.choice([each[0] for each in sources])
        elif kind == 4:
            random.shuffle(layers)
        elif len(layer['inbound_nodes']) == 1 and len(layer['inbound_nodes'][0]) == 1:  # the layer is left out
            for each in sources:
                if each[0] == layer['name']:
                    each[:3] = layer['inbound_nodes'][0][0][:3]
            layers.remove(layer)
    return network
