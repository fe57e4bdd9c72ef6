"""What is wrong with an installation, and what to do: facts in, findings out. Pure; the clock is an argument.

Each module looks at one part: what runs, the tables, who hears of what, the targets, the dead letters. Facts are what
AWS said, as plain dataclasses; `popwatch_cli.doctor.aws_state` gathers them.
"""
