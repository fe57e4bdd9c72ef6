"""The log of the functions: JSON lines by Powertools, of popwatch's modules too, down to the level of the stack."""

import logging
import os

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers


def new_logger() -> Logger:
    """A function's logger. popwatch's modules log through its handler, with its keys and at its level.

    The level (POWERTOOLS_LOG_LEVEL, one of `logging`) is set on the loggers themselves, because Powertools obeys
    AWS_LAMBDA_LOG_LEVEL instead. That is the filter of Lambda, which must never be stricter than INFO: to Lambda the
    lines of metrics, which have no level, are INFO
    (https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html). The same page asks for time
    stamps of RFC 3339, without which every line counts as INFO. Libraries log warnings and errors only: their debug
    lines hold what is sent to AWS.
    """
    level = os.environ.get("POWERTOOLS_LOG_LEVEL", "INFO")
    logger = Logger(use_rfc3339=True)
    modules = logging.getLogger("popwatch")  # with the default name of a stack, it is the logger of Powertools itself
    copy_config_to_registered_loggers(logger, log_level=level, include={modules.name})
    for each in (modules, logging.getLogger(logger.name)):
        each.setLevel(level)
    logging.getLogger().setLevel("ERROR" if level == "ERROR" else "WARNING")
    return logger
