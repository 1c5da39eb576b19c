"""A trained model as an ONNX file that onnxruntime runs: tracing, check, folder and card."""
