"""The paper's user study as a kit: a questionnaire in one page that hides which system drew what, and its analysis.

Drawing and measuring do not belong here (`evaluate`): a study shows the pictures that an evaluation kept.
"""
