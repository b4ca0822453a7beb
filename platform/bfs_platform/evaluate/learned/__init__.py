"""The learned metrics of the paper's protocol, with pinned definitions. Each is optional; what is left out is said in the results.

CLIP score and DINO score run here through transformers; KID is taken over the features of either. MUSIQ, MANIQA and HPSv3
live in environments of their own and are asked through a pipe.
"""
