"""Compiled models: what may be published of them, what stays at the server, and their files."""
