"""What stands between a method's declaration and its functions: parameters as they are for a tensor, and checks."""
