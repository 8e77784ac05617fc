"""IP-Adapter: pictures as prompts."""
