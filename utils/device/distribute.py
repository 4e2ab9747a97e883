"""The processes that train one model together, each on a device of its own: rank, world size and what they exchange.

A process alone is a Group of one: the same code with nothing to exchange. Many are joined by HCCL, between Ascend NPUs
through npu_bridge, or by Horovod, between CPUs and GPUs. All exchange goes through Keras's session.
"""
import contextlib
import json
import os
import re
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np
import tensorflow as tf

from utils.base.errors import InputError
from utils.base.text import printable

CHIEF = 0  # the rank that writes and prints
# Set in each process by horovodrun, and by mpirun, in this order.
HOROVOD_SIZES = 'HOROVOD_SIZE', 'OMPI_COMM_WORLD_SIZE'
# Milliseconds between two rounds of Horovod's thread, in each of which it asks all ranks. Its default, 1, suits a GPU;
# on a CPU the rounds take cores from the computation: two processes of a core each reached 0.7 to 0.8 times the speed
# of two separate ones, and reach 0.9 and more with this (benchmarks/scaling.py).
CPU_CYCLE = 'HOROVOD_CYCLE_TIME', '20'
# In the errors of Horovod and the libraries below it when a rank is lost.
HOROVOD_MARKS = 'horovod', 'gloo', 'nccl', 'mpi_'
HOW_TO_START = ('Start a training with bash train_8p.sh, which sets it for each device, or with bash train_1p.sh for '
                'one device; docs/acceptance.md says how to start the acceptance kit')
CUT = 200  # characters of such an error that are quoted


