"""Where media comes from and verdicts go to outside this process: message brokers and call platforms."""
