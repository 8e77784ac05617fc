"""Language models that image models listen to: one decoder net for Qwen, Llama, Gemma and Mistral, what they read, and what they write."""
