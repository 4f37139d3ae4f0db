"""Media units in, rolling verdicts out. Knows time, not HTTP and not Kafka."""
