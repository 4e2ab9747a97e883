"""Model files that try something: each is a good one, altered. test_trust.py says how each is answered."""
import json
import os

import h5py
import numpy as np

KERNEL = 'model_weights/dense/dense/kernel:0'


def config_of(file):
    return json.loads(file.attrs['model_config'])


def layer(config, name):
    return next(each for each in config['config']['layers'] if each['name'] == name)


def network(change):
    """An alteration of the network's JSON; `change` gets it parsed."""
    def alter(file):
        config = config_of(file)
        config = change(config) or config
        file.attrs['model_config'] = json.dumps(config).encode()
    return alter


def settings(name, **values):
    return network(lambda config: layer(config, name)['config'].update(values))


def as_class(name, found):
    def change(config):
        layer(config, name)['class_name'] = found
    return network(change)


def inside(config):
    """The same network as a layer of another one, its Dense being a Lambda."""
    inner = json.loads(json.dumps(config))
    layer(inner, 'dense')['class_name'] = 'Lambda'
    source = config['config']['layers'][0]
    outer = {'name': 'outer', 'class_name': 'Model', 'config': inner['config'],
             'inbound_nodes': [[[source['name'], 0, 0, {}]]]}
    config['config'].update(layers=[source, outer], output_layers=[['outer', 1, 0]])


def fed_by(*sources):
    """The convolution takes these outputs."""
    return network(lambda config: layer(config, 'conv').update(inbound_nodes=[[[*source, {}] for source in sources]]))


def with_layer(kind, before='conv', **settings_):
    """The network with one more layer, before one of its own."""
    def change(config):
        layers = config['config']['layers']
        after = layer(config, before)
        layers.insert(layers.index(after), {
            'name': 'more', 'class_name': kind, 'config': {'name': 'more', **settings_},
            'inbound_nodes': after['inbound_nodes']})
        after['inbound_nodes'] = [[['more', 0, 0, {}]]]
    return network(change)


def of_any_size(file):
    with_layer('ZeroPadding2D', padding=[[100000, 100000]] * 2)(file)
    network(lambda config: config['config']['layers'][0]['config'].update(
        batch_input_shape=[None, None, None, 3]))(file)


def dangling(config):
    more = {'name': 'more', 'class_name': 'Dense', 'config': {'name': 'more', 'units': 2 ** 20},
            'inbound_nodes': [[['conv', 0, 0, {}]]]}
    config['config']['layers'].insert(2, more)


def twins(config):
    config['config']['layers'].append(layer(config, 'conv'))


def many_calls(config):
    dense = layer(config, 'dense')
    dense['inbound_nodes'] *= 30001


def nested(config):
    """Networks in networks, each of which calls the next one 30 times in series: few bytes, and 30 ** 4 calls."""
    made = {'class_name': 'ReLU', 'name': 'relu', 'config': {'name': 'relu'}}
    for depth in range(4):
        name, taken = f'net{depth}', [[f'in{depth}', 0, 0]]
        first = 1 if made['class_name'] == 'Model' else 0  # such a one has been called once, when it was made
        taken += [[made['name'], number + first, 0] for number in range(30)]
        made['inbound_nodes'] = [[source] for source in taken[:-1]]
        image = {'class_name': 'InputLayer', 'name': f'in{depth}', 'inbound_nodes': [],
                 'config': {'batch_input_shape': [None, 32, 32, 3], 'name': f'in{depth}'}}
        made = {'class_name': 'Model', 'name': name, 'config': {
            'name': name, 'layers': [image, made], 'input_layers': taken[:1], 'output_layers': taken[-1:]}}
    layers = config['config']['layers']
    made['inbound_nodes'] = [[[layers[0]['name'], 0, 0, {}]]]
    layers.insert(1, made)
    layer(config, 'conv')['inbound_nodes'] = [[['net3', 1, 0, {}]]]


def backwards(config):
    """A chain of layers that is listed from its end, and a layer of many calls before it: each round finds one."""
    layers = config['config']['layers']
    names = [layers[0]['name'], *(f'link{number}' for number in range(1000))]
    links = [{'name': name, 'class_name': 'ReLU', 'config': {'name': name}, 'inbound_nodes': [[[before, 0, 0, {}]]]}
             for before, name in zip(names, names[1:])]
    many = {'name': 'many', 'class_name': 'ReLU', 'config': {'name': 'many'},
            'inbound_nodes': [[[names[-1], 0, 0, {}]]] * 20000}
    layer(config, 'conv')['inbound_nodes'] = [[['many', 0, 0, {}]]]
    layers[1:1] = [many, *reversed(links)]


