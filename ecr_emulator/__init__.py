"""An AWS-compatible Amazon ECR emulator: the ECR API and an OCI registry over one store."""

__version__ = "0.1.0"
