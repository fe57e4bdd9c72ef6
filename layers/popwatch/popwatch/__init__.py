"""popwatch watches POP3 servers from AWS: the package that the Lambda layer and the command line share."""

__version__ = "0.1.0"