def trained(config):
    layer(config, 'conv')['inbound_nodes'][0][0][3] = {'training': True}


def added_up(config):
    """A large tensor plus itself as often as it takes to fill any memory."""
    layers = config['config']['layers']
    large = {'name': 'large', 'class_name': 'UpSampling2D', 'config': {'name': 'large', 'size': [64, 64]},
             'inbound_nodes': [[[layers[0]['name'], 0, 0, {}]]]}
    copies = [{'name': f'copy{number}', 'class_name': 'Activation', 'inbound_nodes': [[['large', 0, 0, {}]]],
               'config': {'name': f'copy{number}', 'activation': 'relu'}} for number in range(30)]
    add = {'name': 'add', 'class_name': 'Add', 'config': {'name': 'add'},
           'inbound_nodes': [[[copy['name'], 0, 0, {}] for copy in copies]]}
    layers[1:1] = [large, *copies, add]
    layer(config, 'conv')['inbound_nodes'] = [[['add', 0, 0, {}]]]


def wrapped(config):
    dense = layer(config, 'dense')
    dense.update(class_name='TimeDistributed', config={'name': 'dense', 'layer': {
        'class_name': 'Lambda', 'config': {'function': ['x', None, None]}}})


def called_with_code(config):
    layer(config, 'dense')['inbound_nodes'][0][0][3] = {'function': 'os.system'}


def replaced(make):
    """The kernel in the place of which `make` puts something else."""
    def alter(file):
        array = file[KERNEL][()]
        del file[KERNEL]
        make(file, array)
    return alter


def stored_elsewhere(file, array):
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_external(b'/etc/hostname', 0, array.nbytes)
    h5py.h5d.create(file.id, KERNEL.encode(), h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(array.shape), how)


def put(name, value):
    return lambda file: file.__setitem__(name, value)


def virtual(file, array):
    layout = h5py.VirtualLayout(array.shape, 'f4')
    layout[:] = h5py.VirtualSource('/etc/hostname', 'secret', array.shape)
    file.create_virtual_dataset(KERNEL, layout)


def array_of(**how):
    return replaced(lambda file, array: file.create_dataset(KERNEL, **how))


def attribute(name, value, where='/'):
    return lambda file: file[where].attrs.__setitem__(name, value)


def text_lists(file):
    file['model_weights'].attrs.create('layer_names', np.array(['x'] * 1000, object),
                                       dtype=h5py.special_dtype(vlen=str))


def metadata(image_size=32, **run):
    return attribute('nima', json.dumps({'preprocessing': {
        'image_size': image_size, 'resize': 'bilinear', 'scaling': '(x - 127.5) / 127.5', 'padding': 'tf'},
                                         'run': run}))


def deep(file):
    group = file
    for _ in range(40):
        group = group.create_group('a')


