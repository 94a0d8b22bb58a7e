"""The receive journal: NATS JetStream in front of a store in PostgreSQL. Needs nats-py."""
