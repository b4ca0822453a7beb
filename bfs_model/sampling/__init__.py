"""From arguments to pictures: `BFSPipeline`, its guidance, step caches and distilled steps, reference images.

What runs during sampling belongs here. Networks do not (`network`), nor does loading (`weight`). Stands on both, and on
`document` for what a caller may give.
"""
