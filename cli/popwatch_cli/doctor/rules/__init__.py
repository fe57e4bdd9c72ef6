"""What is wrong with an installation, and what to do: AWS's state in, findings out. Pure; the clock is an argument.

Each module checks one part. What AWS answered comes as plain dataclasses, made by `popwatch_cli.doctor.aws_state`.
"""
