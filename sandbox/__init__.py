"""Local stand-ins to run and test against: partners, Pub/Sub, sample events. Never shipped."""
