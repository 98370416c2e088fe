"""From a validated request to pictures: components, conditioning, guidance, stages, pipelines."""
