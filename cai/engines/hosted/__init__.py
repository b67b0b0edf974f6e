"""Hosted services with protocols of their own, over the transport of ``server``."""
