"""Pictures made by following a network's gradient down to its pixels: what they are made of, and how they are followed.

Parameterisations (`forms`), random motions (`motion`), penalties on pixels (`penalties`), what is driven (`targets`), the
descent itself (`descent`), and what a picture's spectrum says (`spectrum`). Everything acts on pictures in [0, 1], NCHW, at
the classifier's own size; every picture has streams of its own, so it depends on no other picture of its batch.
"""
