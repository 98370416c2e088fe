"""The Gradio page: one file a tab. :func:`studio.webui.page.building.mount` puts it into a server."""
