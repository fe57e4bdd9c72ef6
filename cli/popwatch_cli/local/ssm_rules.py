"""What SSM refuses of a parameter, and MiniStack and moto take; whose parameters a request reads.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
"""

import json
from posixpath import commonpath

LARGEST = {"Standard": 4096, "Advanced": 8192}
"""Bytes of a value by its tier."""


def refusal_of(value: str, tier: str) -> tuple[str, str] | None:
    """The code and the text with which SSM refuses a value; None for one that it takes."""
    if len(value.encode()) > LARGEST[tier]:
        return "ValidationException", f"{tier} tier parameters support a maximum parameter value of {LARGEST[tier]}."
    if "{{" in value or "}}" in value:
        return "ValidationException", "Parameter value: can't nest another parameter. Do not use {{}} in the value."
    return None


def resource_of(body: bytes, region: str, account: str) -> str:
    """The resource of GetParameters, by which IAM allows it or not; `*` for any other request.

    AWS checks each parameter. Here the folder that all are in stands for several: a policy that allows a whole folder
    allows them only if all are in it.
    """
    names = [f"/{name.removeprefix('/')}" for name in json.loads(body or b"{}").get("Names", ())]
    if not names:
        return "*"
    path = names[0] if len(names) == 1 else f"{commonpath(names)}/"
    return f"arn:aws:ssm:{region}:{account}:parameter{path}"
