"""What a user did wrong, in one line: key, value, rule, remedy."""


class BadInput(ValueError):
    """Input that the user can correct. Programs print it as one line and exit with 2; the service answers 4xx."""

    def __init__(self, key: str, value: object, rule: str, remedy: str = "") -> None:
        self.key, self.value, self.rule, self.remedy = key, value, rule, remedy
        super().__init__(key, value, rule, remedy)

    def __str__(self) -> str:
        shown = str(self.value)
        shown = shown if len(shown) <= 200 else shown[:197] + "..."
        return f"{self.key}={shown} {self.rule}" + (f"; {self.remedy}" if self.remedy else "") + "."


class IntegrityError(BadInput):
    """A file is missing, incomplete or not the one its manifest names."""
