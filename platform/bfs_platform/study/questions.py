"""The six aspects that participants rate, and what the paper's participants answered (table 2)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """`id` in files, `label` as the paper's table has it, `text` as participants read it, `about`: foreground or composite."""

    id: str
    label: str
    text: str
    about: str


QUESTIONS = (
    Question("text_alignment", "FG–text alignment", "The foreground shows what the description says.", "foreground"),
    Question("visual_effects", "FG–visual effects", "Its shadows and reflections are there and are correct.", "foreground"),
    Question("foreground_quality", "FG–image quality", "The foreground by itself is of high visual quality.", "foreground"),
    Question("placement", "composite–placement", "The object stands where it makes sense in the scene.", "composite"),
    Question("harmonization", "composite–harmonization", "Foreground and background fit together in light and colour.", "composite"),
    Question("composite_quality", "composite–image quality", "The composite as a whole is of high visual quality.", "composite"),
)
SCALE = ("strongly disagree", "disagree", "neither", "agree", "strongly agree")  # 1 … 5
PAPER: dict[str, tuple[float, ...]] = {
    "BFS": (3.99, 3.90, 3.88, 4.32, 3.68, 3.74),
    "LD+OC": (4.02, 3.49, 3.61, 4.11, 3.04, 3.33),
    "LayerDiffuse": (2.96, 2.33, 2.29, 1.82, 1.28, 1.64),
}
