"""The training hall: recipes, data, one loop, checkpoints, evaluation and ONNX export."""
