"""Speech over the network: HTTP as OpenAI's API has it, and the Wyoming protocol. One thread makes all of it."""
