"""Apache Kafka as the message broker, on aiokafka."""
