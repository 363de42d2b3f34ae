"""gRPC's own health protocol, `grpc.health.v1.Health/Check`, by hand: its messages have one field each."""

from __future__ import annotations

from typing import Any

import grpc

from wardline.serve.scoring.messages import SERVICE

HEALTH_SERVICE = "grpc.health.v1.Health"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"  # field 1, a number
_MOST_NAME = 127  # so that its length takes one byte


class Health:
    """Whether the service takes requests.

    Attributes:
        serving: set by the server.
    """

    def __init__(self) -> None:
        self.serving = False

    def handler(self) -> grpc.GenericRpcHandler:
        """For a gRPC server; `Watch` is not offered."""
        return grpc.method_handlers_generic_handler(
            HEALTH_SERVICE, {"Check": grpc.unary_unary_rpc_method_handler(self._check)}
        )

    def _check(self, message: bytes, context: Any) -> bytes:
        if message not in (b"", check_request(SERVICE)):
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service is here")
        return SERVING if self.serving else NOT_SERVING


def check_request(service: str = "") -> bytes:
    """The message that asks for a service, or for all of them.

    Raises:
        ValueError: for a name of more than 127 bytes.
    """
    name = service.encode()
    if len(name) > _MOST_NAME:
        raise ValueError("the name of a service has at most 127 bytes here")
    return b"\x0a" + bytes([len(name)]) + name if name else b""
