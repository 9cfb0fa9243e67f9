"""The Queues tab: how every model fares now, and has fared for some minutes. Nothing can be done there, only seen."""
