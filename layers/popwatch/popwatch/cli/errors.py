"""Errors that the command tells its user."""


class UserError(Exception):
    """Something its user can mend; the text is a sentence that says what is wrong and what to do."""
