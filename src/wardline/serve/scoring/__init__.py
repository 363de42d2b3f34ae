"""Scores of encrypted rows over gRPC: the server never sees a row, the client never sees the model."""
