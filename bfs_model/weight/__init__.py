"""Where weights come from and what they take: bundles, trained models, FLUX.1-Fill, licences, precision and memory.

From a name to loaded parts, every file checked. What is computed with them does not belong here (`network`, `sampling`).
Stands on `network`.
"""
