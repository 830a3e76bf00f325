"""The names of all metrics, a sentence each. Counters, per connector (up to 100), else per kind."""

NAMESPACE = "currents"

RECEIVED = "messages_received_total"
"""Messages read."""
INVALID = "messages_invalid_total"
"""Messages that could not be decoded."""
OFFERED = "events_offered_total"
"""Valid events of the connector's app groups."""
DELIVERED = "events_delivered_total"
"""Events that the partner took."""
FILTERED = "events_filtered_total"
"""Events that the connector's settings or the partner's rules leave out."""
DEAD = "events_dead_total"
"""Events that were given up and buried."""
HELD = "events_held_total"
"""Events put into the hold; one that fails again is counted again."""
ATTEMPTS = "requests_attempted_total"
"""Requests sent, whatever came of them."""

MAX_CONNECTORS = 100
"""With more connectors than this, counters are kept per kind."""
