"""What tests, demos and benchmarks of a chat service need: an upstream that does what it is told."""
