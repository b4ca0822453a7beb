"""The networks: sharing between two Flux branches (Eq. 2-5), the RGBA VAE, the compositor of Eq. 7, shadows, text.

Modules, their shapes and their losses. Where weights come from does not belong here (`weight`), nor does a loop over
steps (`sampling`). Stands on `latent` and `picture`.
"""
