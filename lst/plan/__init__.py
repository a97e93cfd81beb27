"""What a run will take, told ahead of time by compiling it for its device."""
