"""The arithmetic of diffusion: time and sign, tokens and positions, counter-based noise, pictures to latents and back.

Pure functions of tensors. Modules with weights do not belong here (`network`). Stands on `picture`.
"""
