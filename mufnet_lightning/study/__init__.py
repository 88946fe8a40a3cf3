"""Many runs together: cross-validation."""
