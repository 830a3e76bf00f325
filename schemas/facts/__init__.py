"""Facts about the platform's events, as data; read through `schemas.catalogue`."""
