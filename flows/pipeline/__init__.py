"""What makes a flow of stages reusable: keys, records, plans, leases. Knows nothing of what a stage does."""
