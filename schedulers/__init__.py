"""Time: noise schedules, sigma spacings and the sampler catalogue."""
