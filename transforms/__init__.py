"""The Beam steps of an event's life. They wire; what thinks is in `runtime`, `sinks`, `schemas`."""