ALTERED = {  # name -> alteration, what is said about the file
    'a Lambda': (as_class('dense', 'Lambda'), "a layer of the class 'Lambda', which may run code"),
    'a Lambda in a network inside': (network(inside), "a layer of the class 'Lambda', which may run code"),
    'a Lambda in a wrapper': (network(wrapped), "a layer of the class 'TimeDistributed'"),
    'a layer for sequences': (as_class('conv', 'Conv1D'), "a layer of the class 'Conv1D', which .* is not for images"),
    'an operation': (as_class('dense', 'TensorFlowOpLayer'), "a layer of the class 'TensorFlowOpLayer'"),
    'an unknown class': (as_class('dense', 'os.system'), "a layer of the class 'os.system'"),
    'a class that is no text': (as_class('dense', ['Dense']), 'where a layer is expected'),
    'a function': (settings('dense', function='os.system'), "with 'function' 'os.system', which this version"),
    'a module': (settings('dense', module='os'), "with 'module' 'os', which this version"),
    'an activation': (settings('dense', activation='K'), "with 'activation' 'K', which this version"),
    'an activation with code': (settings('dense', activation={'class_name': 'Lambda'}), "with 'activation' {"),
    'an initialiser': (settings('dense', kernel_initializer={'class_name': 'Lambda', 'config': {}}),
                       "with 'kernel_initializer' {"),
    'a regulariser': (settings('dense', bias_regularizer={'class_name': 'L1L2', 'config': {'l1': {'a': 1}}}),
                      "with 'bias_regularizer' {"),
    'a call with code': (network(called_with_code), 'a layer Dense that is called with'),
    'too many units': (settings('dense', units=2 ** 40), "with 'units' 1099511627776, which this version"),
    'nine units': (settings('dense', units=9), 'a network whose last layer has 9 outputs'),
    'two outputs': (network(lambda config: config['config'].update(output_layers=[['dense', 0, 0]] * 2)),
                    'a network with other than one output'),
    'no layers': (network(lambda config: {'class_name': 'Model', 'config': {'layers': {}}}), 'a network with no lay'),
    'another kind of network': (network(lambda config: {**config, 'class_name': 'Evil'}), "of the class 'Evil'"),
    'a list for a network': (attribute('model_config', b'[1]'), 'where a layer is expected'),
    'many layers': (network(lambda config: config['config'].update(layers=config['config']['layers'] * 1000)),
                    'a network of 4000 layers'),
    'deep JSON': (attribute('model_config', b'[' * 100000), 'a network that is nested more than 64 deep'),
    'JSON of depth 100': (attribute('model_config', b'[' * 100 + b']' * 100), 'a network that is nested more than 64'),
    'a long number': (attribute('model_config', b'9' * 10 ** 6), r'a network that is no JSON \(a number of 1000000'),
    'no JSON': (attribute('model_config', b'{'), 'a network that is no JSON'),
    'a layer that feeds itself': (fed_by(['conv', 0, 0]), "cannot be put in order: 'conv' needs an output that is nev"),
    'a layer that a later one feeds': (fed_by(['dense', 0, 0]), 'cannot be put in order: '),
    'a call that is never made': (fed_by(['input_1', 1, 0]), "cannot be put in order: 'conv' needs"),
    'a layer that is not there': (fed_by(['nothing', 0, 0]), "takes the output of 'nothing', which is none of its"),
    'an output that is not there': (fed_by(['input_1', 0, 1]), "'conv' takes .*, which does not exist"),
    'an output before the first': (fed_by(['input_1', -1, 0]), 'a layer .*conv.* that is called with'),
    'an end that is not there': (network(lambda config: config['config'].update(output_layers=[['dense', 1, 0]])),
                                 "'the network' takes .*dense.*, which does not exist"),
    'a layer for nothing': (network(dangling), "a network whose layer 'more' leads to no output"),
    'two layers of a name': (network(twins), 'a network whose layers have no names of their own'),
    'many calls': (network(many_calls), 'a network whose layers take more than 30000 outputs'),
    'calls in calls': (network(nested), 'a network whose layers take more than 30000 outputs'),
    'layers in an order against Keras': (network(backwards), 'in an order that Keras finds only after 205[0-9]* tries'),
    'a layer in training': (network(trained), r"a layer Conv2D that is called with .*'training': True"),
    'a dilation': (settings('conv', dilation_rate=[2 ** 16, 1]), "with 'dilation_rate' .*which this version"),
    'a magnification': (with_layer('UpSampling2D', size=[1000, 1000]), 'values for an image of 3072, more than'),
    'a border': (with_layer('ZeroPadding2D', padding=[[100000, 100000]] * 2), 'values for an image of 3072, more than'),
    'a border of an image of any size': (of_any_size, 'values for an image of 3072, more than'),
    'an image of a million pixels a side': (network(lambda config: config['config']['layers'][0]['config'].update(
        batch_input_shape=[None, 10 ** 6, 10 ** 6, 3])), 'a network from .*1000000.* expected a NIMA'),
    'channels between': (with_layer('SeparableConv2D', filters=3, kernel_size=[1, 1], depth_multiplier=2 ** 20), '.'),
    'much at the same time': (network(added_up), 'a network with .* values for an image of 3072, more than 2684'),
    'an array in another file': (replaced(stored_elsewhere), 'an array whose numbers are in another file'),
    'an external link': (replaced(lambda file, array: put(KERNEL, h5py.ExternalLink('/etc/x.h5', 'secret'))(file)),
                         r'a link \(ExternalLink\)'),
    'a soft link': (replaced(lambda file, array: put(KERNEL, h5py.SoftLink('/model_weights'))(file)),
                    r'a link \(SoftLink\)'),
    'a virtual array': (replaced(virtual), 'a virtual array, whose numbers are in other files'),
    'a cycle': (lambda file: put('model_weights/again', file['model_weights'])(file), 'a second name of another part'),
    'a named type': (put('type', np.dtype('f4')), 'neither a group nor an array'),
    'objects': (array_of(shape=(3,), dtype=h5py.special_dtype(vlen=str)), 'an array of something other than numbers'),
    'pickled bytes': (array_of(data=np.void(b'\x80\x03cos\nsystem\n.')), 'an array of something other than numbers'),
    'a structured array': (array_of(shape=(3,), dtype=[('a', 'f4'), ('b', 'f4')]), 'an array of something other'),
    'references': (array_of(shape=(3,), dtype=h5py.special_dtype(ref=h5py.Reference)), 'something other than numbers'),
    'a huge array': (array_of(shape=(2 ** 40,), dtype='f4', chunks=(1024,)), 'of which none are stored'),
    'a bomb': (array_of(data=np.zeros(10 ** 7, 'f4'), compression='gzip'), 'declare 400.* bytes in a file of'),
    'a strange filter': (array_of(data=np.zeros(100, 'f4'), compression='lzf'), 'a way that Keras does not use'),
    'deep groups': (deep, 'parts more than 32 deep'),
    'a long attribute': (text_lists, 'may be longer than 16777216 bytes'),
    'an odd attribute': (attribute('x', np.void(b'123')), 'an attribute .* that is neither text nor numbers'),
    'metadata of odd type': (metadata(seed='1'), "found '1' as metadata.run.seed, expected another type"),
    'half a pixel': (metadata(image_size=32.0), "its pre-processing has 'image_size' = 32.0, which this version"),
    'no number': (metadata(metrics={'loss': float('nan')}), 'found metadata that is no JSON'),
    'a list for metadata': (metadata(data=[1]), r'found \[1\] as metadata.run.data, expected an object'),
    'changed numbers': (lambda file: file[KERNEL].__setitem__(0, 7), 'contents that differ from their checksum'),
    'other shapes': (array_of(data=np.zeros((4, 5), 'f4')), '.'),
    'a list for training': (attribute('training_config', b'[]'), '.'),
    'training that is no JSON': (attribute('training_config', b'{'), 'training settings that is no JSON'),
}

