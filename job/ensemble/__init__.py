"""A finished ensemble and new cells: its networks, in torch or as one ONNX file, what they predict, where they look."""
