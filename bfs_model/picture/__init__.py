"""Pictures at the border: reading, colour, boxes, the window around a box, alpha blending (Eq. 1).

Whatever works on pixels in [0, 1] or levels of 255 belongs here. Latents do not (`latent`), nor do layers with names
(`document`). Stands on the ground: `errors`, `shapes`.
"""
