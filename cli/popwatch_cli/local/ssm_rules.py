"""What SSM refuses of a parameter, and MiniStack and moto take.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
"""

LARGEST = {"Standard": 4096, "Advanced": 8192}
"""Bytes of a value by its tier."""


def refusal_of(value: str, tier: str) -> tuple[str, str] | None:
    """The code and the text with which SSM refuses a value; None for one that it takes."""
    if len(value.encode()) > LARGEST[tier]:
        return "ValidationException", f"{tier} tier parameters support a maximum parameter value of {LARGEST[tier]}."
    if "{{" in value or "}}" in value:
        return "ValidationException", "Parameter value: can't nest another parameter. Do not use {{}} in the value."
    return None
