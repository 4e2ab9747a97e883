"""Whether the layers of a network can be put in order: before Keras, which would look for that order for ever.

Keras builds a network from its JSON by trying every call of a layer again until the outputs that it takes are there.
What follows finds that order without building anything, and how much Keras would have to do.
"""
import heapq
from typing import Any, Dict, List, NamedTuple, Set, Tuple

from utils.base.text import short
from utils.model.trust import DistrustError

SOURCES = 30000  # layer outputs that all calls take, a network's own at each of its calls; NASNetLarge has 1300
TRIES = 10 ** 6  # of calls, until Keras has the order; some thousand where layers are listed as Keras writes them
NETWORKS = frozenset({'Model', 'Functional', 'Sequential'})

Source = Tuple[str, int, int]  # a layer's name, which of its calls, which of that call's outputs


class _Size(NamedTuple):
    """What a network, or a layer, amounts to where it is called once."""

    outputs: int = 1
    sources: int = 1  # that are taken within


def check(network: Dict[str, Any]) -> None:
    """DistrustError unless a parsed network can be built from its input on.

    Every name, call and output that a layer takes has to exist, in networks inside it too, and every layer has to lead
    to an output, as in each network that Keras writes. trust_network.py has checked the layers themselves.
    """
    _size(network)


def _size(network: Dict[str, Any]) -> _Size:
    settings = network['config']
    layers = settings['layers'] if isinstance(settings, dict) else settings
    inside = [_size(layer) if layer['class_name'] in NETWORKS else _Size() for layer in layers]
    if network['class_name'] == 'Sequential':
        return _Size(inside[-1].outputs if inside else 1, _limited(sum(size.sources for size in inside)))
    names = [layer.get('name') for layer in layers]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise DistrustError('a network whose layers have no names of their own')
    outputs_of = {name: size.outputs for name, size in zip(names, inside)}
    calls = {layer['name']: [_sources(layer['name'], call) for call in _list(layer.get('inbound_nodes', []), layer)]
             for layer in layers}
    taken = _limited(sum(max(1, sum(map(len, calls[name]))) * size.sources for name, size in zip(names, inside)))
    there = _order(layers, calls)
    ends = [end for key in ('input_layers', 'output_layers') for end in _ends(settings, key)]
    for name, sources in [*((name, call) for name, each in calls.items() for call in each), ('the network', ends)]:
        for source in sources:
            _require(source, name, there, outputs_of)
    outputs = _ends(settings, 'output_layers')
    _require_reached(names, calls, outputs)
    return _Size(len(outputs), taken)


def _limited(sources: int) -> int:
    if sources > SOURCES:
        raise DistrustError(f'a network whose layers take more than {SOURCES} outputs of others')
    return sources


def _list(value: Any, layer: Dict[str, Any]) -> List[Any]:
    if not isinstance(value, list):
        raise DistrustError(f'a layer {short(layer["name"])} whose calls are {short(value)}')
    return value


def _sources(name: str, call: Any) -> List[Source]:
    """What one call of the layer `name` takes: [["conv1", 0, 0, {}], ...]."""
    if not isinstance(call, list) or not call:
        raise DistrustError(f'a layer {short(name)} that is called with {short(call)}')
    return [_source(name, each) for each in call]


def _source(name: str, source: Any) -> Source:
    if not isinstance(source, list) or len(source) not in (3, 4) or not isinstance(source[0], str) or not all(
            isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in source[1:3]):
        raise DistrustError(f'a layer {short(name)} that is called with {short(source)}')
    return source[0], source[1], source[2]


def _ends(settings: Dict[str, Any], key: str) -> List[Source]:
    """The inputs or outputs of a network: [["dense", 0, 0]], or the one in it alone."""
    ends = settings.get(key)
    if isinstance(ends, list) and len(ends) == 3 and isinstance(ends[0], str):
        ends = [ends]
    if not isinstance(ends, list) or not ends:
        raise DistrustError(f'a network whose {key} are {short(ends)}')
    return [_source('the network', end) for end in ends]


def _order(layers: List[Dict[str, Any]], calls: Dict[str, List[List[Source]]]) -> Dict[str, int]:
    """How often each layer is called in the end, counted as Keras does; DistrustError where some calls never can be.

    An input has one from the start, and so has a network inside another one that knows the shape of its own.
    """
    there = {layer['name']: int(_knows_its_shape(layer)) for layer in layers}
    owners: List[str] = []               # of each call, in the order in which Keras looks at them
    lacks: List[int] = []                # of each call: how many of its sources are not there yet
    waiting: Dict[Tuple[str, int], List[int]] = {}  # a call of a layer -> the calls that take its output
    ready: List[Tuple[int, int]] = []    # a heap: the round in which Keras makes a call, and which one
    for name, call in ((layer, call) for layer in there for call in calls[layer]):
        unknown = [source for source, _, _ in call if source not in there]
        if unknown:
            raise DistrustError(f'a network that takes the output of {short(unknown[0])}, which is none of its layers')
        absent = [(source, number) for source, number, _ in call if number >= there[source]]
        for each in absent:
            waiting.setdefault(each, []).append(len(owners))
        if not absent:
            ready.append((1, len(owners)))
        owners.append(name)
        lacks.append(len(absent))
    tries = 0
    while ready:
        turn, index = heapq.heappop(ready)
        tries += turn
        name = owners[index]
        there[name] += 1
        for later in waiting.pop((name, there[name] - 1), ()):
            lacks[later] -= 1
            if not lacks[later]:
                heapq.heappush(ready, (turn + (later < index), later))
    if waiting:
        never = min(name for name, number in zip(owners, lacks) if number)
        raise DistrustError(f'a network whose layers cannot be put in order: {short(never)} needs an output that is '
                            'never there')
    if tries > TRIES:
        raise DistrustError(f'a network whose layers are in an order that Keras finds only after {tries} tries')
    return there


def _knows_its_shape(layer: Dict[str, Any]) -> bool:
    """Whether Keras has called a layer by the time that it is made."""
    first = layer
    while first['class_name'] in NETWORKS:
        if first['class_name'] != 'Sequential':
            return True
        settings = first['config']
        inside = settings['layers'] if isinstance(settings, dict) else settings
        if not inside:
            return False
        first = inside[0]
    return first['class_name'] == 'InputLayer' or first is not layer and 'batch_input_shape' in first['config']


def _require(source: Source, name: str, there: Dict[str, int], outputs_of: Dict[str, int]) -> None:
    layer, number, tensor = source
    if number >= there.get(layer, 0) or tensor >= outputs_of[layer]:
        raise DistrustError(f'a network in which {short(name)} takes {short(list(source))}, which does not exist')


def _require_reached(names: List[str], calls: Dict[str, List[List[Source]]], outputs: List[Source]) -> None:
    """DistrustError where a layer leads to no output: it would be built, and its weights made, for nothing."""
    reached: Set[str] = set()
    waiting = [name for name, _, _ in outputs]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [source for call in calls[name] for source, _, _ in call]
    for name in names:
        if name not in reached:
            raise DistrustError(f'a network whose layer {short(name)} leads to no output')
