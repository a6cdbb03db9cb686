"""Many runs: the best ones, what decides, why others failed."""
