"""What npu_bridge.npu_init gives in this release; from r1.9.0 on it replaces the constructor of tf.Session."""
import sys
import types

from npu_bridge import FACTS, add, strict

for _dotted, _kind, _signature in FACTS['names']:
    if _dotted.startswith('npu_bridge.npu_init.'):
        add(_dotted, _kind, _signature)
    else:
        _owner, _, _name = _dotted.rpartition('.')
        if _name in FACTS['npu_init_exports'] and _kind != 'method':
            globals()[_name] = getattr(sys.modules[_owner], _name)
for _name in FACTS['npu_init_exports']:
    globals().setdefault(_name, types.ModuleType(_name))
__all__ = list(FACTS['npu_init_exports'])
if FACTS['patches_sessions']:
    strict.patch_sessions()
