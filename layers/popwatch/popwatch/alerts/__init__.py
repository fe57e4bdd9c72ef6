"""What an alert says: texts, tokens, templates. Pure."""
