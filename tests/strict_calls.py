"""botocore's own check of parameters, made as strict as AWS: upper limits, patterns and enumerations of its models too.

botocore itself checks types and lower limits only, and the imitations of AWS take what AWS would refuse.
"""

import re
from typing import Any

from botocore import validate
from botocore.exceptions import ParamValidationError


def be_strict() -> None:
    """Check all calls of this process from now on. Raises botocore's ParamValidationError for what AWS refuses."""
    validator: Any = validate.ParamValidator
    check_range, check_string = validate.range_check, validator._validate_string

    def check_upper_limit(name: str, value: Any, shape: Any, error_type: str, errors: Any) -> None:
        check_range(name, value, shape, error_type, errors)
        most = shape.metadata.get("max")
        if most is not None and value > most:
            raise ParamValidationError(report=f"{name}: {value} is above AWS's limit of {most}")

    def check_text(self: Any, param: Any, shape: Any, errors: Any, name: str) -> None:
        check_string(self, param, shape, errors, name)
        pattern = shape.metadata.get("pattern")
        if isinstance(param, str) and pattern and not re.fullmatch(pattern, param):
            raise ParamValidationError(report=f"{name}: {param!r} does not match {pattern}")
        if shape.enum and param not in shape.enum:
            raise ParamValidationError(report=f"{name}: {param!r} is not one of {shape.enum}")

    vars(validate)["range_check"] = check_upper_limit
    validator._validate_string = check_text
