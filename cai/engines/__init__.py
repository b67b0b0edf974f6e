"""Backends that answer the two questions of ``engine.Engine``. Import a backend only when it is used."""
