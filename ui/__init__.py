"""The web page: Gradio over the same client that the API uses."""

import os

# Gradio reads these when it is imported, and every module that imports it lies in this package.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
