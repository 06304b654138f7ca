"""The control plane: the ECR API, JSON over ``X-Amz-Target``."""
