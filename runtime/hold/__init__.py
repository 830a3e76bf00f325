"""The hold: what could not be delivered is kept, tried again, released and, past its deadline, buried."""
