"""The figures of the paper (tables 1 and 3): 2,000 RORem images, a list that was not published."""

SOURCE = (
    "As printed in the paper, tables 1 and 3, on 2,000 RORem images whose list was not published. Its KID was taken over Inception "
    "features and its CLIP score on a backdrop that it does not name; compare within the rows of one table only."
)
COLUMNS = ("clip_white", "clip_grey", "musiq", "maniqa", "kid", "dino", "hpsv3")
_CLIP = "clip_white"  # the paper's one CLIP column stands here; which backdrop it used is unknown
PAPER: dict[str, dict[str, float]] = {
    "BFS": {_CLIP: 0.721, "musiq": 67.886, "maniqa": 0.437, "kid": 0.2, "dino": 0.875, "hpsv3": 3.70},
    "LayerDiffuse": {_CLIP: 0.770, "musiq": 67.221, "maniqa": 0.425, "kid": 11.0, "dino": 0.467, "hpsv3": -3.03},
    "LD+OC (its background)": {_CLIP: 0.701, "musiq": 63.485, "maniqa": 0.382, "kid": -0.2, "dino": 0.961, "hpsv3": 2.91},
    "Flux-Fill": {"musiq": 66.132, "maniqa": 0.425, "kid": 0.934, "dino": 0.857, "hpsv3": 2.74},
    "PaintByInpaint": {"musiq": 65.516, "maniqa": 0.358, "kid": 0.889, "dino": 0.824, "hpsv3": 1.65},
}