TOO_MUCH = ('a magnification', 'a border', 'a border of an image of any size', 'an image of a million pixels a side',
            'channels between', 'much at the same time')  # known once the network is built, by those who build it


def make_all(good, folder):
    """Write all of them as FOLDER/NUMBER.h5; returns {name: (path, what is said)}."""
    made = {}

    def path_of(name, said):
        path = folder / f'{len(made):03d}.h5'
        made[name] = str(path), said
        return path

    content = good.read_bytes()
    for name, (alter, said) in ALTERED.items():
        path = path_of(name, said)
        path.write_bytes(content)
        with h5py.File(str(path), 'r+') as file:
            if name not in ('changed numbers',):
                del file.attrs['nima_sha256']  # whoever alters a file can also write the checksum
            alter(file)
    for share in range(10):
        path_of(f'the first {share * 10} %', 'found (an empty file|a truncated or damaged HDF5 file)').write_bytes(
            content[:len(content) * share // 10])
    random = np.random.RandomState(0)
    noise = random.bytes(10000)
    path_of('random bytes', 'a file that is not HDF5').write_bytes(noise)
    path_of('random bytes after the start', 'a truncated or damaged HDF5 file').write_bytes(content[:8] + noise)
    damaged = content[:3000] + noise + content[13000:]  # which ends a process that reads it with HDF5 1.10.4
    path_of('random bytes in the middle', 'found a .*damaged HDF5 file').write_bytes(damaged)
    os.mkfifo(str(path_of('a pipe', 'found something that is no ordinary file')))
    os.mkdir(str(path_of('a folder', 'found something that is no ordinary file')))
    large = path_of('5 GB', 'found 5368709120 bytes, more than the 4294967296 that a model may have')
    with open(str(large), 'wb') as stream:
        stream.truncate(5 << 30)
    return made
