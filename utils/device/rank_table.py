"""The rank table of HCCL: which NPU of which host is which rank. Read, or written for the devices of this host.

    bash run.sh -m utils.device.rank_table --table FILE    print this host's ranks in FILE: a line RANK DEVICE each
    bash run.sh -m utils.device.rank_table --output FILE   write a table of this host's devices, and print the same

The first line is the world size, the number of ranks on all hosts. A table has the physical numbers of devices, those
of /dev/davinciN; DEVICE is the logical one that ASCEND_DEVICE_ID takes, see logical(). train_8p.sh uses it.
"""
import argparse
import glob
import os
import re
import socket
import subprocess
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from utils.base import errors, files, reading
from utils.base.errors import InputError
from utils.base.parser import make_parser, parse_flags, typed_path
from utils.base.text import printable

NODES = '/dev/davinci[0-9]*'
ADDRESSES = '/etc/hccn.conf'  # address_0=192.168.100.101: the address of each device's own network port
VISIBLE = 'ASCEND_VISIBLE_DEVICES'  # set by the container runtime, such as 0-3,6
# How many devices of a server a first-generation 910 trains with; 2 or 4 of them within one of the halves.
SERVER_SIZES, HALVES = (1, 2, 4, 8), (range(4), range(4, 8))


class Rank(NamedTuple):
    """A process to start on this host."""

    rank: int
    device: int  # physical number


def _in_dev() -> List[int]:
    """The physical numbers of the devices in /dev, in order."""
    return sorted(int(re.sub(r'\D', '', os.path.basename(node))) for node in glob.glob(NODES))


def devices() -> List[int]:
    """The numbers of this host's devices: those of ASCEND_VISIBLE_DEVICES, or else those in /dev."""
    text = os.environ.get(VISIBLE, '')
    if text:
        return _listed(text)
    found = _in_dev()
    if not found:
        raise InputError(f'no device {NODES} found. Start the container with --device=/dev/davinci0 and so on, or set '
                         f'{VISIBLE}; for one device use bash train_1p.sh, for CPUs and GPUs horovodrun')
    return found


def _listed(text: str) -> List[int]:
    """The numbers that '0-3,6' names."""
    numbers: List[int] = []
    for each in text.split(','):
        ends = re.fullmatch(r'\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*', each)
        if not ends or int(ends.group(2) or ends.group(1)) < int(ends.group(1)):
            raise InputError(f"{VISIBLE} is {text!r}, expected numbers and rising ranges such as '0-3,6'. Correct or "
                             'unset it')
        numbers += range(int(ends.group(1)), int(ends.group(2) or ends.group(1)) + 1)
    if len(set(numbers)) < len(numbers):
        raise InputError(f'{VISIBLE} is {text!r}, which names a device twice. Correct or unset it')
    return numbers


def logical(numbers: Sequence[int]) -> List[int]:
    """The logical numbers of devices with these physical ones: their positions among the devices that are there.

    A container that was given davinci4 to davinci7 has the logical devices 0 to 3; on a whole host the two are the
    same. InputError for a device that is not there.
    """
    text = os.environ.get(VISIBLE, '')
    present = _in_dev() or (sorted(_listed(text)) if text else sorted(numbers))
    for number in numbers:
        if number not in present:
            raise InputError(f'device {number} of the rank table is not there, but {", ".join(map(str, present))} are. '
                             'A table has the numbers of /dev/davinci*, in a container too: correct its device_id')
    return [present.index(number) for number in numbers]


def unusual(table: Dict[str, Any]) -> Optional[str]:
    """What a first-generation 910 would not take, in words; None where there is nothing of that kind."""
    for server in table['server_list']:
        numbers = sorted(int(device['device_id']) for device in server['device'])
        whole = len(numbers) not in (2, 4) or any(set(numbers) <= set(half) for half in HALVES)
        if len(numbers) not in SERVER_SIZES or not whole:
            return (f'{len(numbers)} devices of a server ({", ".join(map(str, numbers))}). A first-generation Ascend '
                    '910 trains with 1, 2, 4 or 8, and 2 or 4 have to be within 0-3 or within 4-7; later ones take '
                    'others')
    return None


