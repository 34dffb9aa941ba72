"""The router as a small HTTP service, for gateways in any language. It only decides."""
