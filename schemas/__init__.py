"""Shapes of data: event, connector, limits, dead letter, report, event catalogue."""
