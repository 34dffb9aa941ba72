"""The router inside gateways that people already run."""
