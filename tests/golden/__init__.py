"""Golden files: for each kind of partner, events and the requests that they become.

A folder for each kind holds

- `connector.json`: the connector, as a connectors file has it;
- `<case>.event.json`: an event as it is published, or an array of events that come together;
- `<case>.settings.json`: what this case changes in the connector, if anything;
- `<case>.request.json`: what becomes of it. Written by `python -m tests.golden`.

Secrets are shown as their references: `<env:SEGMENT_WRITE_KEY>`.
"""
