"""Fast exact training steps on the CPU, each tested against plain torch operations in the architecture's file."""
