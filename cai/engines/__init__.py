"""Backends that answer the two questions of ``base.Engine``. Import a backend only when it is used."""
