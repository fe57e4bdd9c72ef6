"""Reading what is stored, for the page and the command."""
