"""The names of this package, each with the module that defines it: `__init__.py` reads them from here."""

from .first_reading import read_features as read_features
