"""`make run`: `python -m popwatch_cli.local`."""

from popwatch_cli.start import run

if __name__ == "__main__":
    run("popwatch_cli.local.running")
