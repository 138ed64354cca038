"""The control plane as code: where it runs, what is deployed on it, who is told what."""
