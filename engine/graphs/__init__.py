"""ONNX: graphs of networks made once for each architecture, models exported as ONNX, and onnxruntime as a runner.

Nothing here imports onnx, onnxruntime or torch when it is imported; the first use does.
"""

from __future__ import annotations
