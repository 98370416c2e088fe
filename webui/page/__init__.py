"""The Gradio page: one file a tab. `building.mount` puts it into a server."""
