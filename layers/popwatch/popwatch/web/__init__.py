"""The page, its API and `/metrics`: one code for `popwatch page` and for the function behind a URL."""
