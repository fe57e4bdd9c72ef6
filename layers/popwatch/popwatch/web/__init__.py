"""The page, its API and `/metrics`: the same code for `popwatch page` and for the function behind a URL."""
