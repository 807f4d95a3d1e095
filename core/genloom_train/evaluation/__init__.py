"""How good a model is, and what its latent space looks like: `genloom eval`, `genloom latents`.

What ships is what is measured: everything here runs the bundle's ONNX graphs through
`genloom.open_model`. The rooms: `subject` the model, `real` the held-out pictures, `judge` and
`inception` what sees features in pictures; `similarity`, `bounds`, `distances` and `verdicts` the
figures; `evaluate` brings them together. `space` measures a latent space, `maps` draws it.
"""
