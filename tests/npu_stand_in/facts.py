"""The facts of one release of the adapter, out of api_contract.json, for the stand-in npu_bridge."""
import json


def of_release(contract, release):
    """Names with signatures, the exports of npu_init and the parameters that `release` knows, ready for JSON."""
    order = contract['releases']
    here = order.index(release)

    def covers(since, until):
        return order.index(since) <= here <= order.index(until)

    names = []
    for dotted, name in contract['names'].items():
        signatures = [each['signature'] for each in name['by_release'] if covers(each['from'], each['to'])]
        if signatures and signatures[0] is not None:
            names.append((dotted, name['kind'], signatures[0]))
    parameters = {key: fact for key, fact in contract['parameter_map'].items()
                  if covers(fact['since'], fact['until']) and release not in fact.get('not_read_in', ())}
    return {'release': release, 'names': sorted(names), 'npu_init_exports': contract['npu_init_exports'][release],
            'parameter_map': parameters, 'patches_sessions': here >= order.index('r1.9.0'),
            'lists_precision_modes': here >= order.index('r1.12.0'), 'sinks_iterators': release == 'r1.1.1'}


def write(contract_path, release, path):
    """Write the facts as the file that NPU_STAND_IN_FACTS names."""
    with open(contract_path) as stream:
        contract = json.load(stream)
    with open(path, 'w') as stream:
        json.dump(of_release(contract, release), stream)
