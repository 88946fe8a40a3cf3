"""Files, locks and processes: what the operating system gives, made safe."""
