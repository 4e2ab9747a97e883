"""The versions of what an Ascend NPU needs, as the files of its installation say."""
import os
import re
from typing import Dict, Iterable, Optional

from utils.device.npu import CANN_VARIABLES

INSTALLED = '/usr/local/Ascend'
FILES = 'ascend_toolkit_install.info', 'version.info', 'version.cfg'  # by release


def versions() -> Dict[str, Optional[str]]:
    """Of CANN, the driver and the firmware; None where no file says it."""
    cann = [os.environ[name] for name in reversed(CANN_VARIABLES) if os.environ.get(name)]
    return {'CANN': _first(os.path.join(folder, name) for folder in cann for name in FILES),
            **{name: _first([os.path.join(INSTALLED, name, 'version.info')]) for name in ('driver', 'firmware')}}


def _first(paths: Iterable[str]) -> Optional[str]:
    """The version in the first of `paths` that has a line such as Version=20.2 or runtime_running_version=[7.0.0]."""
    for path in paths:
        try:
            with open(path, encoding='utf-8', errors='replace') as stream:
                found = re.search(r'^(?:\w+_)?version\s*=\s*\[?([\w.:-]+)', stream.read(100_000), re.M | re.I)
        except OSError:
            continue
        if found:
            return found.group(1)
    return None
