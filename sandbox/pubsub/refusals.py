"""Refusals: the errors that a call is answered with, each with its gRPC status code."""

from typing import ClassVar

import grpc


class Refusal(Exception):
    """Why a call is not served; the text is what the client sees."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN


class NotFound(Refusal):
    """The topic or subscription does not exist."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(Refusal):
    """A topic or subscription of that name exists."""

    code = grpc.StatusCode.ALREADY_EXISTS


class InvalidArgument(Refusal):
    """The request breaks a rule of the service, whatever the state of its topics."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class Unimplemented(Refusal):
    """The real service does this, the stand-in does not."""

    code = grpc.StatusCode.UNIMPLEMENTED


class Unavailable(Refusal):
    """The server has been told to fail."""

    code = grpc.StatusCode.UNAVAILABLE
