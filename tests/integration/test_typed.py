"""What a new user types works, or says in a line what to type."""

import shlex

import pytest

from popwatch_cli.installation import Installation
from tests.integration.conftest import Run
from tests.typed import SCRIPT

PYTHON = ("Traceback", "<class", " object at 0x", "This is a bug", "'None'")
"""What no message may have: it is about the program, and not about what to type."""


def test_the_script(run: Run, stack: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of the script ends and says as it should; all that do not are listed, with what they said."""
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "POPWATCH_STACK"):
        monkeypatch.delenv(name, raising=False)
    assert stack.endpoint
    wrong = []
    for typed in SCRIPT:
        ended = run(*shlex.split(typed.line))
        said = ended.out + ended.err
        as_it_should = (
            ended.code == typed.code
            and all(text in said for text in typed.says)
            and not any(text in said for text in (*typed.never, *PYTHON))
        )
        if not as_it_should:
            wrong.append(f"$ popwatch {typed.line}\n{said}[{ended.code}] instead of [{typed.code}] {typed.says}\n")
    assert not wrong, "\n".join(wrong)
