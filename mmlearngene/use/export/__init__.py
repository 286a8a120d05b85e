"""What leaves for other runtimes: writing it, how it is opened, its model card, and ONNX."""
