"""The device: CPU, GPU or Ascend NPU, one process or many. The only package that names npu_bridge or horovod.

May import utils.base.
"""
