"""The errors of the model server; each message is a sentence for the person who wrote the script or the request.

Never raised by agents or tool workers: they only see HTTP answers.
"""

from agent_core.errors import ErrandryError


class ModelServerError(ErrandryError):
    """Something about the model server cannot work as asked."""


class ScriptError(ModelServerError):
    """A script is not valid; the message names the file, the rule and the field."""


class FaultError(ModelServerError):
    """A fault was asked for in words that are not understood."""


class LocalModelMissingError(ModelServerError):
    """The local model is not installed."""


class BadRequestError(ModelServerError):
    """A request that a real provider would refuse too; it is answered with status 400."""