class Group:
    """The processes that train together; this class is a process alone, its subclasses exchange.

    `rank` counts from 0, `size` is the world size, `local_rank` and `local_size` are the same on this host. Every
    method but report() and the properties has to be called by all ranks, in the same order.
    """

    engine = 'none'
    steps_between_agreements = 1  # how often the ranks exchange losses and signals; each time costs a step of its own

    def __init__(self, rank: int = CHIEF, size: int = 1, local_rank: int = 0, local_size: int = 1) -> None:
        self.rank, self.size, self.local_rank, self.local_size = rank, size, local_rank, local_size
        self._exchanges: Dict[Tuple[int, ...], Tuple[tf.Tensor, tf.Tensor]] = {}

    @property
    def is_chief(self) -> bool:
        """Whether this is rank 0, which alone writes checkpoints, logs and bars."""
        return self.rank == CHIEF

    @property
    def shard(self) -> Tuple[int, int]:
        """(rank, world size), for what is divided among the ranks."""
        return self.rank, self.size

    def report(self, text: str) -> None:
        """Print a sentence, in rank 0 alone."""
        if self.is_chief:
            print(printable(text), flush=self.size > 1)

    # --- in the graph; subclasses differ here

    def _sum(self, tensor: tf.Tensor, name: str) -> tf.Tensor:
        """The sum over all ranks of a float32 or int32 tensor of one static shape; `name` is the same everywhere."""
        return tensor

    def _from_chief(self, tensor: tf.Tensor, name: str) -> tf.Tensor:
        return tensor

    def average(self, optimizer: tf.keras.optimizers.Optimizer) -> tf.keras.optimizers.Optimizer:
        """`optimizer`, whose gradients are from now on the means over all ranks.

        In place, as the files name an optimiser's class: SGD stays SGD, and loads everywhere.
        """
        if self.size == 1:
            return optimizer
        gradients_of = optimizer.get_gradients

        def get_gradients(loss: tf.Tensor, params: List[tf.Variable]) -> List[tf.Tensor]:
            return [self._sum(gradient, f'gradient_{number}') / self.size
                    for number, gradient in enumerate(gradients_of(loss, params))]

        optimizer.get_gradients = get_gradients
        return optimizer

    # --- between steps

    def broadcast(self, variables: List[tf.Variable]) -> None:
        """Give `variables` the values of rank 0."""
        if self.size == 1:
            return
        session = tf.compat.v1.keras.backend.get_session()
        with session.graph.as_default(), tf.name_scope('from_chief'):
            session.run([tf.compat.v1.assign(each, self._from_chief(each, f'weight_{number}')).op
                         for number, each in enumerate(variables)])

    def total(self, array: np.ndarray) -> np.ndarray:
        """The sums over all ranks, element by element, of an int32 array of the same shape in each."""
        if self.size == 1:
            return array
        session = tf.compat.v1.keras.backend.get_session()
        if array.shape not in self._exchanges:
            name = f'total_of_{"x".join(map(str, array.shape))}'
            with session.graph.as_default():
                own = tf.compat.v1.placeholder(tf.int32, array.shape, name)
                self._exchanges[array.shape] = own, self._sum(own, name)
        own, total = self._exchanges[array.shape]
        return session.run(total, {own: array})

    def merge(self, array: np.ndarray) -> np.ndarray:
        """The float32 array of which each rank filled some elements, no two the same one, and left 0 elsewhere.

        Bits are added, as integers, and not numbers: nothing is rounded on the way, in no precision mode.
        """
        return self.total(np.ascontiguousarray(array, np.float32).view(np.int32)).view(np.float32)

    def gather(self, values: Any) -> np.ndarray:
        """The `values` of all ranks as float64 [size, number of values], by rank."""
        rows = np.zeros((self.size, np.size(values)))
        rows[self.rank] = values
        return self.total(rows.view(np.int32)).view(np.float64)

    def gather_objects(self, value: Any) -> List[Any]:
        """The `value`, of what JSON can hold, of every rank, by rank."""
        if self.size == 1:
            return [value]
        own = json.dumps(value).encode()
        lengths = self.gather([len(own)])[:, 0].astype(int)
        words = 1 << int(-(-lengths.max() // 4) - 1).bit_length()  # few shapes, as an NPU compiles each
        rows = np.zeros((self.size, 4 * words), np.uint8)
        rows[self.rank, :len(own)] = np.frombuffer(own, np.uint8)
        rows = self.total(rows.view(np.int32)).view(np.uint8)
        return [json.loads(row[:length].tobytes().decode()) for row, length in zip(rows, lengths)]

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self.gather([0])

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Turn the error of TensorFlow that follows from the loss of another rank into InputError."""
        try:
            yield
        except tf.errors.OpError as error:
            if not self._means_lost_rank(str(error)):
                raise
            reason = ' '.join((error.message or str(error)).split())
            raise InputError(f'rank {self.rank} of {self.size}: lost the connection to another rank ({reason[:CUT]}). '
                             'See the log of the rank that ended first, then run the same command with --resume'
                             ) from error

    def _means_lost_rank(self, text: str) -> bool:
        return False


class _Horovod(Group):
    engine = 'horovod'

    def __init__(self, on_gpu: bool) -> None:
        self._hvd = _import_horovod()
        if not on_gpu:
            os.environ.setdefault(*CPU_CYCLE)
        self._hvd.init()
        super().__init__(self._hvd.rank(), self._hvd.size(), self._hvd.local_rank(), self._hvd.local_size())
        launched = next((_number(name) for name in HOROVOD_SIZES if os.environ.get(name)), 1)
        if launched != self.size:  # as with mpirun, where Horovod is built without MPI
            raise InputError(f'--distribute horovod: {launched} processes were started, but Horovod joins only '
                             f'{self.size}. Start them with horovodrun instead of mpirun')

    def _sum(self, tensor: tf.Tensor, name: str) -> tf.Tensor:
        return self._hvd.allreduce(tensor, op=self._hvd.Sum, name=name)

    def _from_chief(self, tensor: tf.Tensor, name: str) -> tf.Tensor:
        return self._hvd.broadcast(tensor, CHIEF, name=name)

    def _means_lost_rank(self, text: str) -> bool:
        return self.size > 1 and any(mark in text.lower() for mark in HOROVOD_MARKS)


class _Hccl(Group):
    """The ranks of the NPUs that train_8p.sh or a launcher started; CANN itself reads RANK_TABLE_FILE."""

    engine = 'hccl'
    steps_between_agreements = 10  # a step on an NPU is short, and this would be a second graph beside it

    def _sum(self, tensor: tf.Tensor, name: str) -> tf.Tensor:
        from npu_bridge.hccl import hccl_ops
        return hccl_ops.allreduce(tensor, 'sum')

    def _from_chief(self, tensor: tf.Tensor, name: str) -> tf.Tensor:
        from npu_bridge.hccl import hccl_ops
        return hccl_ops.broadcast([tensor], CHIEF)[0]

    def _means_lost_rank(self, text: str) -> bool:
        return self.size > 1  # CANN's errors for a lost device differ by release


def join(engine: str, on_gpu: Callable[[], bool] = lambda: False) -> Group:
    """The group of this process, by 'hccl', 'horovod', 'none' or, for 'auto', by the environment.

    `on_gpu` is called for Horovod alone, whose pace depends on it. InputError where a variable that a launcher sets
    for each process is missing or invalid.
    """
    if engine == 'auto':
        engine = _of_environment()
    if engine == 'horovod':
        return _Horovod(on_gpu())
    if engine == 'hccl':
        return _join_hccl()
    return Group()


def _of_environment() -> str:
    hccl = _number('RANK_SIZE', 1) > 1
    horovod = any(_number(name, 1) > 1 for name in HOROVOD_SIZES)
    if hccl and horovod:
        raise InputError(f'--distribute auto: RANK_SIZE is {os.environ["RANK_SIZE"]} in a process of horovodrun or '
                         'mpirun. Unset RANK_SIZE, or type --distribute hccl or horovod')
    return 'hccl' if hccl else 'horovod' if horovod else 'none'


def _number(name: str, default: Optional[int] = None) -> int:
    """A variable of the environment as a whole number from 0; `default` where it is not set."""
    text = os.environ.get(name, '')
    if not text and default is not None:
        return default
    if not re.fullmatch('[0-9]{1,9}', text):
        found = repr(text) if text else 'not set'
        raise InputError(f'{name} is {found}, expected a whole number from 0. {HOW_TO_START}')
    return int(text)


def _join_hccl() -> Group:
    size, rank = _number('RANK_SIZE'), _number('RANK_ID')
    if not rank < size:
        raise InputError(f'RANK_ID is {rank}, expected a number below RANK_SIZE, {size}. {HOW_TO_START}')
    if size == 1:
        return Group()
    if not os.environ.get('JOB_ID'):
        raise InputError(f'JOB_ID is not set, but RANK_SIZE is {size}: HCCL needs a number that all ranks share, '
                         f'such as 10087. {HOW_TO_START}')
    table = os.environ.get('RANK_TABLE_FILE', '')
    if not os.path.isfile(table):
        raise InputError(f'RANK_TABLE_FILE is {table!r}, expected the file that lists the devices of all {size} ranks. '
                         f'{HOW_TO_START}')
    return _Hccl(rank, size, _number('LOCAL_RANK', 0), _number('LOCAL_SIZE', 1))  # as train_8p.sh sets them


def _import_horovod() -> Any:
    try:
        import horovod.tensorflow as hvd
    except ImportError as error:
        reason = ' '.join(str(error).split())[:CUT]
        raise InputError(f'--distribute horovod: Horovod cannot be imported ({reason}). Build it with '
                         'bash utils/horovod.sh') from error
    return hvd
