"""The paper's user study as a kit: a questionnaire in one page that hides which system drew what, and its analysis."""
