"""Where the model runs: CPU, GPU or Ascend NPU, one process or several. May import utils.base.

device.py chooses the device and opens Keras's session on it; npu.py is all that is special on an Ascend NPU; several
processes are joined in distribute.py by HCCL or Horovod, and signals.py stops them. No other package names npu_bridge
or horovod.
"""
