"""Label Studio: its labeling configs, requests and regions to our types and back. Pure functions, no server, no model."""