def address(device: int) -> str:
    """The IP address of a device's own port, from /etc/hccn.conf or from hccn_tool."""
    texts = []
    if os.path.isfile(ADDRESSES):
        with open(ADDRESSES, encoding='utf-8', errors='replace') as stream:
            texts.append((rf'^\s*address_{device}\s*=\s*(\S+)', stream.read()))
    try:
        done = subprocess.run(['hccn_tool', '-i', str(device), '-ip', '-g'], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, timeout=60)
        texts.append((r'^\s*ipaddr\s*:\s*(\S+)', done.stdout))
    except (OSError, subprocess.TimeoutExpired):
        pass
    for pattern, text in texts:
        found = re.search(pattern, text, re.MULTILINE)
        if found:
            return found.group(1)
    raise InputError(f'neither {ADDRESSES} nor hccn_tool knows the address of device {device}. Set it with '
                     f'hccn_tool -i {device} -ip -s address IP netmask MASK, or set RANK_TABLE_FILE to a table of your '
                     'own')


def make(numbers: Sequence[int]) -> Dict[str, Any]:
    """The table of one host whose devices have these numbers; ranks follow them."""
    listed = [{'device_id': str(number), 'device_ip': address(number), 'rank_id': str(rank)}
              for rank, number in enumerate(numbers)]
    return {'version': '1.0', 'server_count': '1', 'status': 'completed',
            'server_list': [{'server_id': (_own_names() or ['127.0.0.1'])[0], 'device': listed}]}


def _own_names() -> List[str]:
    """The addresses and names that this host may have in a table; SERVER_ID alone where it is set."""
    if os.environ.get('SERVER_ID'):
        return [os.environ['SERVER_ID']]
    try:
        listed = subprocess.run(['hostname', '-I'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                text=True).stdout.split()
    except OSError:
        listed = []
    return [*listed, socket.gethostname()]


def read(path: str) -> Dict[str, Any]:
    """A rank table; InputError where the file holds none, or where its ranks are not 0, 1, 2, ..."""
    try:
        table = reading.read_json(path)
        ranks = sorted(int(device['rank_id']) for server in table['server_list'] for device in server['device'])
        if ranks != list(range(len(ranks))) or not ranks:
            raise ValueError(f'ranks {ranks}')
        for server in table['server_list']:
            str(server['server_id']), [int(device['device_id']) for device in server['device']]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f'{path} is no rank table ({type(error).__name__}: {error}), expected JSON with '
                         'server_list[server_id, device[device_id, device_ip, rank_id]] and ranks from 0. Correct '
                         'RANK_TABLE_FILE, or unset it to use the devices of this host') from error
    return table


def ranks_here(table: Dict[str, Any], path: str) -> List[Rank]:
    """The ranks of a table that run on this host; a table of one host is this one's."""
    servers = table['server_list']
    if len(servers) > 1:
        names = _own_names()
        known = [server['server_id'] for server in servers]
        servers = [server for server in servers if server['server_id'] in names]
        if len(servers) != 1:
            raise InputError(f'{path} lists the hosts {", ".join(map(str, known))}, expected one of them to be this '
                             f'host ({", ".join(names)}). Set SERVER_ID to the server_id of this host')
    return sorted(Rank(int(device['rank_id']), int(device['device_id'])) for device in servers[0]['device'])


def _flags(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags of this command: one of `table` and `output`."""
    parser = make_parser("The ranks of this host's Ascend devices, for HCCL: the number of ranks on all hosts, then a "
                         'line RANK DEVICE for each of this host.')
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument('--table', type=typed_path, metavar='FILE', help='rank table to read')
    one.add_argument('--output', type=typed_path, metavar='FILE',
                     help='rank table to write, of the devices in ASCEND_VISIBLE_DEVICES or else all of this host')
    return parse_flags(parser, argv)


def main(argv: Optional[List[str]] = None) -> List[Rank]:
    """Read or write a table as the flags say; prints and returns the ranks of this host."""
    flags = _flags(argv)
    path = flags.table or flags.output
    if flags.table:
        table = read(path)
    else:
        table = make(devices())
        with files.writing(path, 'Free space or choose another --output'):
            files.write_json(path, table)
    found = ranks_here(table, path)
    numbers, warning = logical([each.device for each in found]), unusual(table)
    if warning:
        print(printable(f'warning: {path}: {warning}'), file=sys.stderr)
    print(sum(len(server['device']) for server in table['server_list']))
    for each, number in zip(found, numbers):
        print(each.rank, number)
    return found


if __name__ == '__main__':
    errors.run(main, 'rank_table')
