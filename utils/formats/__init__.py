"""The formats that a checkpoint is exported to: frozen graph, SavedModel, ONNX, Ascend OM; parity report, model card.

May import utils.base, data, model, device, and data_loader, nima, score_utils.
"""
