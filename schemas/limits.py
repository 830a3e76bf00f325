"""Sizes and times that hold for every connector. KB = 1,000 bytes everywhere."""

MAX_EVENT_BYTES = 900_000
"""Largest event that is exported; Braze drops events over 900 KB ("Setting up Currents")."""

MAX_REQUEST_BYTES = 900_000
"""Largest request body to an HTTP partner, envelope included."""

MAX_EVENT_TYPE_CHARS = 256
MAX_ID_CHARS = 1_024
MAX_TIME_SECONDS = 253_402_300_799
"""Last second of the year 9999: what a calendar date can still express."""

MAX_DETAIL_CHARS = 500
"""A dead letter's detail and a partner's answer are cut to this length."""
